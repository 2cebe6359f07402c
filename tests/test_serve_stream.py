"""``WS /stream``: the protocol, its limits, and each way in which a client can behave badly."""

import io
import json
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
import soundfile
from tiny import sound, tiny_recognizer

pytest.importorskip("fastapi", reason="the extra serve")
import uvicorn
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from asr_tutorial.serve import live
from asr_tutorial.serve.app import create_app
from asr_tutorial.serve.server import Server
from asr_tutorial.serve.settings import Settings

RATE = 16_000


@pytest.fixture(scope="module")
def recognizer():
    return tiny_recognizer()


@contextmanager
def service(recognizer, tmp_path, **settings):
    app = create_app(Settings(checkpoint=tmp_path, max_wait_ms=0, **settings), recognizer)
    with TestClient(app) as client:
        yield client


@pytest.fixture
def client(recognizer, tmp_path):
    with service(recognizer, tmp_path, max_seconds=5, timeout=10) as client:
        yield client


def pieces(samples, size=1600):
    """Samples as binary messages."""
    data = samples.astype("<f4").tobytes()
    return [data[start : start + 4 * size] for start in range(0, len(data), 4 * size)]


def speak(socket, samples, rate=RATE, **greeting):
    """Send a whole utterance."""
    socket.send_json({"sample_rate": rate, **greeting})
    for piece in pieces(samples):
        socket.send_bytes(piece)
    socket.send_json({"end": True})


def answers(socket):
    """All messages up to the close, and its code."""
    got = []
    try:
        while True:
            got.append(socket.receive_json())
    except WebSocketDisconnect as closed:
        return got, closed.code


class TestProtocol:
    @pytest.mark.parametrize("rate", [RATE, 48_000])
    def test_partial_results_and_the_offline_result(self, client, recognizer, rate):
        samples = sound(2.2, sample_rate=rate)
        with client.websocket_connect("/stream") as socket:
            speak(socket, samples, rate)
            got, code = answers(socket)
        *partials, final = got
        assert code == 1000
        assert [partial["seconds"] for partial in partials] == [0.5, 1.0, 1.5, 2.0]
        assert all(set(partial) == {"type", "stable", "unstable", "seconds"} for partial in partials)
        assert final["type"] == "final"
        assert final["text"] == recognizer.transcribe(samples, rate).text
        assert final["duration"] == pytest.approx(2.2)
        assert [word["word"] for word in final["words"]] == final["text"].split()

    def test_another_search(self, client, recognizer):
        samples = sound(1.2)
        with client.websocket_connect("/stream") as socket:
            speak(socket, samples, search="ctc")
            final = answers(socket)[0][-1]
        assert final["search"] == "ctc"
        assert final["text"] == recognizer.transcribe(samples, search="ctc").text

    def test_the_answer_has_what_transcribe_answers(self, client):
        with client.websocket_connect("/stream") as socket:
            speak(socket, sound(1.0))
            final = answers(socket)[0][-1]
        file = io.BytesIO()
        soundfile.write(file, sound(1.0), RATE, format="WAV", subtype="FLOAT")
        offline = client.post("/transcribe", files={"file": file.getvalue()}).json()
        assert set(final) == set(offline) | {"type"}
        assert final["words"] == offline["words"]
        assert final["confidence"] == pytest.approx(offline["confidence"], rel=1e-4)

    def test_a_long_stream_has_one_answer_of_several_pieces(self, recognizer, tmp_path):
        samples = sound(9.3)
        with service(recognizer, tmp_path) as client, client.websocket_connect("/stream") as socket:
            speak(socket, samples, search="ctc")
            *partials, final = answers(socket)[0]
        assert final["duration"] == pytest.approx(9.3)
        stable = ""
        for partial in partials:
            assert partial["stable"].startswith(stable)
            stable = partial["stable"]
        starts = [word["start"] for word in final["words"] if word["start"] is not None]
        assert starts == sorted(starts), "times are those of the whole stream"
        assert len(final["words"]) == len(final["text"].split())

    def test_several_at_once_get_their_own_answers(self, client, recognizer):
        voices = [sound(1.0 + 0.2 * number, seed=number) for number in range(4)]
        texts = [None] * len(voices)

        def run(number):
            with client.websocket_connect("/stream") as socket:
                speak(socket, voices[number], search="ctc")
                texts[number] = answers(socket)[0][-1]["text"]

        threads = [threading.Thread(target=run, args=(number,)) for number in range(len(voices))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert texts == [recognizer.transcribe(voice, search="ctc").text for voice in voices]


def nan(samples):
    samples[7] = np.nan
    return samples.astype("<f4").tobytes()


GOOD = {"sample_rate": RATE}
ALL_GREETED = [
    ("half_a_sample", [b"\0" * 6], "bad_message", 1007),
    ("not_a_number", [nan(sound(0.1))], "bad_message", 1007),
    ("integers_as_floats", [(32768 * sound(0.1)).astype("<f4").tobytes()], "bad_message", 1007),
    ("too_large", [b"\0" * (live.LARGEST_MESSAGE + 4)], "too_large", 1009),
    ("a_long_text", ["x" * 1001], "too_large", 1009),
    ("no_json", ["hello"], "bad_json", 1007),
    ("deep_json", ["[" * 999], "bad_json", 1007),
    ("another_json", ['{"end": "yes"}'], "bad_message", 1007),
    ("nothing_said", ['{"end": true}'], "too_short", 1007),
    ("hardly_anything_said", [b"\0" * 400, '{"end": true}'], "too_short", 1007),
    ("too_long", pieces(sound(5.2), 80_000), "too_long", 1009),
]


class TestBadInput:
    @pytest.mark.parametrize(
        ("messages", "code", "close"), [row[1:] for row in ALL_GREETED], ids=[row[0] for row in ALL_GREETED]
    )
    def test_after_the_greeting(self, client, messages, code, close):
        with client.websocket_connect("/stream") as socket:
            socket.send_json(GOOD)
            for message in messages:
                socket.send_bytes(message) if isinstance(message, bytes) else socket.send_text(message)
            got, closed = answers(socket)
        error = got[-1]
        assert (error["type"], error["code"], closed) == ("error", code, close)
        assert error["message"]
        assert error["remedy"]
        assert client.get("/health").json()["streams"] == 0, "its place is free again"

    @pytest.mark.parametrize(
        ("greeting", "code"),
        [
            (b"\0\0\0\0", "bad_message"),
            ("{", "bad_json"),
            ("[]", "bad_message"),
            ("{}", "bad_message"),
            ('{"sample_rate": 16000, "more": 1}', "bad_message"),
            ('{"sample_rate": "16000"}', "bad_value"),
            ('{"sample_rate": true}', "bad_value"),
            ('{"sample_rate": 16000.5}', "bad_value"),
            ('{"sample_rate": NaN}', "bad_value"),
            ('{"sample_rate": 7999}', "bad_value"),
            ('{"sample_rate": 1e9}', "bad_value"),
            ('{"sample_rate": 16000, "search": 1}', "bad_value"),
            ('{"sample_rate": 16000, "search": "guess"}', "bad_value"),
        ],
    )
    def test_greetings(self, client, greeting, code):
        with client.websocket_connect("/stream") as socket:
            socket.send_bytes(greeting) if isinstance(greeting, bytes) else socket.send_text(greeting)
            got, closed = answers(socket)
        assert ([error["code"] for error in got], closed) == ([code], 1007)

    def test_other_pages_may_not_use_it(self, client):
        with (
            pytest.raises(WebSocketDisconnect) as refused,
            client.websocket_connect("/stream", headers={"origin": "https://elsewhere.example"}),
        ):
            pass
        assert refused.value.code == 1008
        with client.websocket_connect("/stream", headers={"origin": "http://testserver"}) as socket:
            socket.send_text("{")
            assert answers(socket)[1] == 1007, "its own page may"

    def test_a_defect_is_told_without_its_details(self, client, monkeypatch, caplog):
        def broken(message):
            raise ZeroDivisionError("secret")

        monkeypatch.setattr(live, "pcm", broken)
        with client.websocket_connect("/stream") as socket:
            socket.send_json(GOOD)
            socket.send_bytes(b"\0" * 400)
            (error,), closed = answers(socket)
        assert (error["code"], closed) == ("defect", 1011)
        assert "secret" not in json.dumps(error)
        assert "secret" in caplog.text


class TestLimits:
    def test_who_says_nothing_is_sent_away(self, recognizer, tmp_path):
        with service(recognizer, tmp_path, timeout=0.3) as client, client.websocket_connect("/stream") as socket:
            socket.send_json(GOOD)
            (error,), closed = answers(socket)
        assert (error["code"], closed) == ("idle", 1008)

    def test_who_dawdles_is_sent_away(self, recognizer, tmp_path):
        settings = {"timeout": 0.5, "max_seconds": 1}
        with service(recognizer, tmp_path, **settings) as client, client.websocket_connect("/stream") as socket:
            socket.send_json(GOOD)
            enough = threading.Event()

            def drip():
                while not enough.wait(0.05):
                    socket.send_bytes(b"\0" * 4)

            thread = threading.Thread(target=drip)
            thread.start()
            (error,), closed = answers(socket)
            enough.set()
            thread.join()
        assert (error["code"], closed) == ("too_slow", 1008)

    def test_a_bounded_number_of_speakers(self, recognizer, tmp_path):
        with service(recognizer, tmp_path, max_streams=1) as client:
            with client.websocket_connect("/stream") as first:
                first.send_json(GOOD)
                with client.websocket_connect("/stream") as second:
                    (error,), closed = answers(second)
                assert (error["code"], closed) == ("too_many_streams", 1013)
                first.send_bytes(sound(0.3).astype("<f4").tobytes())
                first.send_json({"end": True})
                assert answers(first)[1] == 1000
            with client.websocket_connect("/stream") as third:
                speak(third, sound(0.3))
                assert answers(third)[1] == 1000, "the place is free again"

    def test_a_full_queue_is_told(self, client):
        batcher = client.app.state.service.batcher
        batcher.queue = 0
        with client.websocket_connect("/stream") as socket:
            (error,), closed = answers(socket)
        assert (error["code"], closed) == ("queue_full", 1013)

    def test_stopping(self, client):
        with client.websocket_connect("/stream") as socket:
            socket.send_json(GOOD)
            socket.send_bytes(sound(0.7).astype("<f4").tobytes())
            assert socket.receive_json()["type"] == "partial"
            client.portal.call(client.app.state.service.batcher.refuse)
            (error,), closed = answers(socket)
        assert (error["code"], closed) == ("stopping", 1001)


@pytest.fixture
def server(recognizer, tmp_path):
    """A server on a free port, in a thread: its address and what stops it."""
    app = create_app(Settings(checkpoint=tmp_path, max_wait_ms=0), recognizer)
    config = uvicorn.Config(app, port=0, log_level="warning", ws_max_size=2 * live.LARGEST_MESSAGE)
    running = Server(config, app.state.service)
    thread = threading.Thread(target=running.run)
    thread.start()
    while not running.started:
        time.sleep(0.01)
    port = running.servers[0].sockets[0].getsockname()[1]
    yield f"ws://127.0.0.1:{port}/stream", running
    running.should_exit = True
    thread.join()


def until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class TestOverTheNetwork:
    def test_a_stream(self, server, recognizer):
        url, _ = server
        samples = sound(1.1)
        with connect(url) as socket:
            socket.send(json.dumps(GOOD))
            for piece in pieces(samples):
                socket.send(piece)
            socket.send('{"end": true}')
            got = [json.loads(message) for message in socket]
        assert [message["type"] for message in got] == ["partial", "partial", "final"]
        assert got[-1]["text"] == recognizer.transcribe(samples).text
        assert socket.close_code == 1000

    def test_a_client_that_vanishes_midway_leaves_nothing_behind(self, server):
        url, running = server
        with connect(url) as socket:
            socket.send(json.dumps(GOOD))
            socket.send(sound(0.6).astype("<f4").tobytes())
            socket.recv()
            socket.socket.close()  # no goodbye
        until(lambda: not running.service.batcher.waiting and not running.service.batcher.running)
        until(lambda: not running.server_state.connections)
        with connect(url) as another:
            another.send("{")
            assert json.loads(another.recv())["code"] == "bad_json"

    def test_an_enormous_message_is_cut_off(self, server):
        with connect(server[0]) as socket:
            socket.send(json.dumps(GOOD))
            with pytest.raises(ConnectionClosed):  # noqa: PT012 - whichever of the two sees it first
                socket.send(b"\0" * (3 * live.LARGEST_MESSAGE))
                socket.recv()
        assert socket.close_code in (1006, 1009)

    def test_another_origin_is_forbidden(self, server):
        with pytest.raises(InvalidStatus) as refused:
            connect(server[0], origin="https://elsewhere.example")
        assert refused.value.response.status_code == 403

    def test_stopped_while_somebody_speaks(self, server):
        url, running = server
        with connect(url) as socket:
            socket.send(json.dumps(GOOD))
            socket.send(sound(0.6).astype("<f4").tobytes())
            socket.recv()
            running.service.batcher.stopping = True
            assert json.loads(socket.recv())["code"] == "stopping"
            with pytest.raises(ConnectionClosed):
                socket.recv()
        assert socket.close_code == 1001
