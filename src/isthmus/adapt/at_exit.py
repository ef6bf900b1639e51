"""A chooser for one exit: where to cut the part of the network that this exit needs (Edgent's right-sizing, fixed)."""

from __future__ import annotations

from isthmus.record.types import Choice, Chooser, Step


class AtExit:
    """What another chooser says, for the network that ends at an exit. Its prices must be of that network.

    >>> from isthmus.adapt.fixed import always_device
    >>> AtExit(always_device(), "exit1").choose(0.0).exit
    'exit1'
    """

    def __init__(self, inner: Chooser, output: str) -> None:
        self._inner, self._output = inner, output

    def choose(self, now_s: float, batch: int = 1) -> Choice:
        """The other's choice, at the exit."""
        return self._inner.choose(now_s, batch).model_copy(update={"exit": self._output})

    def observe(self, step: Step) -> None:
        """Told to the other."""
        self._inner.observe(step)

    def probe_bytes(self, now_s: float) -> int:
        """The other's wish."""
        return self._inner.probe_bytes(now_s)

    @property
    def beliefs(self) -> tuple[float | None, float | None]:
        """The other's."""
        return self._inner.beliefs
