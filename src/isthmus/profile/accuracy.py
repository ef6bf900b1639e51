"""What a codec costs in accuracy at a cut, measured by running the tail on what the codec gives back."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.codec import Array, Codec, length_varies
from isthmus.codec.lengths import native_name
from isthmus.engine import Engine
from isthmus.errors import BadInput, BadModel
from isthmus.graph import cut_at
from isthmus.model.types import Model
from isthmus.profile.types import AccuracyRow

MAX_SAMPLE_BYTES = 1 << 30
NEAR = 0.05
"""Numbers that are no scores of classes are kept where they move by at most this share of their spread (standard
deviation): where 99 of 100 normal errors are that small, fewer than one answer in a hundred crosses a threshold."""
_NO_ARRAYS = "cannot read samples from {}: it holds something else than whole arrays"
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Samples:
    """Inputs to judge by, one array an input (first axis: sample), and labels (int64, N) where there are any."""

    inputs: Mapping[str, Array]
    labels: Array | None = None

    def __post_init__(self) -> None:
        sizes = {len(v) for v in self.inputs.values()}
        if self.labels is not None:
            sizes.add(len(self.labels))
        if len(sizes) != 1 or 0 in sizes:
            raise BadInput(f"samples need the same number of each input and label, at least one, not {sorted(sizes)}")

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def part(self, start: int, stop: int) -> Samples:
        """Samples start … stop − 1 (all of them when that would be none)."""
        if start >= min(stop, len(self)):
            return self
        labels = None if self.labels is None else self.labels[start:stop]
        return Samples({k: v[start:stop] for k, v in self.inputs.items()}, labels)

    def pick(self, places: Array) -> Samples:
        """The samples of these indices (whole numbers, at least one)."""
        labels = None if self.labels is None else self.labels[places]
        return Samples({k: v[places] for k, v in self.inputs.items()}, labels)


def load_samples(path: Path, model: Model) -> Samples:
    """Samples from a .npz file: one array an input of the model, and `labels` (whole numbers) if there are any.

    Nothing in the file is executed. Raises BadInput for other names, shapes or dtypes, for values that are no numbers
    (NaN) or infinite, and for a model with inputs that have no samples.
    """
    model.need_samples()
    arrays = _arrays(path, model)
    labels = arrays.pop("labels", None)
    wanted = {s.name: s for s in model.inputs}
    if set(arrays) != set(wanted):
        raise BadInput(f"{path} holds {', '.join(sorted(arrays)) or 'nothing'}; {model.name} takes {', '.join(wanted)}")
    for name, value in arrays.items():
        shape = wanted[name].at(len(value)) if value.ndim else ()
        if native_name(value.dtype) != wanted[name].dtype or value.shape[1:] != shape[1:]:
            takes = ", ".join(map(str, ("N", *shape[1:])))
            raise BadInput(f"{path}: {name} is {value.dtype} {value.shape}, not {wanted[name].dtype} ({takes})")
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise BadInput(f"{path}: {name} holds values that are no numbers or infinite; leave those samples out")
    count = len(next(iter(arrays.values())))
    if labels is not None and (labels.dtype.kind not in "iu" or labels.shape != (count,)):
        raise BadInput(
            f"{path}: labels must be whole numbers, one a sample: ({count},), not {labels.dtype} {labels.shape}"
        )
    return Samples(arrays, labels)


def _arrays(path: Path, model: Model) -> dict[str, NDArray[Any]]:
    """What an .npz file holds, by name."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > MAX_SAMPLE_BYTES:
            raise BadInput(f"{path} holds more than {MAX_SAMPLE_BYTES} bytes; some hundred samples are enough")
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except zipfile.BadZipFile as error:
        call = ", ".join(f"{i.name}=…" for i in model.inputs)
        raise BadInput(f"{path} is no .npz file; numpy.savez(file, {call}) makes one") from error
    except (OSError, EOFError, zlib.error, NotImplementedError, RuntimeError) as error:
        raise BadInput(f"cannot read samples from {path}: {error}") from error
    except (ValueError, OverflowError, MemoryError) as error:
        raise BadInput(_NO_ARRAYS.format(path)) from error
    if not all(isinstance(value, np.ndarray) and (value.ndim or name == "labels") for name, value in arrays.items()):
        raise BadInput(_NO_ARRAYS.format(path))
    return arrays


def measure_accuracy(
    engine: Engine,
    samples: Samples,
    choices: Sequence[tuple[str, str]],
    codec_of: Callable[[str, str, str], Codec],
    *,
    batch: int = 32,
    progress: Progress | None = None,
) -> tuple[AccuracyRow, ...]:
    """Score every (cut id, codec name). `codec_of(cut, tensor, name)` gives the codec as it will be used there, with
    its calibrated clip. The answer judged is that of the last output (`answers_of`), compared with the label, or
    without labels with the whole model's (`kept`). Raises as `classes_judged` does where there are labels."""
    if samples.labels is not None:
        classes_judged(engine.model, samples.labels)
    step = batch if engine.model.dynamic_batch else 1
    parts = [{k: v[i : i + step] for k, v in samples.inputs.items()} for i in range(0, len(samples), step)]
    last = engine.model.outputs[-1].name
    whole = np.concatenate([answers_of(engine.whole(p)[last], len(next(iter(p.values())))) for p in parts])
    truth = whole if samples.labels is None else np.asarray(samples.labels)
    base = float(np.mean(kept(whole, truth, whole)))
    rows = []
    for done, (cut, name) in enumerate(choices):
        answers, sizes = zip(*(_through(engine, cut, name, p, last, codec_of) for p in parts), strict=True)
        right = kept(np.concatenate(answers), truth, whole)
        rows.append(
            AccuracyRow(
                cut=cut,
                codec=name,
                score=float(right.mean()),
                loss=base - float(right.mean()),
                labelled=samples.labels is not None,
                samples=len(samples),
                sample_bytes=sum(sizes) / len(samples),
            )
        )
        if progress is not None:
            progress(done + 1, len(choices), f"{cut} {name}")
    return tuple(rows)


def _through(
    engine: Engine,
    cut: str,
    name: str,
    inputs: Mapping[str, Array],
    last: str,
    codec_of: Callable[[str, str, str], Codec],
) -> tuple[Array, int]:
    """The answers, and the bytes that crossed: sample by sample where their number depends on what is written."""
    made = engine.head(cut, inputs)
    crossing, size = {}, 0
    for tensor in cut_at(engine.graph, cut).crossing:
        value = made[tensor]
        codec = codec_of(cut, tensor, name)
        parts = np.split(value, len(value)) if length_varies(name) else [value]
        payloads = [memoryview(codec.dump(part)).cast("B") for part in parts]
        size += sum(payload.nbytes for payload in payloads)
        arrived = [codec.load(p, part.shape, part.dtype.name) for p, part in zip(payloads, parts, strict=True)]
        crossing[tensor] = np.concatenate(arrived) if len(arrived) > 1 else arrived[0]
    answer = made[last] if last in made else engine.tail(cut, crossing)[last]
    return answers_of(answer, len(next(iter(inputs.values())))), size


def classes_judged(model: Model, labels: Array) -> int:
    """How many classes a model's last output scores, where labels can judge it.

    Raises BadModel where that output is no table of (N, classes), and BadInput for labels of classes that it does not
    have.
    """
    last = model.outputs[-1]
    shape = last.at(1)
    if len(shape) < 2 or math.prod(shape) != shape[-1] or shape[-1] < 2:
        raise BadModel(
            f"{model.name} cannot be judged by labels: its last output {last.name} has shape {shape}, not (N, "
            "classes); what codecs and few bits lose can be judged by samples without labels, as an .npz file"
        )
    if not 0 <= labels.min() <= labels.max() < shape[-1]:
        raise BadInput(
            f"labels from {labels.min()} to {labels.max()} do not fit {model.name}, whose {shape[-1]} classes count "
            "from 0"
        )
    return shape[-1]


def answers_of(output: Array, count: int) -> Array:
    """One answer a sample: the argmax over the last axis (a hash of all of them, for segmentations and the like). Where
    that axis scores no classes, the numbers themselves, a row a sample (a hash of whole numbers)."""
    scores = output.ndim > 1 and output.shape[-1] > 1
    if not scores and output.dtype.kind == "f":
        return np.asarray(output, np.float64).reshape(count, -1)
    best: Array = (np.argmax(output, axis=-1) if scores else output).reshape(count, -1)
    if best.shape[1] == 1:
        return best[:, 0]
    return np.array([hash(row.tobytes()) for row in best])


def kept(answers: NDArray[Any], wanted: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.bool_]:
    """Which answers are the wanted ones: equal to them, or, of numbers, `NEAR` them (root mean square over a sample's)
    beside the spread of what the whole network answers, or beside its size where that is one answer only. What is no
    number, or infinite, must be the same."""
    if wanted.dtype.kind != "f":
        equal: NDArray[np.bool_] = answers == wanted
        return equal
    numbers = whole[np.isfinite(whole)]
    spread = np.std(numbers) if numbers.size else 0.0
    same = (answers == wanted) | (np.isnan(answers) & np.isnan(wanted))
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.sqrt(np.mean(np.square(np.where(same, 0.0, answers - wanted)), axis=1))
    near: NDArray[np.bool_] = apart <= NEAR * (spread or np.abs(numbers).max(initial=0.0))
    return near
