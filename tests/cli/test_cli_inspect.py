"""`isthmus inspect`: the published table of bottlenecks, both readings of their size, networks that have none."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from conftest import Call
from onnx import TensorProto, helper

# natural and compressive bottlenecks at block granularity; Bakhtiarnia et al. (ICASSP 2023) state 15 to 68, and 3 or 4
TABLE = {
    "efficientnet_b0": (15, 4),
    "efficientnet_b1": (21, 4),
    "efficientnet_b2": (21, 4),
    "efficientnet_b3": (24, 4),
    "efficientnet_b4": (30, 4),
    "efficientnet_b5": (36, 4),
    "efficientnet_b6": (42, 4),
    "efficientnet_b7": (44, 3),
    "efficientnet_v2_b0": (20, 4),
    "efficientnet_v2_b1": (25, 4),
    "efficientnet_v2_b2": (26, 4),
    "efficientnet_v2_b3": (30, 4),
    "efficientnet_v2_s": (34, 3),
    "efficientnet_v2_m": (49, 3),
    "efficientnet_v2_l": (68, 3),
}


def write_net(path: Path, batch: int | str, channels: int = 8) -> Path:
    """Two convolutions of that many channels and a pooling to one number each, at a fixed or open batch."""
    weights = [
        helper.make_tensor(f"w{i}", TensorProto.FLOAT, (channels, c, 3, 3), [0.1] * (channels * c * 9))
        for i, c in enumerate((3, channels))
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["a"], pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w1"], ["c"], pads=[1] * 4),
        helper.make_node("GlobalAveragePool", ["c"], ["y"]),
    ]
    ends = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, (batch, *shape))
        for n, shape in (("x", (3, 8, 8)), ("y", (channels, 1, 1)))
    ]
    graph = helper.make_graph(nodes, "net", ends[:1], ends[1:], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    return path


@pytest.mark.parametrize("name", TABLE)
def test_the_published_table(call: Call, name: str) -> None:
    code, out, _ = call("inspect", f"zoo:{name}", "--granularity", "block", "--json")
    found = json.loads(out)
    assert code == 0
    assert (found["natural_count"], found["compressive_count"]) == TABLE[name]
    assert sum(c["compressive"] for c in found["cuts"]) == TABLE[name][1]


def test_both_readings_and_the_codecs_stand_in_json_and_table(call: Call) -> None:
    words = ("inspect", "zoo:efficientnet_b0", "--granularity", "block")
    found = json.loads(call(*words, "--json")[1])
    assert (found["picture_bytes"], found["input_codec_bytes"]["jpeg:90"]) == (3 * 224 * 224, 19473)
    assert (found["natural_bytes_count"], found["compressive_bytes_count"]) == (13, 3)
    last = [c for c in found["cuts"] if c["compressive"]][-1]
    assert (last["ratio"], last["byte_ratio"], last["picture_ratio"]) == (0.0625, 0.0625, 0.25)
    assert last["bytes"] / last["codec_bytes"]["int8"] == pytest.approx(4, rel=0.01)
    assert "jpeg:90" not in last["codec_bytes"]
    out = " ".join(call(*words)[1].split())
    assert "15 natural bottlenecks, 4 compressive" in out
    assert "fewer bytes at 13 natural and 3 compressive" in out
    assert "÷ input ÷ 8-bit" in out


def test_codecs_that_are_asked_for(call: Call) -> None:
    found = json.loads(call("inspect", "zoo:tiny", "--codecs", "float16", "--json")[1])
    assert set(found["cuts"][0]["codec_bytes"]) == {"float16"}
    assert call("inspect", "zoo:tiny", "--codecs", "", "--granularity", "block")[0] == 0
    code, _, err = call("inspect", "zoo:tiny", "--codecs", "int9")
    assert (code, "no codec 'int9'" in err) == (2, True)


@pytest.mark.parametrize("granularity", ["narrow", "block"])
def test_a_network_without_natural_bottleneck(call: Call, tmp_path: Path, granularity: str) -> None:
    wide = write_net(tmp_path / "wide.onnx", "N")
    code, out, _ = call("inspect", wide, "--granularity", granularity, "--shapes-only")
    assert code == 0
    assert f"no natural bottleneck ({granularity})" in out
    found = json.loads(call("inspect", wide, "--granularity", granularity, "--json", "--shapes-only")[1])
    assert (found["natural_count"], found["compressive_count"]) == (0, 0)


@pytest.mark.parametrize(("fixed", "asked", "says"), [(1, 4, "a batch of 1, not 4"), (2, 3, "a batch of 2, not 3")])
def test_a_batch_the_model_does_not_allow(call: Call, tmp_path: Path, fixed: int, asked: int, says: str) -> None:
    path = write_net(tmp_path / "fixed.onnx", fixed)
    code, out, err = call("inspect", path, "--batch", asked, "--granularity", "block")
    assert (code, out) == (2, "")
    assert says in err
    assert call("inspect", path, "--batch", fixed, "--granularity", "block")[0] == 0
