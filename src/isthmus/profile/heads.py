"""What a network loses where its first part computes with few bits: the head as it will run, measured on samples.

The head is written as it is packed (`isthmus.quant.quantised_head`), runs in batches, and the tail goes on in floating
point from what crosses: the levels of the crossing tensors, which travel as they are, or floats through their codec.
Runs the engine; imported by its own name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from isthmus.codec import Array, Codec, PictureScale, codec_for, length_varies
from isthmus.engine import Engine, has_vnni
from isthmus.files import scratch_folder
from isthmus.graph import INPUT, OUTPUT, cut_at
from isthmus.model import Model
from isthmus.model.types import Progress
from isthmus.profile.judging import answers_of, classes_judged, kept
from isthmus.profile.samples import Samples
from isthmus.quant import BitPlan, Distortions, QuantisedHead, Steps, quantised_head

Places = NDArray[np.intp]
Sent = Callable[[str, str, Array, QuantisedHead | None], Array]
"""What arrives of a crossing tensor: (its name, codec, value, the head that made it) → value."""
HOPELESS_SIGMAS = 4.0
"""A head is given up where its loss lies so many standard errors above what is allowed,"""
FEWEST = 48
"""and not before so many samples."""


@dataclass(frozen=True)
class HeadLoss:
    """`loss`: right answers lost, in shares of 1 (where nobody labelled them, answers that are not the whole
    network's), over the first `samples` of `of` in an order drawn by chance: all of them, unless it was given up as
    hopeless. `give_or_take`: its standard error. `sample_bytes`: what crossed, mean of a sample, where it depends on
    what is written."""

    loss: float
    give_or_take: float
    samples: int
    of: int
    labelled: bool
    sample_bytes: float | None = None

    def hopeless(self, most: float) -> bool:
        """Whether the loss over these samples cannot come down to `most` but by odd chance."""
        least = self.loss - HOPELESS_SIGMAS * max(self.give_or_take, 1 / self.samples)
        return self.samples >= FEWEST and least > most


@dataclass(frozen=True)
class Outcome:
    """Some samples that went through a head: their places among all, which answers are right, and the bytes that
    crossed, of each, where their number depends on what is written."""

    places: Places
    right: NDArray[np.bool_]
    sizes: list[int]


@dataclass(frozen=True)
class HeadJudge:
    """Judges heads of one fused network (`isthmus.model.fused`) on the same samples.

    `tables` are those the widths were chosen from; `picture` says how the input is made of pixels, for picture codecs.
    Raises as `classes_judged` does where there are labels.
    """

    net: Model
    tables: Distortions
    samples: Samples
    picture: PictureScale | None = None
    threads: int = 1
    batch: int = 16
    engine: Engine = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.samples.labels is not None:
            classes_judged(self.net, self.samples.labels)
        object.__setattr__(self, "engine", Engine.open(self.net, threads=self.threads, cuts="none"))

    @cached_property
    def order(self) -> Places:
        """The samples' places in an order drawn by chance, so that the first of them stand for all."""
        return np.random.default_rng(0).permutation(len(self.samples))

    @cached_property
    def whole(self) -> Array:
        """Answers of the whole network."""
        every = np.arange(len(self.samples))
        return np.concatenate([self._answers(self.engine.whole(part)) for _, part in self._parts(every)])

    @cached_property
    def base(self) -> NDArray[np.bool_]:
        """Which of those are right; all without labels."""
        return kept(self.whole, self._truth, self.whole)

    @property
    def score(self) -> float:
        """Share of right answers of the whole network; 1 without labels."""
        return float(np.mean(self.base))

    def loss(
        self,
        cut: str,
        codec: str,
        bits: BitPlan | None,
        *,
        most: float | None = None,
        progress: Progress | None = None,
    ) -> HeadLoss:
        """The loss of a head up to `cut` with these widths (None: floating point). It is given up as soon as it can
        hardly be `most`, a share of 1. Raises BadInput as `quantised_head` and the codec do."""
        parts = self.outcomes(cut, codec, bits, self.order)
        return loss_of(parts, self.base[self.order], self.samples, cut, most=most, progress=progress)

    def outcomes(
        self, cut: str, codec: str, bits: BitPlan | None, places: Places, *, sent: Sent | None = None
    ) -> Iterator[Outcome]:
        """Samples of these places through a head, batch by batch; otherwise as `loss`. `sent` takes the place of
        what crossing tensors go through."""
        with scratch_folder() as folder:
            sizes: list[int] = []
            run = self._runner(cut, codec, bits, folder, sent or partial(self._arrived, sizes))
            for some, part in self._parts(places):
                right = kept(run(part), self._truth[some], self.whole)
                yield Outcome(some, right, _by_sample(sizes, len(some)))
                sizes.clear()

    def _runner(
        self, cut: str, codec: str, bits: BitPlan | None, folder: Path, sent: Sent
    ) -> Callable[[Mapping[str, Array]], Array]:
        """From inputs to answers, by way of what crosses at the cut."""
        last, graph = self.net.outputs[-1].name, self.engine.graph
        crossing = graph.outputs if cut == OUTPUT else cut_at(graph, cut).crossing
        head, first = None, None
        if bits is not None and cut != INPUT:
            made_here = cut != OUTPUT and graph.producer[last] in cut_at(graph, cut).head and last not in crossing
            early = [last] if made_here else []
            head = quantised_head(self.net, crossing, bits, self.tables, early=early, signed=has_vnni())
            first = Engine.open(head.model, threads=self.threads, cuts="none", cache_dir=folder)

        def run(part: Mapping[str, Array]) -> Array:
            if head is None or first is None:
                made = self.engine.head(cut, part)
            else:
                made = {**part, **head.restored(first.whole(part))}
            if cut == OUTPUT:
                return self._answers(made)
            arrived = {name: sent(name, codec, made[name], head) for name in crossing}
            return self._answers({**made, **self.engine.tail(cut, arrived)})

        return run

    def _arrived(self, sizes: list[int], name: str, codec: str, value: Array, head: QuantisedHead | None) -> Array:
        """Levels cross as they are, floats through the codec, every sample by itself: a range that is measured is
        measured of one. `sizes` takes their bytes, where those depend on what is written."""
        levels = head is not None and name in head.levels
        if levels and not length_varies(codec):
            return value
        chosen = codec_for(codec, "float32", head.steps[name].clip) if head and levels else None
        chosen = chosen or self.codec_at(name, codec, value)
        rows = self.engine.graph.tensors[name].shape[0] if value.ndim else 1  # of one sample
        parts = np.split(value, len(value) // rows)
        payloads = [memoryview(chosen.dump(part)).cast("B") for part in parts]
        if length_varies(codec):
            sizes += [payload.nbytes for payload in payloads]
        arrived = [chosen.load(p, x.shape, x.dtype.name) for p, x in zip(payloads, parts, strict=True)]
        return np.concatenate(arrived)

    def codec_at(self, name: str, codec: str, value: Array) -> Codec:
        """What a crossing tensor of floats is written with: the input's range at a width is that of the tables."""
        clip = None
        if name in self.engine.graph.inputs and codec.startswith("int"):
            bits = int(codec[3:].partition("+")[0])
            row = self.tables.tensor(name)
            if bits in self.tables.bits and row.limits:
                clip = Steps.between(*row.limits[self.tables.bits.index(bits)], bits).clip
        return codec_for(codec, value.dtype.name, clip, self.picture)

    def _answers(self, made: Mapping[str, Array]) -> Array:
        last = made[self.net.outputs[-1].name]
        return answers_of(last, len(last))

    @cached_property
    def _truth(self) -> Array:
        return self.whole if self.samples.labels is None else np.asarray(self.samples.labels)

    def _parts(self, places: Places) -> Iterator[tuple[Places, dict[str, Array]]]:
        step = self.batch if self.net.dynamic_batch else 1
        for first in range(0, len(places), step):
            some = places[first : first + step]
            yield some, {name: np.ascontiguousarray(value[some]) for name, value in self.samples.inputs.items()}


def head_loss(
    base: NDArray[np.bool_], right: NDArray[np.bool_], samples: Samples, sizes: Sequence[int] = ()
) -> HeadLoss:
    """The loss where the whole network (`base`) and a head were right on the same samples, some of `samples`."""
    apart = base.astype(np.float64) - right.astype(np.float64)
    give_or_take = float(apart.std() / math.sqrt(len(apart)))
    labelled, crossed = samples.labels is not None, sum(sizes) / len(apart) if len(sizes) else None
    return HeadLoss(float(apart.mean()), give_or_take, len(apart), len(samples), labelled, crossed)


def loss_of(
    parts: Iterable[Outcome],
    base: NDArray[np.bool_],
    samples: Samples,
    cut: str,
    *,
    most: float | None = None,
    progress: Progress | None = None,
) -> HeadLoss:
    """The loss over `parts`, where the whole network was right on the same samples in the same order (`base`); no more
    parts are asked for once it can hardly be `most`. `samples`: those that were to be seen; `cut` goes to `progress`.
    """
    right, sizes = np.empty(0, bool), list[int]()
    for part in parts:
        right = np.append(right, part.right)
        sizes += part.sizes
        if progress is not None:
            progress(len(right), len(samples), cut)
        found = head_loss(base[: len(right)], right, samples, sizes)
        if most is not None and found.hopeless(most):
            break
    return found


def _by_sample(sizes: Sequence[int], count: int) -> list[int]:
    """Bytes of each sample, from those of the crossing tensors one after the other; equal parts of the whole where the
    samples of one of them do not lie one after the other."""
    if len(sizes) % count:
        return [round(sum(sizes) / count)] * count
    return np.array(sizes, np.int64).reshape(-1, count).sum(axis=0).tolist() if sizes else []
