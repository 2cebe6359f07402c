"""The command ``serve``."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Annotated

import typer

from asr_tutorial.cli.common import CodeName
from asr_tutorial.cli.searching import Code, Device
from asr_tutorial.errors import UserError

app = typer.Typer()
NEEDED = ("fastapi", "uvicorn", "python_multipart", "websockets", "prometheus_client")


@app.command()
def serve(
    checkpoint: Annotated[
        Path, typer.Option("--checkpoint", "-m", help="Checkpoint folder, or run folder.", metavar="DIR")
    ] = Path("data/pretrained/tinyspeech"),
    port: Annotated[int, typer.Option(help="To listen on; 0: a free one.")] = 8000,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0: every network that this machine is in.")
    ] = "127.0.0.1",
    lm: Annotated[
        Path | None, typer.Option("--lm", help="Language model that beam searches ask too.", metavar="DIR")
    ] = None,
    max_batch: Annotated[int, typer.Option(help="Most requests in a batch; 1: one by one.")] = 16,
    max_wait_ms: Annotated[float, typer.Option(help="How long a request waits for company.")] = 10.0,
    queue: Annotated[int, typer.Option(help="Most requests that wait; further ones get 429.")] = 64,
    timeout: Annotated[float, typer.Option(help="Seconds to an answer; 504 afterwards.")] = 30.0,
    max_seconds: Annotated[float, typer.Option(help="Longest recording.")] = 60.0,
    max_bytes: Annotated[int, typer.Option(help="Largest body of a request.")] = 16 * 2**20,
    max_streams: Annotated[int, typer.Option(help="Most people who speak to it at a time.")] = 8,
    grace: Annotated[float, typer.Option(help="Seconds to finish when told to stop.")] = 10.0,
    device: Device = "auto",
    code: Code = CodeName.ours,
) -> None:
    """Put a recogniser behind a web page and an API.

    Answers on this machine alone unless --host says otherwise. Stops in order on Ctrl-C or SIGTERM.

    Examples:

      asr-tutorial serve

      asr-tutorial serve --checkpoint runs/MY_RUN --port 8080 --lm runs/MY_LM

      asr-tutorial serve --host 0.0.0.0 --max-batch 32 --queue 256
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f'the web service needs {", ".join(missing)}: pip install -e ".[serve]"')
    # Threads of the recogniser that wait for each other must not keep the cores from those that read requests; counts
    # only if it is set before torch is there.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from asr_tutorial.serve.server import serve as run_service
    from asr_tutorial.serve.settings import Settings

    run_service(
        Settings(
            checkpoint=checkpoint,
            host=host,
            port=port,
            device=device,
            lm=lm,
            max_batch=max_batch,
            max_wait_ms=max_wait_ms,
            queue=queue,
            timeout=timeout,
            max_seconds=max_seconds,
            max_bytes=max_bytes,
            max_streams=max_streams,
            grace=grace,
        )
    )
