"""`isthmus plan --data`: what the solutions worth having really lose, measured until the fastest good one is known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Protocol

import numpy as np
import typer

from isthmus.cli.common import err, progress_bar
from isthmus.cli.labelled import labelled_samples, scale_of, undivided
from isthmus.cli.losses import LossRow, MeasuredLosses, digest, read_losses
from isthmus.codec import PictureScale
from isthmus.errors import BadInput
from isthmus.files import write_json
from isthmus.model import Model
from isthmus.model.types import Progress
from isthmus.plan import Problem
from isthmus.plan.baselines import baselines
from isthmus.plan.joint import Joint, joint
from isthmus.plan.losses import measurable, to_measure
from isthmus.plan.planners.autosplit import USUAL_LOSS
from isthmus.plan.solution import Solution
from isthmus.profile.datasets import spread
from isthmus.profile.distortion import need_alike, need_better_than_chance
from isthmus.profile.heads import HeadJudge, HeadLoss
from isthmus.profile.judging import classes_judged
from isthmus.profile.samples import Samples
from isthmus.quant import BitPlan, Distortions

PlanData = Annotated[
    str,
    typer.Option(
        "--data",
        help="Labelled pictures (as for quantize) to measure what solutions lose: the fastest first, until one keeps "
        "--max-loss. Written to --losses, where that is given.",
    ),
]


@dataclass(frozen=True)
class Measuring:
    """What was asked for: the data and how it becomes inputs, where losses are kept, whether baselines count too."""

    data: str
    scale: str = ""
    samples: int | None = None
    first_class: int = 0
    keep: Path | None = None
    baselines: bool = False
    threads: int = 1

    def __call__(self, net: Model, problem: Problem) -> Problem:
        """The problem with the losses that its answer hangs on. Raises BadInput without distortion tables, for data
        that is none and for a file of other losses."""
        tables = problem.distortions
        if tables is None:
            raise BadInput("--data measures what quantised heads lose; give their tables with --distortions too")
        samples, label = judging_samples(net, tables, self)
        picture = picture_of(net, "" if self.data.endswith(".npz") else self.scale or "0/1")
        need_alike(tables, samples)
        judge = HeadJudge(net, tables, samples, picture, threads=self.threads)
        if samples.labels is not None:
            need_better_than_chance(net, samples, int(judge.base.sum()), classes_judged(net, samples.labels))
        book = Book.open(self.keep, judge, label)
        with progress_bar("measuring losses") as progress:
            measured = book.complete(problem, with_baselines=self.baselines, progress=progress)
        err.print(
            f"measured the loss of {book.measured} solutions ({len(book.losses.rows) - book.measured} were known) on "
            f"{len(samples)} of {label}, of which the whole network has {book.losses.score:.1%} right{book.spread()}",
            highlight=False,
        )
        return measured


def judging_samples(net: Model, tables: Distortions, asked: Measuring) -> tuple[Samples, str]:
    """The samples to judge by, without those that the tables were measured on, and what to call them."""
    purpose = "losses are measured on"
    samples, label = labelled_samples(net, asked.data, asked.scale, first_class=asked.first_class, purpose=purpose)
    if label == tables.source and undivided(asked.data):
        seen = spread(len(samples), tables.samples)
        left = np.setdiff1d(np.arange(len(samples)), seen)
        if not len(left):
            raise BadInput(f"all {len(samples)} samples of {label} were measured for the distortion tables; give more")
        samples = samples.pick(left)
    return samples.pick(spread(len(samples), asked.samples)), label


def picture_of(net: Model, scale: str) -> PictureScale | None:
    """How pictures became the input, where the one input is a picture."""
    shape = net.inputs[0].at(1)
    is_picture = len(net.inputs) == 1 and len(shape) == 4 and shape[1] in (1, 3)
    return scale_of(scale, shape[1]) if is_picture else None


class Judge(Protocol):
    """Whoever says what a head loses on the same samples, as `HeadJudge` does."""

    @property
    def net(self) -> Model: ...
    @property
    def tables(self) -> Distortions: ...
    @property
    def samples(self) -> Samples: ...
    @property
    def score(self) -> float: ...
    def loss(
        self, cut: str, codec: str, bits: BitPlan | None, *, most: float | None = None, progress: Progress | None = None
    ) -> HeadLoss: ...


@dataclass
class Book:
    """Losses as they become known, in a file where one is kept. `measured`: how many of them were not known before."""

    judge: Judge
    losses: MeasuredLosses
    path: Path | None
    measured: int = 0

    @classmethod
    def open(cls, path: Path | None, judge: Judge, label: str) -> Book:
        """With what is known already. Raises BadInput for a file of other losses."""
        fresh = MeasuredLosses(
            model=judge.net.name,
            fingerprint=judge.tables.fingerprint,
            tables=digest(judge.tables),
            data=label,
            samples=len(judge.samples),
            inputs=judge.samples.digest(),
            labelled=judge.samples.labels is not None,
            score=judge.score,
        )
        if path is None or not path.exists():
            return cls(judge, fresh, path)
        found = read_losses(path, judge.tables)
        if not isinstance(found, MeasuredLosses):
            raise BadInput(f"{path} was written by hand; measure into another file, or plan by it without --data")
        if not found.inputs:
            raise BadInput(f"{path} does not say which samples its losses were measured on; give --losses another file")
        if found.model_copy(update={"rows": {}, "score": fresh.score}) != fresh:
            raise BadInput(
                f"{path} holds losses on {found.samples} samples of {found.data}, not on these {fresh.samples} of "
                f"{label} (other inputs or labels); give --losses another file"
            )
        return cls(judge, found, path)

    def complete(self, problem: Problem, *, with_baselines: bool, progress: Progress | None = None) -> Problem:
        """The problem with all losses that its answer hangs on."""
        found = self.judged(problem, joint(self._known(problem)), progress)
        if with_baselines:
            for row in self._open_baselines(problem, found):
                self._measure(row, _most(problem), progress)
        return self._known(problem)

    def judged(self, problem: Problem, found: Joint, progress: Progress | None = None) -> Joint:
        """The solutions of a problem, with all losses measured that the answer hangs on."""
        limits, most = problem.limits, _most(problem)
        found = found.with_uploads(self._known(problem))
        while True:
            kept = [s for s in found.solutions if limits.distortion is None or (s.distortion or 0) <= limits.distortion]
            wanted = next(to_measure(kept, most, limits.latency_s), None)
            if wanted is None:
                return found
            sizes = self.losses.sample_bytes
            self._measure(wanted, most, progress)
            known = self._known(problem)
            if sizes == self.losses.sample_bytes:
                found = found.with_losses(known)
            else:  # prices are others now: of this picture, or of all heads that are written so
                found = found.with_uploads(known) if ":" in wanted.codec else joint(known)

    def spread(self) -> str:
        """How well a loss is known that was measured on all samples, in words; nothing where none was."""
        found = [row.give_or_take for row in self.losses.rows.values() if row.samples == self.losses.samples]
        return f"; a loss is known to ± {max(found):.2%}" if found else ""

    def _open_baselines(self, problem: Problem, found: Joint) -> Iterator[Solution]:
        rows: Iterable[Solution] = baselines(self._known(problem), found, named=False)
        yield from (row for row in rows if measurable(row) and row.name not in self._settled(problem).rows)

    def _measure(self, row: Solution, most: float, progress: Progress | None) -> None:
        found = self.judge.loss(row.cut, row.codec, row.bits, most=most, progress=progress)
        made = LossRow(loss=found.loss, give_or_take=found.give_or_take, samples=found.samples)
        if found.sample_bytes is not None:
            sent = {"cut": row.cut, "codec": row.codec, "sample_bytes": found.sample_bytes}
            made = made.model_copy(update=sent)
        self.losses = self.losses.model_copy(update={"rows": {**self.losses.rows, row.name: made}})
        self.measured += 1
        if self.path is not None:
            write_json(self.path, self.losses)

    def _settled(self, problem: Problem) -> MeasuredLosses:
        """Without the losses of heads that were given up under a stricter limit and would not be under this one."""
        of, labelled, most = self.losses.samples, self.losses.labelled, _most(problem)
        rows = {
            name: row
            for name, row in self.losses.rows.items()
            if row.samples == of or HeadLoss(row.loss, row.give_or_take, row.samples, of, labelled).hopeless(most)
        }
        return self.losses.model_copy(update={"rows": rows})

    def _known(self, problem: Problem) -> Problem:
        settled = self._settled(problem)
        return replace(
            problem,
            losses={**problem.losses, **settled.shares},
            agreed=settled.agreed,
            give_or_take={**problem.give_or_take, **settled.give_or_take},
            sample_bytes={**problem.sample_bytes, **self.losses.sample_bytes},
        )


def _most(problem: Problem) -> float:
    return USUAL_LOSS if problem.limits.loss is None else problem.limits.loss
