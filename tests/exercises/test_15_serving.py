"""Chapter 15: checking what comes in, admission, batches of many callers, the stable prefix, streaming."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from teaching import expect, same

from asr_tutorial.serve import batching, limits, streaming
from asr_tutorial.serve.errors import ServiceError

# ---------------------------------------------------------------------------------------------------- 15.1
FRAMES = [[0.0, 1.5, -3.0], [2.0, 20.0, 4.5]]
"""Features of two frames and three mel bins."""


def outcome(call: Callable[[], Any]) -> str:
    """``taken``, or status and code of the refusal, or the name of an error that is none."""
    try:
        call()
    except ServiceError as error:
        return f"{error.status} {error.code}"
    except Exception as error:
        return f"{type(error).__name__}, which the caller sees as 500"
    return "taken"


def refused(rows: Any, expected: str, why: str, max_frames: int = 4, shown: str = "") -> None:
    got = outcome(lambda: limits.check_features(rows, 3, max_frames))
    expect(got == expected, expected, got, f"{shown or rows!r}: {why}")


@pytest.mark.exercise("15.1")
def test_good_features_become_an_array():
    got = limits.check_features(FRAMES, 3, 4)
    expect(
        isinstance(got, np.ndarray) and got.dtype == np.float32,
        "an array of float32",
        f"{type(got).__name__} {getattr(got, 'dtype', '')}",
        "the model computes in float32, and a list of lists is no tensor",
    )
    same(got, FRAMES, "what is right comes out as it went in")
    same(
        limits.check_features([[1, 2, 3], [4.0, 5, 6]], 3, 4),
        [[1, 2, 3], [4, 5, 6]],
        "JSON writes 1.0 as 1 now and then: whole numbers are numbers",
    )


@pytest.mark.exercise("15.1")
@pytest.mark.parametrize("rows", [None, 3, "abc", {"0": [1, 2, 3]}, []], ids=repr)
def test_what_is_no_list_of_frames(rows):
    refused(rows, "422 bad_features", "there is nothing in it that could be recognised")


@pytest.mark.exercise("15.1")
@pytest.mark.parametrize("frames", [4, 5])
def test_the_longest_recording(frames):
    refused(
        [[0.0] * 3] * frames,
        "taken" if frames == 4 else "413 too_long",
        "4 frames are allowed, and 4 are not too many" if frames == 4 else "4 frames are allowed",
        shown=f"{frames} frames",
    )


@pytest.mark.exercise("15.1")
def test_length_comes_first():
    refused(
        [["x"]] * 5,
        "413 too_long",
        "five frames, of which none is one: a million of them shall not be looked at before they are refused",
    )


@pytest.mark.exercise("15.1")
@pytest.mark.parametrize(
    "row",
    [[1.0, 2.0], [1.0, 2.0, 3.0, 4.0], [], "abc", 5.0, None, {"a": 1, "b": 2, "c": 3}, [[1.0], [2.0], [3.0]]],
    ids=repr,
)
def test_a_frame_that_is_none(row):
    rows = [FRAMES[0], FRAMES[1], row]
    refused(rows, "422 bad_features", "each frame is a list of 3 numbers, the last one too")
    try:
        limits.check_features(rows, 3, 4)
    except ServiceError as error:
        expect(
            "2" in error.message,
            "a message with the frame's number, 2",
            repr(error.message),
            "among 3000 frames nobody finds the wrong one without its number",
        )


@pytest.mark.exercise("15.1")
@pytest.mark.parametrize("value", [None, "1.0", True, [1.0]], ids=repr)
def test_a_value_that_is_no_number(value):
    refused(
        [FRAMES[0], [1.0, value, 2.0]],
        "422 bad_features",
        "True is an int to isinstance, and NumPy makes numbers of texts: only float and int themselves are numbers",
    )


@pytest.mark.exercise("15.1")
@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), -float("inf"), 1e30, -101.0, 10**400], ids=lambda v: str(v)[:9]
)
def test_a_value_that_sound_cannot_give(value):
    refused(
        [FRAMES[0], [1.0, value, 2.0]],
        "422 bad_features",
        "one NaN makes the whole batch NaN, other callers' answers too, and it is smaller than nothing and larger than "
        "nothing; a number of 400 digits is no float",
        shown=str(value)[:20],
    )


def probe_features(m: ModuleType) -> Iterator[Any]:
    cases: list[Any] = [
        FRAMES,
        [[1, 2, 3]],
        *(None, "abc", {"0": [1, 2, 3]}, []),
        *([[0.0] * 3] * count for count in (3, 4, 5)),
        [["x"]] * 5,
        *([FRAMES[0], row] for row in ([1.0, 2.0], [1.0, 2.0, 3.0, 4.0], [], "abc", 5.0, None)),
        *([row, FRAMES[0]] for row in ([1.0, 2.0], "abc")),
        *([FRAMES[0], [1.0, value, 2.0]] for value in (None, "1.0", True, [1.0], float("nan"), float("inf"), 1e30)),
        [FRAMES[0], [1.0, 10**400, 2.0]],
    ]  # fmt: skip
    for rows in cases:
        yield outcome(lambda rows=rows: m.check_features(rows, 3, 4))
    yield m.check_features(FRAMES, 3, 4)


# ---------------------------------------------------------------------------------------------------- 15.2
def nothing(kind: Any, items: list[Any]) -> list[Any]:
    return items


def job(name: str = "", kind: str = "ctc", size: float = 3.0, arrived: float = 0.0, done: bool = False) -> Any:
    """A request; ``answer`` says whether anybody still waits for it."""
    return batching.Job(name, kind, size, arrived, arrived + 30, SimpleNamespace(done=lambda: done))  # type: ignore[arg-type]


def admission(
    waiting: int, queue: int, stopping: bool = False, gone: int = 0, running: int = 0, m: Any = batching
) -> str:
    batcher = m.DynamicBatcher(nothing, max_batch=4, queue=queue)
    batcher.waiting = [job() for _ in range(waiting)] + [job(done=True) for _ in range(gone)]
    batcher.stopping, batcher.batch = stopping, [job() for _ in range(running)]
    return outcome(batcher.admit)


def admitted(expected: str, why: str, *arguments: Any, **more: Any) -> None:
    got = admission(*arguments, **more)
    expect(got == expected, expected, got, why)


@pytest.mark.exercise("15.2")
@pytest.mark.parametrize(
    ("waiting", "expected"), [(0, "taken"), (2, "taken"), (3, "429 queue_full"), (4, "429 queue_full")]
)
def test_as_many_wait_as_may(waiting, expected):
    admitted(
        expected, f"a queue of 3 holds three: {waiting} wait, and this one would be number {waiting + 1}", waiting, 3
    )


@pytest.mark.exercise("15.2")
@pytest.mark.parametrize("waiting", [0, 3])
def test_a_service_that_stops_takes_nobody(waiting):
    admitted(
        "503 stopping",
        "whoever is let in now gets no answer. 503 sends a caller to another server; 429 says: you ask too much",
        waiting,
        3,
        stopping=True,
    )


@pytest.mark.exercise("15.2")
def test_who_has_given_up_takes_nobodys_place():
    admitted(
        "taken",
        "two of the three have closed the page: their answers are done, and the batcher will drop them",
        1,
        3,
        gone=2,
    )


@pytest.mark.exercise("15.2")
def test_what_runs_does_not_wait():
    admitted("taken", "16 are being recognised, but only one waits, and the queue holds 3", 1, 3, running=16)


def probe_admit(m: ModuleType) -> Iterator[Any]:
    for waiting in range(6):
        for stopping in (False, True):
            yield admission(waiting, 3, stopping, m=m)
    for waiting, gone, running in ((1, 2, 0), (3, 1, 0), (1, 0, 16), (2, 0, 1), (2, 2, 2)):
        yield admission(waiting, 3, gone=gone, running=running, m=m)


# ---------------------------------------------------------------------------------------------------- 15.3
def chosen(jobs: Sequence[Any], max_batch: int, m: Any = batching) -> list[str]:
    return [picked.item for picked in m.select(list(jobs), max_batch)]


@pytest.mark.exercise("15.3")
def test_the_oldest_comes_first_and_the_nearest_in_length_with_it():
    jobs = [job("a", size=4.0), job("b", size=7.0), job("c", size=4.5), job("d", size=2.5), job("e", size=4.4)]
    got = chosen(jobs, 3)
    expect(
        got[:1] == ["a"] and set(got) == {"a", "c", "e"},
        "the oldest, a (4 s), with c (4.5 s) and e (4.4 s)",
        ", ".join(got),
        "a batch is as long as its longest: what is nearest in length wastes least. The oldest always goes, or a "
        "recording of unusual length waits for ever",
    )


@pytest.mark.exercise("15.3")
def test_no_more_than_fit():
    for most in (1, 2, 5):
        got = chosen([job(str(n)) for n in range(9)], most)
        expect(len(got) == most, f"{most} jobs", f"{len(got)}", f"max_batch is {most}, and nine wait")
    same(len(chosen([job("a"), job("b")], 16)), 2, "two wait: both go")


def all_kinds() -> list[Any]:
    """The oldest of 4 s, one that is asked for by another search, and lengths within a factor of 2 and beyond."""
    lengths = {"short": 1.9, "long": 8.1, "b": 8.0, "c": 2.0}
    return [job("a", size=4.0), job("joint", "joint", 4.0), *(job(name, size=size) for name, size in lengths.items())]


@pytest.mark.exercise("15.3")
def test_only_what_can_run_together():
    got = set(chosen(all_kinds(), 16))
    expect(
        got == {"a", "b", "c"},
        "a (4 s), b (8 s) and c (2 s)",
        ", ".join(sorted(got)),
        "one batch is one call of the model with one search; and beyond a factor of SIMILAR = 2 in length, either way, "
        "a batch would be mostly padding",
    )


class Clock:
    """Time that passes when the script says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


def gathered(
    script: Sequence[tuple[float, Any]], waiting: Sequence[Any] = (), max_batch: int = 3, m: Any = batching
) -> tuple[list[str], list[str], float]:
    """Runs ``gather`` while the script goes on.

    Args:
        script: what happens and when, in seconds: a job that arrives, ``"stop"``, or the name of one that gives up.
        waiting: jobs that wait already, with the times of their arrivals (0 is the start).
        max_batch: of the batcher, whose ``max_wait`` is 10 s.
        m: the module.

    Returns:
        The batch, what is left in the queue, and the seconds that it took.
    """
    clock = Clock()
    events = [(100.0 + when, what) for when, what in script]

    class Scripted(m.DynamicBatcher):  # type: ignore[name-defined, misc]
        waits = 0

        async def _next_arrival(self, timeout: float | None) -> None:
            self.waits += 1
            if self.waits > 50 or (timeout is None and not events):
                raise RuntimeError("gather waits for what never comes")
            until = clock.now + (1e9 if timeout is None else max(timeout, 0.0))
            if not events or events[0][0] > until:
                clock.now = until
                return
            clock.now, what = events.pop(0)
            if what == "stop":
                self.refuse()
            elif isinstance(what, str):
                next(job for job in self.waiting if job.item == what).answer = SimpleNamespace(done=lambda: True)
            else:
                what.arrived = clock.now
                self.waiting.append(what)

    async def run() -> tuple[list[str], list[str], float]:
        batcher = Scripted(nothing, max_batch=max_batch, max_wait=10.0, queue=64)
        for early in waiting:
            early.arrived += 100.0
        batcher.waiting = list(waiting)
        batch = await batcher.gather()
        names = [picked.item for picked in batch] if isinstance(batch, list) else [repr(batch)]
        return names, [left.item for left in batcher.waiting], clock.now - 100.0

    real, m.time = m.time, clock  # the module's clock alone: the event loop keeps its own
    try:
        return asyncio.run(run())
    finally:
        m.time = real


def batch_is(got: tuple[list[str], list[str], float], batch: str, left: str, seconds: float, why: str) -> None:
    names, rest, took = got
    expect(
        sorted(names) == sorted(batch.split()) and rest == left.split() and abs(took - seconds) < 1e-6,
        f"[{batch}] after {seconds:g} s, [{left}] left in the queue",
        f"[{' '.join(names)}] after {took:g} s, [{' '.join(rest)}] left in the queue",
        why,
    )


def stopped() -> Any:
    """A job whose answer can be an error."""
    return SimpleNamespace(done=lambda: False, set_exception=lambda error: None)


@pytest.mark.exercise("15.3")
def test_the_first_waits_for_company():
    batch_is(
        gathered([(5.0, job("a")), (7.0, job("b"))]),
        "a b",
        "",
        15.0,
        "a comes at 5 s and waits for max_wait = 10 s; b comes in this time, and goes with it at 15 s",
    )


@pytest.mark.exercise("15.3")
def test_those_who_come_do_not_make_the_first_wait_longer():
    batch_is(
        gathered([(0.0, job("a")), (9.0, job("b")), (18.0, job("c"))]),
        "a b",
        "",
        10.0,
        "the wait is bounded for the oldest: it ends 10 s after the oldest's arrival, whoever came last",
    )


@pytest.mark.exercise("15.3")
def test_a_full_batch_goes_at_once():
    batch_is(
        gathered([(1.0, job("a")), (2.0, job("b")), (3.0, job("c")), (4.0, job("d"))]),
        "a b c",
        "",
        3.0,
        "max_batch = 3 wait at 3 s: to wait longer gains nothing",
    )


@pytest.mark.exercise("15.3")
def test_who_has_waited_while_a_batch_ran_waits_no_longer():
    batch_is(
        gathered([(5.0, job("c"))], waiting=[job("a", arrived=-12.0), job("b", arrived=-3.0)]),
        "a b",
        "",
        0.0,
        "a came 12 s ago, while another batch ran: its max_wait is over, and the batch goes at once",
    )


@pytest.mark.exercise("15.3")
def test_those_who_go_leave_the_queue_and_the_others_stay():
    many = [job(name, arrived=-1.0) for name in "abcde"]
    batch_is(gathered([], waiting=many), "a b c", "d e", 0.0, "three go, and two stay for the next batch, in order")
    mixed = [job("a", arrived=-10.0), job("x", "joint", arrived=-9.0), job("b", arrived=-8.0)]
    batch_is(gathered([], waiting=mixed), "a b", "x", 0.0, "x wants another search and stays")


@pytest.mark.exercise("15.3")
def test_nobody_works_for_who_has_given_up():
    batch_is(
        gathered([(1.0, job("a")), (2.0, job("b")), (3.0, "a")]),
        "b",
        "",
        12.0,
        "a gives up at 3 s: then b is the oldest, and its wait ends at 12 s",
    )
    batch_is(
        gathered([(1.0, job("a")), (3.0, "a"), (30.0, job("b"))]),
        "b",
        "",
        40.0,
        "a is alone and gives up at 3 s: gather waits on for a first job, as at the beginning",
    )


@pytest.mark.exercise("15.3")
def test_a_batcher_that_stops():
    batch_is(gathered([(4.0, "stop")]), "", "", 4.0, "nobody waits, and the service stops: an empty batch, at once")
    waiting = job("a")
    waiting.answer = stopped()
    batch_is(gathered([(4.0, "stop")], waiting=[waiting]), "", "", 4.0, "refuse() has told a, and has taken it out")


def probe_gather(m: ModuleType) -> Iterator[Any]:
    sizes = [job("a", size=4.0), job("b", size=7.0), job("c", size=4.5), job("d", size=2.5), job("e", size=4.4)]
    for most in (1, 2, 3, 16):
        yield " ".join(sorted(chosen(sizes, most, m)))
    yield " ".join(sorted(chosen(all_kinds(), 16, m)))
    cases: list[Callable[[], Any]] = [
        lambda: gathered([(5.0, job("a")), (7.0, job("b"))], m=m),
        lambda: gathered([(0.0, job("a")), (9.0, job("b")), (18.0, job("c"))], m=m),
        lambda: gathered([(1.0, job("a")), (2.0, job("b")), (3.0, job("c")), (4.0, job("d"))], m=m),
        lambda: gathered([(5.0, job("c"))], waiting=[job("a", arrived=-12.0), job("b", arrived=-3.0)], m=m),
        lambda: gathered([], waiting=[job(name, arrived=-1.0) for name in "abcde"], m=m),
        lambda: gathered([(1.0, job("a")), (2.0, job("b")), (3.0, "a")], m=m),
        lambda: gathered([(1.0, job("a")), (3.0, "a"), (30.0, job("b"))], m=m),
        lambda: gathered([(4.0, "stop")], m=m),
    ]
    for case in cases:
        try:
            names, left, took = case()
        except Exception as error:
            yield type(error).__name__
            continue
        yield f"{sorted(names)} {left} {took:.3f}"


# ---------------------------------------------------------------------------------------------------- 15.4
@pytest.mark.exercise("15.4")
@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["THE CAR IS", "THE CAR IS RED"], "THE CAR IS"),
        (["THE CAR IS", "THE CARPET IS"], "THE"),
        (["A CAR", "THE CAR"], ""),
        (["THE CAR IS", "THE CAR", "THE CAT IS"], "THE"),
        (["", "THE"], ""),
        (["THE"], "THE"),
        ([], ""),
    ],
)
def test_the_words_with_which_all_begin(texts, expected):
    got = streaming.agreed_prefix([text.split() for text in texts])
    expect(
        got == expected.split(),
        expected.split(),
        got,
        f"of {texts}: word by word, as long as all have the same; what follows the first difference is not agreed on",
    )


def heard(texts: Sequence[str], agreement: int = 2, m: Any = streaming) -> list[tuple[str, str]]:
    """Committed words and the rest after each hypothesis."""
    stable = m.StablePrefix(agreement)
    steps = []
    for text in texts:
        rest = stable.update(text.split())
        steps.append((" ".join(stable.words), " ".join(rest)))
    return steps


def steps_are(texts: Sequence[str], expected: Sequence[tuple[str, str]], why: str, agreement: int = 2) -> None:
    got = heard(texts, agreement)
    expect(got == list(expected), f"(committed, rest): {list(expected)}", got, why)


@pytest.mark.exercise("15.4")
def test_two_hypotheses_commit_what_they_agree_on():
    steps_are(
        ["THE CAR", "THE CARPET IS", "THE CARPET IS RED"],
        [("", "THE CAR"), ("THE", "CARPET IS"), ("THE CARPET IS", "RED")],
        "one hypothesis commits nothing; the second agrees with the first on THE, the third with the second on more",
    )


@pytest.mark.exercise("15.4")
def test_committed_words_stand():
    steps_are(
        ["A CAT", "A CAT SAT", "THE CAT SAT ON", "THE CAT SAT ON IT", ""],
        [("", "A CAT"), ("A CAT", "SAT"), ("A CAT", "SAT ON"), ("A CAT SAT ON", "IT"), ("A CAT SAT ON", "")],
        "somebody has read A CAT already. Later hypotheses hear THE, and commit their third and fourth word all the "
        "same: committed words are counted, not compared",
    )


@pytest.mark.exercise("15.4")
def test_three_in_a_row_if_three_are_asked_for():
    steps_are(
        ["A B", "A B C", "A B C", "A B C"],
        [("", "A B"), ("", "A B C"), ("A B", "C"), ("A B C", "")],
        "with agreement = 3 the latest three must agree",
        agreement=3,
    )
    steps_are(
        ["A B", "A C"], [("A B", ""), ("A B", "")], "with agreement = 1 whatever is heard is committed", agreement=1
    )


@pytest.mark.exercise("15.4")
def test_only_the_latest_count():
    steps_are(
        ["A X", "B Y", "B Y", "B Y Z"],
        [("", "A X"), ("", "B Y"), ("B Y", ""), ("B Y", "Z")],
        "that the first hypothesis heard A does not matter for ever: the two latest must agree, not all",
    )


@pytest.mark.exercise("15.4")
def test_the_caller_may_change_its_list():
    stable, words = streaming.StablePrefix(2), ["A", "B"]
    stable.update(words)
    words[1] = "C"
    stable.update(["A", "B"])
    expect(
        stable.words == ["A", "B"],
        ["A", "B"],
        stable.words,
        "what was heard is kept as a list of its own: the caller's may be filled anew for the next hypothesis",
    )


def probe_stable(m: ModuleType) -> Iterator[Any]:
    for texts in (["THE CAR IS", "THE CAR IS RED"], ["THE CAR IS", "THE CARPET IS"], ["", "THE"], ["THE"], [],
                  ["THE CAR IS", "THE CAR", "THE CAT IS"]):  # fmt: skip
        yield " ".join(m.agreed_prefix([text.split() for text in texts]))
    for agreement in (1, 2, 3):
        for texts in (
            ["THE CAR", "THE CARPET IS", "THE CARPET IS RED"],
            ["A CAT", "A CAT SAT", "THE CAT SAT ON", "THE CAT SAT ON IT", ""],
            ["A B", "A B C", "A B C", "A B C"],
            ["A X", "B Y", "B Y", "B Y Z"],
        ):
            yield str(heard(texts, agreement, m))


# ---------------------------------------------------------------------------------------------------- 15.5
class Ear:
    """A recogniser at 10 samples a second whose words are the values of the samples, one word each second."""

    def __init__(self, m: Any = streaming, step: float = 1.0, window: float = 6.0) -> None:
        self.m, self.windows, self.concluded = m, [], []
        self.stream = m.StreamingRecognizer(self.listen, self.conclude, 10, step, window)

    def listen(self, samples: Any) -> str:
        self.windows.append(np.array(samples))
        return " ".join(f"{value:.0f}" for value in samples[9::10])

    def conclude(self, samples: Any) -> Any:
        self.concluded.append(np.array(samples))
        return SimpleNamespace(text=" ".join(f"{value:.0f}" for value in samples[9::10]))

    def hear(self, *pieces: Any) -> list[Any]:
        return [partial for piece in pieces for partial in self.stream.feed(piece)]


def seconds(count: float) -> np.ndarray:
    """Sound of which the first second has the value 1, the next 2 ..."""
    return (1 + np.arange(round(10 * count)) // 10).astype(np.float32)


def shown_partials(partials: Sequence[Any]) -> list[tuple[str, str, float]]:
    return [(p.stable, p.unstable, round(p.seconds, 3)) for p in partials]


@pytest.mark.exercise("15.5")
def test_one_look_for_each_second_of_sound():
    got = shown_partials(Ear().hear(seconds(3.5)))
    expected = [("", "1", 1.0), ("1", "2", 2.0), ("1 2", "3", 3.0)]
    expect(
        got == expected,
        f"(stable, unstable, seconds): {expected}",
        got,
        "3.5 s in one piece with a look each second are three looks; each hears everything so far, and the last half "
        "second waits for the next",
    )


@pytest.mark.exercise("15.5")
@pytest.mark.parametrize("size", [1, 3, 7, 10, 11, 25, 34])
def test_how_the_sound_is_cut_changes_nothing(size):
    sound = seconds(3.4)
    got = shown_partials(Ear().hear(*(sound[start : start + size] for start in range(0, 34, size))))
    expected = [("", "1", 1.0), ("1", "2", 2.0), ("1 2", "3", 3.0)]
    expect(
        got == expected,
        f"(stable, unstable, seconds): {expected}",
        got,
        f"pieces of {size} samples; a look is due after each 10 samples, wherever a piece ends. The same recording "
        "must give the same text, whether it comes in packets of 20 ms or of 2 s",
    )


@pytest.mark.exercise("15.5")
def test_nothing_is_lost_and_nothing_is_heard_twice():
    ear, sound = Ear(step=0.7), np.random.default_rng(0).normal(size=58).astype(np.float32)
    ear.hear(*np.split(sound, [3, 4, 20, 21, 50]))
    for number, window in enumerate(ear.windows, start=1):
        same(window, sound[: 7 * number], f"look {number} hears the first {7 * number} samples, each once, in order")
    ear.stream.finish()
    same(ear.concluded[0], sound, "the final result hears all samples, also those behind the last look")


@pytest.mark.exercise("15.5")
def test_each_look_has_sound_of_its_own():
    ear, kept = Ear(), []
    ear.stream.listen = lambda samples: kept.append(samples) or ""
    ear.hear(seconds(20.0))
    same(
        kept[0],
        seconds(1.0),
        "the buffer is overwritten when the window moves on, while somebody may still read: hand out a copy",
    )


@pytest.mark.exercise("15.5")
def test_a_full_window_is_cut():
    ear = Ear()
    partials = ear.hear(seconds(20.0))
    longest = max(map(len, ear.windows))
    expect(
        longest <= 60,
        "no look at more than 60 samples (6 s)",
        f"a look at {longest}",
        "what is longer than window_seconds is cut before it is recognised: else the work of a look grows without end",
    )
    first = next(number for number, window in enumerate(ear.windows) if len(window) < 10 * (number + 1))
    expect(
        first == 6,
        "the first shorter window at look 7",
        f"at look {first + 1}",
        "60 samples fit into a window of 6 s: it is cut when it holds more, not when it is just full",
    )
    same([round(p.seconds, 3) for p in partials], list(range(1, 21)), "seconds count from the beginning of the stream")
    growing = [p.stable for p in partials]
    expect(
        all(after.startswith(before) for before, after in pairwise(growing)),
        "each stable text begins with the one before it",
        growing,
        "what was committed before a cut stays at the beginning of the stable text",
    )


def probe_feed(m: ModuleType) -> Iterator[Any]:
    sound = seconds(3.4)
    cuts: list[list[np.ndarray]] = [[seconds(3.5)]]
    cuts += [[sound[start : start + size] for start in range(0, 34, size)] for size in (3, 7, 10, 11, 25)]
    for pieces in cuts:
        ear = Ear(m)
        try:
            yield str(shown_partials(ear.hear(*pieces)))
        except Exception as error:
            yield type(error).__name__
        yield str([len(window) for window in ear.windows])
        yield str([float(window.sum()) for window in ear.windows])
    ear = Ear(m)
    try:
        yield str(shown_partials(ear.hear(*np.split(seconds(20.0), 10))))
    except Exception as error:
        yield type(error).__name__
    yield str([len(window) for window in ear.windows])
    kept: list[Any] = []
    ear = Ear(m)
    ear.stream.listen = lambda samples: kept.append(samples) or ""
    try:
        ear.hear(*np.split(seconds(20.0), 10))
    except Exception as error:
        yield type(error).__name__
    yield str([float(window.sum()) for window in kept])


PROBES = {
    "15.1": probe_features,
    "15.2": probe_admit,
    "15.3": probe_gather,
    "15.4": probe_stable,
    "15.5": probe_feed,
}
