"""The application: routes, and what they answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from asr_tutorial.model import count_parameters
from asr_tutorial.recognizer import MAX_SECONDS, Recognizer, load
from asr_tutorial.serve.docs import docs_page
from asr_tutorial.serve.errors import ServiceError, too_late
from asr_tutorial.serve.limits import too_long
from asr_tutorial.serve.live import Streams
from asr_tutorial.serve.middleware import Accounts, BoundedBody
from asr_tutorial.serve.requests import read_request, while_connected
from asr_tutorial.serve.schemas import ErrorAnswer, Explanation, Health, Transcription, request_body
from asr_tutorial.serve.service import Service, transcription
from asr_tutorial.serve.settings import Settings

PAGE = Path(__file__).parent / "page"
BODY_SHARE = 0.8
"""Of the time for an answer: a body that has not come by then is not waited for."""
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer, "description": text}
    for status, text in {
        400: "The body is no JSON, or no form.",
        408: "The body came too slowly.",
        413: "Too large, or too long.",
        415: "Neither JSON nor a form.",
        422: "Features, recording or settings that cannot be used.",
        429: "Too many requests wait; see Retry-After.",
        500: "A defect of the service.",
        503: "The service is about to stop; see Retry-After.",
        504: "No answer in time.",
    }.items()
}


def create_app(settings: Settings, recognizer: Recognizer | None = None) -> FastAPI:
    """The application with its recogniser.

    Args:
        settings: of the service.
        recognizer: one that is loaded already; None: the one that the settings name.

    Raises:
        CheckpointError: there is no recogniser.
        ConfigError: the device cannot be used, or the language model does not fit.
    """
    if recognizer is None:
        recognizer = load(settings.checkpoint, settings.device, settings.lm)
    service = Service(recognizer, settings)
    streams = Streams(service)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.batcher.start()
        yield
        await service.close()
        streams.executor.shutdown(wait=False, cancel_futures=True)

    app = FastAPI(title="asr_tutorial", version=_version(), lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.service = service
    _add_routes(app, service, streams)
    _add_error_handlers(app)
    app.add_middleware(BoundedBody, max_bytes=settings.max_bytes, timeout=BODY_SHARE * settings.timeout)
    app.add_middleware(Accounts, service=service)
    return app


def _version() -> str:
    try:
        return version("asr-tutorial")
    except PackageNotFoundError:
        return "not installed"  # a source tree on PYTHONPATH


def _add_routes(app: FastAPI, service: Service, streams: Streams) -> None:
    engine, settings = service.engine, service.settings
    model = service.recognizer.model
    parameters = count_parameters(model)
    longest = round(min(MAX_SECONDS, settings.max_seconds) / service.recognizer.frame_seconds)
    body = {"requestBody": request_body(engine.n_mels, longest, list(model.searches))}

    async def ask(request: Request, explain: bool) -> dict[str, Any]:
        arrived = time.monotonic()
        try:
            async with asyncio.timeout(settings.timeout):
                with service.admitted():
                    question, recording = await read_request(request, engine, service.executor, explain)
        except TimeoutError:
            raise too_late(settings.timeout) from None
        if explain and len(recording.pieces) > 1:
            raise too_long(recording.seconds, MAX_SECONDS)
        left = settings.timeout - (time.monotonic() - arrived)
        if left <= 0:
            raise too_late(settings.timeout)
        answer = await while_connected(request, service.answer(question, recording, left))
        return transcription(question.search, recording.seconds, answer, arrived)

    @app.post("/transcribe", response_model=Transcription, responses=ERRORS, openapi_extra=body)
    async def transcribe(request: Request) -> Response:
        """Write down what is said in a sound file, or in features."""
        return JSONResponse(await ask(request, explain=False))

    @app.post("/explain", response_model=Explanation, responses=ERRORS, openapi_extra=body)
    async def explain(request: Request) -> Response:
        """The same, with numbers for pictures and other searches beside it; for recordings of at most 30 s."""
        return JSONResponse(await ask(request, explain=True))

    @app.get("/health", response_model=Health, responses={503: {"model": Health, "description": "About to stop."}})
    async def health(response: Response) -> dict[str, Any]:
        """Whether the service takes requests, and what it can do."""
        recognizer = service.recognizer
        if service.stopping:
            response.status_code = 503
        return {
            "status": "stopping" if service.stopping else "ok",
            "model": recognizer.config.name,
            "parameters": parameters,
            "version": app.version,
            "queue": len(service.batcher.waiting),
            "queue_limit": settings.queue,
            "running": service.batcher.running,
            "device": str(recognizer.device),
            "searches": list(model.searches),
            "language_model": settings.lm.name if settings.lm is not None else None,
            "streaming": any(getattr(route, "path", "") == "/stream" for route in app.routes),
            "sample_rate": recognizer.sample_rate,
            "n_mels": engine.n_mels,
            "frame_shift": recognizer.frame_seconds,
            "max_seconds": settings.max_seconds,
            "max_bytes": settings.max_bytes,
            "streams": streams.open,
            "max_streams": settings.max_streams,
        }

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> Response:
        return HTMLResponse(docs_page(app.openapi(), str(request.base_url).rstrip("/")))

    app.add_api_websocket_route("/stream", streams.serve)

    @app.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def metrics() -> Response:
        """Counts and times for Prometheus."""
        return Response(service.metrics.text(), media_type="text/plain; version=1.0.0")

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        if not (PAGE / "index.html").is_file():
            raise HTTPException(404, "this service has no web page")
        return FileResponse(PAGE / "index.html")

    app.mount("/static", StaticFiles(directory=PAGE, check_dir=False), name="static")


REMEDIES = {
    404: ("not_found", "see /docs for what there is"),
    405: ("method_not_allowed", "see /docs for the method of each address"),
}


def _add_error_handlers(app: FastAPI) -> None:
    async def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, ServiceError)
        return JSONResponse(error.body(), error.status, error.headers)

    async def of_framework(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code, remedy = REMEDIES.get(error.status_code, ("http_error", "correct the request and send it again"))
        answer = ServiceError(error.status_code, code, str(error.detail), remedy)
        return JSONResponse(answer.body(), error.status_code, dict(error.headers or {}))

    async def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        answer = ServiceError(422, "bad_value", f"{place}: {first['msg']}", "see /docs")
        return JSONResponse(answer.body(), 422)

    app.add_exception_handler(ServiceError, refused)
    app.add_exception_handler(HTTPException, of_framework)
    app.add_exception_handler(RequestValidationError, invalid)
