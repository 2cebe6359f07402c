# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 15 · Serving
#
# You have a recogniser: a program that somebody starts, on a file that lies there. In this chapter it becomes a *service*: a program that runs all the time, and that many people ask at
# the same time, some with broken files and a few with bad intentions. You write what stands between them and the model: the check of what comes in, the door of the queue, the batches
# made of many people's requests, and at last the part that writes while somebody still speaks.
#
# **You need** a trained recogniser (it lies in the repository), decoding (chapter [09](09_search.ipynb)), the packages of the service (`pip install -e ".[serve]"`), and from Python `async` and `await` to read; what is needed of them
# is said below. **Time**: about 2.5 hours; the core exercises take 90 minutes of them.
#
# | exercise | what you write | minutes | difficulty | |
# |---|---|---|---|---|
# | 15.1 | what comes in: checked before it costs anything | 15 | 2 | core |
# | 15.2 | admission: who may wait | 10 | 1 | core |
# | 15.3 | dynamic batching: who goes together, and when | 25 | 4 | core |
# | 15.4 | the stable prefix: what is shown and never taken back | 15 | 2 | core |
# | 15.5 | streaming: sound comes in, words go out | 25 | 3 | core |

# %%
# The course comes first: from here on the library has what you wrote in earlier chapters.
from asr_tutorial.course import check, exercise, here

here("15")

# %%
import asyncio
import io
import json
import logging
import threading
import time
from collections import deque
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import soundfile
import torch
import uvicorn
from matplotlib import pyplot as plt
from numpy.typing import NDArray
from websockets.sync.client import connect

import asr_tutorial
from asr_tutorial import plots
from asr_tutorial.audio import Samples, read_audio
from asr_tutorial.corpus import read_corpus
from asr_tutorial.corpus.read import REPOSITORY
from asr_tutorial.serve.app import create_app
from asr_tutorial.serve.batching import Job
from asr_tutorial.serve.errors import ServiceError
from asr_tutorial.serve.server import Server
from asr_tutorial.serve.settings import Settings
from asr_tutorial.serve.streaming import Partial

RESULTS = REPOSITORY / "data" / "results" / "benchmarks"
logging.getLogger("httpx").setLevel(logging.WARNING)

# %% [markdown]
# ## A service, in a notebook
#
# In a terminal it is one line, `asr-tutorial serve`, and the page is at `http://127.0.0.1:8000/`. Here we start the same application in a thread, on a port that is free, and talk to it as a
# program would: over HTTP.

# %%
checkpoint = REPOSITORY / "data" / "pretrained" / "tinyspeech"
recognizer = asr_tutorial.load(checkpoint, device="cpu")
app = create_app(Settings(checkpoint=checkpoint, queue=16, max_streams=4), recognizer)
server = Server(uvicorn.Config(app, port=0, log_level="warning"), app.state.service)
threading.Thread(target=server.run, daemon=True).start()
while not server.started:
    time.sleep(0.01)
address = f"127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
client = httpx.Client(base_url=f"http://{address}", timeout=30)
health = client.get("/health").json()
print({key: health[key] for key in ("status", "model", "searches", "max_seconds", "queue_limit")})

# %% [markdown]
# One recording of a voice that was not trained on, sent as a file. The answer is JSON: the text, how sure the model is, and when each word was said.

# %%
test = read_corpus("tinyspeech/test").utterances
sentence = test[1]


def as_file(samples: Samples) -> bytes:
    """Samples at 16 kHz as the bytes of a FLAC file."""
    file = io.BytesIO()
    soundfile.write(file, samples, 16_000, format="FLAC")
    return file.getvalue()


recording = read_audio(sentence.audio)
answer = client.post("/transcribe", files={"file": as_file(recording)}).json()
print("said: ", sentence.text)
print("heard:", answer["text"])
print(f"{answer['duration']:.2f} s of sound, confidence {answer['confidence']:.2f}")
for word in answer["words"]:
    print(f"{word['start']:6.2f} to {word['end']:5.2f} s  {word['confidence']:.2f}  {word['word']}")

# %% [markdown]
# The [confidence](../docs/glossary.md#confidence) of a word is the product of the probabilities of its tokens; times come from CTC's best path through the text (chapter 07), which is also where they come from when a decoder
# wrote the text: the decoder has no times. Drawn over the sound:

# %%
features = app.state.service.engine.from_samples(recording).pieces[0]
with plots.style():
    figure, axes = plt.subplots(figsize=(9, 2.7), layout="constrained")
    plots.mel(features, title="When each word was said, and how sure the model is of it", axes=axes)
    for word in answer["words"]:
        axes.axvspan(word["start"], word["end"], ymin=0.9, color="white", alpha=0.85)
        middle = (word["start"] + word["end"]) / 2
        axes.text(middle, 0.95, f"{word['word']}\n{word['confidence']:.2f}", transform=axes.get_xaxis_transform(), fontsize=6, ha="center", va="center")  # fmt: skip
plt.show()

# %% [markdown]
# ### What a service adds
#
# A program that is started for one file may fail: whoever started it reads the message and starts it again. A service is asked by people who know nothing of each other, and that changes what it needs:
#
# | a program for one | a service for many |
# |---|---|
# | wrong input ends it | wrong input gets a sentence, and the others notice nothing |
# | takes as long as it takes | promises an answer in time, or says at once that there will be none |
# | one recording after the other | recordings of different people in one batch |
# | sees the end of the recording | answers while it is spoken |
# | is read by a person | is read by programs: status codes, one shape for all errors, counts for a monitor |
#
# The rest of the chapter goes through this table.
#
# ## What comes in
#
# Whatever can be sent will be sent. The service of this course also takes features as JSON, `{"features": [[...], ...]}`: one list of 80 log-mel values for each frame. A program with a mistake sends 40 values, or
# the text `"NaN"`, or nothing; somebody who tries what happens sends a million frames. What should happen?
#
# - **The answer says whose fault it is.** HTTP has a number for that: 400 to 499 is the caller's to mend, 500 and above is ours. A 500 wakes up whoever is on duty; wrong input must never cause one.
# - **It says what is wrong, and what to do.** Ours always look the same: `{"error": {"code", "message", "remedy"}}`; the code is for programs, the two sentences are for people.
# - **Cheap checks come first.** The number of frames is known without looking at any of them.
#
# Why so strict about the numbers? Because of the batch. Other people's recordings are in the same tensor, and some of what the model computes may mix them: one NaN, and everybody's answer may be NaN. And NaN slips
# through where it is looked for the obvious way:

# %%
nan = float("nan")
print("nan > 100:", nan > 100, "  nan < -100:", nan < -100, "  abs(nan) <= 100:", abs(nan) <= 100)
print("isinstance(True, int):", isinstance(True, int), '  np.float32("1.5"):', np.float32("1.5"))

# %% [markdown]
# Every comparison with NaN is false. So do not ask whether a value is too large; ask whether it is *within its bounds*, and refuse what is not. And a JSON `true` is an `int` to `isinstance`, while NumPy turns a text
# into a number if it looks like one.
#
# **Exercise 15.1** · 15 minutes · difficulty 2 of 5 · core
#
# Write `check_features`. It takes whatever came out of the JSON. Known inside: `wrong = bad_features(n_mels)` gives you a function that makes an error of a sentence, for `raise wrong("frame 3 is ...")`; `too_many_frames(len(rows),
# max_frames)` makes the error for too many; `NUMBERS` is the set `{float, int}`; `check_range(features, wrong)` takes an array, and refuses what no sound can give, by the rule above.


# %%
@exercise("15.1")
def check_features(rows: Any, n_mels: int, max_frames: int) -> NDArray[np.float32]:
    """Log-mel features as they come out of JSON, if they are what the recogniser takes.

    Args:
        rows: anything; should be a list of lists of numbers.
        n_mels: numbers of each row.
        max_frames: most rows; more are refused before they are looked at.

    Returns:
        (frames, n_mels) float32.

    Raises:
        ServiceError: 413 ``too_long`` for too many rows; 422 ``bad_features`` for anything else, with the number of the
            first frame that is wrong.
    """
    raise NotImplementedError("exercise 15.1")


# %%
check_features = check("15.1")

# %% [markdown]
# Stuck? `asr-tutorial hint 15.1` in a terminal, one hint at a time.
#
# **Try it** with two mel bins in the place of 80:

# %%
for rows in ([[1.0, 2.0], [3, 4]], [], [[1.0, 2.0], [3.0]], [[1.0, True]], [[1.0, nan]], [[0.0, 0.0]] * 9):
    try:
        print("taken  ", check_features(rows, 2, 8).tolist())
    except ServiceError as error:
        print(f"{error.status}  {error.code}: {error.message}")

# %% [markdown]
# ### Experiment: hostile input
#
# Now against the running service. **Predict** the numbers: which of these is a 400, which a 413, which a 422? And which one is a 500?

# %%
good = [[0.0] * 80] * 50
hostile = {
    "half of a JSON": {"content": b'{"features": [[', "headers": {"content-type": "application/json"}},
    "frames of 40 values": {"json": {"features": [[0.0] * 40]}},
    "a NaN": {"content": json.dumps({"features": [[nan] * 80]}), "headers": {"content-type": "application/json"}},
    "ten minutes of frames": {"json": {"features": [[]] * 60_000}},
    "a search that does not exist": {"json": {"features": good, "search": "guess"}},
    "a text that says it is sound": {"files": {"file": b"RIFF but not really"}},
    "a file of no bytes": {"files": {"file": b""}},
    "72 s of silence in a small file": {"files": {"file": as_file(np.zeros(72 * 16_000, dtype=np.float32))}},
    "17 MB of zeros": {"content": bytes(17 * 2**20), "headers": {"content-type": "application/json"}},
    "neither JSON nor a form": {"content": b"hello", "headers": {"content-type": "text/plain"}},
}
for name, request in hostile.items():
    response = client.post("/transcribe", **request)
    problem = response.json()["error"]
    print(f"{response.status_code}  {name:30} {problem['code']}: {problem['message'][:80]}")
print("and the service is", client.get("/health").json()["status"])

# %% [markdown]
# None of them is. (The silence is refused by its header, before anything is decoded: a kilobyte of FLAC may hold an hour.) The tests of the service go on where this list ends: a fuzzer reads the service's own description of what it takes, `/openapi.json`, and
# sends what fits it and what nearly does, thousands of times.
#
# ## Who may wait
#
# A recogniser answers so many requests a second and no more. What when more come? Three quantities describe any queue: the *rate* $\lambda$ at which requests arrive (per second), the mean time $W$ that a request spends in the
# service (seconds), and the mean number $L$ of requests that are inside. **[Little's law](../docs/glossary.md#littles-law)** connects them, whatever the order of service and however irregular the arrivals:
#
# $$L = \lambda\, W.$$
#
# **By hand**: a request takes 20 ms, one after the other: the capacity is 50 a second. At $\lambda = 40$ all is well. At $\lambda = 60$ ten more come each second than are answered. After one minute 600 wait, and who comes then waits for
# $600 / 50 = 12$ seconds. After ten minutes it is two minutes. Nobody waits for two minutes: they have closed the page and tried again, and the service, which does not know that, works through the requests of people who are gone. Everybody is
# served, and nobody gets an answer.
#
# So the queue gets a bound. With at most 16 waiting, the longest wait is $16 \times 20$ ms $= 0.32$ s. Of 60 requests a second 50 are answered, each in time, and 10 are refused *at once*, with status 429 ("too many requests") and a header `Retry-After` that says
# when to come again. A refusal in a millisecond is a service; an answer after two minutes is none.
#
# **Exercise 15.2** · 10 minutes · difficulty 1 of 5 · core
#
# Write `DynamicBatcher.admit`, which is asked before a request is read and again before it joins the queue. `self.waiting` is the list of those who wait, `self.queue` how many may, `self.stopping` whether the service is about to end.
# Each job has an `answer` that it waits for; where `job.answer.done()`, its caller has given up. `stopping()` and `queue_full(waiting)` make the errors, 503 and 429.


# %%
@exercise("15.2")
class DynamicBatcher:  # these methods become part of asr_tutorial.serve.batching.DynamicBatcher
    def admit(self) -> None:
        """Refuse a request while that is cheap: before its body is read, and again before it is put in the queue.

        Whoever has given up waiting, so that the answer is done, takes nobody's place.

        Raises:
            ServiceError: 503 when the service stops, 429 when as many wait as may.
        """
        raise NotImplementedError("exercise 15.2")


# %%
DynamicBatcher = check("15.2")

# %% [markdown]
# Stuck? `asr-tutorial hint 15.2` in a terminal, one hint at a time.
#
# ### Experiment: too much to do
#
# A simulation: requests arrive at random, on average so many a second, and each takes 20 ms. **Predict** the two curves: what does somebody wait who comes after 60 s, without a bound and with a bound of 16?


# %%
def simulate(
    rate: float,
    seconds: float,
    queue: float = float("inf"),
    max_batch: int = 1,
    fixed: float = 0.02,
    each: float = 0.0,
    seed: int = 1,
) -> tuple[NDArray[np.float64], int]:
    """A service with one worker, whose batch of n takes ``fixed + n * each`` seconds.

    Returns:
        (answered, 2): when each answered request arrived, and how long it took; and how many were refused.
    """
    rng = np.random.default_rng(seed)
    arrivals = np.cumsum(rng.exponential(1 / rate, int(rate * seconds)))
    waiting: deque[float] = deque()
    answered, refused, free = [], 0, 0.0

    def work_until(now: float) -> None:
        """All batches that begin before ``now``."""
        nonlocal free
        while waiting and max(free, waiting[0]) < now:
            begin = max(free, waiting[0])
            batch = [waiting.popleft() for _ in range(min(max_batch, sum(t <= begin for t in waiting)))]
            free = begin + fixed + each * len(batch)
            answered.extend((arrived, free - arrived) for arrived in batch)

    for now in arrivals:
        work_until(now)
        if len(waiting) >= queue:
            refused += 1
        else:
            waiting.append(now)
    work_until(float("inf"))
    return np.array(answered), refused


with plots.style():
    figure, axes = plt.subplots(figsize=(8, 2.6), layout="constrained")
    for place, (name, queue) in enumerate((("no bound", float("inf")), ("at most 16 wait", 16))):
        answered, refused = simulate(60, 60, queue)
        axes.plot(*answered.T, color=plots.COLORS[place], linestyle=plots.DASHES[place], label=name)
        late = answered[answered[:, 0] > 50]
        share = refused / (refused + len(answered))
        print(f"{name:16} {100 * share:5.1f} % refused; who came after 50 s waited {late[:, 1].mean():6.2f} s")
    axes.set(
        xlabel="arrival (s)", ylabel="time to the answer (s)", title="60 requests a second, where 50 can be answered"
    )
    axes.legend()
plt.show()

# %% [markdown]
# Without a bound *everybody* is worse off, more and more. With it, one in six is told to come again, and all others hardly notice. Does Little's law hold in the simulation? $L$ is the sum of all times in the service over the length of the
# experiment.

# %%
for rate in (20, 40, 48):
    answered, _ = simulate(rate, 200)
    length = answered.sum(axis=1).max()
    print(f"{rate} a second: {rate * answered[:, 1].mean():5.2f} = lambda W,  {answered[:, 1].sum() / length:5.2f} inside on average,  "
          f"W = {1000 * answered[:, 1].mean():4.0f} ms, one in twenty more than {1000 * np.quantile(answered[:, 1], 0.95):4.0f} ms")  # fmt: skip

# %% [markdown]
# Look at $W$: the work is 20 ms in every row. Near the capacity waiting is nearly all of it, for arrivals come in bunches. Who plans for a load of 95 % plans for waiting.
#
# ## Together
#
# The model takes hardly longer for sixteen recordings than for one, for most of what a small batch costs is the starting of operations (chapter [03](03_masks_padding_batches.ipynb) made batches for that reason). Is it so here? On
# your machine, one thread:

# %% tags=["nbval-ignore-output"]
torch.set_num_threads(1)
alike = sorted(test, key=lambda utterance: utterance.seconds)[50:66]
sounds = [read_audio(utterance.audio) for utterance in alike]
recognizer.transcribe(sounds[:2])  # the first call is slower
per_second = {}
for size in (1, 2, 4, 8, 16):
    begin, rounds = time.process_time(), max(1, 8 // size)
    for _ in range(rounds):
        recognizer.transcribe(sounds[:size])
    per_second[size] = rounds * size / (time.process_time() - begin)
for size, rate in per_second.items():
    print(f"batches of {size:2}: {rate:6.1f} recordings a second of processor time, {rate / per_second[1]:.1f} times as many as one by one")  # fmt: skip

# %% [markdown]
# But people do not come in batches. They come one by one, and a batch has to be *made* ([dynamic batching](../docs/glossary.md#dynamic-batching)): the first one waits a little for others. How long? Here is the trade:
#
# - not at all: under little load everybody is served at once, and batches have one member;
# - long: batches are full, and everybody has waited for that.
#
# The rule that nearly all such services use has two numbers. A batch goes when `max_batch` wait, or when the **oldest** has waited for `max_wait`, whichever is first. And while a batch runs, others arrive and wait anyway: when it ends, the oldest of them has
# often waited long enough already, and the next batch goes at once, as large as it has become. Under load nobody waits for company. The load makes the batches, and `max_wait` (10 ms here) matters only when there is little to do.
#
# **By hand**, with `max_batch` = 3 and `max_wait` = 10 ms:
#
# | time (ms) | what happens | who waits |
# |---|---|---|
# | 0 | a arrives; the recogniser is free | a |
# | 7 | b arrives | a b |
# | 10 | a has waited for 10: **a b go**; the batch takes 30 ms | |
# | 12, 15, 21 | c, d, e arrive | c d e |
# | 33 | f arrives | c d e f |
# | 40 | the recogniser is free; c has waited for 28: **three go at once** | one is left, whose 10 ms are over as well when these are done |
#
# Which three of c, d, e, f? The oldest, c, always: or a recording of unusual length would never be taken. With it those that are *nearest in length*, since a batch is as long as its longest; lengths that differ by more than a factor of 2 (`SIMILAR`) stay
# apart, as do requests for different searches (`kind`), which the model cannot run in one call.
#
# **The `async` that you need.** All of the service but the model runs in one thread, in a loop that goes from one waiting function to the next. `await` marks the places where a function lets others go on. Between two of them nobody else touches `self.waiting`, and no lock is needed. `await
# self._next_arrival(timeout)` comes back when somebody has arrived (or the service stops), and after `timeout` seconds at the latest; with `None` it waits without end.
#
# **Exercise 15.3** · 25 minutes · difficulty 4 of 5 · core
#
# Write `select`, which chooses, and `DynamicBatcher.gather`, which waits. A job has `kind`, `size` (its length) and `arrived`, on the clock of `time.monotonic()`. `self._forget()` takes out of `self.waiting` those who have given up: call it whenever you come back from waiting.


# %%
@exercise("15.3")
def select(waiting: Sequence[Job], max_batch: int) -> list[Job]:
    """Which of the waiting jobs go into the next batch.

    The oldest always does, so that none waits for ever. Of the others those of its kind, of similar length, nearest in
    length first: a batch is as long as its longest, and the rest of it is padding.

    Args:
        waiting: at least one job, the oldest first.
        max_batch: most jobs of a batch.
    """
    raise NotImplementedError("exercise 15.3")


class DynamicBatcher:  # these methods become part of asr_tutorial.serve.batching.DynamicBatcher
    async def gather(self) -> list[Job]:
        """The next batch: wait for a first job, then until ``max_batch`` wait or the first has waited ``max_wait``.

        Returns:
            Jobs that are taken out of the queue; none when the batcher stops.
        """
        raise NotImplementedError("exercise 15.3")


# %%
select, DynamicBatcher = check("15.3")

# %% [markdown]
# Stuck? `asr-tutorial hint 15.3` in a terminal, one hint at a time.
#
# **Try it**: sixty requests arrive, 3 ms apart, at a worker that takes 20 ms and 2 ms for each. (A notebook has a loop of its own already, so ours runs in another thread.)


# %%
def in_a_loop(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine returns, in an event loop of its own."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


async def burst(count: int, gap: float, max_batch: int, max_wait: float) -> tuple[list[int], float, float]:
    """Sizes of the batches, requests answered a second, and the mean time to the answer in seconds."""

    def work(kind: Any, items: list[int]) -> list[int]:
        time.sleep(0.02 + 0.002 * len(items))
        return [item * item for item in items]

    sizes: list[int] = []
    batcher = DynamicBatcher(work, max_batch, max_wait, queue=count, on_batch=sizes.append)
    batcher.start()

    async def ask(number: int) -> float:
        begin = time.monotonic()
        answer = await batcher.submit(number, "square", 1.0, timeout=30)
        assert answer.result == number * number, "everybody gets the own answer"
        return time.monotonic() - begin

    begin, asked = time.monotonic(), []
    for number in range(count):
        asked.append(asyncio.create_task(ask(number)))
        await asyncio.sleep(gap)
    times = await asyncio.gather(*asked)
    rate = count / (time.monotonic() - begin)
    await batcher.stop()
    return sizes, rate, sum(times) / count


# %% tags=["nbval-ignore-output"]
for max_batch, max_wait in ((1, 0.0), (16, 0.0), (16, 0.01), (16, 0.1)):
    sizes, rate, mean = in_a_loop(burst(60, 0.003, max_batch, max_wait))
    print(f"max_batch {max_batch:2}, max_wait {1000 * max_wait:3.0f} ms: {rate:4.0f} a second, {1000 * mean:4.0f} ms to an answer; batches of {sizes[:12]}{' ...' if len(sizes) > 12 else ''}")  # fmt: skip

# %% [markdown]
# One by one, the worker is overloaded: it can answer 45 a second, and 300 come. With batches it keeps up, and the batches find their size by themselves.
#
# ### Experiment: latency against throughput
#
# How much load can be taken, and at what wait? The simulation again, now with the worker from above: 20 ms for a batch and 2 ms for each request in it. One by one its capacity is $1 / 0.022 = 45$ a second; in batches of 16 it is $16 / 0.052 = 307$. Each point is one load.

# %%
with plots.style():
    figure, axes = plt.subplots(figsize=(8, 3), layout="constrained")
    for place, max_batch in enumerate((1, 4, 16)):
        capacity = max_batch / (0.02 + 0.002 * max_batch)
        points = []
        for load in (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95):
            answered, _ = simulate(load * capacity, 60, max_batch=max_batch, each=0.002)
            points.append((load * capacity, 1000 * answered[:, 1].mean()))
        axes.plot(*zip(*points, strict=True), color=plots.COLORS[place], linestyle=plots.DASHES[place], marker="os^"[place], markersize=4, label=f"batches of at most {max_batch}")  # fmt: skip
        print(f"at most {max_batch:2}: capacity {capacity:5.0f} a second; at half of it {points[2][1]:4.0f} ms, at 95 % {points[-1][1]:5.0f} ms")  # fmt: skip
    axes.set(xlabel="requests answered in a second", ylabel="mean time to an answer (ms)", ylim=(0, 300), title="Each curve bends upwards at its capacity; batches move the bend to the right")  # fmt: skip
    axes.legend()
plt.show()

# %% [markdown]
# Batching is the rare case of getting more and paying nearly nothing: at the load that brings a service of single requests to its knees, one with batches is far from its bend. What is paid is at the left end: with little load, `max_wait`. The service that runs in this notebook, with as many
# callers as you like (its record, where there is one, comes from `benchmarks/serving.py`):

# %% tags=["nbval-ignore-output"]
files = [as_file(sound) for sound in sounds]


def call(number: int) -> tuple[int, int, float]:
    """Status, size of the batch and milliseconds of one request."""
    begin = time.perf_counter()
    response = client.post("/transcribe", files={"file": files[number % len(files)]})
    size = response.json()["timing"]["batch_size"] if response.status_code == 200 else 0
    return response.status_code, size, 1000 * (time.perf_counter() - begin)


for callers, count in ((1, 8), (8, 32), (48, 64)):
    with ThreadPoolExecutor(callers) as pool:
        results = list(pool.map(call, range(count)))
    taken = [result for result in results if result[0] == 200]
    sizes, times = [size for _, size, _ in taken], [ms for *_, ms in taken]
    print(f"{callers:2} callers: {len(taken)} answered, {count - len(taken)} refused with 429; batches of up to {max(sizes)}; {np.median(times):4.0f} ms in the middle, {max(times):4.0f} at most")  # fmt: skip

# %% [markdown]
# With 48 callers and a queue of 16 some are refused, and those who are let in have their answers soon. `GET /metrics` has these counts for a monitor:

# %% tags=["nbval-ignore-output"]
lines = client.get("/metrics").text.splitlines()
print(
    "\n".join(
        line
        for line in lines
        if line.startswith(("asr_requests_total", "asr_batch_size_count", "asr_batch_size_sum", "asr_queue_depth"))
    )
)

# %% [markdown]
# ## While somebody still speaks
#
# So far the recording was over before it was sent. Who dictates wants to see words *while speaking*. Our encoder hears all of an utterance before it says anything about its first frame, so what can be done? The simplest thing that works: recognise what was heard so far, again
# and again, every half a second. It costs more, and you will measure how much. But there is a worse difficulty:

# %% tags=["nbval-ignore-output"]
long_sentence = test[0]
spoken = read_audio(long_sentence.audio)
print("said:", long_sentence.text)
for heard in (1.0, 1.5, 2.0, 2.5, 3.0):
    so_far = spoken[: int(16_000 * heard)]
    print(f"{heard} s  ctc:     {recognizer.transcribe(so_far, search='ctc').text}")
    print(f"       decoder: {recognizer.transcribe(so_far, search='greedy').text}")

# %% [markdown]
# The text flickers. A word that is cut off in the middle is heard as another one; a word that was right becomes wrong and right again. And look at the ends: CTC writes what it hears, letter by letter. The decoder has learnt that sentences have an end, and invents one.
#
# What can be shown to a reader, then? A word that has come up in two hypotheses *in a row*, at the same place and with the same words before it, is probably there to stay; the inventions at the end rarely come twice alike. This rule is called [**local agreement**](../docs/glossary.md#local-agreement): what consecutive hypotheses
# agree on is *committed*: it is shown as firm, and never taken back, whatever comes later. What follows it is shown too, in grey.
#
# **By hand**:
#
# | hypothesis | agrees with the one before it on | committed | shown in grey |
# |---|---|---|---|
# | THE CAR | | | THE CAR |
# | THE CARPET IS | THE | THE | CARPET IS |
# | THE CARPET IS RED | THE CARPET IS | THE CARPET IS | RED |
# | A CARPET IS READ | | THE CARPET IS | READ |
# | A CARPET IS READ AND | A CARPET IS READ | THE CARPET IS READ | AND |
#
# In the fourth line the model has changed its mind about THE. Too late: somebody has read it. In the fifth the fourth word is committed all the same: committed words are *counted*, not compared, for otherwise one changed letter at the beginning would stop everything behind it.
#
# **Exercise 15.4** · 15 minutes · difficulty 2 of 5 · core
#
# Write `agreed_prefix`, and `StablePrefix.update`. `self.words` are the committed words, and `self._recent` is a `deque` that holds at most `agreement` hypotheses (its `maxlen`) and drops the oldest by itself.


# %%
@exercise("15.4")
def agreed_prefix(hypotheses: Sequence[Sequence[str]]) -> list[str]:
    """The words with which all hypotheses begin.

    Args:
        hypotheses: word lists, in any number.

    Returns:
        Their longest common prefix; of none, nothing.
    """
    raise NotImplementedError("exercise 15.4")


class StablePrefix:  # these methods become part of asr_tutorial.serve.streaming.StablePrefix
    def update(self, hypothesis: Sequence[str]) -> list[str]:
        """Take the next hypothesis and commit what the latest ones agree on.

        Committed words are counted, not compared: where a later hypothesis spells the third word otherwise, the third
        committed word stays as it is, and the fourth may be committed all the same.

        Args:
            hypothesis: all words heard so far.

        Returns:
            The words of this hypothesis behind the committed ones.
        """
        raise NotImplementedError("exercise 15.4")


# %%
agreed_prefix, StablePrefix = check("15.4")

# %% [markdown]
# Stuck? `asr-tutorial hint 15.4` in a terminal, one hint at a time.
#
# **Try it** with the example:

# %%
stable = StablePrefix(agreement=2)
for hypothesis in ("THE CAR", "THE CARPET IS", "THE CARPET IS RED", "A CARPET IS READ", "A CARPET IS READ AND"):
    rest = stable.update(hypothesis.split())
    print(f"{hypothesis:24} {' '.join(stable.words):24} {' '.join(rest).lower()}")

# %% [markdown]
# ## Sound in, words out
#
# Now the machine around it. Sound comes in pieces: a browser sends some 50 ms at a time, a program perhaps a second, and the network may join or split them. The same recording must give the same text however it was cut. So looks are not taken when a piece
# arrives, but after each `step` samples of *sound*: a piece may complete none, one or many.
#
# Three things need care.
#
# - **Memory.** Somebody may leave the microphone open all night. Sound is kept in a buffer of fixed size, with room for a window (8 s) and one step more.
# - **Work.** A look costs in proportion to what is in the window. When the window holds more than `window_seconds`, it is cut *before* the look: the part before a pause is recognised for good, its words are moved to `self._closed`, and its sound is forgotten. `self._cut()` does all of that.
# - **Other threads.** Who recognises may still be reading when the buffer is overwritten: hand out a copy.
#
# **Exercise 15.5** · 25 minutes · difficulty 3 of 5 · core
#
# Write `StreamingRecognizer.feed` and `look`. The state: `self._buffer` (samples), `self._filled` (how many of them are in use), `self._fresh` (how many have come since the last look), `self.step` (how many are due for one), `self.window_seconds`, `self.sample_rate`, `self.stable` (a `StablePrefix`), `self.listen` (a function: samples to
# text), `self._closed` (words before the window), `self.seconds` (heard so far). `np` and `Partial` are known.


# %%
@exercise("15.5")
class StreamingRecognizer:  # these methods become part of asr_tutorial.serve.streaming.StreamingRecognizer
    def feed(self, samples: Samples) -> list[Partial]:
        """Hear the next piece of audio.

        Args:
            samples: (samples,) float32, full scale [-1, 1], of any length.

        Returns:
            One partial result for each look that fell due within this piece, mostly none or one.
        """
        raise NotImplementedError("exercise 15.5")

    def look(self) -> Partial:
        """Recognise the window anew and commit what is agreed on."""
        raise NotImplementedError("exercise 15.5")


# %%
StreamingRecognizer = check("15.5")

# %% [markdown]
# Stuck? `asr-tutorial hint 15.5` in a terminal, one hint at a time.
#
# **Try it**: the sentence from above, in pieces of 50 ms. Capital letters are committed.


# %% tags=["nbval-ignore-output"]
def follow(samples: Samples, **settings: Any) -> tuple[list[Partial], str]:
    """Partial results of a recording, and its final text."""
    stream = StreamingRecognizer.of(recognizer, 16_000, **settings)
    partials = []
    for start in range(0, len(samples), 800):
        partials += stream.feed(samples[start : start + 800])
    return partials, " ".join(piece.result.text for piece in stream.finish())


partials, final = follow(spoken)
for partial in partials:
    print(f"{partial.seconds:3.1f} s  {partial.stable} {partial.unstable.lower()}")
print("final ", final)
print("the same as recognised at once:", final == recognizer.transcribe(spoken).text)

# %% [markdown]
# The final result is the offline one, for a recording that fits the window: at the end all of the sound is there, and nothing speaks against recognising it properly. That it may *correct* a committed word is the price of having committed it early.
#
# ### Experiment: when do words appear?
#
# As a picture: each row is a look. A word is drawn where it was spoken, pale as long as it may change, dark from when it is committed. The line is the present. What lies to the right of it has not been said yet: these are the decoder's inventions. What lies to the left has been, and the horizontal distance from a word to the line, in the row in which it turns dark, is its [**latency**](../docs/glossary.md#latency).

# %% tags=["nbval-ignore-output"]
aligned = recognizer.align(spoken, final).words
with plots.style():
    figure, axes = plt.subplots(figsize=(9, 3.4), layout="constrained")
    for partial in partials:
        words = [*partial.stable.split(), *partial.unstable.split()]
        for place, (word, timed) in enumerate(zip(words, aligned, strict=False)):
            committed = place < len(partial.stable.split())
            axes.text((timed.start + timed.end) / 2, partial.seconds, word, fontsize=6, ha="center", va="center", color="black" if committed else "#999999", weight="bold" if committed else "normal")  # fmt: skip
    axes.plot([0, partials[-1].seconds], [0, partials[-1].seconds], color=plots.COLORS[1], linewidth=1, label="now")
    axes.set(xlim=(0, len(spoken) / 16_000), ylim=(len(spoken) / 16_000 + 0.2, 0.2), xlabel="where the word lies in the sound (s)", ylabel="heard so far (s)", title="Bold words are committed; each row is one look")  # fmt: skip
    axes.legend(loc="upper right")
plt.show()

# %% [markdown]
# How late is a word, and how often is a committed one wrong? Both depend on how often you look, and on how many hypotheses must agree. **Predict**: what happens to latency, to corrections and to the work if three must agree in the place of two? If you look twice as often? The recorded run (`python benchmarks/streaming.py`, all test sentences):

# %% tags=["nbval-ignore-output"]
record = json.loads((RESULTS / "streaming.json").read_text(encoding="utf-8"))
print(f"{record['utterances']} sentences, {record['audio_seconds']:.0f} s; final results equal to the offline ones: {record['rows'][0]['same_as_offline']}")  # fmt: skip
print(f"{'search':8}{'look every':>11}{'agree':>7}{'latency':>10}{'corrected':>11}{'work (RTF)':>12}")
for row in record["rows"]:
    print(f"{row['partial_search']:8}{row['step_seconds']:9.2f} s{row['agreement']:7}{row['latency_mean']:8.2f} s{100 * row['corrected_share']:9.0f} %{row['rtf']:12.3f}")  # fmt: skip

# %% tags=["nbval-ignore-output"]
with plots.style():
    figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
    for place, search in enumerate(("greedy", "ctc")):
        for step, marker in ((0.25, "^"), (0.5, "s"), (1.0, "o")):
            rows = [r for r in record["rows"] if (r["partial_search"], r["step_seconds"]) == (search, step)]
            axes.plot([r["latency_mean"] for r in rows], [100 * r["corrected_share"] for r in rows], color=plots.COLORS[place], linestyle=plots.DASHES[place], marker=marker, markersize=5, linewidth=0.8, label=f"{search}, every {step} s")  # fmt: skip
            for row in rows:
                axes.annotate(str(row["agreement"]), (row["latency_mean"], 100 * row["corrected_share"]), textcoords="offset points", xytext=(4, 4), fontsize=7)  # fmt: skip
    axes.set(xlabel="mean latency of a word (s)", ylabel="committed words corrected (%)", title="Sooner or surer; the number is how many must agree")  # fmt: skip
    axes.legend()
plt.show()

# %% [markdown]
# With one hypothesis ("agree 1") words come at once, some before they have been spoken, since the decoder invents them, and most must be corrected. Each further hypothesis that must agree costs one step of time, and makes the corrections fewer. The work depends on the looks alone: half the step, twice the work.
#
# And a surprise, if you believed the flicker above: the decoder, which invents, is the *better* source of partial results here. Its inventions change from look to look and are filtered out by the agreement; CTC's misspellings, TOMAROW for TOMORROW, are faithful, and come twice alike. Whether it is so with
# another model is a question for the same benchmark.
#
# ### Over a WebSocket
#
# HTTP answers once. For a conversation browsers have the [WebSocket](../docs/glossary.md#websocket): one connection, on which both sides send messages when they like. Ours is `/stream`: the client says its sample rate, then sends samples, at last `{"end": true}`. Its looks go through the same queue and the same batches as all other requests. Here the sentence once more, as the page in a browser sends it:

# %% tags=["nbval-ignore-output"]
with connect(f"ws://{address}/stream") as socket:
    socket.send(json.dumps({"sample_rate": 16_000}))
    for start in range(0, len(recording), 800):
        socket.send(recording[start : start + 800].astype("<f4").tobytes())
    socket.send(json.dumps({"end": True}))
    for message in map(json.loads, socket):
        if message["type"] == "partial":
            print(f"partial {message['seconds']:.1f} s  {message['stable']} {message['unstable'].lower()}")
        else:
            print(f"{message['type']}  {message['text']}  (confidence {message['confidence']:.2f})")
print("closed with code", socket.close_code)

# %% [markdown]
# Every limit of the chapter has its place here too: half a sample, NaN, a message of a megabyte, a minute of sound, half a minute of nothing, a fifth speaker where four may speak, a client that vanishes, a service that stops. Each has a code with which the connection is closed, and a sentence before that:

# %%
for name, messages in {
    "six bytes": [json.dumps({"sample_rate": 16_000}), bytes(6)],
    "16-bit samples, not scaled": [json.dumps({"sample_rate": 16_000}), np.float32([12_000.0]).tobytes()],
    "no greeting": [bytes(4)],
    "an end without a word": [json.dumps({"sample_rate": 16_000}), json.dumps({"end": True})],
}.items():
    with connect(f"ws://{address}/stream") as socket:
        for message in messages:
            socket.send(message)
        told = json.loads(socket.recv())
    print(f"{socket.close_code}  {name:28} {told['code']}: {told['message']}")

# %% [markdown]
# ## The page
#
# ![The page of the service: a transcript with the confidence of each word, the mel picture, CTC's posteriors](../docs/service.png)
#
# A service for people has a page. Start it in a terminal and open the address that it prints:
#
#     asr-tutorial serve
#
# Speak, or drop a file: you see the mel picture, the words as they are played, where CTC hears each letter, where the decoder looks, and what the other searches would have written. Browsers give the microphone to pages of the same machine and to those that come over TLS, to no others.
# `GET /docs` describes the API, `asr-tutorial serve --help` all limits.
#
# ## Stopping
#
# A service ends, too: for a new model, or because its machine goes down. In order: refuse newcomers (503, and `Retry-After`), tell those who wait, finish the batch that runs, close. Whoever is asked to wait can go elsewhere; whoever is cut off without a word tries again and again.

# %%
service = app.state.service
service.batcher.stopping = True  # what a signal does first
response = client.post("/transcribe", files={"file": files[0]})
print(response.status_code, response.json()["error"], "Retry-After:", response.headers["retry-after"])
server.should_exit = True
while server.started and server.servers and server.servers[0].is_serving():
    time.sleep(0.01)
print("closed")

# %% [markdown]
# ## What is missing for production
#
# - **TLS.** Passwords and voices do not travel in the clear. Usually a proxy in front (nginx, Caddy) does it, and limits connections for each address, which ours does not.
# - **Who are you?** There is no authentication, no quota for each caller. The bound of the queue treats one greedy program and a hundred people alike.
# - **Several models, several machines.** One process has one model. More load means more processes behind a balancer that reads `/health`; streams must stay with the process that they began with. On a GPU, the searches of several batches compete for it, and somebody has to decide.
# - **A new model without a gap.** Start the new process, wait until it is healthy, send it new callers, let the old one finish its own. Keep the old one until the error rate of the new one is known; you cannot measure WER in production, since nobody tells you what was said.
# - **Voices are personal data.** A recording identifies a person, and what is said may be a secret. This service keeps nothing and writes no text into its log; who wants to keep recordings to train on needs the speakers' consent, a way to delete, and a reason.
# - **What people do with it.** A transcript with an error in it is taken for what was said. Show confidences, keep the sound beside the text where it matters, and say which voices it was tested on: ours heard synthetic ones.

# %% [markdown]
# ## The usual mistakes
#
# | mistake | what you see |
# |---|---|
# | NaN looked for with `>` | now and then a whole batch of answers is empty |
# | the body is read before the queue is looked at | memory fills up under load, although the queue is bounded |
# | a queue without a bound | after a busy minute all answers are late, for a long time after the load has gone |
# | a bound, but 500 in the place of 429 | the monitor wakes somebody up; clients do not know that they may try again |
# | `max_wait` counted from the latest arrival | under a steady trickle the first request waits until the batch is full |
# | answers matched to requests by order of completion | people get each other's answers; seen only under load |
# | work for people who have gone | the busier it is, the less useful work is done |
# | the model called in the event loop | while it computes, nobody is admitted, refused or told anything; `/health` times out |
# | the model called from several threads | answers are right, mostly |
# | a look for each network packet | fifty times the work, and texts that depend on the network |
# | partial results shown without a stable part | readers see words jump, and stop reading |
# | the decoder's partial text shown as firm | words that nobody has said |

# %% [markdown]
# ## Three questions
#
# **1.** A service has on average 12 requests inside, and 40 arrive each second. How long does a request take on average? What if `max_batch` is doubled and the time falls to 0.2 s?
#
# <details><summary>Answer</summary>
#
# Little's law: $W = L / \lambda = 12 / 40 = 0.3$ s. With $W = 0.2$ s there are $L = 40 \times 0.2 = 8$ inside. The law needs nothing else: no distribution, no order of service.
#
# </details>
#
# **2.** Under full load, does a larger `max_wait` make batches larger?
#
# <details><summary>Answer</summary>
#
# No. While a batch runs, requests gather; when it ends, the oldest of them has waited for the length of a batch, which is longer than `max_wait`, and the next batch goes at once with all that are there. `max_wait` matters when the recogniser is idle as a request arrives.
#
# </details>
#
# **3.** Three hypotheses must agree, and looks are taken each half second. How long after it has been heard rightly for the first time is a word committed? How could you halve that without more corrections?
#
# <details><summary>Answer</summary>
#
# Two looks later, so one second. Halving the step halves this time, for twice the work; but hypotheses that are only 0.25 s apart share most of their sound, so that their mistakes are more alike: they agree on wrong words more often. The record shows it: compare 3 hypotheses every 0.25 s with 2 every 0.5 s.
#
# </details>

# %% [markdown]
# ## What you have learnt
#
# - A service is judged by its answers to wrong input, and by what it does when too much is asked of it.
# - Refusing is cheap, waiting is not: $L = \lambda W$.
# - Batches made of different people's requests multiply what a model can do; the oldest decides when they go.
# - Words can be written while they are spoken, without an encoder made for it, if you know which of them to believe.
#
# ## Where this goes next
#
# An encoder that hears only the past and a little of the future (a *chunked* one) does not need to begin anew at each look: its keys and values are kept, as the decoder's are in chapter 02. The encoder of chapter [12](12_lact.ipynb), made causal, is one. Train it with `--config lact_tiny --model.lact.causal=true`, give `StreamingRecognizer` a
# `listen` that feeds it only what is new, and measure latency and work by the same benchmark. If what your own recogniser writes puzzles you when you speak to it, chapter [14](14_debugging_clinic.ipynb) has the method: symptom, test, cause.
#
# ## References
#
# - J. D. C. Little, [A proof for the queuing formula L = λW](https://doi.org/10.1287/opre.9.3.383), 1961.
# - D. Crankshaw et al., [Clipper: a low-latency online prediction serving system](https://arxiv.org/abs/1612.03079), 2017: batches that adapt to a bound on latency.
# - J. Dean and L. A. Barroso, [The tail at scale](https://doi.org/10.1145/2408776.2408794), 2013: why the slowest one in a hundred counts.
# - [Handling overload](https://sre.google/sre-book/handling-overload/), a chapter of Google's book on site reliability engineering.
# - D. Liu, G. Spanakis and J. Niehues, [Low-latency sequence-to-sequence speech recognition and translation by partial hypothesis selection](https://arxiv.org/abs/2005.11185), 2020: local agreement.
# - D. Macháček, R. Dabre and O. Bojar, [Turning Whisper into real-time transcription system](https://arxiv.org/abs/2307.14743), 2023: the same with a large model, in a service.
# - [RFC 6455](https://www.rfc-editor.org/rfc/rfc6455), the WebSocket protocol, with its close codes.
