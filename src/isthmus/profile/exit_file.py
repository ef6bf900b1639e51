"""Where the table of a model's exits lies when nobody names a file."""

from __future__ import annotations

from pathlib import Path

import isthmus.model.zoo as zoo

_NAME = "exits.json"
_SHIPPED = {"zoo:digits": Path(zoo.__file__).with_name("digits_exits.json")}
"""Tables of the trained networks that ship, made by the scripts that train them."""


def exits_beside(model: str) -> Path | None:
    """`exits.json` beside the model's own file, or the table that ships with a trained network of the zoo; None where
    there is neither."""
    beside = Path(model).with_name(_NAME) if Path(model).is_file() else _SHIPPED.get(model)
    return beside if beside is not None and beside.is_file() else None
