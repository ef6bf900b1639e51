"""Leaving early: the network is run stage by stage, and an input that an exit is sure about goes no further.

The rule of leaving is the table's (`isthmus.profile.leaves`); device and server hold the same one, so both stop where
the other would have.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import BadFrame, BadInput
from isthmus.graph import OUTPUT, Cut
from isthmus.graph.stages import Route, Stage, route
from isthmus.profile import ExitTable, leaves
from isthmus.run.halves import Halves
from isthmus.run.types import Array, Arrays

_KEPT = 256


class Early:
    """A model and the table of its exits. Raises BadInput for the table of another model."""

    def __init__(self, halves: Halves, table: ExitTable) -> None:
        self.halves, self.table = halves, table
        model = halves.engine.model
        if table.fingerprint and table.fingerprint != model.fingerprint:
            raise BadInput(f"the table of exits is of another model, {table.model}; judge those of {model.name} anew")
        for row in table.rows:
            if row.output not in halves.engine.graph.producer or row.output not in halves.engine.graph.outputs:
                raise BadInput(f"{model.name} has no output '{row.output[:80]}', which the table of exits names")
        self.digest = digest_of(table)
        self._to: dict[str, Staged] = {}

    def to(self, output: str | None) -> Staged:
        """The network up to one exit (None: the last), which answers whatever came so far. Raises BadInput for an
        exit that the table does not have."""
        last = self.table.rows[-1].output if not output else self.table.row(output).output
        found = self._to.get(last)
        if found is None:
            found = self._to.setdefault(last, Staged(self.halves, self.table, last))
        return found


def digest_of(table: ExitTable | None) -> str:
    """sha256 over what decides who leaves where; empty without a table."""
    if table is None:
        return ""
    rules = [row.model_dump_json(include={"output", "temperature", "rule", "threshold"}) for row in table.rows]
    return hashlib.sha256("\n".join(rules).encode()).hexdigest()


class Staged:
    """A network up to one exit, as stages between its exits. `ready`: cuts that cost nothing to serve."""

    def __init__(self, halves: Halves, table: ExitTable, last: str) -> None:
        names = [row.output for row in table.rows]
        rows = table.rows[: names.index(last) + 1]
        self.rows = (*rows[:-1], rows[-1].model_copy(update={"threshold": None}))
        self.names = tuple(names[: len(rows)])
        self.halves = halves.at_exits([o for o in halves.engine.graph.outputs if o in self.names])
        self.route = lru_cache(maxsize=_KEPT)(self._route)
        self.ready = frozenset(self.route(cut_id).cut.id for cut_id in self.halves.ready)
        self._full = self.route(OUTPUT).before
        self._seconds: dict[tuple[int, int], float] = {}

    def _route(self, cut_id: str) -> Route:
        return route(self.halves.engine.graph, self.names, self.halves.cut(cut_id))

    def leaving(self, exit_at: int, logits: Array) -> NDArray[np.bool_]:
        """Which samples are sure enough at that exit."""
        return leaves(logits, self.rows[exit_at])

    def tail(self, cut_id: str, tensors: Arrays) -> dict[str, Array]:
        """The exits behind a cut, up to the one at which the last sample of the batch is sure (or has been)."""
        return self._along(self.route(cut_id).after, tensors)[0]

    def head(self, cut_id: str, inputs: Arrays) -> tuple[dict[str, Array], dict[str, Array] | None]:
        """(the exits before a cut, up to the one at which the last sample is sure; what crosses, None where all are)"""
        found, made = self._along(self.route(cut_id).before, inputs)
        return found, None if made is None else crossing(made, self.route(cut_id).cut)

    def _along(self, stages: Sequence[Stage], tensors: Arrays) -> tuple[dict[str, Array], dict[str, Array] | None]:
        """(the exits made on the way, the tensors at its end; None where every sample left before)"""
        made: dict[str, Array] = dict(tensors)
        found: dict[str, Array] = {}
        gone: NDArray[np.bool_] | None = None
        for stage in stages:
            made = self.halves.middle(stage.start, stage.end, crossing(made, stage.start))
            if stage.exit is not None:
                found[self.names[stage.exit]] = made[self.names[stage.exit]]
                sure = self.leaving(stage.exit, made[self.names[stage.exit]])
                gone = sure if gone is None else gone | sure
                if gone.all():
                    return found, None
        return found, made

    def behind(self, cut_id: str) -> list[str]:
        """The exits behind a cut, in running order."""
        return [self.names[stage.exit] for stage in self.route(cut_id).after if stage.exit is not None]

    def before(self, cut_id: str) -> list[str]:
        """The exits before a cut, in running order."""
        return [self.names[stage.exit] for stage in self.route(cut_id).before if stage.exit is not None]

    def accept(self, owed: Sequence[str], outputs: Mapping[str, Array], batch: int, *, ends: bool = True) -> list[int]:
        """The exits that a server answered with, in running order. Raises BadFrame unless they are the `owed` ones up
        to one at which every sample is sure; where the way goes on here (not `ends`), all of them."""
        given = [at for at, name in enumerate(self.names) if name in outputs]
        due = owed[: len(outputs)] if ends else owed
        if (ends and not given) or [self.names[at] for at in given] != list(due):
            raise BadFrame(f"the server answered with {len(outputs)} exits that are not the next ones of this network")
        self.halves.check(outputs, batch)
        sure = [self.leaving(at, outputs[self.names[at]]) for at in given]
        if ends and not np.logical_or.reduce(sure).all():
            raise BadFrame(f"the server stopped at {self.names[given[-1]]}, which is not sure of its answer")
        return given

    def warm_up(self, clock: Callable[[], float]) -> None:
        """Makes every stage and times it, and finds out whether samples may leave a batch, so that the first request
        does not wait for that."""
        if self.halves.engine.model.dynamic_batch:
            _ = self.halves.apart
        for _ in range(2):  # the first run finds cold memory
            tensors: dict[str, Array] = dict(self.halves.engine.model.random_inputs(1))
            for stage in self._full:
                begun = clock()
                tensors = self.halves.middle(stage.start, stage.end, crossing(tensors, stage.start))
                self.note(stage, self.halves.engine.graph.batch, clock() - begun)

    def note(self, stage: Stage, batch: int, seconds: float) -> None:
        """How long a stage took here; only those from exit to exit tell of the others."""
        if stage.exit is not None and stage in self._full:
            self._seconds[stage.exit, batch] = seconds

    def expected_s(self, exit_at: int, batch: int) -> float:
        """How long that stage will take here; 0 where nothing is known."""
        alone = self._seconds.get((exit_at, 1), 0.0)
        return self._seconds.get((exit_at, batch), alone * batch)


def crossing(tensors: Arrays, cut: Cut) -> dict[str, Array]:
    """What crosses at a cut, out of more."""
    return {name: tensors[name] for name in cut.crossing}
