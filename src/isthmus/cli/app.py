"""All verbs together."""

from __future__ import annotations

from typing import Annotated

import typer

from isthmus.cli.common import out
from isthmus.cli.demo import demo
from isthmus.cli.doctor import doctor
from isthmus.cli.inspect import inspect
from isthmus.cli.pack import pack
from isthmus.cli.plan import plan
from isthmus.cli.probe import probe
from isthmus.cli.profile import profile
from isthmus.cli.quantize import quantize
from isthmus.cli.report import report
from isthmus.cli.run import run
from isthmus.cli.serve import serve
from isthmus.cli.simulate import simulate
from isthmus.cli.train_exits import train_exits
from isthmus.version import __version__

app = typer.Typer(
    name="isthmus",
    help="Run a trained network across device, edge and cloud.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for verb in (inspect, train_exits, quantize, profile, probe, plan, pack, serve, run, simulate, report, demo, doctor):
    app.command()(verb)


def _version(asked: bool) -> None:
    if asked:
        out.print(f"isthmus {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which.")] = False,
) -> None:
    """Run a trained network across device, edge and cloud."""
