"""`isthmus doctor`: is this machine fit, and what would make it fitter?"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from pydantic import BaseModel
from rich.table import Table
from rich.text import Text

from isthmus.cli.common import Json, emit, out
from isthmus.errors import IsthmusError

if TYPE_CHECKING:
    from isthmus.engine.store import Kept

Verdict = Literal["good", "advice", "bad"]
_COLOURS = {"good": "green", "advice": "yellow", "bad": "red"}


class Finding(BaseModel):
    """One thing that was looked at."""

    what: str
    verdict: Verdict
    says: str


def doctor(
    prune: Annotated[
        int | None,
        typer.Option(min=0, metavar="DAYS", help="Delete optimised networks that nobody opened for so many days."),
    ] = None,
    json: Json = False,
) -> None:
    """Check Python, libraries, the engine, the network settings and the optional parts of this machine. Exits with 1
    when something needed is broken.

    Example: isthmus doctor --prune 30
    """
    found = list(_examine())
    if prune is not None:
        found.append(_prune(prune))
    rows = [f.model_dump() for f in found]
    emit({"version": 1, "findings": rows}, as_json=json, show=lambda: _show(found))
    if any(f.verdict == "bad" for f in found):
        raise typer.Exit(1)


def _examine() -> Iterator[Finding]:
    yield Finding(
        what="python", verdict="good" if sys.version_info >= (3, 11) else "bad", says=platform.python_version()
    )
    for package in ("isthmus", "numpy", "onnx", "onnxruntime", "grpcio", "protobuf", "pydantic"):
        yield _package(package)
    yield _attempt("engine", _engine)
    yield _attempt("cache", _cache)
    yield _cpu()
    yield from _tcp()
    for extra, module in (("torch", "torch"), ("compress", "PIL")):
        there = find_spec(module) is not None
        says = "installed" if there else f"not installed: pip install 'isthmus[{extra}]'"
        yield Finding(what=f"extra {extra}", verdict="good" if there else "advice", says=says)
    yield _namespaces()
    data = os.environ.get("ISTHMUS_DATA", "")
    says = (
        data if data and Path(data).is_dir() else "ISTHMUS_DATA is not set to a folder: tests on real data are skipped"
    )
    yield Finding(what="evaluation data", verdict="good" if says == data else "advice", says=says)


def _package(name: str) -> Finding:
    try:
        return Finding(what=name, verdict="good", says=metadata.version(name))
    except metadata.PackageNotFoundError:
        return Finding(what=name, verdict="bad", says=f"not installed: pip install {name}")


def _attempt(what: str, call: Callable[[], str]) -> Finding:
    try:
        return Finding(what=what, verdict="good", says=call())
    except (IsthmusError, OSError, ImportError) as error:
        return Finding(what=what, verdict="bad", says=str(error))


def _engine() -> str:
    from isthmus.engine import Engine
    from isthmus.model import load_model

    engine = Engine.open(load_model("zoo:tiny"))
    inputs = engine.model.random_inputs(1)
    cut = engine.cuts[1].id
    engine.tail(cut, engine.head(cut, inputs))
    return f"{engine.runtime} runs and cuts a small network"


def _cache() -> str:
    from isthmus.engine.store import default_folder, kept

    folder = default_folder()
    folder.mkdir(parents=True, exist_ok=True)
    free, held = shutil.disk_usage(folder).free, kept(folder)
    return f"{folder}: {_counted(held)}, {free / 1e9:.0f} GB free on the disk"


def _prune(days: int) -> Finding:
    from isthmus.engine.store import default_folder, prune

    gone = prune(default_folder(), time.time() - days * 86_400)
    return Finding(what="pruned", verdict="good", says=f"{_counted(gone)} that nobody opened for {days} days")


def _counted(held: Sequence[Kept]) -> str:
    return f"{len(held)} optimised networks of {sum(k.bytes for k in held) / 1e9:.1f} GB"


def _cpu() -> Finding:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Finding(what="cpu", verdict="good", says=f"{cores} cores, {platform.machine()}")


def _tcp() -> Iterator[Finding]:
    idle = _read("/proc/sys/net/ipv4/tcp_slow_start_after_idle")
    if idle:
        good = idle == "0"
        says = "off" if good else "on: costs 1–3 round trips after a pause; sysctl net.ipv4.tcp_slow_start_after_idle=0"
        yield Finding(what="tcp slow start after idle", verdict="good" if good else "advice", says=says)
    control = _read("/proc/sys/net/ipv4/tcp_congestion_control")
    if control:
        good = control != "bbr"
        says = control if good else "bbr takes several transfers to find a small link's rate; cubic is better here"
        yield Finding(what="tcp congestion control", verdict="good" if good else "advice", says=says)


def _namespaces() -> Finding:
    lacking = [t for t in ("ip", "tc") if shutil.which(t) is None]
    if hasattr(os, "geteuid") and os.geteuid() != 0:
        return Finding(what="network test bed", verdict="advice", says="needs root; the demo does without")
    if lacking:
        return Finding(what="network test bed", verdict="advice", says=f"needs {', '.join(lacking)} (iproute2)")
    return Finding(what="network test bed", verdict="good", says="namespaces and tc can be used")


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _show(found: list[Finding]) -> None:
    table = Table("what", "verdict", "")
    for f in found:
        table.add_row(f.what, Text(f.verdict, _COLOURS[f.verdict]), f.says)
    out.print(table)
