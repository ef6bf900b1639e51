"""Places: a cut, the exit that the network is run to, and which side runs first. On the wire they are one word.

"cut" alone is the whole model; "cut@@exit" only what that exit needs; "cut@~exit" the same, but every exit before it is
asked too and whoever is sure leaves there. All of these ask for what lies behind the cut; with "@<codec" at the end it
is what lies before it, and the codec that the crossing tensors shall come back in.
"""

from __future__ import annotations

from typing import NamedTuple

from isthmus.errors import Refused
from isthmus.graph import INPUT, OUTPUT, Tensor
from isthmus.run.early import Early
from isthmus.run.halves import Halves
from isthmus.run.types import Array, Arrays

_FIXED, _EARLY, _HEAD = "@@", "@~", "@<"


class Place(NamedTuple):
    """A cut id and the name of an exit; empty: all outputs. `early`: inputs may leave before. `back`: the codec of the
    crossing tensors where the server runs the part before the cut; empty: it runs the part behind."""

    cut: str
    exit: str = ""
    early: bool = False
    back: str = ""

    @property
    def id(self) -> str:
        """As it travels."""
        to = f"{self.cut}{_EARLY if self.early else _FIXED}{self.exit}" if self.exit else self.cut
        return f"{to}{_HEAD}{self.back}" if self.back else to


def place_of(text: str) -> Place:
    """The place that a word on the wire names."""
    to, turned, back = text.rpartition(_HEAD)
    to, back = (to, back) if turned else (text, "")
    for mark, early in ((_FIXED, False), (_EARLY, True)):
        cut, found, output = to.rpartition(mark)
        if found:
            return Place(cut, output, early, back)
    return Place(to, back=back)


Made = tuple[dict[str, Array], dict[str, Array]]
"""What a place gives: outputs, and where the part before a cut was run the tensors that go on from there."""


class Places:
    """A served model seen by places. Where there is no `early` nobody may leave early."""

    def __init__(self, halves: Halves, early: Early | None = None) -> None:
        self.halves, self._early = halves, early
        self.ready = frozenset(halves.ready)

    def unforeseen(self, place: str) -> str:
        """The exit that a place runs to, where no table of exits names it: being able to run it costs memory for good.
        Empty for all other places. Raises Refused for a place that is none, and makes nothing ready."""
        _, output, early, _ = self._read(place)
        outputs = self.halves.engine.graph.outputs
        named = self._early is not None and any(row.output == output for row in self._early.table.rows)
        return "" if early or named or output not in outputs or len(outputs) == 1 else output

    def expected(self, place: str, batch: int) -> tuple[Tensor, ...]:
        """What must come. Raises BadInput or Refused for a place that is none."""
        halves, cut, _, back = self._found(place)
        return halves.wanted(cut, batch) if back else halves.crossing(cut, batch)

    def returned(self, place: str, batch: int) -> tuple[str, tuple[Tensor, ...]]:
        """(codec, tensors) that go back beside outputs; none where what lies behind a cut is run. Raises as
        `expected`."""
        halves, cut, _, back = self._found(place)
        return back, halves.returned(cut, batch) if back else ()

    def outputs(self, place: str) -> tuple[str, ...]:
        """Outputs that are made after it; fewer may be where inputs leave early. Raises as `expected`."""
        halves, cut, _, _ = self._found(place)
        return tuple(halves.output_names(cut))

    def is_ready(self, place: str) -> bool:
        """Whether serving it builds nothing that costs memory for good. Raises as `expected`."""
        if place in self.ready:
            return True
        halves, cut, early, _ = self._found(place)
        return cut in (halves.ready if early is None else early.to(place_of(place).exit).ready)

    def run(self, place: str, tensors: Arrays) -> Made:
        """What lies after it, or before it where the place says so. Raises as `expected`, and what the engine
        raises."""
        if place in self.ready and place != OUTPUT:
            return self.halves.tail(place, tensors), {}
        if not place_of(place).back:
            return self.tail(place, tensors), {}
        return self.head(place, tensors)

    def tail(self, place: str, tensors: Arrays) -> dict[str, Array]:
        """The outputs made after it. Raises as `run`."""
        halves, cut, early, _ = self._found(place)
        return halves.tail(cut, tensors) if early is None else early.to(place_of(place).exit).tail(cut, tensors)

    def head(self, place: str, inputs: Arrays) -> Made:
        """The outputs made before it and what crosses there; nothing where every sample left early. Raises as `run`."""
        halves, cut, early, _ = self._found(place)
        if early is None:
            made, outputs = halves.head(cut, halves.padded(inputs))
        else:
            outputs, going = early.to(place_of(place).exit).head(cut, halves.padded(inputs))
            if going is None:
                return outputs, {}
            made = going
        return outputs, {t.name: made[t.name] for t in halves.returned(cut, halves.engine.graph.batch)}

    def _found(self, text: str) -> tuple[Halves, str, Early | None, str]:
        """(the network, the cut, the table of exits if inputs may leave early, the codec of what goes back)"""
        place = self._read(text)
        if not place.exit:
            return self.halves, place.cut, None, place.back
        if not place.early:
            return self.halves.at_exits((place.exit,)), place.cut, None, place.back
        if self._early is None:
            raise Refused("no table of exits is held here, so nobody can leave early; serve a bundle that has one")
        return self._early.to(place.exit).halves, place.cut, self._early, place.back

    def _read(self, text: str) -> Place:
        place = Place(text) if text in self.ready else place_of(text)
        if place.cut == OUTPUT:
            raise Refused("nothing is left to compute after the last node; @output runs on the device")
        if place.cut == INPUT and place.back:
            raise Refused("nothing lies before the first node; at @input the server runs everything and sends answers")
        return place
