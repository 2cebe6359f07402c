"""A language model in each search: beside exhaustive search, beside scores of whole texts, and in any batch."""

import functools
import itertools
import math

import numpy as np
import pytest
import torch
from model_checks import VOCAB_SIZE, encoder_states, listening_model
from torch import Tensor

from asr_tutorial.config import LanguageModelArchitecture
from asr_tutorial.ctc import prefix_beam_search
from asr_tutorial.errors import ConfigError
from asr_tutorial.language_model.transformer import TransformerLM
from asr_tutorial.search import SearchOptions, TokenModel, joint_search, rescore, shallow_fusion
from asr_tutorial.search.beam import search
from asr_tutorial.search.fusion import Fusion
from asr_tutorial.search.rescore import Candidate, score_candidates
from asr_tutorial.search.scorers import PrefixModelScorer, StepScorer
from asr_tutorial.search.token_model import TransformerPrefixes
from asr_tutorial.tokenizer import CharTokenizer

TOKENIZER = CharTokenizer("ABCDE ")  # 5 special tokens, a space, five letters
BLANK, SOS, EOS, PAD = TOKENIZER.blank_id, TOKENIZER.sos_id, TOKENIZER.eos_id, TOKENIZER.pad_id
FORBIDDEN = (BLANK, SOS, PAD)
assert TOKENIZER.vocab_size == VOCAB_SIZE


def test_shallow_fusion_by_hand():
    log_probs = torch.tensor([0.5, 0.3, 0.2]).log()
    lm = torch.tensor([0.1, 0.8, 0.1]).log()
    fused = shallow_fusion(log_probs, lm, lm_weight=0.5, token_bonus=0.25, eos=2)
    expected = [math.log(p) + 0.5 * math.log(q) + b for p, q, b in ((0.5, 0.1, 0.25), (0.3, 0.8, 0.25), (0.2, 0.1, 0))]
    assert fused.tolist() == pytest.approx(expected), "the end of the text is weighed, but gets no bonus"
    impossible = torch.tensor([-math.inf, 0.0, -math.inf])
    assert torch.equal(shallow_fusion(log_probs, impossible, 0.0, 0.0, 2), log_probs), "no weight, no say"
    assert shallow_fusion(log_probs, impossible, 0.1, 0.0, 2)[0] == -math.inf
    assert torch.equal(log_probs, torch.tensor([0.5, 0.3, 0.2]).log()), "what was given is left as it was"


# Beside exhaustive search


def random_language(seed: int, vocab: int = 4):
    """Log-probabilities that depend on the whole prefix, for prefixes as tuples; token 1 is EOS."""

    @functools.cache
    def row(prefix: tuple[int, ...]) -> np.ndarray:
        draw = np.random.default_rng([seed, *prefix]).normal(size=vocab) * 2
        return draw - np.logaddexp.reduce(draw)

    return lambda prefixes: np.stack([row(prefix) for prefix in prefixes])


@pytest.mark.parametrize("token_bonus", [-0.7, 0.0, 0.9, 2.5])
@pytest.mark.parametrize("length_penalty", [-0.5, 0.0, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_a_wide_beam_finds_what_exhaustive_search_finds(seed, length_penalty, token_bonus):
    heard, language = random_language(seed), random_language(seed + 100)
    weight, longest = 0.6, 4

    def parts(text):
        said = [*text, 1]
        return [
            sum(float(model([tuple(said[:place])])[0, token]) for place, token in enumerate(said))
            for model in (heard, language)
        ]

    expected = {}
    for length in range(longest + 1):
        for text in itertools.product((2, 3), repeat=length):
            am, lm = parts(text)
            total = am + weight * lm + token_bonus * len(text)
            expected[text] = (total / (len(text) + 1) ** length_penalty, am, total - am)
    expected = sorted(expected.items(), key=lambda item: -item[1][0])

    def step(prefixes: Tensor) -> Tensor:
        return torch.from_numpy(heard([tuple(row[1:]) for row in prefixes.tolist()])).float()

    options = SearchOptions(beam_size=64, n_best=3, length_penalty=length_penalty, token_bonus=token_bonus)
    fusion = Fusion(PrefixModelScorer(language, 1, 64, 4), weight, token_bonus, eos=1)
    scorers = [(1.0, StepScorer(step, torch.tensor([[0]]), 64))]
    (found,) = search(scorers, torch.tensor([longest]), 1, options, forbidden=(0,), fusion=fusion)
    for hypothesis, (text, (score, am, lm)) in zip(found, expected, strict=False):
        assert tuple(hypothesis.tokens) == text
        assert hypothesis.score == pytest.approx(score, abs=1e-4)
        assert hypothesis.log_prob == pytest.approx(am, abs=1e-4), "what was heard, without the language model"
        assert hypothesis.lm_score == pytest.approx(lm, abs=1e-4)
        assert sum(hypothesis.token_log_probs) >= am - 1e-4, "shares are of what was heard; EOS has the rest"


def test_the_language_model_decides_between_what_sounds_alike():
    """A and B are equally likely to the ear; the language model has read B alone, and knows where texts end."""

    def step(prefixes: Tensor) -> Tensor:
        row = torch.tensor([0.0, 0.1, 0.45, 0.45]) if prefixes.shape[1] == 1 else torch.tensor([0.0, 0.5, 0.25, 0.25])
        return row.log().expand(len(prefixes), 4)

    def language(prefixes):
        return np.log([[1e-9, 0.01, 0.09, 0.9] if not prefix else [1e-9, 0.9, 0.05, 0.05] for prefix in prefixes])

    def best(lm_weight):
        fusion = Fusion(PrefixModelScorer(language, 1, 4, 4), lm_weight, 0.0, eos=1)
        scorers = [(1.0, StepScorer(step, torch.tensor([[0]]), 4))]
        return search(scorers, torch.tensor([3]), 1, SearchOptions(beam_size=4), (0,), fusion=fusion)[0][0]

    assert best(1.0).tokens == [3]
    assert best(1.0).lm_score == pytest.approx(math.log(0.9) + math.log(0.9), abs=1e-5), "the end counts"
    assert best(0.0).lm_score == 0.0


def test_a_prefix_is_asked_for_once_in_a_step():
    asked = []

    def language(prefixes):
        asked.append(list(prefixes))
        return np.zeros((len(prefixes), 3))

    scorer = PrefixModelScorer(language, batch=2, beam_size=3, vocab_size=3)
    assert scorer.log_probs().shape == (2, 3, 3)
    scorer.follow(torch.zeros(2, 3, dtype=torch.long), torch.tensor([[2, 0, 2], [2, 2, 2]]))
    scorer.select(torch.tensor([1, 0]))
    assert scorer.log_probs().dtype == torch.float32
    assert asked == [[()], [(2,), (0,)]]
    wrong = PrefixModelScorer(language, 1, 2, 9)
    wrong.follow(torch.zeros(1, 2, dtype=torch.long), torch.tensor([[0, 1]]))
    with pytest.raises(ConfigError, match=r"gave shape \(2, 3\).*\(2, 9\)"):
        wrong.log_probs()


# With models


@pytest.fixture(scope="module")
def model():
    return listening_model(EOS)


@pytest.fixture(scope="module")
def transformer():
    torch.manual_seed(2)
    architecture = LanguageModelArchitecture(d_model=16, num_heads=2, d_ff=32, layers=2, max_length=60)
    network = TransformerLM(architecture, VOCAB_SIZE).eval()
    torch.nn.init.normal_(network.out.weight, std=0.7)
    return network


@pytest.fixture(scope="module")
def naive(transformer):
    """The same language model, each prefix read anew."""

    def rows(prefixes):
        with torch.inference_mode():
            answers = [transformer(torch.tensor([[SOS, *prefix]]))[0, -1].log_softmax(-1) for prefix in prefixes]
        return torch.stack(answers)

    return rows


LENGTHS = [16, 3, 9, 20, 7, 12, 1]
OPTIONS = [
    {"ctc_weight": 0.0, "lm_weight": 0.7, "length_penalty": 1.0},
    {"ctc_weight": 0.4, "lm_weight": 0.5, "token_bonus": 0.6},
    {"ctc_weight": 0.4, "lm_weight": 1.5, "token_bonus": -0.3},
    {"ctc_weight": 1.0, "lm_weight": 0.5, "token_bonus": 1.0},
    {"ctc_weight": 0.3, "lm_weight": 0.0, "token_bonus": 0.5},
]


def run(model, language_model, lengths, **options):
    options = SearchOptions(**{"beam_size": 4, "n_best": 3, **options})
    return joint_search(model, *encoder_states(lengths), SOS, EOS, BLANK, FORBIDDEN, options, language_model)


def same(found, expected, tolerance=1e-3):
    for one, two in zip(found, expected, strict=True):
        assert one.tokens == two.tokens
        assert one.score == pytest.approx(two.score, abs=tolerance)
        assert one.lm_score == pytest.approx(two.lm_score, abs=tolerance)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("kind", ["transformer", "prefixes"])
def test_the_same_alone_and_in_any_batch(model, transformer, naive, kind, options):
    language_model = TokenModel(transformer if kind == "transformer" else naive, TOKENIZER)
    together = run(model, language_model, LENGTHS, **options)
    backwards = run(model, language_model, LENGTHS[::-1], **options)[::-1]
    for length, found, again in zip(LENGTHS, together, backwards, strict=True):
        (alone,) = run(model, language_model, [length], **options)
        same(found, alone, 1e-4)
        same(found, again, 1e-4)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_tree_scores_as_one_that_reads_each_prefix_anew(model, transformer, naive, options):
    found = run(model, TokenModel(transformer, TOKENIZER), LENGTHS, **options)
    for one, two in zip(found, run(model, TokenModel(naive, TOKENIZER), LENGTHS, **options), strict=True):
        same(one, two)


def test_without_weight_and_bonus_a_language_model_changes_nothing(model, transformer):
    language_model = TokenModel(transformer, TOKENIZER)
    assert run(model, language_model, LENGTHS, lm_weight=0.0) == run(model, None, LENGTHS)
    changed = run(model, language_model, LENGTHS, lm_weight=1.0)
    assert [beam[0].tokens for beam in changed] != [beam[0].tokens for beam in run(model, None, LENGTHS)]


@pytest.mark.parametrize("length_penalty", [0.0, 0.7])
def test_stopping_early_changes_nothing(model, transformer, monkeypatch, length_penalty):
    """A bonus may make up for what is behind; the search without a bound, run to its end, finds the same."""
    options = {"token_bonus": 1.5, "lm_weight": 0.3, "ctc_weight": 0.3, "length_penalty": length_penalty}
    language_model = TokenModel(transformer, TOKENIZER)
    stopped = run(model, language_model, LENGTHS, **options)
    monkeypatch.setattr("asr_tutorial.search.beam._hope", lambda best, *_: torch.full_like(best, math.inf))
    for found, full in zip(stopped, run(model, language_model, LENGTHS, **options), strict=True):
        same([h for h in found if h.finished], [h for h in full if h.finished], 1e-5)


def test_a_search_with_a_bonus_stops_before_its_limit(model, transformer):
    calls = []
    scorer_of = TokenModel(transformer, TOKENIZER)
    original = transformer.extend_tree
    transformer.extend_tree = lambda tokens, cache: calls.append(1) or original(tokens, cache)
    try:
        options = SearchOptions(beam_size=4, token_bonus=0.1, lm_weight=1.0, ctc_weight=0.0, max_length=50)
        joint_search(model, *encoder_states([9]), SOS, EOS, BLANK, FORBIDDEN, options, scorer_of)
    finally:
        del transformer.extend_tree
    assert 0 < len(calls) < 40


@pytest.mark.parametrize("name", ["lm_weight", "token_bonus"])
@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_impossible_options_are_named(name, value):
    if (name, value) == ("token_bonus", -1.0):
        assert SearchOptions(token_bonus=-1.0).token_bonus == -1.0, "a bonus may be a price"
        return
    with pytest.raises(ConfigError, match=name):
        SearchOptions(**{name: value})


# A Transformer in CTC's prefix beam search, and scores of whole texts


def test_prefixes_of_any_length_and_order(transformer, naive):
    rows = TransformerPrefixes(transformer, SOS)
    prefixes = [(6,), (6, 7, 8), (9, 9), (6, 7), (6,)]
    np.testing.assert_allclose(rows(prefixes), naive(prefixes).numpy(), atol=1e-5)
    np.testing.assert_allclose(rows([(6, 7, 8, 10)]), naive([(6, 7, 8, 10)]).numpy(), atol=1e-5)
    np.testing.assert_allclose(rows([()]), naive([()]).numpy(), atol=1e-5)


def test_each_token_is_computed_once(transformer):
    computed = []
    hook = transformer.embedding.register_forward_hook(
        lambda module, inputs, output: computed.append(inputs[0].numel())
    )
    try:
        rows = TransformerPrefixes(transformer, SOS)
        rows([()])
        rows([(6,), (7,)])
        rows([(6, 6), (7, 6), (6, 7)])
        rows([(6, 6, 7), (6, 8)])
    finally:
        hook.remove()
    assert computed == [1, 2, 3, 2], "one call for all that is new, whatever its length"


def test_what_was_forgotten_is_computed_anew(transformer, naive, monkeypatch):
    monkeypatch.setattr(TransformerPrefixes, "most", 5)
    monkeypatch.setattr(TransformerPrefixes, "kept", 2)
    rows = TransformerPrefixes(transformer, SOS)
    asked = [[()], [(6,), (7,), (8,)], [(6, 6), (7, 6)], [(6, 6, 9)], [(8, 8, 8)], [(6, 6, 9, 9), (7, 6, 7)], [(8, 9)]]
    sizes = []
    for prefixes in asked:
        np.testing.assert_allclose(rows(prefixes), naive(prefixes).numpy(), atol=1e-5)
        sizes.append(rows._size)
    assert sizes[3] < sizes[2] + 1, f"some were forgotten: {sizes}"


@pytest.mark.parametrize("most", [20, 1000])
def test_prefix_beam_search_with_a_transformer(transformer, naive, monkeypatch, most):
    monkeypatch.setattr(TransformerPrefixes, "most", most)
    monkeypatch.setattr(TransformerPrefixes, "kept", 8)
    lengths = torch.tensor([14, 6, 10])
    log_probs = (2 * torch.randn(3, 14, VOCAB_SIZE, generator=torch.Generator().manual_seed(3))).log_softmax(-1)
    options = {"beam_size": 5, "n_best": 3, "lm_weight": 0.7, "token_bonus": 0.4, "eos": EOS}
    lm = TokenModel(transformer, TOKENIZER).of_prefixes()
    together = prefix_beam_search(log_probs, lengths, BLANK, lm=lm, **options)
    expected = prefix_beam_search(log_probs, lengths, BLANK, lm=naive, **options)
    for row, (found, wanted) in enumerate(zip(together, expected, strict=True)):
        assert [h.tokens for h in found] == [h.tokens for h in wanted]
        assert [h.score for h in found] == pytest.approx([h.score for h in wanted], abs=1e-4)
        assert [found] == prefix_beam_search(log_probs[row : row + 1], lengths[row : row + 1], BLANK, lm=lm, **options)


def test_what_a_language_model_forbids_is_forbidden_unless_it_has_no_weight():
    log_probs, lengths = torch.full((1, 5, VOCAB_SIZE), 1 / VOCAB_SIZE).log(), torch.tensor([5])

    def only_six(prefixes):
        rows = np.full((len(prefixes), VOCAB_SIZE), -math.inf)
        rows[:, [6, EOS]] = math.log(0.5)
        return rows

    (found,) = prefix_beam_search(log_probs, lengths, BLANK, n_best=3, lm=only_six, eos=EOS)
    assert {token for hypothesis in found for token in hypothesis.tokens} == {6, EOS}
    ignored = prefix_beam_search(log_probs, lengths, BLANK, n_best=3, lm=only_six, lm_weight=0.0, eos=EOS)
    assert ignored == prefix_beam_search(log_probs, lengths, BLANK, n_best=3)


def test_scores_of_whole_texts(transformer, naive):
    texts = [[6, 7, 8], [], [9], [6, 7, 8], [10] * 12]
    expected = []
    for text in texts:
        said = [*text, EOS]
        expected.append(sum(float(naive([tuple(said[:i])])[0, token]) for i, token in enumerate(said)))
    for batch_tokens in (1, 20, 1000):
        assert TokenModel(transformer, TOKENIZER).score_texts(texts, batch_tokens) == pytest.approx(expected, abs=1e-4)
    assert TokenModel(naive, TOKENIZER).score_texts(texts) == pytest.approx(expected, abs=1e-4)


# Rescoring


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_rescoring_gives_the_scores_of_the_search(model, transformer, options):
    language_model = TokenModel(transformer, TOKENIZER)
    beams = run(model, language_model, LENGTHS, **options)
    texts = [[hypothesis.tokens for hypothesis in beam if hypothesis.finished] for beam in beams]
    candidates = score_candidates(model, TOKENIZER, *encoder_states(LENGTHS), texts, language_model)
    settings = SearchOptions(**{"beam_size": 4, **options})
    compared = 0
    for beam, scored in zip(beams, candidates, strict=True):
        for hypothesis, candidate in zip([h for h in beam if h.finished], scored, strict=True):
            assert candidate.tokens == hypothesis.tokens
            assert candidate.text == TOKENIZER.decode(hypothesis.tokens)
            assert candidate.score(settings) == pytest.approx(hypothesis.score, abs=1e-3)
            compared += 1
        assert rescore(scored, settings) == scored, "the search has put them in order already"
    assert compared > 10


def test_rescoring_by_hand():
    heard = Candidate([6, 7], "AB", attention=-2.0, ctc=-1.0, lm=-8.0)
    likely = Candidate([6, 8], "AC", attention=-3.0, ctc=-2.0, lm=-2.0)
    long = Candidate([6, 8, 9, 9], "ACDD", attention=-3.5, ctc=-2.0, lm=-2.5)
    without = SearchOptions(ctc_weight=0.5, lm_weight=0.0)
    assert rescore([likely, heard], without) == [heard, likely]
    assert heard.score(without) == pytest.approx(-1.5)
    fused = SearchOptions(ctc_weight=0.5, lm_weight=0.5)
    assert rescore([heard, likely, long], fused) == [likely, long, heard]
    assert likely.score(fused) == pytest.approx(-2.5 + 0.5 * -2.0)
    bonus = SearchOptions(ctc_weight=0.5, lm_weight=0.5, token_bonus=0.3)
    assert rescore([heard, likely, long], bonus)[0] == long, "two tokens more are worth 0.6 nats"
    impossible = Candidate([6], "A", attention=0.0, ctc=-math.inf)
    assert impossible.score(SearchOptions(ctc_weight=0.0)) == 0.0


def test_a_repeated_text_is_scored_once(model):
    (scored,) = score_candidates(model, TOKENIZER, *encoder_states([9]), [[[6], [7, 6], [6]]])
    assert [candidate.tokens for candidate in scored] == [[6], [7, 6]]
    assert all(candidate.lm == 0.0 for candidate in scored)
