"""Distortion tables: what every layer's weights and every tensor lose at each width, measured on samples.

Weights are looked at one by one. Activations take two passes over the samples: the first counts which values occur and
finds the ranges, the second measures D = E[(x - Q(x))²] exactly, with the very levels a quantised head would use. No
more than a piece of the network's tensors is in memory at any time (`isthmus.engine.tapped`).

The reference is the model as it is: its 16-bit form lies within 2⁻¹⁶ of a tensor's range of it, a part in 65,000 of the
error of 8 bits, and stands in the tables as 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from isthmus.codec import Array, PictureScale
from isthmus.codec.lengths import native_name
from isthmus.engine import Taps, tapped
from isthmus.errors import BadInput
from isthmus.graph import Graph, Node, fused_graph, graph_of
from isthmus.model import Model, fused
from isthmus.model.types import Progress
from isthmus.profile.samples import Samples
from isthmus.profile.uploads import measure_uploads
from isthmus.quant import (
    Channels,
    Distortions,
    Histogram,
    LayerBits,
    OutputBits,
    RangeName,
    Steps,
    layer_weights,
    need_quantisable,
    steps_for,
    weight_values,
)
from isthmus.quant.types import MOST_BITS

BITS = (2, 4, 6, 8)
RANDOM = "random data"
"""The `source` of samples that are nobody's."""
_CHANCE_SIGMAS = 3.0
_ALIKE = 4.0
"""Samples whose root mean square is this many times another's, or a part of it, are of another scale."""


@dataclass(frozen=True)
class Widths:
    """The widths to measure at, rising, and how ranges are found."""

    bits: tuple[int, ...] = BITS
    method: RangeName = "mse"

    def __post_init__(self) -> None:
        wrong = [b for b in self.bits if not (1 <= b <= 8 or b == MOST_BITS)]
        if wrong or not self.bits or list(self.bits) != sorted(set(self.bits)):
            shown = ",".join(map(str, self.bits)) or "none"
            raise BadInput(f"bits {shown} cannot be measured; give rising widths of 1 to 8, or {MOST_BITS}, as 2,4,6,8")

    @property
    def narrow(self) -> tuple[int, ...]:
        """Without the reference."""
        return tuple(b for b in self.bits if b != MOST_BITS)


def measure_distortions(
    model: Model,
    samples: Samples,
    widths: Widths = Widths(),
    *,
    source: str,
    picture: PictureScale | None = None,
    threads: int = 1,
    progress: Progress | None = None,
) -> Distortions:
    """D_w of every layer and D_a of every tensor of the fused network, on these samples; with `picture`, which says how
    the one input is made of pixels, also what sending it as a picture does to it.

    Labels, where there are any, must not be guessed right by chance alone: samples of another scale are found out so.
    Raises BadInput for samples that do not fit the model, and as `need_quantisable` does.
    """
    need_quantisable(model)
    net = fused(model)
    graph = fused_graph(graph_of(net))
    names = [t for t in (*graph.inputs, *graph.producer) if graph.tensors[t].dtype == "float32"]
    answer = [net.outputs[-1].name] if np.dtype(net.outputs[-1].dtype).kind == "f" else []
    watch = _Progress(progress, 2 * len(samples) + len(graph.nodes))
    with tapped(net, [*dict.fromkeys((*names, *answer))], threads=threads) as taps:
        _vet(net, samples)
        seen = _ranges(net, taps, names, samples, watch)
        outputs = _errors(taps, samples, seen, graph, widths, watch)
    return Distortions(
        model=model.name,
        fingerprint=net.fingerprint,
        bits=widths.bits,
        range=widths.method,
        layers=tuple(_layers(net, graph, outputs, widths, watch)),
        inputs=tuple(outputs[t] for t in graph.inputs),
        samples=len(samples),
        source=source,
        uploads={} if picture is None else measure_uploads(samples, picture),
    )


def random_samples(model: Model, count: int, seed: int = 0) -> Samples:
    """Standard-normal inputs, for want of data; the tables then say so. Raises BadInput for inputs that are none of
    floating point."""
    need_quantisable(model)
    parts = [model.random_inputs(1, seed=seed + k) for k in range(count)]
    return Samples({name: np.concatenate([p[name] for p in parts]) for name in parts[0]})


class _Progress:
    """Counts steps of work and tells."""

    def __init__(self, tell: Progress | None, total: int) -> None:
        self._tell, self._total, self._done = tell, total, 0

    def step(self, what: str, count: int = 1) -> None:
        self._done += count
        if self._tell is not None:
            self._tell(self._done, self._total, what)


def _passes(taps: Taps, samples: Samples, watch: _Progress, what: str) -> Iterator[tuple[str, Array]]:
    """Every wanted tensor for all samples, batch by batch."""
    for start in range(0, len(samples), taps.batch):
        part = {k: v[start : start + taps.batch] for k, v in samples.inputs.items()}
        yield from taps.run(part)
        watch.step(what, len(next(iter(part.values()))))


def _ranges(net: Model, taps: Taps, names: Sequence[str], samples: Samples, watch: _Progress) -> dict[str, Histogram]:
    """Which values these tensors take: the first pass."""
    seen = {name: Histogram() for name in names}
    last, answers = net.outputs[-1].name, []
    for name, value in _passes(taps, samples, watch, "ranges"):
        if name in seen:
            seen[name].update(value)
        if name == last:
            answers.append(np.argmax(value, axis=-1).reshape(len(value), -1))
    if answers and samples.labels is not None:
        _vet_answers(net, samples, samples.labels, np.concatenate(answers))
    return seen


def _errors(
    taps: Taps,
    samples: Samples,
    seen: Mapping[str, Histogram],
    graph: Graph,
    widths: Widths,
    watch: _Progress,
) -> dict[str, OutputBits]:
    """Everything about each tensor: the second pass."""
    steps = {name: [steps_for(found, b, widths.method) for b in widths.narrow] for name, found in seen.items()}
    lost = {name: [0.0] * len(found) for name, found in steps.items()}
    for name, value in _passes(taps, samples, watch, "errors"):
        for k, step in enumerate(steps.get(name, ())):
            lost[name][k] += step.square_error(np.asarray(value, np.float32))
    made = {t: OutputBits(name=t, elements=graph.tensors[t].elements) for t in graph.tensors}
    for name, found in seen.items():
        errors = [value / found.count for value in lost[name]]
        made[name] = _row(graph, name, found, steps[name], errors, widths)
    return made


def _row(
    graph: Graph, name: str, seen: Histogram, steps: Sequence[Steps], errors: Sequence[float], widths: Widths
) -> OutputBits:
    whole = len(widths.bits) - len(steps)  # the reference comes last, where it is asked for
    return OutputBits(
        name=name,
        elements=graph.tensors[name].elements,
        errors=(*errors, *[0.0] * whole),
        limits=(*(s.limits for s in steps), *[(seen.low, seen.high)] * whole),
        power=seen.power,
    )


def _layers(
    net: Model, graph: Graph, outputs: Mapping[str, OutputBits], widths: Widths, watch: _Progress
) -> Iterator[LayerBits]:
    """The rows of the table, in running order."""
    weights = layer_weights(net)
    for node in graph.nodes:
        own = _weight_row(net, node, weights, widths)
        for place, name in enumerate(node.outputs):
            found = outputs[name]
            yield LayerBits(
                node=node.name,
                output=name,
                output_elements=found.elements,
                outputs=found.errors,
                limits=found.limits,
                output_power=found.power,
                **(own if place == 0 else {"weight_elements": 0}),
            )
        watch.step("weights")


def _weight_row(net: Model, node: Node, weights: Mapping[str, tuple[str, int]], widths: Widths) -> dict[str, object]:
    """A layer's weights as fields of `LayerBits`; of several in one layer, errors are means over all elements."""
    count, power, errors = 0, 0.0, [0.0] * len(widths.bits)
    for part in node.whole:
        if part in weights:
            name, axis = weights[part]
            values = weight_values(net, name)
            channels = Channels(values, axis)
            count += values.size
            power += values.size * channels.power
            for k, bits in enumerate(widths.narrow):
                errors[k] += values.size * channels.error(bits, widths.method)
    if not count:
        return {"weight_elements": 0}
    return {"weight_elements": count, "weights": tuple(e / count for e in errors), "weight_power": power / count}


def need_alike(tables: Distortions, samples: Samples) -> None:
    """Raise BadInput for samples of quite another size of numbers than those that the tables were measured on."""
    for row in tables.inputs:
        value = samples.inputs.get(row.name)
        power = 0.0 if value is None else float(np.mean(np.square(value, dtype=np.float64)))
        if value is None or not (power > 0 and row.power > 0 and row.limits):
            continue
        times = math.sqrt(power / row.power)
        if not 1 / _ALIKE <= times <= _ALIKE:
            low, high = row.limits[-1]
            raise BadInput(
                f"values of {row.name} from {float(value.min()):g} to {float(value.max()):g} are {times:.3g} times as "
                f"large (rms) as those the distortions were measured on, {low:.3g} to {high:.3g}: scale both alike"
            )


def _vet(net: Model, samples: Samples) -> None:
    """Refuse samples that the network does not take or that say nothing of it."""
    for name, value in samples.inputs.items():
        wanted = next((s for s in net.inputs if s.name == name), None)
        if wanted is None or native_name(value.dtype) != wanted.dtype or value.shape[1:] != wanted.at(1)[1:]:
            takes = ", ".join(f"{s.name} {s.dtype} {s.at(1)[1:]}" for s in net.inputs)
            raise BadInput(f"{net.name} takes {takes}; the samples hold {name} {value.dtype} {value.shape[1:]}")
        if not np.isfinite(value).all():
            raise BadInput(f"the samples of {name} hold a value that is not finite")
        if len(value) > 1 and bool((value == value[:1]).all()):
            raise BadInput(f"all {len(value)} samples of {name} are the same; give samples as they come in use")


def _vet_answers(net: Model, samples: Samples, labels: Array, answers: Array) -> None:
    """Labels guessed right by chance alone mean samples of another scale, or labels of other classes."""
    classes = net.outputs[-1].at(1)[-1] if net.outputs[-1].shape else 1
    if classes < 2 or answers.shape[1] != 1 or labels.ndim != 1:
        return
    need_better_than_chance(net, samples, int((answers[:, 0] == labels).sum()), classes)


def need_better_than_chance(net: Model, samples: Samples, right: int, classes: int) -> None:
    """Raise BadInput where `right` answers on labelled samples are no more than chance among so many classes gives."""
    count, chance = len(samples), 1 / classes
    luck = count * chance + _CHANCE_SIGMAS * math.sqrt(count * chance * (1 - chance))
    if right <= luck < count:
        first = next(iter(samples.inputs.values()))
        raise BadInput(
            f"{net.name} is right on {right} of {count} samples, no more than by chance: values from "
            f"{float(first.min()):g} to {float(first.max()):g} may be of another range than it was trained on, or the "
            "labels of other classes; scale the samples as for training, or leave the labels out"
        )
