"""``WS /stream``: speech comes in while it is spoken, partial results go out.

The client sends JSON ``{"sample_rate": 48000}`` (and ``"search"``, if it wants another than the default), then binary
messages of float32 samples, little-endian, mono, and at the end ``{"end": true}``. The service sends ``{"type":
"partial", "stable", "unstable", "seconds"}`` again and again, then ``{"type": "final", ...}`` with all that
``/transcribe`` answers, and closes with code 1000. What goes wrong is told as ``{"type": "error", "code", "message",
"remedy"}`` before the connection is closed with the code in :data:`CLOSE`.

A stream asks the same batcher as all other requests. A thread of its own waits for the answers, so that the event loop
and the other streams go on; a client that sends faster than it is answered is slowed down by TCP.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from starlette.websockets import WebSocket, WebSocketDisconnect

from asr_tutorial.audio import Samples, resample
from asr_tutorial.errors import ConfigError
from asr_tutorial.recognizer import MIN_SECONDS
from asr_tutorial.serve.batching import Answer
from asr_tutorial.serve.engine import Heard, Question, together
from asr_tutorial.serve.errors import ServiceError, from_user_error, stopping
from asr_tutorial.serve.limits import too_large, too_long
from asr_tutorial.serve.service import Service, transcription
from asr_tutorial.serve.streaming import StreamingRecognizer

log = logging.getLogger(__name__)

RATES = (8_000, 96_000)
"""Sample rates that a stream may have, in Hz."""
LARGEST_MESSAGE = 2**20
"""Bytes: five seconds at 48 kHz. Clients send pieces of some 50 ms."""
LARGEST_TEXT = 1_000
"""Characters of a text message."""
LOUDEST = 8.0
"""Full scale is 1; beyond this bound are integers that were not scaled."""
POLL_SECONDS = 0.2
"""How often a stream that waits for its client looks whether the service stops."""
CLOSE = {400: 1007, 408: 1008, 413: 1009, 422: 1007, 429: 1013, 503: 1001, 504: 1013}
"""WebSocket close codes by the status that HTTP would give: invalid payload, policy, too big, try again later, going
away. Anything else is 1011, an error of ours."""


@dataclass(frozen=True)
class Concluded:
    """A finished piece of a stream, recognised for good."""

    answer: Answer
    frames: int

    @property
    def heard(self) -> Heard:
        heard: Heard = self.answer.result[0]
        return heard

    @property
    def text(self) -> str:
        return self.heard.decoded.text


class Streams:
    """The streams that are open, and the threads that wait for them.

    Args:
        service: answers.
    """

    def __init__(self, service: Service) -> None:
        self.service = service
        self.open = 0
        self.executor = ThreadPoolExecutor(service.settings.max_streams, thread_name_prefix="stream")

    async def serve(self, websocket: WebSocket) -> None:
        """One stream from its connection to its end."""
        if not _same_origin(websocket):
            await websocket.close(1008)  # before it is accepted: the client sees HTTP 403
            return
        await websocket.accept()
        try:
            most = self.service.settings.max_streams
            if self.open >= most:
                raise ServiceError(
                    429, "too_many_streams", f"{most} people are speaking already", "try again in a minute", 60
                )
            self.open += 1
            try:
                await self._converse(websocket)
            finally:
                self.open -= 1
        except WebSocketDisconnect:
            return  # nobody is left to be told
        except ServiceError as error:
            await _refuse(websocket, error)
        except Exception:
            log.exception("a stream failed")
            await _refuse(
                websocket,
                ServiceError(500, "defect", "the service has a defect", "tell its operator; the log has the details"),
            )

    async def _converse(self, websocket: WebSocket) -> None:
        self.service.batcher.admit()
        settings, loop = self.service.settings, asyncio.get_running_loop()
        latest = time.monotonic() + settings.max_seconds + settings.timeout
        rate, question = self._greeting(_text(await self._receive(websocket, latest)))
        stream = self._stream(rate, question, loop)
        while True:
            message = await self._receive(websocket, latest)
            if isinstance(message, str):
                if _text(message) != {"end": True}:
                    raise _bad_message(
                        "the text is neither samples nor the end", 'send binary samples or {"end": true}'
                    )
                break
            samples = pcm(message)
            seconds = stream.seconds + len(samples) / rate
            if seconds > settings.max_seconds:
                raise too_long(seconds, settings.max_seconds)
            for partial in await loop.run_in_executor(self.executor, stream.feed, samples):
                await websocket.send_json({"type": "partial", **vars(partial)})
        ended = time.monotonic()
        pieces = await loop.run_in_executor(self.executor, stream.finish)
        n_best = question.options.n_best if question.options else 1
        heard = together(
            [piece.result.heard for piece in pieces],
            [piece.start for piece in pieces],
            [piece.result.frames for piece in pieces],
            n_best,
        )
        last = pieces[-1].result.answer
        answer = Answer((heard, {}), last.queue_seconds, last.compute_seconds, last.batch_size)
        await websocket.send_json({"type": "final", **transcription(question.search, stream.seconds, answer, ended)})
        await websocket.close()

    def _greeting(self, values: Any) -> tuple[int, Question]:
        """Sample rate and question from the first message."""
        if not isinstance(values, dict) or not {"sample_rate"} <= set(values) <= {"sample_rate", "search"}:
            raise _bad_message("the first message is no greeting", 'begin with {"sample_rate": 16000}')
        rate, search = values["sample_rate"], values.get("search")
        if type(rate) is not int or not RATES[0] <= rate <= RATES[1]:
            raise ServiceError(
                422,
                "bad_value",
                f"sample_rate must be a whole number of {RATES[0]} to {RATES[1]} Hz",
                "use the rate of the microphone, such as 16000 or 48000",
            )
        if search is not None and not isinstance(search, str):
            raise ServiceError(422, "bad_value", "search must be a name", "see /health for the searches there are")
        try:
            return rate, self.service.engine.question(search)  # type: ignore[arg-type]  # any other name is refused
        except ConfigError as error:
            raise from_user_error(error, 422, "bad_value") from error

    def _stream(self, rate: int, question: Question, loop: asyncio.AbstractEventLoop) -> StreamingRecognizer[Concluded]:
        engine, timeout = self.service.engine, self.service.settings.timeout
        model_rate = self.service.recognizer.sample_rate

        def ask(samples: Samples) -> Concluded:
            """Called in a thread of ours: the batcher lives in the event loop."""
            if len(samples) < MIN_SECONDS * rate:
                raise ServiceError(
                    422, "too_short", f"the stream has less than {MIN_SECONDS:g} s of sound", "speak before you end it"
                )
            recording = engine.from_samples(resample(samples, rate, model_rate))
            waiting = asyncio.run_coroutine_threadsafe(self.service.answer(question, recording, timeout), loop)
            return Concluded(waiting.result(), sum(map(len, recording.pieces)))

        return StreamingRecognizer(lambda samples: ask(samples).text, ask, rate)

    async def _receive(self, websocket: WebSocket, latest: float) -> bytes | str:
        """The next message, unless the client says nothing for too long, or the service stops."""
        timeout = self.service.settings.timeout
        silent = time.monotonic() + timeout
        if time.monotonic() > latest:
            raise ServiceError(408, "too_slow", "the stream is open for too long", "send sound as it is spoken")
        receiving = asyncio.ensure_future(websocket.receive())
        try:
            while not (await asyncio.wait({receiving}, timeout=POLL_SECONDS))[0]:
                if self.service.stopping:
                    raise stopping()
                if time.monotonic() > silent:
                    raise ServiceError(
                        408, "idle", f"nothing came for {timeout:g} s", 'send silence, or {"end": true} at the end'
                    )
        finally:
            receiving.cancel()
        message = receiving.result()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1006))
        data: bytes | str = message["bytes"] if message.get("bytes") is not None else message["text"]
        if len(data) > (LARGEST_MESSAGE if isinstance(data, bytes) else LARGEST_TEXT):
            raise too_large(LARGEST_MESSAGE)
        return data


def pcm(message: bytes) -> Samples:
    """The samples of a binary message, if they are sound.

    Args:
        message: float32, little-endian, mono.

    Returns:
        (samples,), full scale [-1, 1].

    Raises:
        ServiceError: half a sample, NaN or infinite values, or values far beyond full scale.
    """
    if len(message) % 4:
        raise _bad_message(f"{len(message)} bytes are no whole number of samples", "send float32, four bytes a sample")
    samples = np.frombuffer(message, dtype="<f4").astype(np.float32)
    wrong = ~(np.abs(samples) <= LOUDEST)  # NaN is not
    if wrong.any():
        raise _bad_message(
            f"the sample {samples[wrong][0]:g} is out of range: full scale is -1 to 1",
            "divide 16-bit samples by 32768",
        )
    return samples


def _text(message: bytes | str) -> Any:
    if isinstance(message, bytes):
        raise _bad_message("the first message is binary", 'begin with {"sample_rate": 16000} as text')
    try:
        return json.loads(message)
    except (ValueError, RecursionError) as error:
        raise ServiceError(400, "bad_json", "the text is not JSON", 'send {"end": true} to end') from error


def _bad_message(message: str, remedy: str) -> ServiceError:
    return ServiceError(422, "bad_message", message, remedy)


def _same_origin(websocket: WebSocket) -> bool:
    """Whether it comes from our own page, or from a program: browsers say which page opens a connection.

    Without this any page on the web could make a visitor's browser talk to a service on the visitor's own machine.
    """
    origin = websocket.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == websocket.headers.get("host")


async def _refuse(websocket: WebSocket, error: ServiceError) -> None:
    try:
        await websocket.send_json({"type": "error", **error.body()["error"]})
        await websocket.close(CLOSE.get(error.status, 1011), error.code)
    except (WebSocketDisconnect, RuntimeError):
        pass  # it went away first
