"""What happens to every request: its body is bounded, its answer is counted and gets headers."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from asr_tutorial.serve.errors import ServiceError, defect
from asr_tutorial.serve.limits import too_large
from asr_tutorial.serve.metrics import Metrics

log = logging.getLogger(__name__)
HEADERS = {
    # The page is of this server alone; blob: is what a recording is played from, data: what a picture may be.
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Cross-Origin-Resource-Policy": "same-origin",
}
LINGER_SECONDS = 2.0
LINGER_BODIES = 8
"""A body that is refused is still read, and forgotten, up to so many times the limit and for so long: a client that is
cut off while it sends does not read the answer that says why."""


class BoundedBody:
    """Ends the reading of a body that is too large, or too slow, with an error that the routes need not know of.

    Args:
        app: the application inside.
        max_bytes: largest body.
        timeout: seconds in which a body must have come.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, timeout: float) -> None:
        self.app, self.max_bytes, self.timeout = app, max_bytes, timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"0")
        promised = int(length) if length.isdigit() else 0
        waits = b"expect" in headers  # for our leave to send its body: it reads the answer first
        deadline = time.monotonic() + self.timeout
        seen, finished = 0, False

        async def bounded() -> Message:
            nonlocal seen, finished
            if finished:
                return await receive()
            try:
                async with asyncio.timeout(max(deadline - time.monotonic(), 0)):
                    message = await receive()
            except TimeoutError:
                finished = True  # nothing is to be expected of the rest
                raise ServiceError(
                    408,
                    "slow_body",
                    f"the body had not come after {self.timeout:g} s",
                    "send a shorter or a compressed recording",
                ) from None
            seen += len(message.get("body", b""))
            finished = not message.get("more_body", False)
            if seen > self.max_bytes:
                raise too_large(self.max_bytes)
            return message

        async def read_the_rest() -> None:
            read = 0
            try:
                async with asyncio.timeout(LINGER_SECONDS):
                    while read < LINGER_BODIES * self.max_bytes:
                        message = await receive()
                        read += len(message.get("body", b""))
                        if not message.get("more_body", False):
                            return
            except TimeoutError:
                pass

        async def polite(message: Message) -> None:
            nonlocal finished
            if message["type"] == "http.response.start" and message["status"] >= 400 and not (finished or waits):
                finished = True
                await read_the_rest()
            await send(message)

        if promised > self.max_bytes:
            error = too_large(self.max_bytes)
            await JSONResponse(error.body(), error.status)(scope, bounded, polite)
            return
        await self.app(scope, bounded, polite)


class Accounts:
    """Counts each answer and gives it its headers; what fails is a clean 500; a service that stops closes connections.

    Args:
        app: the application inside.
        service: whose ``metrics`` and ``stopping`` are used.
    """

    def __init__(self, app: ASGIApp, service: Any) -> None:
        self.app, self.service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.monotonic()
        metrics: Metrics = self.service.metrics
        answering = False

        async def with_headers(message: Message) -> None:
            nonlocal answering
            if message["type"] == "http.response.start":
                headers = {**HEADERS, **({"Connection": "close"} if self.service.stopping else {})}
                message["headers"] = [
                    *message.get("headers", []),
                    *((name.lower().encode(), value.encode()) for name, value in headers.items()),
                ]
                route = getattr(scope.get("route"), "path", "other")
                metrics.requests.labels(route, str(message["status"])).inc()
                metrics.latency.labels(route).observe(time.monotonic() - started)
                answering = True
            await send(message)

        try:
            await self.app(scope, receive, with_headers)
        except Exception:
            if answering:
                raise
            log.exception("%s failed", scope["path"])
            error = defect()
            await JSONResponse(error.body(), error.status)(scope, receive, with_headers)
