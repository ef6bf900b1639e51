"""`isthmus plan --planner dynamic`: switch tables as a person asks for them, and sentences for what cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from conftest import Call
from onnx import TensorProto, helper

from isthmus.files import read_json
from isthmus.plan import Plan


def fixed_batch(path: Path, batch: int) -> Path:
    """One convolution at a fixed batch."""
    weight = helper.make_tensor("w", TensorProto.FLOAT, (8, 3, 3, 3), [0.1] * 216)
    ends = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, (batch, c, s, s)) for n, c, s in (("x", 3, 8), ("y", 8, 6))
    ]
    node = helper.make_node("Conv", ["x", "w"], ["a"]), helper.make_node("Relu", ["a"], ["y"])
    graph = helper.make_graph(list(node), "net", ends[:1], ends[1:], [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    return path


PAIR = ("--device", "rtx_2080_ti_at_300_mhz", "--server", "rtx_2080_ti")


def test_the_switch_tables_of_two_profiles(call: Call, tmp_path: Path) -> None:
    files = [tmp_path / f"{name}.json" for name in PAIR[1::2]]
    for name, file in zip(PAIR[1::2], files, strict=True):
        words = ("profile", "zoo:efficientnet_b0", "--device", name, "--batches", "1,2,4", "--out", file, "--json")
        assert call(*words)[0] == 0
    asked = ("plan", "zoo:efficientnet_b0", "--planner", "dynamic", "--batches", "1,2,4", "--codecs", "float32,jpeg:90")
    given = ("--device-profile", files[0], "--server-profile", files[1], "--out", tmp_path / "plan.json", "--json")
    code, out, err = call(*asked, *given)
    assert code == 0, err
    found = json.loads(out)
    assert [t["batch"] for t in found["switch"]] == [1, 2, 4]
    for table in found["switch"]:
        assert table["rows"][0]["from_bps"] == 0
        assert table["rows"][-1]["to_bps"] is None
        assert {"cut", "codec", "from_bps", "to_bps", "from_s", "to_s"} <= set(table["rows"][0])
    cuts = {c["cuts"][0] for c in found["candidates"]}
    assert cuts == {"@input", "@output", "conv_27", "conv_56", "conv_85", "conv_173"}
    assert {c["codec"] for c in found["candidates"] if c["cuts"] == ["@input"]} == {"float32", "jpeg:90"}
    assert {c["codec"] for c in found["candidates"] if c["cuts"] != ["@input"]} == {"float32"}
    assert read_json(tmp_path / "plan.json", Plan).switch[2].at(1e6).cut in cuts


def test_the_table_and_a_loaded_server(call: Call) -> None:
    words = ("plan", "zoo:efficientnet_b0", "--planner", "dynamic", *PAIR)
    code, out, _ = call(*words)
    assert code == 0
    assert "best choice by uplink rate" in out
    idle, loaded = (json.loads(call(*words, "--load", k, "--json")[1])["switch"][0] for k in (1, 1000))
    assert (idle["load"], loaded["load"]) == (1, 1000)
    assert [r["cut"] for r in loaded["rows"]] == ["@output"]


def test_private_until_leaves_what_comes_later(call: Call) -> None:
    words = ("plan", "zoo:efficientnet_b0", "--planner", "dynamic", *PAIR, "--private-until", "conv_85", "--json")
    code, out, _ = call(*words)
    assert code == 0
    assert {c["cuts"][0] for c in json.loads(out)["candidates"]} == {"@output", "conv_85", "conv_173"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--up", "0"), "must be 1 bit/s to 10000 Gbit/s"),
        (("--up=-3Mbit",), "'-3Mbit' is not a rate"),
        (("--up", "nan"), "'nan' is not a rate"),
        (("--down", "0Mbit"), "must be 1 bit/s to 10000 Gbit/s"),
        (("--load", "0"), "load is a number from 1e-06 to 1000000, not 0"),
        (("--load", "nan"), "load is a number from 1e-06 to 1000000, not nan"),
        (("--batches", "1,x"), "no list of batch sizes"),
        (("--batches", "0"), "1 to 65536 samples, not 0"),
        (("--private-until", "conv_850"), "no node 'conv_850'; did you mean conv_85"),
        (("--compare",), "a comparison with baselines chooses bit widths and needs to know what they cost"),
        (("--codecs", "jpeg:0"), "1 to 100"),
    ],
)
def test_what_cannot_be_is_one_sentence(call: Call, words: tuple[str, ...], says: str) -> None:
    code, out, err = call("plan", "zoo:efficientnet_b0", "--planner", "dynamic", *PAIR, *words)
    assert (code, out) == (2, "")
    assert says in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize(("words", "says"), [(("--batch", "4"), "not 4"), (("--batches", "1,2"), "not 2")])
def test_a_batch_the_model_does_not_allow_is_refused_before_anything_is_measured(
    call: Call, tmp_path: Path, words: tuple[str, ...], says: str
) -> None:
    path = fixed_batch(tmp_path / "one.onnx", 1)
    code, out, err = call("plan", path, "--planner", "dynamic", *words)
    assert (code, out) == (2, "")
    assert f"one takes a batch of 1, {says}" in err
    assert "device is declared" not in err


def test_no_natural_bottleneck_is_a_plan_among_device_and_server(call: Call, tmp_path: Path) -> None:
    code, out, err = call("plan", fixed_batch(tmp_path / "one.onnx", 1), "--planner", "dynamic", "--runs", 2, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert {c["cuts"][0] for c in found["candidates"]} == {"@input", "@output"}
    assert "0 compressive bottlenecks (narrow)" in found["why"]


def test_nothing_may_leave_and_nothing_may_stay(call: Call) -> None:
    words = ("plan", "zoo:efficientnet_b0", "--planner", "server_only", *PAIR, "--private-until", "conv_85")
    code, _, err = call(*words)
    assert code == 5
    assert "server_only would send what is made before conv_85, which is to stay private" in err
