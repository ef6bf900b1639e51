"""A network with a small input, a smaller waist and a large answer: the server is best used for its first part."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import Call
from onnx import TensorProto, helper, numpy_helper

from isthmus.bundle import open_bundle
from isthmus.engine import Engine
from isthmus.errors import BadInput
from isthmus.graph import INPUT, OUTPUT
from isthmus.link import Link
from isthmus.link.shape import ShapedLink
from isthmus.plan import PLANNERS
from isthmus.record import read_journal
from isthmus.run import serve
from isthmus.session import connect, problem_of, ready, table_of

SLOWDOWN = 150


def hourglass(path: Path) -> None:
    """48 kB in, convolutions, 2 kB at the waist, 256 kB out."""
    rng = np.random.default_rng(1)
    nodes, weights, name = [], [], "image"
    for k, (fan_in, fan_out, stride) in enumerate([(3, 32, 1), (32, 32, 1), (32, 2, 4)]):
        weight = (rng.standard_normal((fan_out, fan_in, 3, 3)) / np.sqrt(9 * fan_in)).astype(np.float32)
        weights.append(numpy_helper.from_array(weight, f"w{k}"))
        nodes.append(
            helper.make_node(
                "Conv", [name, f"w{k}"], [f"c{k}"], strides=[stride] * 2, pads=[1] * 4, kernel_shape=[3, 3]
            )
        )
        nodes.append(helper.make_node("Relu", [f"c{k}"], [f"r{k}"]))
        name = f"r{k}"
    weight = rng.standard_normal((2, 16, 4, 4)).astype(np.float32)
    weights.append(numpy_helper.from_array(weight, "w3"))
    nodes.append(helper.make_node("ConvTranspose", [name, "w3"], ["picture"], strides=[4, 4], kernel_shape=[4, 4]))
    ends = [
        helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 64, 64]),
        helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 16, 64, 64]),
    ]
    graph = helper.make_graph(nodes, "hourglass", ends[:1], ends[1:], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packed for this order."""
    at = tmp_path_factory.mktemp("hourglass")
    hourglass(at / "net.onnx")
    words = [
        *("pack", str(at / "net.onnx"), "--out", str(at / "bundle"), "--runs", "3", "--slowdown", str(SLOWDOWN)),
        *("--up", "8Mbit", "--rtt", "4ms", "--codecs", "float32", "--server-first", "--json"),
    ]
    subprocess.run([sys.executable, "-m", "isthmus", *words], capture_output=True, check=True)
    return at / "bundle"


@pytest.fixture(scope="module")
def address(bundle: Path) -> Iterator[str]:
    """Behind a link of 8 Mbit/s both ways: the answer takes a quarter of a second, the waist 2 ms."""
    opened = open_bundle(bundle)
    with (
        serve(Engine.open(opened.model()), opened.manifest.name, clips=opened.clips) as server,
        ShapedLink(server.address, "8Mbit", delay_s=0.002) as link,
    ):
        yield link.address


def test_the_plan_says_the_order_and_beats_the_other(bundle: Path) -> None:
    opened = open_bundle(bundle)
    assert opened.plan.first == "server"
    assert opened.plan.cuts[0] not in (INPUT, OUTPUT)
    other = PLANNERS["neurosurgeon"](problem_of(opened))
    assert other.first == "device"
    assert opened.plan.cost.total_s < 0.8 * other.cost.total_s
    turned = problem_of(opened, server_first=True)
    assert (turned.home, turned.machines) == (1, problem_of(opened).machines[::-1])
    assert turned.turned() == problem_of(opened)


def test_it_runs_live_as_it_was_packed(call: Call, bundle: Path, address: str, tmp_path: Path) -> None:
    """The server's part is chosen by the live chooser, its answers are right, and the journal says who ran first."""
    words = ("run", bundle, "--to", address, "--requests", 12, "--verify", "--json")
    code, out, err = call(*words, "--journal", tmp_path / "run.jsonl")
    assert code == 0, err
    summary = json.loads(out)
    assert (summary["answered"], summary["lost"], summary["wrong"], summary["verified"]) == (12, 0, 0, 12)
    best = summary["places"][0]
    assert (best["ran"], best["first"]) == ("split", "server")
    assert best["requests"] > 6
    assert best["down_bytes"] < 12 * 100_000
    _, steps = read_journal(tmp_path / "run.jsonl")
    turned = [s for s in steps if s.kind == "request" and s.first == "server"]
    assert len(turned) == best["requests"]
    assert all(s.seconds.tail > s.seconds.head > 0 for s in turned)  # the device is the slow one
    code, out, err = call(*words, "--device-first")
    assert code == 0, err
    assert {place["first"] for place in json.loads(out)["places"]} == {"device"}


def test_one_cut_of_that_order(call: Call, bundle: Path, address: str) -> None:
    words = ("run", bundle, "--to", address, "--requests", 3, "--verify", "--server-first")
    code, out, err = call(*words, "--cut", "r2", "--codec", "float16")
    assert code == 0, err
    assert "split, server" in " ".join(out.split())
    assert "0 wrong of 3 verified" in " ".join(out.split())


def test_a_private_input_and_a_server_that_runs_first_exclude_each_other(call: Call, bundle: Path) -> None:
    code, _, err = call("run", bundle, "--to", "127.0.0.1:9", "--mode", "private")
    assert code == 2
    assert "privacy keeps here" in " ".join(err.split())
    with pytest.raises(BadInput, match=r"server_first=False"):
        connect(ready(bundle), "127.0.0.1:9", mode="private", server_first=True)
    with connect(ready(bundle), "127.0.0.1:9", mode="private", server_first=False) as session:
        assert session.infer(open_bundle(bundle).model().random_inputs(1)).ran == "device"


def test_tables_of_both_orders_hold_the_same_ends(bundle: Path) -> None:
    """All on the device and all on the server are the same request in both, at the same price."""
    opened = open_bundle(bundle)
    prices = []
    for server_first in (False, True):
        table = table_of(opened, server_first=server_first)
        latency = table.latency_s(8e6, 8e6, 0.004)
        prices.append({cut: s for cut, s in zip(table.asked, latency, strict=True) if cut in (INPUT, OUTPUT)})
    assert prices[0].keys() == prices[1].keys() == {INPUT, OUTPUT}
    assert prices[0] == pytest.approx(prices[1])


def test_the_best_choices_are_timed_in_this_order_too(call: Call, bundle: Path) -> None:
    """Head here, tail there: what was timed lies near what the profile of the same machine promises."""
    model = bundle.parent / "net.onnx"
    words = ("--slowdown", SLOWDOWN, "--up", "8Mbit", "--rtt", "4ms", "--codecs", "float32", "--runs", 3, "--json")
    code, out, err = call("plan", model, "--server-first", "--retime", 4, *words)
    assert code == 0, err
    found = json.loads(out)
    timed = [c for c in found["candidates"] if c["measured_s"] is not None]
    assert len(timed) == 4
    assert found["first"] == "server"
    assert found["cuts"] in [c["cuts"] for c in timed]
    link = Link(8e6, 8e6, 0.004)
    for choice in timed:  # the way there and back is exact, and most of it
        way_s = link.up_s(choice["cost"]["up_bytes"][0]) + link.down_s(choice["cost"]["down_bytes"][0])
        if choice["cost"]["up_bytes"][0]:
            assert way_s < choice["measured_s"] < 20 * choice["cost"]["total_s"]


def test_edgent_plans_once_and_for_all(call: Call, tmp_path: Path) -> None:
    """The digits with exits: chosen before the first request, as the paper's static optimiser does."""
    made = tmp_path / "digits"
    assert call("profile", "zoo:digits", "--exits", "--data", "digits", "--out", tmp_path / "exits.json")[0] == 0
    words = ("--exits", tmp_path / "exits.json", "--runs", 1, "--slowdown", 1, "--json")
    assert call("pack", "zoo:digits", "--out", made, *words)[0] == 0
    run = ("run", made, "--to", "127.0.0.1:9", "--requests", 4, "--planner", "edgent", "--json")
    for order in ("--server-first", "--device-first"):
        code, out, err = call(*run, "--deadline", "5s", order)
        assert code == 0, err
        assert [use["exit"] for use in json.loads(out)["exits"]] == ["exit3"]
    code, _, err = call(*run, "--deadline", "1ns")
    assert (code, "finds no exit within" in " ".join(err.split())) == (5, True)
    code, _, err = call(*run, "--states", tmp_path / "exits.json")
    assert (code, "edgent plans for the link that was packed" in " ".join(err.split())) == (2, True)
