"""Chapter 10: pieces, rows, a Transformer without sound, perplexity, fusion, rescoring, Kneser-Ney."""

from __future__ import annotations

import math
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from teaching import expect, same
from torch import Tensor

from asr_tutorial.bpe import apply_merges, count_pairs, learn_merges, merge_pair
from asr_tutorial.config import LanguageModelArchitecture, ModelConfig
from asr_tutorial.dataset.packing import row_targets
from asr_tutorial.decoder import Decoder
from asr_tutorial.language_model import ngram as ngram_module
from asr_tutorial.language_model import scoring
from asr_tutorial.language_model.ngram import continuation_counts, interpolate
from asr_tutorial.language_model.scoring import perplexity, word_log_probs
from asr_tutorial.language_model.transformer import TransformerLM
from asr_tutorial.search import SearchOptions
from asr_tutorial.search.fusion import shallow_fusion
from asr_tutorial.search.rescore import Candidate, rescore
from asr_tutorial.tokenizer import CharTokenizer

NEVER = -math.inf


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# --------------------------------------------------------------------------------------------------- 10.1
LOW = {("▁", *"LOW"): 2, ("▁", *"LOWER"): 1, ("▁", *"NEWER"): 2}


@pytest.mark.exercise("10.1")
def test_neighbours_are_counted():
    pairs = count_pairs({("▁", "A", "B"): 1})
    expect(
        dict(pairs) == {("▁", "A"): 1, ("A", "B"): 1},
        "▁A once and AB once",
        dict(pairs),
        "a pair is two pieces that stand side by side, the mark of the word's beginning among them",
    )


@pytest.mark.exercise("10.1")
def test_a_pair_counts_as_often_as_its_word_occurs():
    pairs = count_pairs(LOW)
    found = {pair: pairs[pair] for pair in (("L", "O"), ("E", "R"), ("N", "E"))}
    expect(
        found == {("L", "O"): 3, ("E", "R"): 3, ("N", "E"): 2},
        "LO 3 times (LOW twice, LOWER once), ER 3 times, NE twice",
        found,
        "what matters is how often a pair stands in the text, and the word LOW is in it twice",
    )
    twice = count_pairs({("▁", *"BABA"): 5})
    expect(twice[("B", "A")] == 10, "BA 10 times", twice[("B", "A")], "BABA holds BA twice, and occurs five times")


@pytest.mark.exercise("10.1")
def test_a_pair_becomes_one_piece_everywhere():
    expect(
        tuple(merge_pair(("▁", *"LOWLOW"), ("L", "O"))) == ("▁", "LO", "W", "LO", "W"),
        "▁ LO W LO W",
        merge_pair(("▁", *"LOWLOW"), ("L", "O")),
        "every place where the pair stands is merged, not only the first",
    )
    expect(
        tuple(merge_pair(("O", "L"), ("L", "O"))) == ("O", "L"),
        "O L, unchanged",
        merge_pair(("O", "L"), ("L", "O")),
        "the order of a pair matters: OL is not LO",
    )


@pytest.mark.exercise("10.1")
def test_a_piece_is_used_once():
    expect(
        tuple(merge_pair(tuple("AAA"), ("A", "A"))) == ("AA", "A"),
        "AA A",
        merge_pair(tuple("AAA"), ("A", "A")),
        "the middle A is part of the first pair and cannot be part of a second one; nor may the last A be lost",
    )
    merged = merge_pair(("AB", "A", "B"), ("A", "B"))
    expect(
        tuple(merged) == ("AB", "AB"),
        "AB AB",
        merged,
        "a pair is two whole pieces: the piece AB at the beginning holds the letters A and B but is one piece already",
    )
    merged = merge_pair(("XA", "B"), ("A", "B"))
    expect(
        tuple(merged) == ("XA", "B"),
        "XA B, unchanged",
        merged,
        "the piece XA ends in the letter A but is not the piece A: pieces are compared whole, not as parts of a string",
    )


@pytest.mark.exercise("10.1")
def test_the_whole_algorithm_uses_them():
    merges = learn_merges(LOW, 3)
    expect(
        merges == [("E", "R"), ("L", "O"), ("LO", "W")],
        "the merges E+R, L+O, LO+W",
        merges,
        "learn_merges counts, merges the most frequent pair, and counts again with the new piece in place",
    )
    expect(apply_merges("LOWER", merges) == ("▁", "LOW", "ER"), "▁ LOW ER", apply_merges("LOWER", merges), "the same "
           "function cuts words into pieces")  # fmt: skip


def probe_pieces(m: ModuleType) -> Iterator[Any]:
    yield sorted((a + "+" + b, n) for (a, b), n in m.count_pairs(LOW).items())
    yield sorted((a + "+" + b, n) for (a, b), n in m.count_pairs({("▁", *"BABA"): 5, ("▁", *"AB"): 2}).items())
    for word, pair in (("LOWLOW", "LO"), ("AAAA", "AA"), ("AAA", "AA"), ("OLO", "LO"), ("XYL", "LO")):
        yield list(m.merge_pair(tuple(word), tuple(pair)))
    yield list(m.merge_pair(("AB", "A", "B"), ("A", "B")))
    yield list(m.merge_pair(("XA", "B"), ("A", "B")))


# --------------------------------------------------------------------------------------------------- 10.2
SOS, EOS, PAD = 1, 2, 4


def packed_rows() -> Tensor:
    return torch.tensor([[SOS, 5, EOS, SOS, 6, 7, EOS, PAD, PAD], [SOS, 8, 9, 5, 6, 7, 8, 9, 5]])


@pytest.mark.exercise("10.2")
def test_each_position_answers_with_the_token_after_it():
    tokens_in, targets, _ = row_targets(packed_rows()[1:], SOS, PAD)
    same(tokens_in, [[SOS, 8, 9, 5, 6, 7, 8, 9]], "the last token is only an answer: nothing is known that comes after")
    same(targets, [[8, 9, 5, 6, 7, 8, 9, 5]], "the answer at each position is the token one place further on")


@pytest.mark.exercise("10.2")
def test_the_next_sentence_is_no_answer():
    _, targets, _ = row_targets(packed_rows(), SOS, PAD)
    same(
        targets[0],
        [5, EOS, PAD, 6, 7, EOS, PAD, PAD],
        "behind EOS there stands SOS in every row. Whoever learns to predict it learns nothing about language, and is "
        "always right, which makes the loss look better than it is. EOS itself is learnt",
    )


@pytest.mark.exercise("10.2")
def test_sentences_are_numbered():
    _, _, sentences = row_targets(packed_rows(), SOS, PAD)
    same(
        sentences,
        [[1, 1, 1, 2, 2, 2, 2, 2], [1, 1, 1, 1, 1, 1, 1, 1]],
        "the number goes up where SOS is read; an EOS still belongs to the sentence that it ends",
    )


@pytest.mark.exercise("10.2")
def test_the_rows_stay_as_they_are():
    rows = packed_rows()
    row_targets(rows, SOS, PAD)
    same(rows, packed_rows(), "the rows may be used again: make new tensors, do not write into them")


def probe_rows(m: ModuleType) -> Iterator[Any]:
    rows = packed_rows()
    yield from m.row_targets(rows, SOS, PAD)
    yield rows


# --------------------------------------------------------------------------------------------------- 10.3
SMALL = LanguageModelArchitecture(d_model=8, num_heads=2, d_ff=16, layers=2, dropout=0.0, max_length=32)
TOKENS = torch.tensor([[1, 5, 6, 7, 8, 9], [1, 9, 5, 5, 2, 4]])


def small_lm(m: Any = None, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    model = (m.TransformerLM if m is not None else TransformerLM)(SMALL, 12).eval()
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel())) * 0.4
    return model


@pytest.mark.exercise("10.3")
def test_logits_for_every_position():
    logits = small_lm()(TOKENS)
    expect(
        isinstance(logits, Tensor) and logits.shape == (2, 6, 12),
        "a tensor (batch, length, vocab) = (2, 6, 12)",
        tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__,
        "each position says what comes after it",
    )


@pytest.mark.exercise("10.3")
def test_it_is_a_decoder_without_sound():
    config = ModelConfig(
        d_model=8, num_heads=2, d_ff=16, encoder_layers=1, decoder_layers=2, dropout=0.0, max_length=32
    )
    decoder = Decoder(config, 12).eval()
    model = small_lm()
    decoder.load_state_dict(model.state_dict(), strict=False)
    for layer in decoder.layers:  # what is heard adds nothing
        torch.nn.init.zeros_(layer.cross_attention.out_proj.weight)
        torch.nn.init.zeros_(layer.cross_attention.out_proj.bias)
    expected, _ = decoder(TOKENS, torch.zeros(2, 3, 8), torch.ones(2, 3, dtype=torch.bool))
    same(
        model(TOKENS),
        expected,
        "with cross-attention that adds nothing, a decoder of the same weights must say the same: embedding times "
        "scale, "
        "positions, layers with norm1 and norm3, norm, out",
        tolerance=1e-4,
    )


@pytest.mark.exercise("10.3")
def test_nobody_sees_the_future():
    model = small_lm()
    changed = TOKENS.clone()
    changed[:, 4:] = 10
    same(
        model(changed)[:, :4],
        model(TOKENS)[:, :4],
        "the first four positions may not depend on later tokens: a model that sees the answer learns nothing else",
    )


@pytest.mark.exercise("10.3")
def test_a_cache_changes_nothing():
    model = small_lm()
    cache = model.new_cache()
    parts = [model(part, cache) for part in TOKENS.split([2, 1, 3], dim=1)]
    same(
        torch.cat(parts, dim=1),
        model(TOKENS),
        "with a cache only new tokens are given: their positions go on from those before, the mask lets them see all "
        "that is kept, each layer has a cache of its own, and cache.length says how far it has come",
        tolerance=1e-4,
    )
    same(cache.length, 6, "the cache has seen six tokens")


@pytest.mark.exercise("10.3")
def test_sentences_of_a_row_are_strangers():
    model = small_lm()
    row = torch.tensor([[1, 5, 6, 2, 1, 7, 8]])
    other = torch.tensor([[1, 9, 9, 2, 1, 7, 8]])
    numbers = torch.tensor([[1, 1, 1, 1, 2, 2, 2]])
    same(
        model(row, sentences=numbers)[:, 4:],
        model(other, sentences=numbers)[:, 4:],
        "a token of the second sentence may not see the first one: besides being earlier, a token must have the same "
        "number of the sentence",
    )
    same(
        model(row, sentences=torch.ones_like(row)),
        model(row),
        "where all tokens are of one sentence, nothing changes: also then, nobody sees the future",
    )


class Everything(torch.nn.Module):
    """A dropout that drops everything."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 0.0


@pytest.mark.exercise("10.3")
def test_dropout_is_where_the_decoder_has_it():
    model = small_lm()
    layer = model.layers[0]
    layer.dropout = Everything()
    x = random(2, 3, 8)
    same(
        layer(x, torch.ones(3, 3, dtype=torch.bool)),
        x,
        "with a self.dropout that drops everything, neither sublayer adds anything, and x passes unchanged. Without "
        "dropout a model learns a small text by heart",
    )
    model = small_lm()
    model.dropout = Everything()
    logits = model(TOKENS)
    same(
        logits[0],
        logits[1],
        "the embedding with its positions goes through self.dropout too: with everything dropped, all texts are the "
        "same",
    )


def probe_transformer(m: ModuleType) -> Iterator[Any]:
    model = small_lm(m)
    yield model(TOKENS)
    cache = model.new_cache()
    for part in TOKENS.split([2, 1, 3], dim=1):
        yield model(part, cache)
    yield cache.length
    numbers = torch.tensor([[1, 1, 1, 2, 2, 2]]).expand(2, -1)
    yield model(TOKENS, sentences=numbers)
    model.dropout = Everything()
    yield model(TOKENS)
    for layer in model.layers:
        layer.dropout = Everything()
    yield model(TOKENS)


# --------------------------------------------------------------------------------------------------- 10.4
LETTERS = CharTokenizer("ABCDEFGHIJKLMNOPQRSTUVWXYZ")


class Pieces:
    """As much of a tokenizer of pieces as is needed."""

    tokens = ("<blank>", "<sos>", "<eos>", "<unk>", "<pad>", "▁THE", "▁C", "AT", "▁", "A")
    table: dict[str, list[int]] = {"THE CAT": [5, 6, 7], "A": [8, 9]}  # noqa: RUF012

    def encode(self, text: str) -> list[int]:
        return self.table[text]

    def id_to_token(self, token: int) -> str:
        return self.tokens[token]


def made_up(model: Any, tokenizer: Any, sentences: Any, *rest: Any) -> list[Tensor]:
    """In the place of token_log_probs: -1, -2, -4, -8, ... for the tokens of a sentence, the end last."""
    return [-(2.0 ** torch.arange(len(tokens) + 1)) for tokens in sentences]


@pytest.mark.exercise("10.4")
def test_perplexity_by_hand():
    same(
        perplexity(3 * math.log(0.25), 3),
        4.0,
        "three words of probability 1/4 each are as hard as guessing among 4: exp of minus the mean",
    )
    same(perplexity(math.log(0.5) + math.log(0.125), 2), 4.0, "1/2 and 1/8: the geometric mean of 2 and 8 is 4")


@pytest.mark.exercise("10.4")
def test_a_hopeless_text_has_a_perplexity():
    try:
        found: float | str = perplexity(-1e6, 10)
    except OverflowError as error:
        found = f"OverflowError: {error}"
    expect(
        not isinstance(found, str) and math.isfinite(found) and found > 1e300,
        "exp(700), some 1e304",
        found,
        "a float cannot hold exp(100000): cut the exponent off at 700, or a model that is bad enough stops the program",
    )


@pytest.mark.exercise("10.4")
def test_letters_are_summed_to_words(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(scoring, "token_log_probs", made_up)
    rows = word_log_probs(None, LETTERS, ["AB C", "DE"])  # type: ignore[arg-type]
    expect(
        [len(row) for row in rows] == [3, 2],
        "3 values for 'AB C' (two words and the end) and 2 for 'DE'",
        [list(row) for row in rows],
        "one value for each word, and one for the end of the sentence",
    )
    same(rows[0], [-3.0, -12.0, -16.0], "tokens A B ▁ C with -1 -2 -4 -8, the end -16: the space belongs to the word "
         "behind it, so that the words have -1-2 and -4-8")  # fmt: skip
    same(rows[1], [-3.0, -4.0], "tokens D E with -1 -2, and the end with -4")


@pytest.mark.exercise("10.4")
def test_pieces_are_summed_to_words(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(scoring, "token_log_probs", made_up)
    rows = word_log_probs(None, Pieces(), ["THE CAT", "A"])  # type: ignore[arg-type]
    same(rows[0], [-1.0, -6.0, -8.0], "tokens ▁THE ▁C AT with -1 -2 -4, the end -8")
    same(rows[1], [-3.0, -4.0], "tokens ▁ A: the mark alone begins the word, and A goes on with it")


@pytest.mark.exercise("10.4")
def test_nothing_is_lost(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(scoring, "token_log_probs", made_up)
    row = word_log_probs(None, LETTERS, ["THE CAT SAT"])[0]  # type: ignore[arg-type]
    same(sum(row), 1 - 2.0**12, "the words and the end together have the log-probability of the whole sentence")


def probe_perplexity(m: ModuleType) -> Iterator[Any]:
    yield m.perplexity(-7.5, 3)
    yield m.perplexity(-2.0, 5)
    former, m.token_log_probs = m.token_log_probs, made_up
    try:
        for tokenizer, text in ((LETTERS, "AB C"), (LETTERS, "THE CAT SAT"), (Pieces(), "THE CAT"), (Pieces(), "A")):
            yield [float(value) for value in m.word_log_probs(None, tokenizer, [text])[0]]
    finally:
        m.token_log_probs = former


# --------------------------------------------------------------------------------------------------- 10.5
SPEECH = torch.tensor([[0.5, 0.3, 0.2]]).log()
LANGUAGE = torch.tensor([[0.1, 0.8, 0.1]]).log()


@pytest.mark.exercise("10.5")
def test_fusion_by_hand():
    fused = shallow_fusion(SPEECH, LANGUAGE, 0.5, 0.0, eos=2)
    same(
        fused.exp(),
        [[0.5 * 0.1**0.5, 0.3 * 0.8**0.5, 0.2 * 0.1**0.5]],
        "a weight of 0.5 on a log-probability is a power of 0.5 on the probability; the sound's best token was the "
        "first, and now the second wins",
    )


@pytest.mark.exercise("10.5")
def test_a_bonus_for_tokens_but_not_for_the_end():
    same(
        shallow_fusion(SPEECH, None, 0.5, 0.7, eos=2) - SPEECH,
        [[0.7, 0.7, 0.0]],
        "each token of the text gets the bonus; the end is no token of the text, and without a model nothing else "
        "is added",
    )


@pytest.mark.exercise("10.5")
def test_the_end_is_weighed_by_the_language_model():
    fused = shallow_fusion(SPEECH, LANGUAGE, 0.5, 0.7, eos=0)
    same(
        fused[0, 0],
        math.log(0.5) + 0.5 * math.log(0.1),
        "a language model knows where sentences end: its opinion counts for EOS as for any token",
    )


@pytest.mark.exercise("10.5")
def test_no_weight_is_no_language_model():
    impossible = torch.tensor([[NEVER, 0.0, NEVER]])
    fused = shallow_fusion(SPEECH, impossible, 0.0, 0.0, eos=2)
    same(fused, SPEECH, "with a weight of 0 the language model has no say; 0 times minus infinity would be NaN")
    fused = shallow_fusion(SPEECH, impossible, 0.3, 0.0, eos=2)
    expect(
        torch.isneginf(fused[0, [0, 2]]).all() and torch.isfinite(fused[0, 1]),
        "minus infinity where the language model says impossible",
        fused,
        "with any other weight, what is impossible stays so",
    )


@pytest.mark.exercise("10.5")
def test_any_shape_and_nothing_is_overwritten():
    speech, language = random(2, 3, 5).log_softmax(-1), random(2, 3, 5, seed=1).log_softmax(-1)
    before = speech.clone(), language.clone()
    fused = shallow_fusion(speech, language, 0.4, 1.0, eos=4)
    expected = speech + 0.4 * language + torch.tensor([1.0, 1, 1, 1, 0])
    same(fused, expected, "(batch, beam, vocab): EOS is a column of the last axis")
    same(speech, before[0], "the recogniser's log-probabilities are used again: do not write into them")
    same(language, before[1], "nor into those of the language model")


def probe_fusion(m: ModuleType) -> Iterator[Any]:
    speech, language = random(2, 3, 5).log_softmax(-1), random(2, 3, 5, seed=1).log_softmax(-1)
    yield m.shallow_fusion(speech.clone(), language.clone(), 0.4, 0.0, 4)
    yield m.shallow_fusion(speech.clone(), language.clone(), 0.4, 1.0, 4)
    yield m.shallow_fusion(speech.clone(), None, 0.4, 1.0, 0)
    yield m.shallow_fusion(speech.clone(), torch.full_like(language, NEVER), 0.0, 0.0, 0).nan_to_num(nan=77.0)
    given = speech.clone()
    m.shallow_fusion(given, language.clone(), 0.4, 1.0, 4)
    yield given


# --------------------------------------------------------------------------------------------------- 10.6
def candidate(text: str, attention: float, ctc: float, lm: float) -> Candidate:
    return Candidate(list(range(5, 5 + len(text))), text, attention, ctc, lm)


def weights(**given: float) -> SearchOptions:
    return SearchOptions(**{"ctc_weight": 0.3, "lm_weight": 0.5, "token_bonus": 0.0, "length_penalty": 0.0, **given})


@pytest.mark.exercise("10.6")
def test_the_sum_by_hand():
    same(
        candidate("CAT", -2.0, -4.0, -6.0).score(weights()),
        0.3 * -4 + 0.7 * -2 + 0.5 * -6,
        "0.3 of CTC, the other 0.7 of the decoder, and half of the language model",
    )
    same(
        candidate("CAT", -2.0, -4.0, -6.0).score(weights(token_bonus=1.0)),
        -5.6 + 3,
        "a bonus for each of the three tokens; the end has none",
    )


@pytest.mark.exercise("10.6")
def test_the_length_penalty():
    same(
        candidate("CAT", -2.0, -4.0, -6.0).score(weights(length_penalty=1.0)),
        -5.6 / 4,
        "a penalty of 1 is the mean over the tokens, and the end is one that was scored: 3 + 1",
    )
    same(candidate("CAT", -2.0, -4.0, -6.0).score(weights(length_penalty=0.5)), -5.6 / 2, "to the power of 0.5")


@pytest.mark.exercise("10.6")
def test_who_has_no_weight_has_no_say():
    text = candidate("CAT", -2.0, NEVER, NEVER)
    same(
        text.score(weights(ctc_weight=0.0, lm_weight=0.0)),
        -2.0,
        "a model with a weight of 0 is left out, be the text impossible to it: 0 times minus infinity is no number",
    )
    expect(text.score(weights()) == NEVER, "minus infinity", text.score(weights()), "with a weight it counts")


@pytest.mark.exercise("10.6")
def test_the_best_comes_first():
    first, second, third = (
        candidate("A", -1.0, -1.0, -9.0),
        candidate("B", -2.0, -2.0, -1.0),
        candidate("C", -9, -9, -9),
    )
    order = [item.text for item in rescore([third, first, second], weights(lm_weight=1.0))]
    expect(order == ["B", "A", "C"], "B, A, C", order, "what the language model says changes which one is best")
    order = [item.text for item in rescore([third, first, second], weights(lm_weight=0.0))]
    expect(order == ["A", "B", "C"], "A, B, C without a language model", order, "the highest score first")
    twins = [candidate(name, -1.0, -1.0, -1.0) for name in "XYZ"]
    order = [item.text for item in rescore(twins, weights())]
    expect(order == ["X", "Y", "Z"], "X, Y, Z", order, "equal scores: the search's order stays")


def probe_rescore(m: ModuleType) -> Iterator[Any]:
    def make(text: str, *scores: float) -> Any:
        return m.Candidate(list(range(5, 5 + len(text))), text, *scores)

    texts = [make("CAT", -2.0, -4.0, -6.0), make("A", -1.0, -1.0, -9.0), make("DOGS", -2.5, -1.0, -5.0)]
    for given in ({}, {"token_bonus": 1.0}, {"length_penalty": 1.0}, {"ctc_weight": 0.0}, {"lm_weight": 2.0}):
        options = weights(**given)
        yield [text.score(options) for text in texts]
        yield [text.text for text in m.rescore(texts, options)]
    value = make("CAT", -2.0, NEVER, NEVER).score(weights(ctc_weight=0.0, lm_weight=0.0))
    yield 77.0 if math.isnan(value) else value
    yield [text.text for text in m.rescore([make(name, -1.0, -1.0, -1.0) for name in "XYZ"], weights())]


# --------------------------------------------------------------------------------------------------- 10.7
@pytest.mark.exercise("10.7")
def test_francisco():
    same(
        continuation_counts(np.array([5, 9, 4]), np.array([0, 0, 1, 2, 2, 2]), np.array([False, False, True])),
        [2, 1, 4],
        "the first was met behind two different words and the second, though seen nine times, behind one; the third "
        "begins a sentence, where nothing can stand before it, and keeps its count",
    )


@pytest.mark.exercise("10.7")
def test_an_ngram_that_never_follows_anything():
    same(
        continuation_counts(np.array([2, 3]), np.array([0]), np.array([False, False])),
        [1, 0],
        "no longer n-gram ends in the second: a count of 0, and still an entry",
    )


COUNTS, HISTORY, KEPT = np.array([3, 1, 1]), np.array([0, 0, 1]), np.array([True, False, True])
LOWER = np.array([0.5, 0.25, 0.1])


@pytest.mark.exercise("10.7")
def test_interpolation_by_hand():
    probs, given_away = interpolate(COUNTS, HISTORY, np.array([True] * 3), LOWER, 2)
    same(given_away, [2 / 4, 0.5], "with so few counts the discounts are 0.5 for 1 and 1.5 for 3. The first history "
         "has 4 in sum and gives away 1.5 + 0.5; the second has 1 and gives away 0.5")  # fmt: skip
    same(
        probs,
        [1.5 / 4 + 0.5 * 0.5, 0.5 / 4 + 0.5 * 0.25, 0.5 + 0.5 * 0.1],
        "what is left of the count over the sum, and the weight times the probability of the shorter history",
    )


@pytest.mark.exercise("10.7")
def test_what_is_not_kept_gives_everything_away():
    probs, given_away = interpolate(COUNTS, HISTORY, KEPT, LOWER, 2)
    same(given_away, [(1.5 + 1) / 4, 0.5], "the n-gram that is left out gives away its whole count, not a discount")
    same(probs[KEPT], [1.5 / 4 + 0.625 * 0.5, 0.55], "and with the new weight the others change")


@pytest.mark.exercise("10.7")
def test_a_history_without_followers():
    _, given_away = interpolate(COUNTS, HISTORY, KEPT, LOWER, 4)
    same(given_away[2:], [1.0, 1.0], "behind which nothing was seen: all there is comes from the shorter history")


@pytest.mark.exercise("10.7")
def test_a_model_of_them_sums_to_one():
    model = ngram_module.NGram.train(["A B C", "A B D", "B C A", "C A B A"], 3, (1, 1, 2), spelling=False)
    for history in ((), ("A",), ("A", "B"), ("D", "D")):
        same(
            model.distribution(history).sum(), 1.0, f"all words that may follow {' '.join(history) or 'the beginning'}"
        )


def probe_ngram(m: ModuleType) -> Iterator[Any]:
    yield m.continuation_counts(
        np.array([5, 9, 4, 7]), np.array([0, 0, 1, 2, 2, 2]), np.array([False, False, True, False])
    )
    rng = np.random.default_rng(0)
    counts = np.concatenate([[1] * 9, [2] * 5, [3] * 4, [4] * 3, [8, 9]])
    rng.shuffle(counts)
    history = np.sort(rng.integers(0, 5, len(counts)))
    lower = rng.random(len(counts))
    for kept in (np.ones(len(counts), dtype=bool), counts > 1):
        with np.errstate(all="ignore"):
            probs, given_away = m.interpolate(counts, history, kept, lower, 7)
        yield np.where(kept, probs, 0.0)
        yield np.nan_to_num(np.asarray(given_away), nan=77.0, posinf=78.0)


PROBES = {
    "10.1": probe_pieces,
    "10.2": probe_rows,
    "10.3": probe_transformer,
    "10.4": probe_perplexity,
    "10.5": probe_fusion,
    "10.6": probe_rescore,
    "10.7": probe_ngram,
}
