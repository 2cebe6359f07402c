"""The service's API on real speech: answers, errors, hostile input, limits, metrics, and no mix-up of callers."""

import asyncio
import base64
import io
import json
import struct
import time
import wave

import httpx
import numpy as np
import pytest
import soundfile
import torch
from fastapi.testclient import TestClient
from serving import CHECKPOINT, SPEECH, listening
from tiny import sound, tiny_recognizer

import asr_tutorial
from asr_tutorial.audio import read_audio, resample
from asr_tutorial.recognizer import Recognizer
from asr_tutorial.serve.app import create_app
from asr_tutorial.serve.settings import Settings

SETTINGS = {"checkpoint": CHECKPOINT, "max_bytes": 4_000_000, "max_wait_ms": 1.0}
RATE = 16_000


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return asr_tutorial.load(CHECKPOINT, device="cpu")


@pytest.fixture(scope="module")
def client(recognizer):
    with TestClient(create_app(Settings(**SETTINGS), recognizer)) as client:
        yield client


def features_of(recognizer, path):
    return recognizer._features(read_audio(path))[0].tolist()


def sound_file(samples, rate=RATE, **format):
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, **{"format": "WAV", **format})
    return buffer.getvalue()


def upload(client, content, address="/transcribe", **fields):
    return client.post(address, files={"file": ("speech", content)}, data=fields)


def refusal(response, status):
    """The error of a response that must be one, in the one shape that all have."""
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"code", "message", "remedy"}
    assert all(isinstance(value, str) and value for value in error.values())
    assert "/tmp" not in response.text
    assert "Traceback" not in response.text
    return error


class TestAnswers:
    @pytest.mark.parametrize("search", ["greedy", "ctc", "prefix", "attention", "joint"])
    def test_the_library_s_answer_with_times(self, client, recognizer, search):
        answer = upload(client, SPEECH[0].read_bytes(), search=search).json()
        expected = recognizer.transcribe(str(SPEECH[0]), search=search)
        assert answer["text"] == expected.text
        assert answer["duration"] == pytest.approx(expected.seconds, abs=0.01)
        assert answer["search"] == search
        assert [word["word"] for word in answer["words"]] == expected.text.split()
        assert [word["confidence"] for word in answer["words"]] == pytest.approx(
            [word.confidence for word in expected.words], abs=1e-3
        )
        edges = [edge for word in answer["words"] for edge in (word["start"], word["end"])]
        assert edges == sorted(edges)
        assert edges[0] >= 0
        assert edges[-1] <= answer["duration"] + 0.05
        assert 0 < answer["confidence"] <= 1
        assert set(answer["timing"]) == {"queue_ms", "compute_ms", "total_ms", "batch_size"}
        assert answer["timing"]["total_ms"] >= answer["timing"]["compute_ms"] > 0

    def test_the_times_are_those_of_align(self, client, recognizer):
        answer = upload(client, SPEECH[1].read_bytes(), search="ctc").json()
        aligned = recognizer.align(str(SPEECH[1]), answer["text"])
        for word, expected in zip(answer["words"], aligned.words, strict=True):
            assert (word["start"], word["end"]) == pytest.approx((expected.start, expected.end))

    def test_features_say_what_the_sound_says(self, client, recognizer):
        answer = client.post("/transcribe", json={"features": features_of(recognizer, SPEECH[0])}).json()
        assert answer["text"] == recognizer.transcribe(str(SPEECH[0])).text

    def test_alternatives(self, client):
        content = SPEECH[0].read_bytes()
        answer = upload(client, content, search="joint", nbest="12").json()
        assert 2 <= len(answer["nbest"]) <= 12
        assert answer["nbest"][0]["text"] == answer["text"]
        scores = [alternative["score"] for alternative in answer["nbest"]]
        assert scores == sorted(scores, reverse=True)

    def test_any_rate_and_number_of_channels(self, client, recognizer):
        samples = read_audio(SPEECH[2])
        expected = recognizer.transcribe(samples, search="ctc").text
        stereo = np.stack([samples, samples], axis=1)
        at_48k = resample(samples, RATE, 48_000)
        contents = [
            sound_file(stereo),
            sound_file(at_48k, 48_000, format="FLAC"),
            sound_file(at_48k, 48_000, subtype="FLOAT"),
        ]
        for content in contents:
            assert upload(client, content, search="ctc").json()["text"] == expected

    def test_more_than_thirty_seconds(self, client, recognizer):
        pause = np.zeros(RATE // 2, np.float32)
        samples = np.concatenate([part for path in SPEECH[:12] for part in (read_audio(path), pause)])
        assert 30 < len(samples) / RATE < 60
        answer = upload(client, sound_file(samples), search="ctc").json()
        assert answer["text"] == recognizer.transcribe(samples, search="ctc").text
        starts = [word["start"] for word in answer["words"]]
        assert starts == sorted(starts)
        assert starts[-1] > 30
        error = refusal(upload(client, sound_file(samples), "/explain", search="ctc"), 413)
        assert error["code"] == "too_long"

    def test_silence_and_one_frame_are_answered(self, client):
        for content in ({"features": [[0.0] * 80]}, {"features": [[-15.9] * 80] * 200}):
            for search in ("greedy", "ctc", "joint"):
                answer = client.post("/transcribe", json={**content, "search": search})
                assert answer.status_code == 200, answer.text
                assert all(word["start"] is None or word["start"] >= 0 for word in answer.json()["words"])


class TestExplain:
    def picture(self, values):
        levels = np.frombuffer(base64.b64decode(values["data"]), np.uint8).reshape(values["shape"])
        return values["low"] + levels / 255 * (values["high"] - values["low"])

    def test_numbers_for_pictures(self, client, recognizer):
        path = SPEECH[0]
        answer = upload(client, path.read_bytes(), "/explain").json()
        features, log_probs = recognizer.ctc_posteriors(str(path))
        step = (answer["mel"]["high"] - answer["mel"]["low"]) / 255
        assert np.abs(self.picture(answer["mel"]) - features.numpy()).max() <= 0.51 * step
        assert answer["mel"]["frame_shift"] == 0.01

        alignment = answer["alignment"]
        ids = recognizer.tokenizer.encode(answer["text"])
        expected = log_probs[:, [*ids, recognizer.tokenizer.blank_id]].exp().numpy()
        assert np.abs(self.picture(alignment["posteriors"]) - expected).max() <= 0.51 / 255
        assert alignment["columns"] == [*recognizer.tokenizer.tokenize(answer["text"]), "<blank>"]
        aligned = recognizer.align(str(path), answer["text"])
        assert [token["start"] for token in alignment["tokens"]] == pytest.approx([t.start for t in aligned.tokens])
        assert len(alignment["path"]) == len(log_probs)
        assert alignment["path"][0]["token"] == "<blank>"

        tokens, maps = recognizer.attention_maps(str(path), answer["text"])
        attention = maps["decoder.1.cross_attention"].mean(dim=0).numpy()
        assert answer["attention"]["tokens"] == tokens
        assert np.abs(self.picture(answer["attention"]) - attention).max() <= 0.51 / 255

    def test_searches_side_by_side(self, client, recognizer):
        rows = upload(client, SPEECH[0].read_bytes(), "/explain").json()["comparison"]
        assert [row["search"] for row in rows] == ["greedy", "ctc", "joint", "joint+lm"]
        for row in rows[:3]:
            assert row["text"] == recognizer.transcribe(str(SPEECH[0]), search=row["search"]).text
            assert row["ms"] > 0
        assert rows[3]["text"] is None
        assert "--lm" in rows[3]["reason"]

    def test_with_a_language_model(self, recognizer):
        folder = CHECKPOINT.parent / "mini_librispeech_lm"
        pretrained = asr_tutorial.load(CHECKPOINT.parent / "mini_librispeech", "cpu", folder)
        with TestClient(create_app(Settings(**SETTINGS, lm=folder), pretrained)) as client:
            answer = upload(client, SPEECH[0].read_bytes(), "/explain", search="joint", lm_weight="0.3").json()
            assert client.get("/health").json()["language_model"] == "mini_librispeech_lm"
        row = answer["comparison"][-1]
        assert (row["search"], row["reason"]) == ("joint+lm", None)
        assert row["text"] == pretrained.transcribe(str(SPEECH[0]), search="joint").text


@pytest.mark.parametrize(
    ("model", "searches"),
    [
        ({"decoder_layers": 0}, ["ctc", "prefix", "prefix+lm"]),
        ({"architecture": "paraformer"}, ["ctc", "parallel", "prefix", "prefix+lm"]),
        ({"architecture": "lact"}, ["greedy", "ctc", "joint", "joint+lm"]),
    ],
)
def test_other_architectures(model, searches, tmp_path):
    with TestClient(create_app(Settings(checkpoint=tmp_path, max_wait_ms=0), tiny_recognizer(**model))) as client:
        answer = upload(client, sound_file(sound(1.0)), "/explain")
    assert answer.status_code == 200, answer.text
    assert [row["search"] for row in answer.json()["comparison"]] == searches
    assert (answer.json()["attention"] is None) == ("greedy" not in searches)


ROW = [0.0] * 80
HUGE = "9" * 400


def header(**changes):
    """A WAV file of a tenth of a second whose header says something else."""
    values = {"channels": 1, "rate": RATE, "bits": 16, "data": 3200, **changes}
    frame = values["channels"] * values["bits"] // 8
    fields = (1, values["channels"], values["rate"], values["rate"] * frame % 2**32, frame % 2**16, values["bits"])
    riff = b"WAVEfmt " + struct.pack("<IHHIIHH", 16, *fields) + b"data" + struct.pack("<I", values["data"])
    return b"RIFF" + struct.pack("<I", (len(riff) + values["data"]) % 2**32) + riff + bytes(3200)


def bomb():
    """Some kilobytes of FLAC that hold a quarter of an hour of silence."""
    return sound_file(np.zeros(15 * 60 * RATE, np.int16), format="FLAC")


class TestHostileInput:
    @pytest.mark.parametrize(
        ("body", "status", "code"),
        [
            ("", 400, "bad_json"),
            ("{", 400, "bad_json"),
            ("\xff\xfe", 400, "bad_json"),
            ("[" * 100_000, 400, "bad_json"),
            ('{"features": ' + "[" * 5_000 + "]" * 5_000 + "}", 400, "bad_json"),
            ("[]", 422, "no_features"),
            ("{}", 422, "no_features"),
            ("null", 422, "no_features"),
            ('{"features": []}', 422, "bad_features"),
            ('{"features": "' + "0" * 1000 + '"}', 422, "bad_features"),
            ('{"features": {"0": [0]}}', 422, "bad_features"),
            ('{"features": [[]]}', 422, "bad_features"),
            ('{"features": [[0, 1]]}', 422, "bad_features"),
            (json.dumps({"features": [ROW, ROW[1:]]}), 422, "bad_features"),
            (json.dumps({"features": [[*ROW[1:], None]]}), 422, "bad_features"),
            (json.dumps({"features": [[*ROW[1:], True]]}), 422, "bad_features"),
            (json.dumps({"features": [[*ROW[1:], "1"]]}), 422, "bad_features"),
            (json.dumps({"features": [[*ROW[1:], [1]]]}), 422, "bad_features"),
            (json.dumps({"features": [[*ROW[1:], float("nan")]]}), 422, "bad_features"),
            (json.dumps({"features": [[*ROW[1:], float("-inf")]]}), 422, "bad_features"),
            (json.dumps({"features": [[*ROW[1:], 1e39]]}), 422, "bad_features"),
            (json.dumps({"features": [[*ROW[1:], 101.0]]}), 422, "bad_features"),
            ('{"features": [[' + "0," * 79 + HUGE + "]]}", 422, "bad_features"),
            ('{"features": [[' + "0," * 79 + "9" * 10_000 + "]]}", 400, "bad_json"),
            (json.dumps({"features": [[0] * 80] * 3_001}), 413, "too_long"),
            (json.dumps({"features": [ROW], "search": "magic"}), 422, "bad_value"),
            (json.dumps({"features": [ROW], "search": "parallel"}), 422, "bad_value"),
            (json.dumps({"features": [ROW], "search": ["ctc"]}), 422, "bad_value"),
            (json.dumps({"features": [ROW], "search": "ctc", "nbest": 2}), 422, "bad_value"),
            (json.dumps({"features": [ROW], "search": "joint", "nbest": 10**9}), 422, "bad_value"),
            (json.dumps({"features": [ROW], "search": "joint", "nbest": 0}), 422, "bad_value"),
            (json.dumps({"features": [ROW], "search": "joint", "lm_weight": 0.5}), 422, "bad_value"),
            (json.dumps({"features": [ROW], "search": "joint", "lm_weight": float("nan")}), 422, "bad_value"),
            (json.dumps({"features": [ROW], "colour": "red"}), 422, "bad_value"),
        ],
        ids=lambda value: str(value)[:40],
    )
    def test_json(self, client, body, status, code):
        content = body.encode("latin-1")
        response = client.post("/transcribe", content=content, headers={"content-type": "application/json"})
        assert refusal(response, status)["code"] == code

    @pytest.mark.parametrize(
        ("content", "status"),
        [
            (b"", 422),
            (b"just text, and no sound at all " * 100, 422),
            (b"RIFF", 422),
            (b"fLaC" + bytes(1000), 422),
            (b"OggS" + bytes(1000), 422),
            (bytes(100_000), 422),
            (SPEECH[0].read_bytes()[:100], 422),
            (sound_file(np.zeros(RATE, np.float32), format="FLAC")[:-20], 422),
            (header(), 200),
            (header(data=0), 422),
            (header(rate=0), 422),
            (header(rate=1), 422),
            (header(rate=2**32 - 1), 422),
            (header(channels=0), 422),
            (header(channels=65_535), 422),
            (header(bits=0), 422),
            (header(data=2**31 - 2), 200),  # what a program writes that does not know the length yet
            (header(data=100_000), 422),
            (sound_file(np.zeros((RATE, 12), np.int16)), 422),
            (sound_file(np.zeros(10, np.int16)), 422),
            (sound_file(np.full(RATE, np.nan, np.float32), subtype="FLOAT"), 422),
            (sound_file(np.full(RATE, 1e30, np.float32), subtype="FLOAT"), 422),
            (sound_file(np.zeros(61 * RATE, np.int16)), 413),
            (bomb(), 413),
        ],
        ids=lambda value: str(value)[:30] if isinstance(value, bytes) else None,
    )
    def test_files(self, client, content, status):
        response = upload(client, content)
        if status == 200:
            assert response.status_code == 200
        else:
            refusal(response, status)

    def test_damaged_files_are_never_our_error(self, client):
        rng = np.random.default_rng(0)
        originals = [SPEECH[0].read_bytes(), sound_file(read_audio(SPEECH[0])[:RATE], format="FLAC"), header()]
        for number in range(45):
            content = bytearray(originals[number % 3])
            for place in rng.integers(0, min(len(content), 200 if number % 2 else 10**9), 8):
                content[place] = rng.integers(256)
            response = upload(client, bytes(content), search="ctc")
            assert response.status_code in (200, 413, 422), response.text

    @pytest.mark.parametrize(
        ("sent", "status", "code"),
        [
            ({"files": {"sound": ("a.wav", header())}}, 422, "bad_form"),
            ({"files": {"file": ("a.wav", header()), "more": ("b.wav", header())}}, 400, "bad_form"),
            ({"files": [("file", ("a.wav", header())), ("file", ("b.wav", header()))]}, 400, "bad_form"),
            ({"files": {"other": (None, "no file")}, "data": {"file": "text"}}, 422, "bad_form"),
            ({"files": {"file": ("a.wav", header())}, "data": {"search": "x" * 10_000}}, 400, "bad_form"),
            ({"files": {"file": ("a.wav", header())}, "data": {"search": "magic"}}, 422, "bad_value"),
            ({"files": {"file": ("a.wav", header())}, "data": {"nbest": "many"}}, 422, "bad_value"),
            ({"files": {"file": ("a.wav", header())}, "data": {str(n): "1" for n in range(20)}}, 400, "bad_form"),
            ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 400, "bad_form"),
            ({"content": b"x", "headers": {"content-type": "multipart/form-data; boundary=b"}}, 400, "bad_form"),
            ({"data": {"features": "1"}}, 415, "unsupported_media_type"),
            ({"content": header(), "headers": {"content-type": "audio/wav"}}, 415, "unsupported_media_type"),
            ({"content": b"[]"}, 415, "unsupported_media_type"),
        ],
    )
    def test_forms(self, client, sent, status, code):
        assert refusal(client.post("/transcribe", **sent), status)["code"] == code

    def test_too_large_bodies(self, client):
        error = refusal(upload(client, bytes(5_000_000)), 413)
        assert error["code"] == "too_large"
        assert "4000000 bytes" in error["message"]
        chunks = (bytes(100_000) for _ in range(60))  # without Content-Length
        response = client.post("/transcribe", content=chunks, headers={"content-type": "application/json"})
        assert refusal(response, 413)["code"] == "too_large"

    def test_unknown_addresses_and_methods(self, client):
        for address in ("/nothing", "/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py", "/redoc"):
            assert refusal(client.get(address), 404)["code"] == "not_found"
        response = client.get("/transcribe")
        assert refusal(response, 405)["code"] == "method_not_allowed"
        assert response.headers["allow"] == "POST"

    def test_nothing_is_left_in_the_temporary_folder(self, client, tmp_path, monkeypatch):
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        for content in (header(), b"no sound", sound_file(np.zeros(3 * 10**6 // 2, np.int16))):
            upload(client, content, search="ctc")
        assert not list(tmp_path.iterdir())


class TestPages:
    def test_health(self, client, recognizer):
        health = client.get("/health").json()
        assert health["status"] == "ok"
        assert health["model"] == "tinyspeech"
        assert health["version"] == "0.1.0"
        assert health["queue"] == 0
        assert health["searches"] == list(recognizer.model.searches)

    def test_metrics_count(self, client):
        def value(name):
            lines = client.get("/metrics").text.splitlines()
            return sum(float(line.split()[-1]) for line in lines if line.startswith(name))

        ok, bad = (f'asr_requests_total{{route="/transcribe",status="{status}"}}' for status in (200, 422))
        before = [value(name) for name in (ok, bad, "asr_audio_seconds_total", "asr_batch_size_count")]
        upload(client, header(data=3200), search="ctc")
        upload(client, b"no sound")
        after = [value(name) for name in (ok, bad, "asr_audio_seconds_total", "asr_batch_size_count")]
        assert [b - a for a, b in zip(before, after, strict=True)] == pytest.approx([1, 1, 0.1, 1])
        assert value("asr_queue_depth") == 0

    def test_headers(self, client):
        for address in ("/health", "/docs", "/nothing", "/"):
            headers = client.get(address).headers
            assert "default-src 'self'" in headers["content-security-policy"]
            assert "unsafe" not in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff"

    def test_the_api_is_described_without_anything_from_elsewhere(self, client):
        page = client.get("/docs")
        assert page.status_code == 200
        for address in client.get("/openapi.json").json()["paths"]:
            assert address in page.text
        assert "nbest" in page.text
        assert "src=" not in page.text
        assert "https://" not in page.text
        assert client.get("/static/docs.css").status_code == 200

    def test_a_defect_is_a_clean_500(self, recognizer, monkeypatch):
        app = create_app(Settings(**SETTINGS), recognizer)
        with TestClient(app) as client:
            monkeypatch.setattr(app.state.service.engine, "recognise", lambda *_: 1 / 0)
            response = upload(client, header())
            assert "ZeroDivision" not in str(refusal(response, 500))
            assert "content-security-policy" in response.headers
            assert 'asr_requests_total{route="/transcribe",status="500"} 1.0' in client.get("/metrics").text

    def test_a_service_that_stops_says_so(self, recognizer):
        app = create_app(Settings(**SETTINGS), recognizer)
        with TestClient(app) as client:
            client.portal.call(app.state.service.begin_to_stop)
            response = client.get("/health")
            assert (response.status_code, response.json()["status"]) == (503, "stopping")
            response = upload(client, header())
            assert refusal(response, 503)["code"] == "stopping"
            assert int(response.headers["retry-after"]) >= 1
            assert response.headers["connection"] == "close"


def slow_engine(app, seconds):
    """Make each batch of an application take at least so long."""
    engine = app.state.service.engine
    recognise = engine.recognise

    def slowly(question, recordings):
        time.sleep(seconds)
        return recognise(question, recordings)

    engine.recognise = slowly


def test_too_many_and_too_late(recognizer):
    app = create_app(Settings(checkpoint=CHECKPOINT, max_batch=1, queue=2, timeout=1.9), recognizer)
    slow_engine(app, 1.0)

    async def ask(address):
        async with httpx.AsyncClient(base_url=address, timeout=30) as client:
            files = {"file": ("a.wav", header())}
            return await asyncio.gather(*(client.post("/transcribe", files=files) for _ in range(6)))

    with listening(app) as address:
        responses = asyncio.run(ask(address))
    statuses = sorted(response.status_code for response in responses)
    assert set(statuses) == {200, 429, 504}
    for response in responses:
        if response.status_code != 200:
            refusal(response, response.status_code)
        if response.status_code == 429:
            assert int(response.headers["retry-after"]) >= 1


def test_nobody_is_recognised_who_has_left(recognizer):
    app = create_app(Settings(checkpoint=CHECKPOINT, max_batch=1), recognizer)
    slow_engine(app, 0.3)

    async def scenario(address):
        files = {"file": ("a.wav", header())}
        async with httpx.AsyncClient(base_url=address, timeout=30) as client:
            first = asyncio.create_task(client.post("/transcribe", files=files))
            await asyncio.sleep(0.1)
            with pytest.raises(httpx.ReadTimeout):
                await client.post("/transcribe", files=files, timeout=0.1)
            await first
            await client.post("/transcribe", files=files)
            return (await client.get("/metrics")).text

    with listening(app) as address:
        metrics = asyncio.run(scenario(address))
    assert 'asr_requests_total{route="/transcribe",status="200"} 2.0' in metrics
    assert "asr_batch_size_count 2.0" in metrics


def test_callers_are_not_mixed_up(recognizer):
    """Some tens of callers at a time for two seconds, each with a recording of its own."""
    bodies = [json.dumps({"features": features_of(recognizer, path), "search": "ctc"}) for path in SPEECH[:32]]
    alone = [recognizer.transcribe(str(path), search="ctc") for path in SPEECH[:32]]
    assert len({transcript.text for transcript in alone}) > 16
    sizes = []

    async def caller(client, number, end):
        while time.monotonic() < end:
            response = await client.post(
                "/transcribe", content=bodies[number], headers={"content-type": "application/json"}
            )
            answer = response.json()
            assert answer["text"] == alone[number].text
            assert answer["duration"] == pytest.approx(alone[number].seconds, abs=0.03)
            sizes.append(answer["timing"]["batch_size"])

    async def scenario(address):
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=address, timeout=60, limits=limits) as client:
            end = time.monotonic() + 2
            await asyncio.gather(*(caller(client, number, end) for number in range(32)))

    threads = torch.get_num_threads()
    with listening(create_app(Settings(checkpoint=CHECKPOINT), recognizer)) as address:
        asyncio.run(scenario(address))
    assert torch.get_num_threads() == threads
    assert len(sizes) >= 32
    assert max(sizes) > 4


def test_a_plain_wav_of_the_standard_library(client, tmp_path):
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8_000)
        file.writeframes(bytes(16_000))
    assert upload(client, (tmp_path / "a.wav").read_bytes(), search="ctc").json()["duration"] == pytest.approx(1.0)
