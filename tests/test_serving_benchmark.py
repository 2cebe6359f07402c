"""The benchmark of the service: it counts what comes back, and sees an answer that is another caller's."""

import asyncio
import runpy
import sys
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch
from serving import listening
from tiny import tiny_recognizer

from asr_tutorial.serve.app import create_app
from asr_tutorial.serve.engine import Recording
from asr_tutorial.serve.settings import Settings


@pytest.fixture(scope="module")
def benchmark():
    folder = str(Path(__file__).parents[1] / "benchmarks")
    sys.path.insert(0, folder)
    try:
        return runpy.run_path(f"{folder}/serving.py")
    finally:
        sys.path.remove(folder)


def test_answers_are_counted_and_compared(benchmark, tmp_path):
    app = create_app(Settings(checkpoint=tmp_path, max_batch=4), tiny_recognizer())
    rng = np.random.default_rng(0)
    spoken = [
        Recording([torch.from_numpy(rng.normal(10, 4, (60 + 60 * number, 80)).round(3)).float()], [0.0], 1.0)
        for number in range(6)
    ]
    asked = benchmark["requests"](app.state.service.engine, spoken, "ctc")
    texts = [each.text for each in asked]
    assert len(set(texts)) == 6
    shifted = [
        benchmark["Asked"](each.request, text, 1.0) for each, text in zip(asked, texts[1:] + texts[:1], strict=True)
    ]
    foreign = [benchmark["Asked"](each.request, "NO SUCH TEXT", 1.0) for each in asked]

    with listening(app) as address:
        place = urlsplit(address)

        def load(requests):
            return asyncio.run(benchmark["load"](place.hostname, place.port, requests, 5, 0.3)).row()

        right, mixed, wrong = load(asked), load(shifted), load(foreign)
    gone = load(asked)
    assert right["answered"] >= 5
    assert (right["errors"], right["wrong"], right["mixed_up"]) == (0, 0, 0)
    assert right["p50_ms"] <= right["p95_ms"] <= right["max_ms"]
    assert 1 <= right["mean_batch"] <= 4
    assert mixed["mixed_up"] == mixed["wrong"] == mixed["answered"] > 0
    assert (wrong["wrong"], wrong["mixed_up"]) == (wrong["answered"], 0)
    assert (gone["answered"], gone["errors"] > 0) == (0, True)


def test_recordings_are_tinyspeech_s(benchmark):
    recognizer = tiny_recognizer()
    spoken = benchmark["recordings"](benchmark["Engine"](recognizer, 60.0), 3)
    assert len(spoken) == 3
    assert all(1 < each.seconds < 10 for each in spoken)
    scaled = spoken[0].pieces[0].double() * 1000
    assert torch.allclose(scaled, scaled.round(), atol=0.01)
