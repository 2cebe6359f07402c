"""Text files that are never half there."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write a text file all or nothing: under another name first, so that a crash leaves the former file.

    Raises:
        OSError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.writing")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
