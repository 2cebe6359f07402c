"""``asr-tutorial serve`` as a process: stopped under load, limits on the wire, and mistakes on the command line."""

import concurrent.futures
import http.client
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
import soundfile
from serving import CHECKPOINT, REPOSITORY, SPEECH, listening, served
from tiny import tiny_recognizer
from typer.testing import CliRunner

from asr_tutorial.cli import app
from asr_tutorial.errors import ConfigError
from asr_tutorial.serve.app import create_app
from asr_tutorial.serve.settings import Settings


@pytest.mark.slow
def test_stopped_under_load_clients_get_clean_errors():
    """SIGTERM while 24 callers are served: what runs is answered, the others read 503, and the process ends with 0."""
    sound = SPEECH[0].read_bytes()
    outcomes, refused, broken = [], [], []
    stopped = threading.Event()

    def caller(address):
        new = True  # whether the next request opens a connection
        with httpx.Client(base_url=address, timeout=60) as client:
            while True:
                try:
                    data = {"search": "greedy"}
                    response = client.post("/transcribe", files={"file": ("a.opus", sound)}, data=data)
                except httpx.HTTPError as error:
                    # The kernel takes connections before the process does: one that nobody fetched any more is reset,
                    # which is a refusal as much as one that was not taken. On a connection in use nothing may break.
                    (refused if stopped.is_set() and new else broken).append(error)
                    return
                new = response.headers.get("connection") == "close"
                outcomes.append((response.status_code, response))
                if response.status_code == 503:
                    time.sleep(0.05)

    with (
        served("--max-batch", "4", "--grace", "20") as (address, process),
        concurrent.futures.ThreadPoolExecutor(24) as pool,
    ):
        calls = [pool.submit(caller, address) for _ in range(24)]
        while sum(status == 200 for status, _ in outcomes) < 5:
            time.sleep(0.02)
        stopped.set()
        before = len(outcomes)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        concurrent.futures.wait(calls, 30)
        assert "stopped" in process.stdout.read()
    assert not broken
    assert len(refused) == 24
    assert {status for status, _ in outcomes[:before]} == {200}
    after = outcomes[before:]
    assert {status for status, _ in after} == {200, 503}
    for status, response in after:
        if status == 503:
            assert response.json()["error"]["code"] == "stopping"
            assert int(response.headers["retry-after"]) >= 1
            assert response.headers["connection"] == "close"


@pytest.mark.slow
def test_a_batch_that_takes_too_long_is_given_up():
    with (
        served("--grace", "0.3", "--max-seconds", "600") as (address, process),
        concurrent.futures.ThreadPoolExecutor(1) as pool,
    ):
        buffer = io.BytesIO()
        noise = 0.1 * np.random.default_rng(0).normal(size=200 * 16_000)
        soundfile.write(buffer, noise, 16_000, format="FLAC")
        call = pool.submit(
            httpx.post,
            f"{address}/transcribe",
            files={"file": ("a.flac", buffer.getvalue())},
            data={"search": "joint"},
            timeout=60,
        )
        while httpx.get(f"{address}/health").json()["running"] == 0:
            time.sleep(0.05)
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert call.result(30).status_code == 503
        assert process.wait(30) == 1
        assert time.monotonic() - started < 15
        assert "before the last batch" in process.stdout.read()


def test_limits_on_the_wire():
    """What only a socket shows: bodies without end, slow ones, and callers who wait for leave to send."""
    settings = Settings(checkpoint=CHECKPOINT, max_bytes=100_000, timeout=1)
    with listening(create_app(settings, tiny_recognizer())) as address:
        place = urlsplit(address)
        connection = http.client.HTTPConnection(place.hostname, place.port, timeout=30)
        connection.putrequest("POST", "/transcribe")
        connection.putheader("Content-Type", "application/json")
        connection.putheader("Transfer-Encoding", "chunked")
        connection.endheaders()
        for _ in range(30):
            connection.send(b"4000\r\n" + bytes(0x4000) + b"\r\n")
        connection.send(b"0\r\n\r\n")
        response = connection.getresponse()
        assert response.status == 413
        assert json.load(response)["error"]["code"] == "too_large"

        for head, status in (
            ("Content-Length: 50000\r\n", 408),  # and nothing comes
            ("Content-Length: 200000\r\nExpect: 100-continue\r\n", 413),  # before a byte of it is sent
            ("Content-Length: 99999999999999999999\r\nExpect: 100-continue\r\n", 413),
        ):
            with socket.create_connection((place.hostname, place.port), timeout=30) as caller:
                request = f"POST /transcribe HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{head}\r\n"
                caller.sendall(request.encode())
                answer = caller.makefile("rb").readline()
            assert answer.split()[1] == str(status).encode()
        with socket.create_connection((place.hostname, place.port), timeout=30) as caller:
            caller.sendall(
                request.replace("99999999999999999999", "50000").replace("Expect: 100-continue", "X: y").encode()
            )
            caller.sendall(b'{"features": [')  # and off it goes
        metrics = ""
        while 'status="499"' not in metrics:
            time.sleep(0.02)
            metrics = httpx.get(f"{address}/metrics").text
        assert 'status="500"' not in metrics


def test_a_port_in_use_and_a_bad_checkpoint_are_named(tmp_path):
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        door.listen()
        port = door.getsockname()[1]
        arguments = ["serve", "--checkpoint", str(CHECKPOINT), "--port", str(port)]
        result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert re.search(rf"cannot listen on 127.0.0.1:{port} .*--port", result.output)

    result = CliRunner().invoke(app, ["serve", "--checkpoint", str(tmp_path), "--port", "0"])
    assert result.exit_code == 2
    assert str(tmp_path) in result.output
    assert "serving" not in result.output


def test_without_the_extra_the_remedy_is_named(tmp_path):
    # Modules that cannot be found, as where the extra is not installed.
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nsys.modules['fastapi'] = None\nsys.modules['prometheus_client'] = None\n", encoding="utf-8"
    )
    path = os.pathsep.join([str(tmp_path), str(REPOSITORY)])
    result = subprocess.run(
        [sys.executable, "-m", "asr_tutorial", "serve"],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        timeout=120,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )
    assert result.returncode == 2
    assert result.stderr.startswith("error: the web service needs fastapi, prometheus_client")
    assert 'pip install -e ".[serve]"' in result.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", 70_000),
        ("max_batch", 0),
        ("max_wait_ms", -1),
        ("queue", 0),
        ("timeout", float("nan")),
        ("max_seconds", 0),
        ("max_bytes", 10),
        ("grace", -1),
    ],
)
def test_settings_out_of_range_name_their_option(name, value):
    with pytest.raises(ConfigError, match=f"--{name.replace('_', '-')} must be between"):
        Settings(checkpoint=CHECKPOINT, **{name: value})
