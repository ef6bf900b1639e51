"""Labelled pictures from small files made up here: every form that is read, and everything that is refused."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from isthmus.errors import BadInput, Missing
from isthmus.profile.datasets import Part, apart, is_listed_set, judged_pictures, load_dataset
from isthmus.profile.datasets.idx import read_idx
from isthmus.profile.datasets.rows import cifar_rows, mnist_rows

Image = pytest.importorskip("PIL.Image", reason="pillow is not installed")
RNG = np.random.default_rng(0)


def pixels(*shape: int) -> NDArray[np.uint8]:
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def png(values: NDArray[np.uint8]) -> bytes:
    written = io.BytesIO()
    Image.fromarray(values).save(written, "PNG")
    return written.getvalue()


def idx(values: NDArray[np.uint8]) -> bytes:
    return struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes()


def idx_folder(folder: Path, *, packed: bool) -> dict[str, NDArray[np.uint8]]:
    made = {}
    for stem, count in (("train", 6), ("t10k", 4)):
        made[f"{stem}-images-idx3-ubyte"] = pixels(count, 28, 28)
        made[f"{stem}-labels-idx1-ubyte"] = (np.arange(count) % 10).astype(np.uint8)
    for name, values in made.items():
        content = idx(values)
        (folder / (f"{name}.gz" if packed else name)).write_bytes(gzip.compress(content) if packed else content)
    return made


@pytest.mark.parametrize("packed", [False, True])
def test_mnist_as_it_is_published(tmp_path: Path, packed: bool) -> None:
    made = idx_folder(tmp_path, packed=packed)
    found = load_dataset(tmp_path)
    assert found.shape == (1, 28, 28)
    np.testing.assert_array_equal(found.train.pictures[:, 0], made["train-images-idx3-ubyte"])
    assert found.test.labels.tolist() == [0, 1, 2, 3]
    floats = found.floats(found.test)
    assert floats.dtype == np.float32
    np.testing.assert_allclose(floats[:, 0], made["t10k-images-idx3-ubyte"] / 255, rtol=1e-6)


def test_mnist_in_rows(tmp_path: Path) -> None:
    batches = {0: pixels(3, 784), 1: pixels(2, 784), 20: pixels(4, 784)}
    for number, rows in batches.items():
        (tmp_path / f"mnist_batch_{number}.png").write_bytes(png(rows))
    labels = np.arange(60, dtype=np.uint8) % 10
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
    (tmp_path / "t10k_first4_labels.u8").write_bytes(bytes([7, 2, 1, 0]))
    found = load_dataset(tmp_path)
    assert found.train.labels.tolist() == [0, 1, 2, 3, 4]
    assert found.test.labels.tolist() == [7, 2, 1, 0]
    np.testing.assert_array_equal(found.train.pictures[3, 0], batches[1][0].reshape(28, 28))
    (tmp_path / "mnist_batch_0.png").unlink()
    with pytest.raises(BadInput, match=r"without a gap"):
        mnist_rows(tmp_path)


def test_cifar_in_rows_with_its_zip_beside(tmp_path: Path) -> None:
    names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    folder = tmp_path / "cifar10_some"
    folder.mkdir()
    rows = pixels(4, 1024, 3)
    (folder / "cifar10_batch_0.png").write_bytes(png(rows))
    (folder / "labels.txt").write_text("6\n9\n9\n4\n")
    with_test = {f"{i}_{n}": pixels(32, 32, 3) for i, n in enumerate(names)}
    with zipfile.ZipFile(tmp_path / "cifar10_test_some.zip", "w") as archive:
        for name, values in with_test.items():
            archive.writestr(f"{name}/0000.png", png(values))
    for given in (folder, tmp_path):
        found = load_dataset(given)
        assert found.train.labels.tolist() == [6, 9, 9, 4]
        assert found.test.labels.tolist() == list(range(10))
        np.testing.assert_array_equal(found.train.pictures[1], rows[1].reshape(32, 32, 3).transpose(2, 0, 1))
        np.testing.assert_array_equal(found.test.pictures[8], with_test["8_ship"].transpose(2, 0, 1))
    (folder / "labels.txt").write_text("6\n9\n9\n")
    with pytest.raises(BadInput, match=r"a class 0 … 9 for each of 4 pictures"):
        cifar_rows(folder)


def test_cifar_binary(tmp_path: Path) -> None:
    pictures, labels = pixels(5, 3, 32, 32), np.array([3, 0, 9, 1, 1], np.uint8)
    records = np.concatenate([labels[:, None], pictures.reshape(5, -1)], axis=1)
    for name, part in (("data_batch_1", records[:2]), ("data_batch_2", records[2:]), ("test_batch", records[:1])):
        (tmp_path / f"{name}.bin").write_bytes(part.tobytes())
    found = load_dataset(tmp_path)
    np.testing.assert_array_equal(found.train.pictures, pictures)
    assert found.train.labels.tolist() == labels.tolist()
    assert found.classes[3] == "cat"
    (tmp_path / "data_batch_2.bin").write_bytes(records.tobytes()[:-1])
    with pytest.raises(BadInput, match=r"no whole number of records of 3073 bytes"):
        load_dataset(tmp_path)


def test_pickled_batches_are_not_opened(tmp_path: Path) -> None:
    class Mine:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "ran",)

    (tmp_path / "data_batch_1").write_bytes(pickle.dumps(Mine()))
    with pytest.raises(BadInput, match=r"take the binary version of CIFAR-10"):
        load_dataset(tmp_path)
    assert not (tmp_path / "ran").exists()


def class_folder(folder: Path, *, side: int = 12, count: int = 10) -> None:
    for label in ("cat", "dog"):
        (folder / label).mkdir(parents=True)
        for i in range(count):
            (folder / label / f"{i}.png").write_bytes(png(pixels(side, side, 3)))


def test_class_folders_divided_by_seed(tmp_path: Path) -> None:
    class_folder(tmp_path)
    found = load_dataset(tmp_path, seed=3)
    assert found.classes == ("cat", "dog")
    assert (len(found.train), np.bincount(found.test.labels).tolist()) == (16, [2, 2])
    again, other = load_dataset(tmp_path, seed=3), load_dataset(tmp_path, seed=4)
    np.testing.assert_array_equal(found.test.pictures, again.test.pictures)
    assert not np.array_equal(found.test.pictures, other.test.pictures)


def test_class_folders_that_are_divided_already(tmp_path: Path) -> None:
    class_folder(tmp_path / "train")
    class_folder(tmp_path / "test", count=3)
    found = load_dataset(tmp_path, side=8)
    assert (len(found.train), len(found.test), found.shape) == (20, 6, (3, 8, 8))


def test_pictures_of_many_sizes_need_a_side(tmp_path: Path) -> None:
    class_folder(tmp_path)
    (tmp_path / "dog" / "9.png").write_bytes(png(pixels(20, 16, 3)))
    with pytest.raises(BadInput, match=r"is 16 × 20 pixels, .* 12 × 12; give a side"):
        load_dataset(tmp_path)
    assert load_dataset(tmp_path, side=8).shape == (3, 8, 8)


def test_one_class_is_none(tmp_path: Path) -> None:
    class_folder(tmp_path)
    for path in (tmp_path / "dog").iterdir():
        path.unlink()
    with pytest.raises(BadInput, match=r"one class only, cat"):
        load_dataset(tmp_path)


def test_a_folder_without_pictures(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("no picture")
    with pytest.raises(BadInput, match=r"holds no labelled pictures: no idx files, no data_batch_\*\.bin"):
        load_dataset(tmp_path)


def test_data_that_is_absent(tmp_path: Path) -> None:
    with pytest.raises(Missing, match=r"there is no folder .*nowhere; give a folder"):
        load_dataset(tmp_path / "nowhere")
    for look in (load_dataset, judged_pictures):
        with pytest.raises(Missing, match=r"there is no folder x+;"):
            look("x" * 300)
    assert not is_listed_set("x" * 300)
    with pytest.raises(Missing, match=r"mnist is not here \(in .*\); give the folder that holds it, or digits"):
        load_dataset("mnist", data_folder=tmp_path)
    with pytest.raises(Missing, match=r"ISTHMUS_DATA names no folder"):
        load_dataset("cifar10")


def test_named_sets_are_found_below_the_data_folder(tmp_path: Path) -> None:
    folder = tmp_path / "images" / "mnist"
    folder.mkdir(parents=True)
    idx_folder(folder, packed=True)
    assert len(load_dataset("mnist", data_folder=tmp_path).train) == 6


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no idx file"),
        (b"\x00\x00\x0d\x01\x00\x00\x00\x01\x00", "no idx file of unsigned bytes"),
        (b"\x00\x00\x08\x03\x00\x00", "ends within its header"),
        (struct.pack(">BBBBI", 0, 0, 8, 1, 9) + b"\x00" * 8, "announces 9 entries of 1 bytes and holds 8 bytes"),
        (struct.pack(">BBBBI", 0, 0, 8, 1, 1 << 30), "at most 200000 are taken"),
        (struct.pack(">BBBBIII", 0, 0, 8, 3, 100_000, 60_000, 60_000), "more than 1073741824 bytes"),
    ],
)
def test_idx_files_that_lie(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(BadInput, match=words):
        read_idx(tmp_path / "x")


def test_broken_pictures_and_archives(tmp_path: Path) -> None:
    class_folder(tmp_path)
    whole = png(pixels(12, 12, 3))
    for content in (b"", b"GIF89a", whole[: len(whole) // 2], os.urandom(200)):
        (tmp_path / "cat" / "0.png").write_bytes(content)
        with pytest.raises(BadInput, match=r"no picture that can be read"):
            load_dataset(tmp_path)
    idx_folder(tmp_path, packed=True)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(100))[:20])
    with pytest.raises(BadInput, match=r"cannot read"):
        load_dataset(tmp_path)


def test_a_small_file_does_not_become_a_large_picture(tmp_path: Path) -> None:
    class_folder(tmp_path)
    (tmp_path / "cat" / "0.png").write_bytes(png(np.zeros((9000, 9000), np.uint8)))
    with pytest.raises(BadInput, match=r"9000 × 9000 pixels; at most 67108864"):
        load_dataset(tmp_path)


def test_digits() -> None:
    found = load_dataset("digits")
    assert (len(found.train), len(found.test), found.shape) == (1348, 449, (1, 8, 8))
    assert found.floats(found.train).max() == 1.0


def test_parts_keep_the_classes() -> None:
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    part = Part(np.arange(100, dtype=np.uint8)[:, None, None, None], labels)
    first, second = apart(part, 0.2, 0)
    assert np.bincount(second.labels).tolist() == [10, 6, 4]
    assert sorted([*first.pictures.ravel(), *second.pictures.ravel()]) == list(range(100))
    with pytest.raises(BadInput, match=r"one picture cannot be divided"):
        apart(part.pick(np.array([0])), 0.5, 0)


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_real_data(name: str) -> None:
    root = os.environ.get("ISTHMUS_DATA")
    if not root:
        pytest.skip("ISTHMUS_DATA with its images is not set")
    found = load_dataset(name, data_folder=Path(root))
    counts, first = {
        "mnist": ((9000, 3000), [5, 0, 4, 1, 9]),
        "cifar10": ((2000, 5000), [6, 9, 9, 4, 1]),
    }[name]
    assert (len(found.train), len(found.test)) == counts
    assert found.train.labels[:5].tolist() == first
    assert np.bincount(found.test.labels).min() > 250
