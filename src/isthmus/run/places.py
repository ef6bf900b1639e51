"""Places: a cut, and the exit that the network is run to. On the wire they are one word.

"cut" alone is the whole model; "cut@@exit" only what that exit needs; "cut@~exit" the same, but every exit before it is
asked too and whoever is sure leaves there.
"""

from __future__ import annotations

from typing import NamedTuple

from isthmus.errors import Refused
from isthmus.graph import OUTPUT, Tensor
from isthmus.run.early import Early
from isthmus.run.halves import Halves
from isthmus.run.types import Array, Arrays

_FIXED, _EARLY = "@@", "@~"


class Place(NamedTuple):
    """A cut id and the name of an exit; empty: all outputs. `early`: inputs may leave before."""

    cut: str
    exit: str = ""
    early: bool = False

    @property
    def id(self) -> str:
        """As it travels."""
        return f"{self.cut}{_EARLY if self.early else _FIXED}{self.exit}" if self.exit else self.cut


def place_of(text: str) -> Place:
    """The place that a word on the wire names."""
    for mark, early in ((_FIXED, False), (_EARLY, True)):
        cut, found, output = text.rpartition(mark)
        if found:
            return Place(cut, output, early)
    return Place(text)


class Places:
    """A served model seen by places. Where there is no `early` nobody may leave early."""

    def __init__(self, halves: Halves, early: Early | None = None) -> None:
        self.halves, self._early = halves, early
        self.ready = frozenset(halves.ready)

    def expected(self, place: str, batch: int) -> tuple[Tensor, ...]:
        """What must cross. Raises BadInput or Refused for a place that is none."""
        halves, cut, _ = self._found(place)
        return halves.crossing(cut, batch)

    def outputs(self, place: str) -> tuple[str, ...]:
        """Outputs that are made after it; fewer may be where inputs leave early. Raises as `expected`."""
        halves, cut, _ = self._found(place)
        return tuple(halves.output_names(cut))

    def is_ready(self, place: str) -> bool:
        """Whether serving it builds nothing that costs memory for good. Raises as `expected`."""
        if place in self.ready:
            return True
        halves, cut, early = self._found(place)
        return cut in (halves.ready if early is None else early.to(place_of(place).exit).ready)

    def tail(self, place: str, tensors: Arrays) -> dict[str, Array]:
        """The outputs made after it. Raises as `expected`, and what the engine raises."""
        halves, cut, early = self._found(place)
        return halves.tail(cut, tensors) if early is None else early.to(place_of(place).exit).tail(cut, tensors)

    def _found(self, text: str) -> tuple[Halves, str, Early | None]:
        place = Place(text) if text in self.ready else place_of(text)
        if place.cut == OUTPUT:
            raise Refused("nothing is left to compute after the last node; @output runs on the device")
        if not place.exit:
            return self.halves, place.cut, None
        if not place.early:
            return self.halves.at_exits((place.exit,)), place.cut, None
        if self._early is None:
            raise Refused("no table of exits is held here, so nobody can leave early; serve a bundle that has one")
        return self._early.to(place.exit).halves, place.cut, self._early
