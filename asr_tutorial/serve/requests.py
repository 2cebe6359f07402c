"""From the body of a request to a recording and a question about it."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import from_json
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from asr_tutorial.errors import ConfigError
from asr_tutorial.serve.engine import Engine, Question, Recording
from asr_tutorial.serve.errors import ServiceError, caller_left, from_user_error
from asr_tutorial.serve.schemas import Choices

Result = TypeVar("Result")
FIELDS = 8
"""Most fields of a form; four are known."""


async def read_request(
    request: Request, engine: Engine, executor: Executor, explain: bool = False
) -> tuple[Question, Recording]:
    """Read the body, of at most the size that the service allows, and make features of what is in it.

    Args:
        request: with ``features`` in JSON, or with ``file`` in a form.
        engine: makes the features.
        executor: whose threads read sound, so that the event loop goes on.
        explain: whether numbers for pictures are wanted.

    Raises:
        ServiceError: 4xx with what is wrong.
    """
    try:
        return await _read(request, engine, executor, explain)
    except ClientDisconnect:
        raise caller_left() from None


async def _read(request: Request, engine: Engine, executor: Executor, explain: bool) -> tuple[Question, Recording]:
    loop = asyncio.get_running_loop()
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        body = await request.body()
        return await loop.run_in_executor(executor, _from_json, engine, body, explain)
    if kind == "multipart/form-data":
        file, fields = await _read_form(request)
        return await loop.run_in_executor(executor, _from_file, engine, file, fields, explain)
    raise ServiceError(
        415,
        "unsupported_media_type",
        f"the content type {kind[:100]!r} is not taken" if kind else "the request has no content type",
        'send JSON {"features": [[...], ...]} as application/json, or a form with the field "file" as '
        "multipart/form-data",
    )


async def while_connected(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """Wait for the answer as long as the caller does: nobody is recognised who has left.

    Args:
        request: whose body has been read.
        work: is cancelled when the caller closes the connection.

    Raises:
        ServiceError: 499.
    """
    answering = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if answering.done():
            return answering.result()
        raise caller_left()
    finally:
        leaving.cancel()
        answering.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _read_form(request: Request) -> tuple[bytes, dict[str, Any]]:
    try:
        async with request.form(max_files=1, max_fields=FIELDS, max_part_size=1_000) as form:
            fields = dict(form)
            repeated = [name for name in fields if len(form.getlist(name)) > 1]
            file = fields.pop("file", None)
            if isinstance(file, UploadFile) and not repeated:
                return await file.read(), fields
    except HTTPException as error:
        raise ServiceError(
            400, "bad_form", f"the form cannot be read: {error.detail}", "send multipart/form-data as browsers do"
        ) from error
    wrong = f"the form has {repeated[0]!r} more than once" if repeated else 'the form has no file in the field "file"'
    raise ServiceError(422, "bad_form", wrong[:200], 'send one file in the field "file", as curl -F file=@speech.flac')


def _from_json(engine: Engine, body: bytes, explain: bool) -> tuple[Question, Recording]:
    try:
        values = from_json(body)
    except ValueError as error:
        raise ServiceError(400, "bad_json", f"the body is not JSON: {error}", "send a JSON object") from error
    if not isinstance(values, dict) or "features" not in values:
        raise ServiceError(
            422, "no_features", 'the JSON has no key "features"', 'send {"features": [[...], ...]}, a list of frames'
        )
    rows = values.pop("features")
    question = _question(engine, values, explain)
    return question, engine.from_features(rows)


def _from_file(engine: Engine, content: bytes, fields: dict[str, Any], explain: bool) -> tuple[Question, Recording]:
    question = _question(engine, fields, explain)
    with tempfile.TemporaryDirectory(prefix="asr_tutorial_") as folder:
        path = Path(folder) / "recording"
        path.write_bytes(content)
        return question, engine.from_file(path)


def _question(engine: Engine, values: dict[str, Any], explain: bool) -> Question:
    try:
        choices = Choices.model_validate(values)
        return engine.question(choices.search, choices.nbest, choices.lm_weight, explain)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = str(first["loc"][0])[:100] if first["loc"] else "the request"
        raise ServiceError(
            422, "bad_value", f"{name}: {first['msg']}", "see /docs for what each key and field may be"
        ) from error
    except ConfigError as error:
        raise from_user_error(error, 422, "bad_value") from error
