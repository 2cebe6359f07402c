"""The Transformer language model: what it sees, what its caches keep, what it scores, and its folder."""

import math

import pytest
import torch

from asr_tutorial.config import LanguageModelArchitecture, LanguageModelConfig, ModelConfig, load_lm_config
from asr_tutorial.decoder import Decoder
from asr_tutorial.errors import CheckpointError, ConfigError
from asr_tutorial.language_model import (
    LanguageModel,
    NGram,
    TransformerLM,
    evaluate_text,
    load_language_model,
    perplexity,
    save_ngram,
    save_transformer_lm,
    token_log_probs,
    word_log_probs,
)
from asr_tutorial.search.generate import generate
from asr_tutorial.tokenizer import CharTokenizer, SentencePieceTokenizer

TOKENIZER = CharTokenizer("ABCDEFGHIJKLMNOPQRSTUVWXYZ'")
SIZES = {"d_model": 16, "num_heads": 2, "d_ff": 32, "layers": 2, "dropout": 0.1, "max_length": 64}
SENTENCES = ["THE CAT SAT", "A DOG RAN", "THE DOG SAT ON A MAT"]


@pytest.fixture
def model() -> TransformerLM:
    torch.manual_seed(0)
    return TransformerLM(LanguageModelArchitecture(**SIZES), TOKENIZER.vocab_size).eval()


def tokens(text: str) -> torch.Tensor:
    return torch.tensor([[TOKENIZER.sos_id, *TOKENIZER.encode(text)]])


class TestTransformer:
    def test_a_position_sees_nothing_that_comes_later(self, model: TransformerLM) -> None:
        before, after = model(tokens("THE CAT")), model(tokens("THE DOG"))
        torch.testing.assert_close(before[:, :5], after[:, :5])
        assert not torch.allclose(before[:, 5:], after[:, 5:])

    def test_sentences_of_a_row_do_not_see_each_other(self, model: TransformerLM) -> None:
        def row(first: str) -> torch.Tensor:
            return torch.cat([tokens(first), torch.tensor([[TOKENIZER.eos_id]]), tokens("AND")], dim=1)

        numbers = (row("CAT") == TOKENIZER.sos_id).cumsum(dim=1)
        apart = [model(row(first), sentences=numbers)[:, 5:] for first in ("CAT", "DOG")]
        torch.testing.assert_close(*apart)
        together = [model(row(first))[:, 5:] for first in ("CAT", "DOG")]
        assert not torch.allclose(*together)

    def test_the_cache_changes_nothing(self, model: TransformerLM) -> None:
        whole = model(tokens("THE CAT"))
        cache = model.new_cache()
        parts = [model(part, cache) for part in tokens("THE CAT").split([3, 1, 4], dim=1)]
        torch.testing.assert_close(torch.cat(parts, dim=1), whole, atol=1e-5, rtol=1e-5)

    def test_a_tree_of_hypotheses_is_as_good_as_each_alone(self, model: TransformerLM) -> None:
        first, second = TOKENIZER.encode("AB"), TOKENIZER.encode("CD")
        tree = model.new_tree()
        model.extend_tree(torch.full((1, 2), TOKENIZER.sos_id), tree)
        model.extend_tree(torch.tensor([[first[0], second[0]]]), tree)
        tree.follow(torch.tensor([[1, 1]]))  # both go on from the second one
        logits = model.extend_tree(torch.tensor([[first[1], second[1]]]), tree)
        for column, text in enumerate(["CB", "CD"]):
            torch.testing.assert_close(logits[:, column], model(tokens(text))[:, -1], atol=1e-5, rtol=1e-5)

    def test_names_are_those_of_a_decoder(self, model: TransformerLM) -> None:
        decoder = Decoder(ModelConfig(d_model=16, num_heads=2, d_ff=32, decoder_layers=2), TOKENIZER.vocab_size)
        shapes = {name: weight.shape for name, weight in decoder.state_dict().items()}
        ours = {name: weight.shape for name, weight in model.state_dict().items()}
        assert ours.items() <= shapes.items()
        assert all("cross_attention" in name or "norm2" in name for name in shapes.keys() - ours.keys())

    @pytest.mark.parametrize(("ids", "message"), [([[-100, 5]], "belong in a loss"), ([5, 6], r"\(batch, length\)")])
    def test_bad_tokens(self, model: TransformerLM, ids: list, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            model(torch.tensor(ids))


class TestScoring:
    def test_log_probs_are_those_of_the_logits(self, model: TransformerLM) -> None:
        texts = [TOKENIZER.encode(text) for text in SENTENCES]
        for batch_tokens in (1, 40, 10_000):
            for text, row in zip(texts, token_log_probs(model, TOKENIZER, texts, batch_tokens), strict=True):
                shifted = torch.tensor([[TOKENIZER.sos_id, *text]])
                expected = model(shifted).log_softmax(-1)[0, range(len(text) + 1), [*text, TOKENIZER.eos_id]]
                torch.testing.assert_close(row, expected.detach(), atol=1e-5, rtol=1e-5)

    def test_train_mode_is_left_as_found(self, model: TransformerLM) -> None:
        model.train()
        model.layers[0].eval()
        modes = [module.training for module in model.modules()]
        first = token_log_probs(model, TOKENIZER, [TOKENIZER.encode("THE CAT")])
        second = token_log_probs(model, TOKENIZER, [TOKENIZER.encode("THE CAT")])
        torch.testing.assert_close(first, second)  # no dropout
        generate(model, tokens("THE"), TOKENIZER.eos_id, max_tokens=3)
        assert modes == [module.training for module in model.modules()]

    @pytest.mark.parametrize("kind", ["char", "bpe"])
    def test_words_add_up_to_their_tokens(self, kind: str) -> None:
        tokenizer = TOKENIZER if kind == "char" else SentencePieceTokenizer.train(SENTENCES * 3, "bpe", 30)
        torch.manual_seed(0)
        model = TransformerLM(LanguageModelArchitecture(**SIZES), tokenizer.vocab_size)
        words = word_log_probs(model, tokenizer, SENTENCES)
        assert [len(row) for row in words] == [len(text.split()) + 1 for text in SENTENCES]
        parts = token_log_probs(model, tokenizer, [tokenizer.encode(text) for text in SENTENCES])
        for row, values in zip(words, parts, strict=True):
            assert sum(row) == pytest.approx(float(values.sum()), abs=1e-4)
            assert row[-1] == pytest.approx(float(values[-1]), abs=1e-5)

    def test_perplexity_of_even_guesses(self) -> None:
        assert perplexity(10 * math.log(1 / 7), 10) == pytest.approx(7)

    def test_the_end_counts_as_a_word_and_unknown_words_can_be_left_out(self, model: TransformerLM) -> None:
        whole = LanguageModel("transformer", model, TOKENIZER)
        result = evaluate_text(whole, SENTENCES, {"THE", "CAT", "SAT", "A", "ON", "MAT"})
        rows = word_log_probs(model, TOKENIZER, SENTENCES)
        assert (result.words, result.sentences, result.unknown) == (12, 3, 3)
        assert result.per_word == pytest.approx(math.exp(-sum(map(sum, rows)) / 15), rel=1e-5)
        without = sum(map(sum, rows)) - rows[1][1] - rows[1][2] - rows[2][1]
        assert result.per_known_word == pytest.approx(math.exp(-without / 12), rel=1e-5)


class TestGenerate:
    def test_greedy_takes_the_most_probable_token(self, model: TransformerLM) -> None:
        written = generate(model, tokens("TH"), TOKENIZER.eos_id, max_tokens=5, temperature=0)[0]
        ids = tokens("TH")
        for token in written:
            assert int(model(ids)[0, -1].argmax()) == token
            ids = torch.cat([ids, torch.tensor([[token]])], dim=1)
        assert len(written) == 5 or int(model(ids)[0, -1].argmax()) == TOKENIZER.eos_id

    def test_a_seed_decides(self, model: TransformerLM) -> None:
        texts = [
            generate(
                model, tokens("TH").expand(3, -1), TOKENIZER.eos_id, 10, generator=torch.Generator().manual_seed(s)
            )
            for s in (1, 1, 2)
        ]
        assert texts[0] == texts[1] != texts[2]

    def test_top_k_of_one_is_greedy_and_forbidden_tokens_do_not_come(self, model: TransformerLM) -> None:
        greedy = generate(model, tokens("TH"), TOKENIZER.eos_id, 8, temperature=0)
        assert generate(model, tokens("TH"), TOKENIZER.eos_id, 8, top_k=1) == greedy
        without = generate(model, tokens("TH"), TOKENIZER.eos_id, 8, temperature=0, forbidden=greedy[0][:1])
        assert greedy[0][0] not in without[0]

    @pytest.mark.parametrize("settings", [{"temperature": -1.0}, {"top_k": -1}, {"top_p": 0.0}, {"max_tokens": 62}])
    def test_impossible_settings(self, model: TransformerLM, settings: dict) -> None:
        with pytest.raises(ConfigError):
            generate(model, tokens("TH"), TOKENIZER.eos_id, **settings)


class TestFolder:
    def config(self) -> LanguageModelConfig:
        return LanguageModelConfig(
            model=LanguageModelArchitecture(**SIZES), text=load_lm_config("tiny", ["text.context=16"]).text
        )

    def test_a_transformer_comes_back(self, model: TransformerLM, tmp_path) -> None:
        save_transformer_lm(tmp_path / "lm", model, TOKENIZER, self.config(), extra={"step": 3})
        loaded = load_language_model(tmp_path / "lm")
        assert loaded.kind == "transformer"
        assert loaded.config == self.config()
        assert loaded.tokenizer is not None
        assert loaded.tokenizer.tokens == TOKENIZER.tokens
        assert not loaded.model.training
        torch.testing.assert_close(loaded.model(tokens("THE")), model(tokens("THE")))

    def test_half_the_size(self, model: TransformerLM, tmp_path) -> None:
        for name, half in (("whole", False), ("half", True)):
            save_transformer_lm(tmp_path / name, model, TOKENIZER, self.config(), half)
        sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("whole", "half")]
        assert sizes[1] < 0.65 * sizes[0]
        torch.testing.assert_close(
            load_language_model(tmp_path / "half").model(tokens("THE")), model(tokens("THE")), atol=1e-2, rtol=1e-2
        )

    def test_an_ngram_comes_back(self, tmp_path) -> None:
        ngram = NGram.train(SENTENCES, 2, (1,))
        save_ngram(tmp_path / "lm", ngram)
        loaded = load_language_model(tmp_path / "lm")
        assert (loaded.kind, loaded.tokenizer) == ("ngram", None)
        rows = [value for row in loaded.model.word_log_probs(["THE CAT BARKS"], spell=True) for value in row]
        expected = [value for row in ngram.word_log_probs(["THE CAT BARKS"], spell=True) for value in row]
        assert rows == pytest.approx(expected, rel=2**-10)  # kept as fp16

    def test_what_is_no_language_model(self, tmp_path) -> None:
        with pytest.raises(CheckpointError, match="no language model at"):
            load_language_model(tmp_path)
        (tmp_path / "config.yaml").write_text("name: recogniser\n")
        (tmp_path / "model.safetensors").write_bytes(b"")
        with pytest.raises(CheckpointError, match="is a recogniser"):
            load_language_model(tmp_path)
        with pytest.raises(ConfigError, match=r"text\.context \(128\) must not be larger"):
            load_lm_config("tiny", ["model.max_length=100"])


@pytest.mark.parametrize("name", ["tiny", "mini_librispeech", "16m", "50m", "117m"])
def test_packaged_configurations(name: str) -> None:
    config = load_lm_config(name)
    assert config.model.d_ff == 4 * config.model.d_model
    vocab = 33 if config.tokenizer.kind == "char" else config.tokenizer.vocab_size
    with torch.device("meta"):
        size = sum(p.numel() for p in TransformerLM(config.model, vocab).parameters()) / 1e6
    bounds = {"tiny": (0, 1), "mini_librispeech": (4, 5), "16m": (15, 17), "50m": (45, 50), "117m": (116, 118)}
    assert bounds[name][0] <= size <= bounds[name][1]
