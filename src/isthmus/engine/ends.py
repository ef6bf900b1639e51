"""What goes into and comes out of the two halves of a cut."""

from __future__ import annotations

from dataclasses import dataclass

from isthmus.graph.types import Cut, Graph


@dataclass(frozen=True)
class Ends:
    """`early` are the network's outputs that the head has made (or that cross), `late` those the tail still owes."""

    crossing: tuple[str, ...]
    early: tuple[str, ...]
    late: tuple[str, ...]

    @property
    def head_gives(self) -> tuple[str, ...]:
        """Crossing tensors, then early outputs, each once."""
        return tuple(dict.fromkeys((*self.crossing, *self.early)))


def ends_of(graph: Graph, cut: Cut) -> Ends:
    """The ends of a cut, outputs in the network's order."""
    early = tuple(o for o in graph.outputs if o in graph.inputs or graph.producer.get(o, -1) in cut.head)
    return Ends(cut.crossing, early, tuple(o for o in graph.outputs if o not in early))
