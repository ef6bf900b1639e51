"""Labelled pictures by name or from a local folder. Nothing is downloaded and nothing is unpickled."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import BadInput, Missing
from isthmus.model.zoo.digits import DIGITS_LEVELS, digits_parts
from isthmus.profile.datasets.cifar import CIFAR10, cifar_binary
from isthmus.profile.datasets.folders import class_folders, zipped
from isthmus.profile.datasets.idx import mnist_idx
from isthmus.profile.datasets.listed import is_listed, listed
from isthmus.profile.datasets.rows import cifar_rows, mnist_rows
from isthmus.profile.datasets.types import Dataset, Part, apart, spread

PLACES = {
    "mnist": ("images/mnist", "mnist", "MNIST/raw"),
    "cifar10": ("images", "cifar10", "cifar-10-batches-bin", "."),
}
"""Where a data folder may keep the sets that have a name."""
_CIFAR_ZIP = "cifar10_test*.zip"
_IMAGENET = ("images", "imagenet", ".")
_IMAGENET_ZIP = "imagenet_val*.zip"
_TEST_SHARE = 0.2


def load_dataset(
    what: str | Path, *, data_folder: Path | None = None, side: int | None = None, seed: int = 0
) -> Dataset:
    """`digits` (1,797 small ones, every fourth for the test), `mnist` or `cifar10` from `data_folder`, or a folder.

    A folder may hold MNIST as idx files (packed or not) or as PNG rows, CIFAR-10 in its binary version or as PNG rows
    beside a zip file of test pictures, or one subfolder a class. A set without a test part is divided by `seed`; `side`
    resizes the pictures of class folders. Raises Missing where the data is absent, BadInput where it is no such data.
    """
    if what == "digits":
        return _digits()
    if isinstance(what, str) and what in PLACES and not Path(what).exists():
        return _named(what, data_folder, seed)
    folder = Path(what)
    if not os.path.isdir(folder):  # noqa: PTH112 - False for a name that no folder can have
        names = ", ".join(("digits", *PLACES))
        raise Missing(f"there is no folder {folder}; give a folder with labelled pictures, or one of {names}")
    found = _in_folder(folder, side, seed)
    if found is None:
        raise BadInput(
            f"{folder} holds no labelled pictures: no idx files, no data_batch_*.bin, no batches of PNG rows, "
            "no subfolder with pictures for each class"
        )
    return found


def judged_pictures(
    what: str | Path,
    *,
    data_folder: Path | None = None,
    side: int = 224,
    most: int | None = None,
    train: bool = False,
    seed: int = 0,
) -> tuple[str, NDArray[np.float32], NDArray[np.int64]]:
    """Pictures to judge a finished model by: what they are called, values between 0 and 1 (float32, N × channels ×
    height × width) and classes (int64, N).

    The test part of whatever `load_dataset` knows (with `train`, the other one), `imagenet` (a part of its validation
    set in `data_folder`), or a zip file that lists its pictures' classes. `side` is what listed pictures are brought
    to. With `most`, only so many, evenly spread over the set. Raises as `load_dataset` does.
    """
    archive = _archive(what, data_folder)
    if archive is not None:
        part, name, levels = listed(archive, side=side, most=most), archive.stem, 255.0
    else:
        found = load_dataset(what, data_folder=data_folder, seed=seed)
        part, name, levels = found.train if train else found.test, found.name, found.levels
        part = part if most is None or most >= len(part) else part.pick(spread(len(part), most))
    return name, part.pictures.astype(np.float32) / np.float32(levels), part.labels


def is_listed_set(what: str | Path) -> bool:
    """Is this a set of pictures to judge by only, without a part to learn from (`imagenet`, a zip file with a list)?"""
    return what == "imagenet" or os.path.isfile(what)  # noqa: PTH113 - see load_dataset


def _archive(what: str | Path, data_folder: Path | None) -> Path | None:
    """The zip file with a list that is meant, if one is."""
    if os.path.isfile(what):  # noqa: PTH113 - see load_dataset
        if not is_listed(Path(what)):
            raise BadInput(f"{what} is no zip file of pictures with a labels.txt (one FILE CLASS a line)")
        return Path(what)
    if what != "imagenet":
        return None
    places = [] if data_folder is None else [data_folder / place for place in _IMAGENET]
    archives = [path for place in places for path in sorted(place.glob(_IMAGENET_ZIP))]
    if not archives:
        where = f"in {data_folder}" if data_folder else "ISTHMUS_DATA names no folder"
        raise Missing(f"imagenet is not here ({where}); give a zip file of pictures with a labels.txt")
    return archives[0]


def _in_folder(folder: Path, side: int | None, seed: int) -> Dataset | None:
    readers: tuple[Callable[[], Dataset | None], ...] = (
        lambda: mnist_idx(folder),
        lambda: _mnist_rows(folder),
        lambda: cifar_binary(folder),
        lambda: _cifar_pictures(folder, seed),
        lambda: class_folders(folder, side=side, seed=seed),
    )
    return next((found for reader in readers if (found := reader()) is not None), None)


def _named(name: str, data_folder: Path | None, seed: int) -> Dataset:
    tried = [] if data_folder is None else [data_folder / place for place in PLACES[name]]
    readers: dict[str, Callable[[Path], Dataset | None]] = {
        "mnist": lambda folder: mnist_idx(folder) or _mnist_rows(folder),
        "cifar10": lambda folder: cifar_binary(folder) or _cifar_pictures(folder, seed),
    }
    for folder in tried:
        found = readers[name](folder) if folder.is_dir() else None
        if found is not None:
            return found
    where = f"in {data_folder}" if data_folder else "ISTHMUS_DATA names no folder"
    raise Missing(f"{name} is not here ({where}); give the folder that holds it, or digits, which need no files")


def _mnist_rows(folder: Path) -> Dataset | None:
    found = mnist_rows(folder)
    return None if found is None else Dataset("mnist", tuple("0123456789"), *found)


def _cifar_pictures(folder: Path, seed: int) -> Dataset | None:
    """PNG rows in the folder or one below it, the test's zip file beside or above them; without one, a fifth."""
    for place in (folder, *sorted(folder.glob("cifar10*/"))):
        train = cifar_rows(place)
        if train is None:
            continue
        archives = [path for near in (place, place.parent) for path in sorted(near.glob(_CIFAR_ZIP))]
        if not archives:
            return Dataset("cifar10", CIFAR10, *apart(train, _TEST_SHARE, seed))
        classes, test = zipped(archives[0])
        if [c.partition("_")[2] for c in classes] != list(CIFAR10):
            raise BadInput(f"{archives[0]} has folders {', '.join(classes[:3])} …, not 0_airplane … 9_truck")
        return Dataset("cifar10", CIFAR10, train, test)
    return None


def _digits() -> Dataset:
    """Those that `zoo:digits` was trained and tested on; they come with isthmus."""
    train, test = digits_parts()
    return Dataset("digits", tuple("0123456789"), Part(*train), Part(*test), levels=DIGITS_LEVELS)


__all__ = ["PLACES", "Dataset", "Part", "apart", "is_listed_set", "judged_pictures", "load_dataset", "spread"]
