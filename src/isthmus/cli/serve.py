"""`isthmus serve`: the far side. Offers the whole model and every tail until it is told to stop."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from isthmus.bundle import open_bundle
from isthmus.cli.common import Awake, Json, Threads, emit, err, interruptible, out, progress_bar
from isthmus.link.address import MOST_PORT
from isthmus.run import processors_awake
from isthmus.session import serve as start


def serve(
    bundle: Annotated[Path, typer.Argument(help="The bundle folder.")],
    port: Annotated[int, typer.Option(min=0, max=MOST_PORT, help="0 takes any free one and says which.")] = 8001,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for every network.")] = "127.0.0.1",
    threads: Threads = 1,
    slowdown: Annotated[float, typer.Option(min=1.0, help="Declare this server so many times slower.")] = 1.0,
    awake: Awake = False,
    json: Json = False,
) -> None:
    """Serve a bundle: the whole model and every tail, by the Open Inference Protocol and by isthmus's own stream.

    Example: isthmus serve bundle --port 8001
    """
    opened = open_bundle(bundle)
    with processors_awake() if awake else nullcontext():
        with progress_bar("preparing") as progress:
            server = start(opened, host=host, port=port, threads=threads, slowdown=slowdown, progress=progress)
        with interruptible() as stopped:
            _announce(opened.manifest.name, server.address, len(server.cuts), as_json=json)
            stopped.wait()
            server.stop()
    counted = ", ".join(f"{number} {what}" for what, number in server.counts.items())
    err.print(f"stopped; {counted or 'no requests'}", highlight=False)


def _announce(name: str, address: str, cuts: int, *, as_json: bool) -> None:
    """One line, at once: whoever started the server waits for it."""

    def show() -> None:
        out.print(Text.assemble("serving ", (name, "bold"), f" on {address}, {cuts} cuts ready; Ctrl-C stops"))

    emit({"model": name, "address": address, "cuts": cuts}, as_json=as_json, show=show)
