"""Samples to judge by, and reading them from a file."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.codec import Array
from isthmus.codec.lengths import native_name
from isthmus.errors import BadInput
from isthmus.model.types import Model

MAX_SAMPLE_BYTES = 1 << 30
_NO_ARRAYS = "cannot read samples from {}: it holds something else than whole arrays"


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

    def digest(self) -> str:
        """Says which samples these are: every number of them, and every label."""
        found = hashlib.sha256()
        labels = [] if self.labels is None else [("labels", self.labels)]
        for name, value in (*sorted(self.inputs.items()), *labels):
            found.update(f"{name} {value.dtype.str} {value.shape}\n".encode())
            found.update(np.ascontiguousarray(value).view(np.uint8).data)
        return found.hexdigest()[:16]


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
    if path.exists() and not path.is_file():  # a pipe or a device would be read to an end it may not have
        raise BadInput(f"cannot read samples from {path}: it is no file")
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
