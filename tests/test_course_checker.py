"""The checker: whatever a learner writes, an answer comes, and nothing else is harmed."""

import time

import pytest

from asr_tutorial.course import checker as checker_module
from asr_tutorial.course.checker import Checker, Feedback
from asr_tutorial.course.manifest import find_exercise
from asr_tutorial.course.mistakes import agree, outputs
from asr_tutorial.course.source import solution, stub
from asr_tutorial.course.versions import mutants, read_cells, variants

SCORES = find_exercise("1.1")
OURS = solution(SCORES, SCORES.path.read_text(encoding="utf-8"))
HEAD = "def attention_scores(query, key):\n"


@pytest.fixture(scope="module")
def checker():
    checker = Checker()
    yield checker
    checker.close()


def test_a_right_answer_says_what_was_verified(checker):
    answer = checker.check(SCORES, OURS)
    assert answer.right
    assert len(answer.passed) >= 3
    assert "right. Verified:" in str(answer)
    assert answer.passed[0] in str(answer)


def test_the_stub_is_not_started(checker):
    answer = checker.check(SCORES, stub(SCORES, SCORES.path.read_text(encoding="utf-8")))
    assert answer.status == "not started"
    assert "NOT STARTED" in str(answer)
    assert "our version of attention_scores" in str(answer)


def test_a_known_mistake_is_named_however_it_is_written(checker):
    cell = HEAD + (
        "    columns = [(query * k[..., None, :]).sum(-1) for k in key.unbind(-2)]\n"
        "    return torch.stack(columns, dim=-1)\n"
    )
    answer = checker.check(SCORES, cell)
    assert answer.mistake == "no_scale"
    text = str(answer)
    assert "A known mistake. " in text
    for word in ("expected:", "got:", "why:", "asr-tutorial hint 1.1"):
        assert word in text


def test_an_unknown_mistake_is_not_given_a_name(checker):
    answer = checker.check(SCORES, HEAD + "    return (query @ key.transpose(-2, -1)).abs() ** 0.3\n")
    assert not answer.right
    assert not answer.mistake
    assert "expected:" in str(answer)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("pass", "got: None"),
        ("return np.dot(query, key)", "knows only its own imports"),
        ("return query @ key", "in: return query @ key"),
        ("return 'scores'", "got: 'scores'"),
        ("raise SystemExit", ""),
        ("raise KeyboardInterrupt", ""),
        ("import os; os._exit(0)", "ended the process"),
        ("import os; os.kill(os.getpid(), 11)", "SIGSEGV"),
        ("try:\n        raise ValueError\n    except BaseException:\n        pass", "got: None"),
    ],
)
def test_a_body_that_goes_wrong_is_a_failure_with_a_message(checker, body, message):
    answer = checker.check(SCORES, f"{HEAD}    {body}\n")
    assert answer.status == "wrong"
    assert message in " ".join(str(answer).split())  # however it is folded
    assert checker.check(SCORES, OURS).right, "the next check is not harmed"


@pytest.mark.parametrize(
    "body",
    [
        "while True:\n        pass",
        "import time\n    time.sleep(1000)",
        "import sys; sys.setrecursionlimit(10**9)\n    return attention_scores(query, key)",
    ],
)
def test_what_never_ends_is_stopped(checker, monkeypatch, body):
    monkeypatch.setattr(checker_module, "TIME_LIMIT", 1.0)
    begin = time.perf_counter()
    answer = checker.check(SCORES, f"{HEAD}    {body}\n")
    assert "does a loop never end?" in str(answer)
    assert time.perf_counter() - begin < 20


def test_memory_has_a_limit(checker):
    answer = checker.check(SCORES, HEAD + "    x = torch.zeros(10**11)\n")
    assert "allocate" in str(answer)


def test_a_flood_of_output_is_cut(checker):
    answer = checker.check(
        SCORES, HEAD + "    for _ in range(10**5):\n        print('flood')\n" + OURS.splitlines()[-1]
    )
    assert answer.right
    assert "Your code printed:" in str(answer)
    assert len(str(answer)) < 3000


@pytest.mark.parametrize(
    "statement",
    [
        "torch.set_default_dtype(torch.float64)",
        "torch.manual_seed(7)",
        "torch.set_grad_enabled(False)",
        "import os; os.chdir('/')",
    ],
)
def test_changed_global_state_does_not_last(checker, statement):
    checker.check(
        SCORES, f"{HEAD}    {statement}\n    return query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])\n"
    )
    assert checker.check(SCORES, OURS).right


def test_a_cell_that_does_not_fit_is_explained_without_running_it(checker):
    answer = checker.check(SCORES, "def attention_scores(q, k):\n    return q\n")
    assert "must keep its parameters" in str(answer)


def test_a_worker_that_died_is_replaced(checker):
    assert checker.check(SCORES, OURS).right
    checker._process.kill()
    checker._process.wait()
    assert checker.check(SCORES, OURS).right


def test_the_learners_other_answers_stay_out_of_a_check(checker, monkeypatch):
    """With ``ASR_TUTORIAL_CODE=mine`` in the environment, a check still uses ours for everything else."""
    monkeypatch.setenv("ASR_TUTORIAL_CODE", "mine")
    monkeypatch.setenv("ASR_TUTORIAL_WORKSPACE", "/nowhere")
    another = Checker()
    try:
        assert another.check(SCORES, OURS).right
    finally:
        another.close()


def test_long_lines_of_feedback_are_folded():
    text = str(Feedback(SCORES, "wrong", failures=["why: " + "word " * 60], sentence="sentence " * 40))
    assert max(map(len, text.splitlines())) <= 88


class TestMistakes:
    def test_files_are_read(self, tmp_path):
        path = tmp_path / "9.1.py"
        path.write_text(
            "# %% mutant one\n# First line,\n# second.\nx = 1\n\n# %% rewritten one\nx = 2\n", encoding="utf-8"
        )
        first, second = read_cells(path)
        assert (first.kind, first.name, first.sentence, first.code) == (
            "mutant",
            "one",
            "First line, second.",
            "x = 1\n",
        )
        assert (second.kind, second.name, second.sentence) == ("rewritten", "one", "")
        assert read_cells(tmp_path / "none.py") == []

    def test_there_are_mutants_and_variants(self):
        assert len(mutants(SCORES)) >= 3
        assert len(variants(SCORES)) >= 1

    def test_outputs_agree_up_to_rounding(self):
        def probe(offset):
            def outputs_of(_):
                yield offset
                yield [float("nan"), "text"]
                raise ValueError("no")

            return outputs(outputs_of, None)

        assert agree(probe(1.0), probe(1.0 + 1e-7))
        assert not agree(probe(1.0), probe(1.1))
        assert probe(1.0)[-1] == "ValueError: no"
