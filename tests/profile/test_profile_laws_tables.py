"""Layer times that others measured: what rows mean, and what is wrong with a table."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from isthmus.errors import BadInput
from isthmus.profile.regression.read_table import read_table, regression_from_tables

HEADS = {
    "convolution": "HW,kernel,stride,Cin,Cout,FLOPs,latency",
    "depthwise_convolution": "HW,kernel,stride,Cin,FLOPs,latency",
    "max_pooling": "HW,kernel,stride,Cin,latency",
    "average_pooling": "HW,output,Cin,latency",
    "batch_norm": "HW,Cin,latency",
    "fully_connected": "in_features,out_features,FLOPs,latency",
}
BLOCKS = "device,model,block,first_layer,last_layer,time_s,output_bytes"


def table(folder: Path, *lines: str) -> Path:
    path = folder / "table.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def data() -> Path:
    folder = Path(os.environ.get("ISTHMUS_DATA", "/nowhere")) / "device_profiles"
    if not folder.exists():
        pytest.skip("measured device profiles are not here: set ISTHMUS_DATA")
    return folder


@pytest.mark.parametrize(
    ("kind", "row", "macs", "moved", "weights"),
    [
        ("convolution", "8,3,2,16,32,9e12,2", 4 * 4 * 32 * 16 * 9, (8 * 8 * 16, 4 * 4 * 32), 9 * 16 * 32),
        ("depthwise_convolution", "7,3,2,16,0.5,2", 4 * 4 * 16 * 9, (7 * 7 * 16, 4 * 4 * 16), 9 * 16),
        ("max_pooling", "8,3,2,16,2", 0, (8 * 8 * 16, 4 * 4 * 16), 0),
        ("average_pooling", "14,7,16,2", 0, (14 * 14 * 16, 7 * 7 * 16), 0),
        ("batch_norm", "8,16,2", 0, (8 * 8 * 16, 8 * 8 * 16), 0),
        ("fully_connected", "100,10,1990,2", 1000, (100, 10), 1000),
    ],
)
def test_a_row(tmp_path: Path, kind: str, row: str, macs: float, moved: tuple[int, int], weights: int) -> None:
    """Milliseconds to seconds, numbers to bytes; work from the shape."""
    (sample,) = read_table(table(tmp_path, HEADS[kind], row))
    shape = sample.shape
    assert (shape.type, sample.seconds, shape.macs) == (kind, 0.002, macs)
    assert (shape.in_bytes, shape.out_bytes, shape.weight_bytes) == (4 * moved[0], 4 * moved[1], 4 * weights)


def test_blocks_of_vgg(tmp_path: Path) -> None:
    """Block 0 is the input and the first convolution; layers 3 and 20 are a pooling and the first product."""
    path = table(
        tmp_path, BLOCKS, "d,vgg16,0,0,1,0.5,1", "d,vgg16,2,3,3,0.25,1", "d,resnet50,0,0,9,0.1,1", "d,vgg16,9,19,20,2,1"
    )
    first, pooled, product = read_table(path)
    assert (first.shape.type, first.shape.channels, first.shape.filters, first.seconds) == ("convolution", 3, 64, 0.5)
    assert (pooled.shape.type, pooled.shape.in_bytes) == ("max_pooling", 4 * 224 * 224 * 64)
    assert (product.shape.type, product.shape.macs) == ("fully_connected", 7 * 7 * 512 * 4096)


def test_a_block_quicker_than_the_clock_is_left_out(tmp_path: Path) -> None:
    assert len(read_table(table(tmp_path, BLOCKS, "d,vgg16,0,0,1,0.5,1", "d,vgg16,2,3,3,0,1"))) == 1


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        (["a,b", "1,2"], r"no table of layer times: its columns are a, b"),
        ([HEADS["batch_norm"], "8,16"], r"line 2: 2 values under 3 columns"),
        ([HEADS["batch_norm"], "8,16,1", "8,16,nan"], r"line 3: latency is 'nan'"),
        ([HEADS["batch_norm"], "8,-1,1"], r"line 2: Cin is '-1'"),
        ([HEADS["convolution"], "1e200,3,1,8,8,9e9,1"], r"line 2: HW is '1e200'"),
        ([HEADS["batch_norm"]], r"holds no layer"),
        ([BLOCKS, "d,resnet50,0,0,1,0.5,1"], r"holds no layer whose shape is known"),
        ([BLOCKS, "d,vgg16,0,0,1,quick,1"], r"time_s is 'quick'"),
    ],
)
def test_bad_tables(tmp_path: Path, lines: list[str], complaint: str) -> None:
    with pytest.raises(BadInput, match=complaint):
        read_table(table(tmp_path, *lines))


def test_a_table_is_read_within_bounds(piped: Callable[[bytes], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    content = f"{HEADS['batch_norm']}\n8,16,1\n".encode()
    assert len(read_table(piped(content))) == 1
    monkeypatch.setattr("isthmus.profile.regression.read_table.MAX_TABLE_BYTES", 20)
    with pytest.raises(BadInput, match="more than 20 bytes"):
        read_table(piped(content))


def test_no_table(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"cannot read layer times"):
        read_table(tmp_path / "none.csv")
    (tmp_path / "empty.csv").touch()
    with pytest.raises(BadInput, match=r"is empty"):
        read_table(tmp_path / "empty.csv")
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match=r"cannot read layer times"):
        read_table(tmp_path / "bytes.csv")


def test_laws_of_measured_layers() -> None:
    """The cloud host's tables: the extended variables explain it, and better than the paper's on what multiplies."""
    tables = sorted((data() / "neurosurgeon_regression").glob("cloud_*.csv"))
    found = regression_from_tables(tables, name="cloud", taken="")
    assert set(found.layers) == set(HEADS)
    for kind, laws in found.layers.items():
        extended, paper = laws.laws["extended"].median_error, laws.laws["paper"].median_error
        assert extended is not None
        assert paper is not None
        assert extended < 0.3
        if "conv" in kind or kind == "fully_connected":
            assert extended < paper


def test_laws_of_measured_blocks() -> None:
    found = regression_from_tables([data() / "scission" / "raspberry_pi_4.csv"], name="pi", taken="")
    assert set(found.layers) == {"convolution", "max_pooling", "fully_connected"}
    error = found.layers["convolution"].laws["extended"].median_error
    assert error is not None
    assert error < 0.15
