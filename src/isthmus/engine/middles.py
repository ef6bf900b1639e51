"""What lies between two cuts, as a thing that can run."""

from __future__ import annotations

from collections import OrderedDict

from isthmus.engine.halves import Maker
from isthmus.engine.prepare import Prepared
from isthmus.engine.sessions import Part
from isthmus.errors import BadInput
from isthmus.graph.types import OUTPUT, Cut

_KEPT = 256
_KEPT_ON_DEMAND = 4
"""Pieces that hold weights of their own."""


class Middles:
    """Makes the pieces of one network between two of its cuts, and keeps the latest. For one thread at a time."""

    def __init__(self, prepared: Prepared, maker: Maker) -> None:
        self._prepared, self._maker = prepared, maker
        self._shared: OrderedDict[tuple[str, str], Part] = OrderedDict()
        self._own: OrderedDict[tuple[str, str], Part] = OrderedDict()

    def between(self, start: Cut, end: Cut) -> Part:
        """The piece from `start` to `end`, from the shared weights wherever the optimised network has the tensors.

        Raises BadInput where `end` is not behind `start`.
        """
        key = (start.id, end.id)
        for kept in (self._shared, self._own):
            if key in kept:
                kept.move_to_end(key)
                return kept[key]
        if not start.head <= end.head:
            raise BadInput(f"the cut {end.id[:80]} does not lie behind the cut {start.id[:80]}")
        takes, gives = start.crossing, self._gives(start, end)
        try:
            part, kept, most = self._maker.from_core(takes, gives), self._shared, _KEPT
        except BadInput:
            part, kept, most = self._maker.from_source(takes, gives), self._own, _KEPT_ON_DEMAND
        kept[key] = part
        while len(kept) > most or (len(kept) > _KEPT_ON_DEMAND and not self._maker.room()):
            kept.popitem(last=False)
        return part

    def _gives(self, start: Cut, end: Cut) -> tuple[str, ...]:
        """What crosses at the end and did not at the start, and the outputs made between, each once."""
        there = self._prepared.ends(end)
        early = there.late + there.early if end.id == OUTPUT else there.early
        before = self._prepared.ends(start).early
        made = (*(t for t in end.crossing if t not in start.crossing), *(o for o in early if o not in before))
        return tuple(dict.fromkeys(made))
