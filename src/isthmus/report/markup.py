"""HTML and SVG as text that cannot be broken out of: names of models and cuts are data, and data may hold anything."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Sequence
from itertools import takewhile

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


def shorten_all(names: Sequence[str], most: int) -> list[str]:
    """Each name within `most` characters and all of them still different: what the long ones begin with alike goes
    first, then their middles; twins that remain are numbered.

    >>> shorten_all(["@input", "/features/features.2/Add_output_0", "/features/features.4/Add_output_0"], 26)
    ['@input', '…features.2/Add_output_0', '…features.4/Add_output_0']
    """
    long = [name for name in names if len(name) > most]
    pairs = zip(min(long), max(long), strict=False) if len(long) > 1 else ()
    alike = "".join(a for a, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    alike = alike[: alike.rfind("/") + 1 or max(alike.rfind("."), alike.rfind(":")) + 1]
    short = [shorten("…" + n[len(alike) :], most) if len(alike) > 1 and n in long else shorten(n, most) for n in names]
    if len(set(short)) < len(set(names)):
        return [shorten(name, most - 4) + f" #{i + 1}" for i, name in enumerate(names)]
    return short
