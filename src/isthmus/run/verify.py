"""Is an answer right? Compared with the same cut and codec run here alone, and with the whole model."""

from __future__ import annotations

import time

import numpy as np

from isthmus.engine.difference import difference, magnitude
from isthmus.graph import OUTPUT
from isthmus.profile import ExitTable
from isthmus.record.types import Step
from isthmus.run.codecs import Codecs
from isthmus.run.early import Early
from isthmus.run.halves import Halves
from isthmus.run.trip import Trip
from isthmus.run.types import Array, Arrays, Runner
from isthmus.run.work import Leaving

RELATIVE = 1e-3
"""Of the reference's greatest magnitude: the two sides may use different CPUs, whose kernels sum in another order."""


class Verifier:
    """Recomputes answers on the device. Costs a whole inference or two a request, outside of its measured time."""

    def __init__(
        self, halves: Halves, codecs: Codecs, exits: ExitTable | None = None, original: Halves | None = None
    ) -> None:
        self._halves, self._codecs, self._original = halves, codecs, original
        self._early = None if exits is None else Early(halves, exits)

    def check(self, step: Step, trip: Trip, inputs: Arrays, outputs: Arrays) -> Step:
        """The step with `wrong` and `error`.

        An answer is right when it is tail(load(dump(head))) as computed here (with inputs written and read too, where
        the server ran the head), and the codec kept its stated bound on every tensor that travelled. `error` is the
        difference from the whole model, up to the exit that was asked for: what the codec cost, and the few bits where
        the network that answers is not the `original`. Where inputs left early, each is compared with what its own exit
        says.
        """
        if self._early is not None:
            whole, reference, kept = self._stages(self._early, step, trip, inputs)
        else:
            halves = self._halves if step.exit is None else self._halves.at_exits((step.exit,))
            whole = (self._original or halves).whole(inputs)
            if step.cut != OUTPUT:
                reference, kept = self._again(halves, trip, inputs)
            else:
                reference, kept = whole if self._original is None else halves.whole(inputs), True
        wrong = not kept or any(not _same(outputs[name], reference[name]) for name in whole)
        error = max((difference(outputs[name], whole[name]) for name in whole), default=0.0)
        return step.model_copy(update={"wrong": wrong, "error": error if np.isfinite(error) else None})

    def _again(self, halves: Halves, trip: Trip, inputs: Arrays) -> tuple[dict[str, Array], bool]:
        """(what this cut and codec must give, whether the codec kept its bound)."""
        if trip.first == "server":
            return self._turned(halves, trip.cut, trip.codec, inputs)
        crossing, already = halves.head(trip.cut, inputs)
        tensors, kept = self._crossed(trip.codec, crossing)
        return {**already, **halves.tail(trip.cut, tensors)}, kept

    def _turned(self, halves: Halves, cut: str, codec: str, inputs: Arrays) -> tuple[dict[str, Array], bool]:
        """The same where the inputs went to the server, and what crosses came back."""
        batch = halves.batch_of(inputs)
        there, kept = self._crossed(codec, {t.name: inputs[t.name] for t in halves.wanted(cut, batch)})
        crossing, already = halves.head(cut, {**inputs, **there})
        back, also = self._crossed(codec, {t.name: crossing[t.name] for t in halves.returned(cut, batch)})
        here = {**inputs, **already, **back}
        tail = halves.tail(cut, {name: here[name] for name in halves.cut(cut).crossing})
        return {**already, **tail}, kept and also

    def _crossed(self, codec: str, crossing: Arrays) -> tuple[dict[str, Array], bool]:
        """The crossing tensors as they arrive, and whether the codec kept its bound."""
        heads, payloads = self._codecs.dump(codec, crossing)
        tensors = self._codecs.load(heads, memoryview(b"".join(payloads)))
        return tensors, all(self._within(codec, name, x, tensors[name]) for name, x in crossing.items())

    def _stages(
        self, early: Early, step: Step, trip: Trip, inputs: Arrays
    ) -> tuple[dict[str, Array], dict[str, Array], bool]:
        """(what the whole model's exits say, what they must say behind this cut and codec, whether that kept its
        bound), each sample at the exit where it left."""
        staged = early.to(trip.asked.exit)
        last, every = staged.names[-1], staged.halves.whole(inputs)
        whole = {last: np.stack([every[name][i] for i, name in enumerate(trip.exits)])}
        if step.cut == OUTPUT:
            return whole, whole, True
        if trip.first == "server":
            told, kept = self._turned(staged.halves, trip.cut, trip.codec, inputs)
            return whole, {last: np.stack([told[name][i] for i, name in enumerate(trip.exits)])}, kept
        walk = Leaving(staged, trip.asked, inputs, trip.batch, time.perf_counter)
        crossing = walk.head()
        if crossing is None:
            return whole, {last: np.full_like(whole[last], np.nan)}, False
        tensors, kept = self._crossed(trip.codec, crossing)
        behind = staged.halves.tail(walk.cut, tensors)
        reference = whole[last].copy()
        for at, sample in enumerate(walk.rows):
            if trip.exits[sample] in staged.behind(walk.cut):
                reference[sample] = behind[trip.exits[sample]][at]
        return whole, {last: reference}, kept

    def _within(self, codec: str, name: str, x: Array, again: Array) -> bool:
        bound = self._codecs.get(codec, name, x.dtype.name).bound(x)
        return bound == np.inf or difference(again, x) <= bound


def verifier(
    verify: bool | Runner, halves: Halves, codecs: Codecs, exits: ExitTable | None, original: Runner | None
) -> Verifier | None:
    """Who checks answers, with `verify` an engine or the session's own; None where nobody does."""
    if verify is False:
        return None
    whole = None if original is None else Halves(original)
    return Verifier(halves if verify is True else Halves(verify), codecs, exits, whole)


def _same(a: Array, b: Array) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.dtype.kind != "f":
        return bool(np.array_equal(a, b))
    return difference(a, b) <= max(RELATIVE * magnitude(b), 1e-6)
