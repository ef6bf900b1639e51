"""`isthmus probe`: what the way to a server carries."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from isthmus.cli.common import Json, emit, out
from isthmus.run import probe as measure
from isthmus.units import seconds, show_rate, show_seconds, size_bytes


def probe(
    to: Annotated[str, typer.Argument(help="The server, as HOST:PORT.")],
    count: Annotated[int, typer.Option(min=1, max=1000, help="How many probes.")] = 5,
    size: Annotated[str, typer.Option(help="Bytes of each, as 16kB.")] = "16kB",
    timeout: Annotated[str, typer.Option(help="How long to wait for an answer.")] = "5s",
    json: Json = False,
) -> None:
    """Measure the uplink and the round trip to an isthmus server with small probes.

    Example: isthmus probe 192.0.2.7:8001 --json
    """
    found = measure(to, count=count, size_bytes=size_bytes(size), timeout_s=seconds(timeout))

    def show() -> None:
        table = Table("probe", "uplink", "round trip")
        for number, one in enumerate(found.probes, 1):
            table.add_row(
                str(number), show_rate(one.up_bps) if one.up_bps else "too fast to tell", show_seconds(one.rtt_s)
            )
        out.print(Text.assemble(f"{to} serves ", (found.model, "bold"), f", {found.cuts} cuts ready"))
        out.print(table)
        rate = show_rate(found.up_bps) if found.up_bps else "faster than such probes can tell"
        out.print(f"uplink {rate} (median), round trip {show_seconds(found.rtt_s)} (least)")

    emit(found, as_json=json, show=show)
