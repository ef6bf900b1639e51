"""Requests of many callers, run as batches: gathered up to a size or a delay, answered each with its own samples."""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import islice
from types import TracebackType
from typing import Self

import numpy as np

from isthmus.errors import BadInput, Busy
from isthmus.record.batching import Batching
from isthmus.run import forked
from isthmus.run.apart import Seam
from isthmus.run.halves import Halves
from isthmus.run.types import Answer, Array, Arrays
from isthmus.units import is_whole

_CLOSED = "the batcher is closed"


@dataclass
class Waiting:
    """One request that waits for its batch."""

    inputs: Arrays
    samples: int
    at_s: float
    answer: Future[Answer] = field(default_factory=Future)


class Batcher:
    """Made by `Session.batched`; may be used by any number of threads, and as a context manager.

    One batch is one request of the session: one decision, one line in the journal, one trip over the link. Codecs with
    calibrated ranges write every sample as they would alone; without, one range is measured for the whole batch.
    """

    def __init__(
        self,
        infer: Callable[[Arrays], Answer],
        halves: Halves,
        rule: Batching,
        *,
        most_waiting: int,
        clock: Callable[[], float],
    ) -> None:
        if not is_whole(most_waiting, rule.max_batch, sys.maxsize):
            raise BadInput(f"at least one batch of {rule.max_batch} samples must be able to wait, not {most_waiting!r}")
        self.rule = rule
        self._infer, self._halves, self._clock = infer, halves, clock
        self._seams = Seams.of(halves) if rule.max_batch > 1 else Seams({}, {})
        self._most_waiting = most_waiting
        self._waiting: deque[Waiting] = deque()
        self._samples = 0
        self._changed = threading.Condition()
        self._closed, self._forks = False, forked.forks
        self._thread = threading.Thread(target=self._run, daemon=True, name="isthmus-batcher")
        self._thread.start()

    def submit(self, inputs: Mapping[str, Array]) -> Future[Answer]:
        """The answer to come for these inputs, of one sample or several; `Answer.wait_s` says how long it was gathered.

        The inputs are copied (602 kB: 0.05 ms, or 1 ms into memory that is touched for the first time) and may be
        changed at once.
        What the batch raises, each of its callers gets. Raises BadInput for inputs the model does not take or of more
        than `max_batch` samples, and in a fork of this process, Busy when `most_waiting` samples wait already or the
        batcher is closed.
        """
        samples = self._samples_of(inputs)
        return self._queued({name: array.copy() for name, array in inputs.items()}, samples)

    def infer(self, inputs: Mapping[str, Array]) -> Answer:
        """The same, waiting for the answer; nothing is copied."""
        return self._queued(dict(inputs), self._samples_of(inputs)).result()

    def close(self) -> None:
        """Runs what waits, then ends; nothing more is taken. The session stays open. In a fork it does nothing."""
        if self._forks != forked.forks:
            return
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _samples_of(self, inputs: Arrays) -> int:
        if self._forks != forked.forks:
            raise forked.refusal("batcher")
        samples = self._halves.batch_of(inputs)
        if samples > self.rule.max_batch:
            raise BadInput(f"{samples} samples are more than the greatest batch of {self.rule.max_batch}; raise it")
        return samples

    def _queued(self, inputs: Arrays, samples: int) -> Future[Answer]:
        with self._changed:
            if self._closed:
                raise Busy(_CLOSED)
            if self._samples + samples > self._most_waiting:
                raise Busy(f"{self._samples} samples wait already, of {self._most_waiting} that may; ask less often")
            one = Waiting(inputs, samples, self._clock())
            self._waiting.append(one)
            self._samples += samples
            self._changed.notify()
        return one.answer

    def _run(self) -> None:
        while group := self._gathered():
            wanted = [w for w in group if w.answer.set_running_or_notify_cancel()]
            if wanted:
                self._answer(wanted)

    def _gathered(self) -> list[Waiting]:
        """The next batch, once it should leave; empty when there will be none."""
        with self._changed:
            while True:
                now_s = self._clock()
                if self._waiting:
                    # more requests than samples in a batch cannot be in it
                    seen = list(islice(self._waiting, self.rule.max_batch + 1))
                    arrivals, samples = [w.at_s for w in seen], [w.samples for w in seen]
                    start_s, count = self.rule.next_batch(arrivals, samples, now_s)
                    if self._closed or start_s <= now_s:
                        return self._taken(count)
                    self._changed.wait(start_s - now_s)
                elif self._closed:
                    return []
                else:
                    self._changed.wait()

    def _taken(self, count: int) -> list[Waiting]:
        group = [self._waiting.popleft() for _ in range(count)]
        self._samples -= sum(w.samples for w in group)
        return group

    def _answer(self, group: Sequence[Waiting]) -> None:
        begun_s = self._clock()
        try:
            answer = self._infer(self._seams.joined([w.inputs for w in group]))
            parts = self._seams.parted(answer.outputs, [w.samples for w in group])
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the callers' and not this thread's
            for one in group:
                one.answer.set_exception(error)
            return
        exits = iter(answer.exits)
        for one, outputs in zip(group, parts, strict=True):
            left_at = tuple(islice(exits, one.samples))
            one.answer.set_result(Answer(outputs, answer.step, max(0.0, begun_s - one.at_s), left_at))


@dataclass(frozen=True)
class Seams:
    """Where tensors of several samples are joined and parted, by name."""

    inputs: Mapping[str, Seam]
    outputs: Mapping[str, Seam]

    @classmethod
    def of(cls, halves: Halves) -> Seams:
        """The seams of a model. Raises BadInput for one whose batch is fixed, whose tensors are not in proportion to
        it, or whose samples depend on one another."""
        graph = halves.engine.graph
        if not any(halves.grows(name) for name in graph.inputs):
            raise BadInput(
                f"{graph.name} takes batches of {graph.batch} only, so requests cannot be gathered; "
                "export it with a dynamic batch"
            )

        def seam(name: str) -> Seam:
            found = halves.seam(name)
            if found is None:
                raise BadInput(f"{name} of {graph.name} is not in proportion to the batch: it cannot be parted")
            return found

        seams = cls({n: seam(n) for n in graph.inputs}, {n: seam(n) for n in graph.outputs})
        if not halves.apart:
            raise BadInput(
                f"what {graph.name} answers to a sample changes with the others in its batch, so requests cannot be "
                "gathered; send each on its own"
            )
        return seams

    def joined(self, parts: Sequence[Arrays]) -> Arrays:
        """The inputs of all, one after the other."""
        if len(parts) == 1:
            return parts[0]
        return {name: np.concatenate([p[name] for p in parts], axis) for name, (axis, _) in self.inputs.items()}

    def parted(self, outputs: Arrays, samples: Sequence[int]) -> list[dict[str, Array]]:
        """The outputs again, to each its own."""
        if len(samples) == 1:
            return [dict(outputs)]
        ends = np.cumsum(samples)[:-1]
        seams = {name: self.outputs[name] for name in outputs}
        pieces = {name: np.split(outputs[name], ends * length, axis) for name, (axis, length) in seams.items()}
        return [{name: piece[at] for name, piece in pieces.items()} for at in range(len(samples))]
