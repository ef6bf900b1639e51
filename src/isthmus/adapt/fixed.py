"""Choosers that never change their mind: the null method, and what to compare with."""

from __future__ import annotations

from isthmus.graph.types import INPUT, OUTPUT
from isthmus.record.types import Choice, Step


class Unlearning:
    """What a chooser that learns nothing has in common: it listens to nobody, asks for no probe, believes nothing."""

    def observe(self, step: Step) -> None:
        """Nothing is learnt."""

    def probe_bytes(self, now_s: float) -> int:
        """No probe is wanted."""
        return 0

    @property
    def beliefs(self) -> tuple[float | None, float | None]:
        """None: it believes nothing."""
        return None, None


class Fixed(Unlearning):
    """Always the same choice, nothing learnt, nothing probed.

    >>> always_device().choose(0.0).cut, always_server("int8").choose(0.0).codec
    ('@output', 'int8')
    """

    def __init__(self, choice: Choice) -> None:
        self._choice = choice

    def choose(self, now_s: float, batch: int = 1) -> Choice:
        """The one choice."""
        return self._choice


def always_device() -> Fixed:
    """Everything on the device."""
    return Fixed(Choice(cut=OUTPUT, why="always on the device"))


def always_server(codec: str = "float32") -> Fixed:
    """Everything on the server, the input written with `codec`."""
    return Fixed(Choice(cut=INPUT, codec=codec, why="always on the server"))
