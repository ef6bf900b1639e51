"""What the command line prints on: names come from models, bundles and peers, and are shown as they are."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

_SUSPECT = re.compile(r"[^ -~\n\t]")


class Terminal(Console):
    """A console on which no text is markup (styles are given by `rich.text.Text`), and none steers the terminal."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False)

    def render_str(self, text: str, **how: Any) -> Text:
        """As on any console, of harmless text."""
        return super().render_str(harmless(text), **how)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The same, for text that has its styles already."""
        if isinstance(renderable, Text):
            renderable = renderable.copy()
            renderable.plain = harmless(renderable.plain)
        yield from super().render(renderable, options)


def harmless(text: str) -> str:
    r"""The text, of which whatever cannot be seen (escape sequences, reversals of direction) is replaced, character by
    character; tabs and new lines stay.

    >>> harmless("relu\x1b[31m")
    'relu�[31m'
    """
    return _SUSPECT.sub(lambda found: found[0] if found[0].isprintable() else "\N{REPLACEMENT CHARACTER}", text)
