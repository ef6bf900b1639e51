"""What every command shares: `--json`, progress on long work, Ctrl-C that lets it be finished."""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from pydantic import BaseModel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from isthmus.cli.terminal import Terminal
from isthmus.errors import BadInput
from isthmus.units import MOST_BATCH, MOST_THREADS

out = Terminal()
err = Terminal(stderr=True)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]
ModelArg = Annotated[str, typer.Argument(help="zoo:NAME, a path to an ONNX file, or torchvision:/timm: NAME.")]
BatchOption = Annotated[int, typer.Option("--batch", min=1, max=MOST_BATCH, help="Inputs per request.")]
Threads = Annotated[int, typer.Option("--threads", min=1, max=MOST_THREADS, help="Threads of one run.")]
Awake = Annotated[
    bool,
    typer.Option(
        "--awake", help="Keep this machine's processors from sleeping: quicker answers for more power (Linux, root)."
    ),
]
Show = Callable[[int, int, str], None]


def emit(value: Any, *, as_json: bool, show: Callable[[], None]) -> None:
    """Print a value as JSON, or call `show`."""
    if as_json:
        plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
        sys.stdout.write(json.dumps(plain, allow_nan=False) + "\n")
        sys.stdout.flush()
    else:
        show()


@contextmanager
def progress_bar(title: str) -> Iterator[Show]:
    """A bar on stderr (nothing where stderr is no terminal); call it with (done, of, what)."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, of, what: bar.update(task, completed=done, total=of, description=f"{title}: {what[:40]}")


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C (or SIGTERM) sets, so that what is under way can be finished; the second one
    interrupts as usual."""
    stopped = threading.Event()
    before = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)}

    def stop(_number: int, _frame: object) -> None:
        stopped.set()
        for name, handler in before.items():
            signal.signal(name, handler)

    for name in before:
        signal.signal(name, stop)
    try:
        yield stopped
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def batches_of(text: str) -> tuple[int, ...]:
    """`1,4,16` as batch sizes. Raises BadInput for anything else."""
    try:
        found = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise BadInput(f"'{text}' is no list of batch sizes such as 1,4,16") from None
    for size in found:
        if not 1 <= size <= MOST_BATCH:
            raise BadInput(f"a batch holds 1 to {MOST_BATCH} samples, not {size}")
    return found


def today() -> str:
    """The moment, to the second, UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
