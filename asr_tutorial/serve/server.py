"""Start and stop: uvicorn with the application, and an orderly end."""

from __future__ import annotations

import asyncio
import os
import socket
from types import FrameType

import uvicorn

from asr_tutorial.errors import UserError
from asr_tutorial.serve.app import create_app
from asr_tutorial.serve.live import LARGEST_MESSAGE
from asr_tutorial.serve.service import Service
from asr_tutorial.serve.settings import Settings

DRAIN_SECONDS = 0.5
"""How long a service that stops still answers newcomers, with 503, before it closes its door."""


class Server(uvicorn.Server):
    """A uvicorn server that stops in two steps: first it refuses, then it closes.

    Args:
        config: of uvicorn.
        service: is told to refuse.
    """

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self.service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal came: refuse at once and close soon; after a second one wait for nothing."""
        if self.service.stopping:
            self.should_exit = self.force_exit = True
            return
        loop = asyncio.get_running_loop()
        loop.call_soon_threadsafe(self.service.begin_to_stop)
        loop.call_soon_threadsafe(loop.call_later, DRAIN_SECONDS, self._close)

    def _close(self) -> None:
        self.should_exit = True


def serve(settings: Settings) -> None:
    """Serve until a signal says that it is enough.

    Raises:
        UserError: the address cannot be listened on, or as :func:`asr_tutorial.serve.app.create_app`.
    """
    listening = _listen(settings.host, settings.port)
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        log_level="warning",
        timeout_graceful_shutdown=max(1, round(settings.grace)),
        server_header=False,
        ws_max_size=2 * LARGEST_MESSAGE,  # the route refuses above the half of it, with a sentence
    )
    host, port = listening.getsockname()[:2]
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    print(f"serving {settings.checkpoint} at http://{shown}:{port}/, API at http://{shown}:{port}/docs", flush=True)
    service: Service = app.state.service
    Server(config, service).run(sockets=[listening])
    if service.gave_up:  # its thread cannot be stopped, and Python would wait for it
        print("stopped before the last batch was finished", flush=True)
        os._exit(1)
    print("stopped", flush=True)


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens, before anything slow is loaded."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        if os.name != "nt":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(1024)
    except OSError as error:
        raise UserError(
            f"cannot listen on {host}:{port} ({error.strerror or error}): give another --port, 0 for a free one, or "
            "stop what uses it"
        ) from error
    return listening
