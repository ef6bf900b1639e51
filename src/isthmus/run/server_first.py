"""Requests the other way round (Edgent's own order, Li et al. 2018): the server runs the part before the cut and sends
back what crosses, the device runs the rest. Until an answer is there the device can do all of it by itself.
"""

from __future__ import annotations

from isthmus.errors import BadFrame
from isthmus.record import Choice, Side
from isthmus.run.codecs import Codecs
from isthmus.run.early import Staged
from isthmus.run.frame import Frame
from isthmus.run.halves import Halves
from isthmus.run.places import Place
from isthmus.run.replies import headway_of
from isthmus.run.types import Arrays
from isthmus.run.work import Clock, Leaving, Plain


class PlainBack(Plain):
    """A network without stages, its tail here. See `Work`."""

    first: Side = "server"

    def __init__(self, halves: Halves, asked: Choice, inputs: Arrays, batch: int, codecs: Codecs) -> None:
        super().__init__(halves, asked, inputs, batch)
        self.place = Place(asked.cut, asked.exit or "", back=asked.codec).id
        self._codec, self._codecs = asked.codec, codecs

    def head(self) -> Arrays | None:
        """The inputs that the server needs."""
        return {t.name: self._inputs[t.name] for t in self.halves.wanted(self.cut, self.batch)}

    def took(self, frame: Frame) -> None:
        """What the server made. Raises BadFrame for what cannot be that."""
        due = self.halves.answered(self.cut, self.batch)
        crossing = self.halves.returned(self.cut, self.batch)
        outputs, going = headway_of(frame, due, crossing, self._codec, self._codecs)
        if going is None or len(outputs) != len(due):
            raise BadFrame(f"the server sent {len(outputs)} outputs and no more of the part before {self.cut[:80]}")
        here = {**self._inputs, **outputs, **going}
        self._outputs = outputs
        self._crossing = {name: here[name] for name in self.halves.cut(self.cut).crossing}


class LeavingBack(Leaving):
    """Stage by stage, the first of them on the server, which sends nothing on where all samples are sure there."""

    first: Side = "server"

    def __init__(self, staged: Staged, asked: Choice, inputs: Arrays, batch: int, clock: Clock, codecs: Codecs) -> None:
        super().__init__(staged, asked, inputs, batch, clock)
        self.place = Place(self.cut, staged.names[-1], early=True, back=asked.codec).id
        self._codec, self._codecs = asked.codec, codecs

    def head(self) -> Arrays | None:
        """The inputs that the server needs."""
        return {t.name: self._tensors[t.name] for t in self.halves.wanted(self.cut, self.batch)}

    def took(self, frame: Frame) -> None:
        """What the exits before the cut say, and what goes on from there. Raises BadFrame for what cannot be that."""
        answered = self.halves.answered(self.cut, self.batch)
        crossing = self.halves.returned(self.cut, self.batch)
        outputs, going = headway_of(frame, answered, crossing, self._codec, self._codecs)
        owed = self._staged.before(self.cut)
        for at in self._staged.accept(owed, outputs, self.batch, ends=going is None):
            self._judge(at, outputs[self._staged.names[at]])
        self._here.clear()
        if going is not None:
            here = {**self._tensors, **outputs, **going}
            self._tensors = {name: here[name] for name in self._route.cut.crossing}
            self._part()
