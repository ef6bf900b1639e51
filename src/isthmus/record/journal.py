"""The journal: a text file with one header line and then one `Step` a line, written while the run goes on.

Every line reaches the operating system before `write` returns, so a killed process loses at most the line it was
writing (a power cut may lose more: the disk is not waited for). The reader is strict about every line but the last.
"""

from __future__ import annotations

import io
import logging
import math
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator
from pydantic_core import PydanticSerializationError

from isthmus.errors import BadInput
from isthmus.record.types import Step

MAX_LINE_BYTES = 4 << 20
"""A step takes some 500 bytes; the header may carry a link trace of a hundred thousand points."""
MAX_SECONDS = 1e9
"""Thirty years: a time beyond it is a mistake, and would upset the arithmetic of everyone who reads the journal."""

_log = logging.getLogger(__name__)
_Line = TypeVar("_Line", bound=BaseModel)


class Header(BaseModel):
    """The first line: what was run, where and over what.

    `link_trace` are the (t_s, bit/s) at which the real rate of the link changed, where the run knew them, on the
    journal's clock; `cut_order` the cut ids from input to output; `started` an ISO 8601 time.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["isthmus-journal"] = "isthmus-journal"
    version: Literal[1] = 1
    model: str = ""
    fingerprint: str = ""
    started: str = ""
    device: str = ""
    server: str = ""
    link: str = ""
    link_trace: tuple[tuple[float, float], ...] = ()
    cut_order: tuple[str, ...] = ()

    @field_validator("link_trace")
    @classmethod
    def _trace_is_sane(cls, trace: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
        last_s = -math.inf
        for t_s, bps in trace:
            if not (abs(t_s) <= MAX_SECONDS and t_s >= last_s and 0 <= bps < math.inf):
                raise ValueError(f"the point ({t_s}, {bps}) needs a time not before the last one and a finite rate")
            last_s = t_s
        return trace


class Journal:
    """An append-only writer of `Step`s; may be shared by threads and used as a context manager.

    Raises BadInput when the file is there already (unless `replace`), cannot be written, or a step makes no sense.

    >>> with Journal("run.jsonl", Header(model="zoo:tiny")) as journal:  # doctest: +SKIP
    ...     journal.write(step)
    """

    def __init__(self, path: str | os.PathLike[str], header: Header | None = None, *, replace: bool = False) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        self._good_bytes = 0
        try:
            self._file: io.FileIO | None = io.FileIO(self.path, "w" if replace else "x")
        except FileExistsError:
            raise BadInput(f"{self.path} is there already: remove it, or name another") from None
        except OSError as e:
            raise BadInput(f"cannot write the journal {self.path}: {e.strerror}") from e
        self._append(_line(header or Header()))

    def write(self, step: Step) -> None:
        """Adds one line; it has left this process when the call returns."""
        check_step(step)
        line = _line(step)
        with self._lock:
            self._append(line)

    def close(self) -> None:
        """Closes the file; closing twice does no harm."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _append(self, line: bytes) -> None:
        if self._file is None:
            raise BadInput(f"the journal {self.path} is closed")
        try:
            rest = memoryview(line)
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as e:
            # A full disk must not leave half a line that a later, luckier line would be glued to.
            with suppress(OSError):  # a device, a pipe: nothing to cut off
                self._file.truncate(self._good_bytes)
                self._file.seek(self._good_bytes)
            raise BadInput(f"cannot write the journal {self.path}: {e.strerror}") from e
        self._good_bytes += len(line)


def read_journal(
    path: str | os.PathLike[str], *, say: Callable[[str], None] | None = None
) -> tuple[Header, tuple[Step, ...]]:
    """The header and every step of a journal, in the order written.

    A last line that a kill has cut short is left out, and `say` is told so in one sentence (default: the log, as a
    warning). Anything else that is not a line of a journal raises BadInput naming the line.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            lines = _numbered(file, path)
            first = next(lines, None)
            if first is None:
                raise BadInput(f"{path} is empty: a journal starts with a header line")
            header = _parsed(Header, first[1], f"{path} line 1")
            return header, tuple(_steps(lines, path, say or _log.warning))
    except OSError as e:
        raise BadInput(f"cannot read the journal {path}: {e.strerror}") from e


def check_step(step: Step, where: str = "") -> None:
    """Raises BadInput when a time of the step is not a finite number within `MAX_SECONDS`, or its total is negative."""
    where = where or f"step {step.id}"
    times = (("t_s", step.t_s), *((f"seconds.{name}", value) for name, value in step.seconds))
    for name, value in times:
        if not abs(value) <= MAX_SECONDS:
            raise BadInput(f"{where} has {name} = {value}: it must be finite and at most {MAX_SECONDS:.0e} s")
    if step.seconds.total < 0:
        raise BadInput(f"{where} has seconds.total = {step.seconds.total}: nobody waits for less than 0 s")


def _line(value: BaseModel) -> bytes:
    """One line of JSON. An optional number that is not finite is written as null; the required ones were checked."""
    try:
        line = value.model_dump_json(exclude_none=True).encode() + b"\n"
    except PydanticSerializationError as e:
        raise BadInput(f"a journal line cannot be written: {e}") from e
    if len(line) > MAX_LINE_BYTES:
        raise BadInput(f"a journal line of {len(line)} bytes is above the {MAX_LINE_BYTES} allowed")
    return line


def _numbered(file: BinaryIO, path: Path) -> Iterator[tuple[int, bytes]]:
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            raise BadInput(f"{path} line {number} is longer than the {MAX_LINE_BYTES} bytes allowed")
        yield number, line


def _steps(lines: Iterator[tuple[int, bytes]], path: Path, say: Callable[[str], None]) -> Iterator[Step]:
    for number, line in lines:
        where = f"{path} line {number}"
        try:
            step = _parsed(Step, line, where)
        except BadInput:
            if line.endswith(b"\n"):
                raise
            say(f"{where}, the last, was cut short and is left out")
            return
        check_step(step, where)
        yield step


def _parsed(kind: type[_Line], line: bytes, where: str) -> _Line:
    try:
        return kind.model_validate_json(line, strict=True)
    except ValidationError as e:
        first = e.errors(include_url=False, include_input=False)[0]
        reason = ": ".join([".".join(str(part) for part in first["loc"]), first["msg"]]).removeprefix(": ")
        raise BadInput(f"{where} is not a {kind.__name__.lower()}: {reason}") from e
