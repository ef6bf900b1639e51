"""HTML and SVG as text that cannot be broken out of: names of models and cuts are data, and data may hold anything."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_CHILDLESS = frozenset({"rect", "line", "path", "circle", "polygon", "meta", "stop"})


class Markup(str):
    """Text that is markup already. Everything else is escaped on its way into a page."""

    __slots__ = ()


def escape(text: str) -> Markup:
    """Plain text as markup; control characters, which no browser draws, become the replacement character.

    >>> escape('<script>"&')
    '&lt;script&gt;&quot;&amp;'
    """
    return text if isinstance(text, Markup) else Markup(html.escape(_CONTROL.sub("\ufffd", text), quote=True))


def tag(name: str, /, *children: str, **attributes: str | float | None) -> Markup:
    """One element; `class_` and `stroke_width` are written `class` and `stroke-width`, None attributes are left out.

    >>> tag("text", "a < b", x=1.50, class_="tick")
    '<text x="1.5" class="tick">a &lt; b</text>'
    """
    inside = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value) if isinstance(value, str) else number(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _CHILDLESS and not children:
        return Markup(f"<{name}{inside}/>")
    return Markup(f"<{name}{inside}>{join(children)}</{name}>")


def join(parts: Iterable[str]) -> Markup:
    """The parts one after the other, each escaped unless it is markup."""
    return Markup("".join(escape(part) for part in parts))


def number(value: float) -> str:
    """A coordinate with at most two decimals.

    >>> number(12.0), number(1 / 3), number(-0.001)
    ('12', '0.33', '0')
    """
    if not math.isfinite(value):
        raise ValueError(f"{value} cannot be drawn")
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def shorten(text: str, most: int) -> str:
    """The text, its middle left out when it is longer than `most` characters; both ends of a cut's name tell most.

    >>> shorten("/features/features.3/conv/Add_output_0", 20)
    '/features…d_output_0'
    """
    if len(text) <= most:
        return text
    front = (most - 1) // 2
    return f"{text[:front]}…{text[len(text) - (most - 1 - front) :]}"
