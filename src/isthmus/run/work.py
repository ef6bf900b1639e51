"""What one request has to compute, and how far it is: the head here, the rest on the server or here after all."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

import numpy as np

from isthmus.graph.stages import Stage
from isthmus.record import Choice, Side
from isthmus.run.early import Staged, crossing
from isthmus.run.frame import Frame
from isthmus.run.halves import Halves
from isthmus.run.places import Place
from isthmus.run.replies import outputs_of
from isthmus.run.types import Array, Arrays

Clock = Callable[[], float]


class Work(Protocol):
    """One request. `cut`: where it is cut; `place`: that, as the server is asked; `halves`: the network it runs;
    `first`: the side that runs the part before the cut."""

    halves: Halves
    cut: str
    place: str
    first: Side

    @property
    def batch(self) -> int:
        """Samples that are still under way."""

    @property
    def exits(self) -> tuple[str, ...]:
        """The exit at which each sample left, where samples may leave early; empty elsewhere."""

    @property
    def exit(self) -> str | None:
        """The exit that answered, the deepest of a batch; None: the whole network."""

    @property
    def cut_short(self) -> bool:
        """Whether the answer so far was given, for want of time."""

    def head(self) -> Arrays | None:
        """What is to be sent; None where nothing is left to be computed."""

    def took(self, frame: Frame) -> None:
        """The server's answer. Raises BadFrame for one that cannot be right."""

    def finish(self, left_s: Callable[[], float] | None = None) -> None:
        """Computes the rest here. With `left_s`, seconds that are left, an answer in hand is given instead of one that
        would come too late."""

    def outputs(self) -> dict[str, Array]:
        """The answer."""


class Plain:
    """A network without stages: the whole model, or all that the chosen exit needs (`halves` are of that)."""

    exits: tuple[str, ...] = ()
    cut_short = False
    first: Side = "device"

    def __init__(self, halves: Halves, asked: Choice, inputs: Arrays, batch: int) -> None:
        self.halves, self.cut = halves, asked.cut
        self.place = Place(asked.cut, asked.exit).id if asked.exit else asked.cut
        self.batch, self.exit = batch, asked.exit
        self._inputs = inputs
        self._crossing: Arrays | None = None
        self._outputs: dict[str, Array] = {}
        self._given = False

    def head(self) -> Arrays | None:
        self._crossing, self._outputs = self.halves.head(self.cut, self._inputs)
        return self._crossing

    def took(self, frame: Frame) -> None:
        outputs = outputs_of(frame, self.halves.output_names(self.cut))
        self.halves.check(outputs, self.batch)
        self._outputs |= outputs

    def finish(self, left_s: Callable[[], float] | None = None) -> None:
        if not self._given:
            self.given(self.rest()())

    def rest(self) -> Callable[[], dict[str, Array]]:
        """What `finish` would compute; touches nothing of the request, so another thread may."""
        halves, cut, inputs, sent = self.halves, self.cut, self._inputs, self._crossing
        if sent is None or halves.finishes == "anew":
            return lambda: halves.whole(inputs)
        return lambda: halves.tail(cut, sent)

    def given(self, outputs: Arrays) -> None:
        """What `rest` made: nothing is left for `finish`."""
        self._outputs |= outputs
        self._given = True

    def outputs(self) -> dict[str, Array]:
        return self.halves.in_order(self._outputs)


class Leaving:
    """Stage by stage, each sample as far as it must go. The answer so far is the most accurate exit's.

    Samples that left are taken out of the batch where its tensors allow it and samples do not depend on one another
    (which is tried out once, on the network); elsewhere they go along unheeded.
    """

    first: Side = "device"

    def __init__(self, staged: Staged, asked: Choice, inputs: Arrays, batch: int, clock: Clock) -> None:
        self._staged, self._clock = staged, clock
        self.halves = staged.halves
        self._route = staged.route(asked.cut)
        self.cut = self._route.cut.id
        self.place = Place(self.cut, staged.names[-1], early=True).id
        self._here, self._there = deque(self._route.before), deque(self._route.after)
        self._tensors: Arrays = inputs
        self.rows = np.arange(batch)
        """Which samples are still in the batch."""
        self._left = np.zeros(batch, np.bool_)
        self._exit = np.full(batch, -1, np.int64)
        self._worth = np.full(batch, -1.0)
        name = staged.names[-1]
        self._answer = np.zeros(self.halves.shape(name, batch), staged.halves.engine.graph.tensors[name].dtype)

    @property
    def batch(self) -> int:
        return len(self.rows)

    @property
    def exits(self) -> tuple[str, ...]:
        return tuple(self._staged.names[at] for at in self._exit)

    @property
    def exit(self) -> str | None:
        return self._staged.names[int(self._exit.max())]

    @property
    def cut_short(self) -> bool:
        return not self._left.all()

    def head(self) -> Arrays | None:
        while self._here and not self._left.all():
            self._step(self._here.popleft())
        return None if self._left.all() else crossing(self._tensors, self._route.cut)

    def took(self, frame: Frame) -> None:
        self.take(outputs_of(frame, self._staged.behind(self.cut), some=True))

    def take(self, outputs: Arrays) -> None:
        """What the server says to the samples under way. Raises BadFrame for what the stages could not have given."""
        for at in self._staged.accept(self._staged.behind(self.cut), outputs, self.batch):
            self._judge(at, outputs[self._staged.names[at]])

    def finish(self, left_s: Callable[[], float] | None = None) -> None:
        for todo in (self._here, self._there):
            while todo and not self._left.all() and not self._too_late(left_s):
                self._step(todo.popleft())

    def outputs(self) -> dict[str, Array]:
        return {self._staged.names[-1]: self._answer}

    def _step(self, stage: Stage) -> None:
        begun = self._clock()
        made = self.halves.middle(stage.start, stage.end, crossing(self._tensors, stage.start))
        self._tensors = crossing(made, stage.end)
        if stage.exit is not None:
            self._staged.note(stage, self.batch, self._clock() - begun)
            self._judge(stage.exit, made[self._staged.names[stage.exit]])
            self._part()

    def _judge(self, exit_at: int, logits: Array) -> None:
        """Notes an exit's answers: those of samples that leave, and those that are the best so far."""
        sure, worth = self._staged.leaving(exit_at, logits), self._staged.rows[exit_at].accuracy
        here = ~self._left[self.rows]
        better = here & (sure | (self._worth[self.rows] <= worth))
        rows = self.rows[better]
        self._answer[rows], self._exit[rows], self._worth[rows] = logits[better], exit_at, worth
        self._left[self.rows[here & sure]] = True

    def _part(self) -> None:
        """Takes the samples that left out of the batch."""
        keep = ~self._left[self.rows]
        if keep.any() and not keep.all():
            parted = self.halves.picked(self._tensors, keep)
            if parted is not None:
                self._tensors, self.rows = parted, self.rows[keep]

    def _too_late(self, left_s: Callable[[], float] | None) -> bool:
        """Whether every sample has an answer and the next exit's would not come in time."""
        if left_s is None or self._exit.min() < 0:
            return False
        following = next(stage.exit for stage in (*self._here, *self._there) if stage.exit is not None)
        return self._staged.expected_s(following, self.batch) > left_s()
