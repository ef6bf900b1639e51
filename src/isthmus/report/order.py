"""In which order cuts stand on an axis: from input to output, as the network runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from isthmus.graph.types import INPUT, OUTPUT
from isthmus.record import Step

_ENDS = {INPUT: "@input · all on the server", OUTPUT: "@output · all on the device"}


def cuts_in_order(steps: Sequence[Step], known: Sequence[str]) -> tuple[tuple[str, ...], str]:
    """The cuts that the steps ran or asked for, from input to output, and a note where the order had to be guessed.

    `known` is the network's order; a cut that is not in it is placed by the median time of its head, which grows
    towards the output.
    """
    used = dict.fromkeys(cut for s in steps for cut in (s.cut, s.asked) if cut)
    place = {cut: float(i) for i, cut in enumerate(known)}
    strangers = [cut for cut in used if cut not in place and cut not in _ENDS]
    if strangers:
        heads = {cut: _head_s(steps, cut) for cut in used}
        for cut in strangers:
            before = [place[other] for other in used if other in place and heads[other] <= heads[cut]]
            place[cut] = max(before, default=-1.0) + 0.5
    ranks = {INPUT: -1, OUTPUT: 1}
    order = sorted(used, key=lambda c: (ranks.get(c, 0), place.get(c, 0.0), _head_s(steps, c) if strangers else 0.0))
    note = f"{len(strangers)} cuts placed by the time of their head, as the journal does not say their order"
    return tuple(order), note if len(strangers) > 1 or (strangers and known) else ""


def name_of(cut: str) -> str:
    """A cut as people read it."""
    return _ENDS.get(cut, cut)


def _head_s(steps: Sequence[Step], cut: str) -> float:
    return float(np.median([s.seconds.head for s in steps if s.cut == cut] or [0.0]))
