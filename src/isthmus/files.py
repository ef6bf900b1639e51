"""Readable files between the verbs: written whole or not at all, read strictly and within bounds."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from isthmus.errors import BadInput

MAX_JSON_BYTES = 64 * 1024 * 1024
_M = TypeVar("_M", bound=BaseModel)


def read_json(path: Path, kind: type[_M]) -> _M:
    """A value of `kind` from its file. Raises BadInput naming the file and the first thing that is wrong."""
    try:
        text = read_within(path, MAX_JSON_BYTES)
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


def read_within(path: Path, most: int) -> bytes:
    """A file's content. Reads no more than `most` bytes and one, whatever size it claims: a device and a pipe claim
    none. Raises BadInput where there is more, and OSError as opening and reading do."""
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise BadInput(f"{path} holds more than {most} bytes, the most that such a file has")
    return content


def write_whole(path: Path, content: bytes) -> None:
    """Write bytes through a temporary file in the same folder, at the end of links; what is there and is no file (a
    device, a pipe) is written into. Raises BadInput when it cannot be written."""
    try:
        kind = _kind(path)
        if kind is None or stat.S_ISREG(kind):
            _replace(Path(os.path.realpath(path)), content)
        elif stat.S_ISDIR(kind):
            raise BadInput(f"cannot write {path}: it is a folder; name a file in it")
        else:
            path.write_bytes(content)
    except OSError as error:
        raise BadInput(f"cannot write {path}: {error.strerror or error}") from error


def _kind(path: Path) -> int | None:
    """The mode of what a path leads to; None where nothing is."""
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return None


def _replace(place: Path, content: bytes) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name}.")
    made = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        made.chmod(0o644)
        made.replace(place)
    except BaseException:
        made.unlink(missing_ok=True)
        raise


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder for the while, gone afterwards. Raises BadInput where the system lets none be made or filled."""
    try:
        with tempfile.TemporaryDirectory(prefix="isthmus-") as folder:
            yield Path(folder)
    except OSError as error:
        why = error.strerror or error
        raise BadInput(f"no temporary files can be written: {why}; TMPDIR can name another place") from error


def sha256_of(path: Path) -> str:
    """sha256 (hex) of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
