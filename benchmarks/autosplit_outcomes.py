"""What every picture came to through every head of a network, kept in a file, for `autosplit_accuracy.py`.

Losses on any part of the pictures follow from it, so plans made on one half of them and judged on the other run no head
twice, and a run that was broken off goes on where it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from isthmus.cli.losses import digest
from isthmus.codec import Array, codec_for
from isthmus.model import Model
from isthmus.model.types import Progress
from isthmus.profile.heads import HeadJudge, HeadLoss, Outcome, Places, loss_of
from isthmus.profile.samples import Samples
from isthmus.quant import BitPlan, Distortions, QuantisedHead

_RIGHT, _UNKNOWN = 1, 2
_STEP = 16
WIRE = " on the wire"


@dataclass
class Outcomes:
    """Right or wrong, and the bytes that crossed, of every picture of `judge` through every head that was asked for."""

    judge: HeadJudge
    path: Path | None = None
    right: dict[str, NDArray[np.uint8]] = field(default_factory=dict)
    sizes: dict[str, NDArray[np.int32]] = field(default_factory=dict)

    @classmethod
    def open(cls, judge: HeadJudge, folder: Path | None) -> Outcomes:
        """With what an earlier run found for the same network, tables and pictures."""
        if folder is None:
            return cls(judge)
        folder.mkdir(parents=True, exist_ok=True)
        made = cls(judge, folder / f"{judge.net.name}-{_fingerprint(judge)}.npz")
        if made.path is not None and made.path.is_file():
            with np.load(made.path) as kept:
                made.right = {k[6:]: kept[k] for k in kept.files if k.startswith("right ")}
                made.sizes = {k[6:]: kept[k] for k in kept.files if k.startswith("sizes ")}
        return made

    @cached_property
    def base(self) -> NDArray[np.bool_]:
        """Which answers of the whole network are right."""
        if "whole" not in self.right:
            self.right["whole"] = self.judge.base.astype(np.uint8)
            self._write()
        known: NDArray[np.bool_] = self.right["whole"] == _RIGHT
        return known

    def at(
        self, cut: str, codec: str, bits: BitPlan | None, places: Places, *, wire: bool = False
    ) -> Iterator[Outcome]:
        """The pictures of these places through a head, some at a time; with `wire`, one by one and what crosses
        packed as it travels."""
        name = f"{cut} {codec} {_digest(bits)}{WIRE if wire else ''}"
        right = self.right.setdefault(name, np.full(len(self.judge.samples), _UNKNOWN, np.uint8))
        sizes = self.sizes.setdefault(name, np.zeros(len(self.judge.samples), np.int32))
        before = int((right != _UNKNOWN).sum())
        missing = places[right[places] == _UNKNOWN]
        fresh = self._packed(cut, codec, bits, missing) if wire else self.judge.outcomes(cut, codec, bits, missing)
        try:
            for first in range(0, len(places), _STEP):
                some = places[first : first + _STEP]
                while (right[some] == _UNKNOWN).any():
                    part = next(fresh)
                    right[part.places], sizes[part.places] = part.right, part.sizes or 0
                yield Outcome(some, right[some] == _RIGHT, sizes[some].tolist() if sizes[some].any() else [])
        finally:
            if int((right != _UNKNOWN).sum()) > before:
                self._write()

    @cached_property
    def _one_by_one(self) -> HeadJudge:
        return replace(self.judge, batch=1)

    def _packed(self, cut: str, codec: str, bits: BitPlan | None, places: Places) -> Iterator[Outcome]:
        """Every picture by itself, what crosses packed and unpacked."""
        sizes: list[int] = []

        def packed(name: str, codec: str, values: Array, head: QuantisedHead | None) -> Array:
            levels = head is not None and name in head.levels
            clip = head.steps[name].clip if head is not None and levels else None
            own = codec_for(codec, "float32", clip) if levels else self.judge.codec_at(name, codec, values)
            payload = memoryview(own.dump(values)).cast("B")
            sizes.append(payload.nbytes)
            return own.load(payload, values.shape, values.dtype.name)

        for part in self._one_by_one.outcomes(cut, codec, bits, places, sent=packed):
            yield Outcome(part.places, part.right, [sum(sizes)])
            sizes.clear()

    def _write(self) -> None:
        if self.path is not None:
            rows = {f"right {k}": v for k, v in self.right.items()} | {f"sizes {k}": v for k, v in self.sizes.items()}
            part = self.path.with_suffix(".part.npz")
            np.savez_compressed(part, **rows)  # type: ignore[arg-type]
            part.replace(self.path)


@dataclass(frozen=True)
class SomeJudge:
    """Judges heads on the pictures of these places, as `HeadJudge` does on all of its own."""

    outcomes: Outcomes
    places: Places

    @property
    def net(self) -> Model:
        """The network."""
        return self.outcomes.judge.net

    @property
    def tables(self) -> Distortions:
        """What the widths are chosen from."""
        return self.outcomes.judge.tables

    @cached_property
    def samples(self) -> Samples:
        """The pictures."""
        return self.outcomes.judge.samples.pick(self.places)

    @property
    def score(self) -> float:
        """Share of them that the whole network has right."""
        return float(self.outcomes.base[self.places].mean())

    def loss(
        self,
        cut: str,
        codec: str,
        bits: BitPlan | None,
        *,
        most: float | None = None,
        wire: bool = False,
        progress: Progress | None = None,
    ) -> HeadLoss:
        """What is lost on them; given up where it can hardly be `most`."""
        parts = self.outcomes.at(cut, codec, bits, self.places, wire=wire)
        return loss_of(parts, self.outcomes.base[self.places], self.samples, cut, most=most, progress=progress)


def _digest(bits: BitPlan | None) -> str:
    return "floats" if bits is None else hashlib.sha256(bits.model_dump_json().encode()).hexdigest()[:16]


def _fingerprint(judge: HeadJudge) -> str:
    """Says which tables and which pictures."""
    found = hashlib.sha256(f"{judge.tables.fingerprint} {digest(judge.tables)}".encode())
    for name, values in sorted(judge.samples.inputs.items()):
        found.update(f"{name} {values.shape}".encode())
        found.update(np.ascontiguousarray(values[:: max(1, len(values) // 50)]).tobytes())
    return found.hexdigest()[:12]
