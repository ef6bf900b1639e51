"""All verbs together."""

from __future__ import annotations

import ast
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from isthmus.cli.common import out
from isthmus.version import __version__

VERBS = (
    "inspect", "train-exits", "quantize", "profile", "probe", "plan", "pack", "serve", "run", "simulate", "report",
    "demo", "doctor",
)  # fmt: skip
"""In the order in which they are listed; each is the function of that name in the module of that name."""


def app_for(asked: str) -> typer.Typer:
    """The command line, where `asked` is the first word: only this verb is imported (all of them take seconds), of
    the others what `--help` tells."""
    app = typer.Typer(
        name="isthmus",
        help="Run a trained network across device, edge and cloud.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
    )
    app.callback()(_top)
    for verb in VERBS:
        app.command(verb)(_verb(verb) if verb == asked else _mentioned(verb))
    return app


def _verb(verb: str) -> Callable[..., Any]:
    name = verb.replace("-", "_")
    function: Callable[..., Any] = getattr(import_module(f"isthmus.cli.{name}"), name)
    return function


def _mentioned(verb: str) -> Callable[[], None]:
    """Something that does nothing, with the verb's own docstring, read from its file."""
    name = verb.replace("-", "_")
    module = ast.parse(Path(__file__).with_name(f"{name}.py").read_bytes())
    (function,) = (f for f in module.body if isinstance(f, ast.FunctionDef) and f.name == name)

    def mention() -> None:
        pass

    mention.__doc__ = ast.get_docstring(function)
    return mention


def _version(asked: bool) -> None:
    if asked:
        out.print(f"isthmus {__version__}", highlight=False)
        raise typer.Exit


def _top(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which.")] = False,
) -> None:
    """Run a trained network across device, edge and cloud."""
