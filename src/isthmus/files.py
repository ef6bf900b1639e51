"""Readable files between the verbs: written whole or not at all, read strictly and within bounds."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from isthmus.errors import BadInput

MAX_JSON_BYTES = 64 * 1024 * 1024
_M = TypeVar("_M", bound=BaseModel)


def read_json(path: Path, kind: type[_M]) -> _M:
    """A value of `kind` from its file. Raises BadInput naming the file and the first thing that is wrong."""
    try:
        size = path.stat().st_size
        if size > MAX_JSON_BYTES:
            raise BadInput(f"{path} is {size} bytes; such a file has at most {MAX_JSON_BYTES}")
        text = path.read_bytes()
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror or error}") from error
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(p) for p in first["loc"]) or "the file"
        raise BadInput(f"{path} is no {kind.__name__.lower()}: {where}: {first['msg']}") from error


def write_json(path: Path, value: BaseModel) -> None:
    """Write a value so that a reader sees the old file or the new one, never half of it."""
    write_whole(path, value.model_dump_json(indent=1).encode() + b"\n")


def write_whole(path: Path, content: bytes) -> None:
    """Write bytes through a temporary file in the same folder. Raises BadInput when the folder cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except OSError as error:
        raise BadInput(f"cannot write {path}: {error.strerror or error}") from error


def sha256_of(path: Path) -> str:
    """sha256 (hex) of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
