"""From distortion tables to answers over the wire, as a person types it: quantize, plan, pack, inspect, serve, run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from conftest import Call
from onnx import TensorProto, helper, numpy_helper

from isthmus.bundle import open_bundle
from isthmus.bundle.few_bits import FewBits, Wanted, few_bits
from isthmus.cli.machines import read_profile
from isthmus.engine import Engine, profile_clock
from isthmus.errors import BadInput
from isthmus.files import read_json, write_json
from isthmus.graph import OUTPUT
from isthmus.model import fused, load_model
from isthmus.plan import Plan
from isthmus.profile import Profile
from isthmus.quant import BitPlan
from isthmus.run import serve

PAIR = ("--device", "eyeriss", "--server", "tpu", "--uplink", "20Mbit", "--rtt", "0ms")


class Made:
    """Tables and a plan for zoo:digits, and bundles of it."""

    def __init__(self, call: Call, folder: Path) -> None:
        self.call, self.folder = call, folder
        self.tables, self.plan = folder / "tables.json", folder / "plan.json"
        self("quantize", "zoo:digits", "--data", "digits", "--samples", 16, "--out", self.tables, "--json")
        words = ("--planner", "autosplit", *PAIR, "--distortions", self.tables, "--max-loss", "1%", "--out", self.plan)
        self("plan", "zoo:digits", *words, "--memory", "20kB", "--json")

    def __call__(self, *words: object) -> dict[str, object]:
        code, out, err = self.call(*words)
        assert code == 0, err
        found: dict[str, object] = json.loads(out)
        return found

    def pack(self, *more: object) -> tuple[int, str, str]:
        words = ("pack", "zoo:digits", "--runs", 1, "--slowdown", 2, "--out", self.folder / "bundle", "--force")
        found: tuple[int, str, str] = self.call(*words, *more)
        return found


@pytest.fixture
def made(call: Call, tmp_path: Path) -> Made:
    return Made(call, tmp_path)


def test_parts_are_timed_by_the_clock_and_with_the_rests_of_the_profile(
    made: Made, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Callable[[], float], Profile | None]] = []

    def noted(engine: Any, model: Any, wanted: Wanted, *given: Any, clock: Callable[[], float], **more: Any) -> FewBits:
        seen.append((clock, wanted.profile))
        return few_bits(engine, model, wanted, *given, clock=clock, **more)

    monkeypatch.setattr("isthmus.cli.pack_bits.few_bits", noted)
    file = tmp_path / "device.json"
    code, _, err = call("profile", "zoo:digits", "--fold", "--runs", 1, "--rest", "1ms", "--slowdown", 3, "--out", file)
    assert code == 0, err
    words = ("pack", "zoo:digits", "--runs", 1, "--device-profile", file, "--out", made.folder / "bundle")
    made(*words, "--plan", made.plan, "--distortions", made.tables, "--json")
    assert seen == [(profile_clock(3.0, 1), read_json(file, Profile))]


def test_from_tables_to_answers(made: Made, call: Call) -> None:
    code, out, err = made.pack("--plan", made.plan, "--distortions", made.tables)
    assert code == 0, err
    assert "the head up to" in out
    assert "holds no whole network worth having: while the server is away requests wait" in " ".join(out.split())
    path = made.folder / "bundle"
    bundle, plan = open_bundle(path), read_json(made.plan, Plan)
    few = bundle.manifest.few_bits
    assert few is not None
    assert few.head is not None
    assert few.whole is None
    assert few.memory_bytes == plan.memory_bytes == 20_000
    own = next(s for s in plan.solutions if s.bits == plan.bits and s.cut == plan.cuts[0])
    assert (few.head.weight_bytes, few.head.activation_bytes) == (own.weight_bytes, own.activation_bytes)

    told = made("inspect", path, "--json")
    assert told["finishes_alone"] is False
    parts = told["parts"]
    assert isinstance(parts, list)
    widths = {row["layer"]: row["weight_bits"] for row in parts[0]["layers"] if row["weight_bits"]}
    assert plan.bits is not None
    assert widths == plan.bits.weights
    assert parts[0]["disk_bytes"] == (path / few.head.file).stat().st_size
    code, out, _ = call("inspect", path)
    assert code == 0
    assert "bits of the part up to" in " ".join(out.split())

    with serve(Engine.open(bundle.model()), bundle.manifest.name, clips=bundle.clips) as server:
        words = ("run", path, "--to", server.address, "--requests", 6, "--verify", "--json")
        found = made(*words, "--cut", plan.cuts[0], "--codec", plan.codec)
        assert (found["answered"], found["wrong"], found["verified"]) == (6, 0, 6)
        assert found["ran"] == {"device": 0, "split": 6, "server": 0}
        assert found["up_bytes"] == 6 * own.sent_bytes
    code, out, err = call("run", path, "--to", server.address, "--requests", 2, "--deadline", "200ms", "--json")
    assert code == 1
    assert json.loads(out)["lost"] == 2
    assert "has no whole network to finish with" in " ".join(err.split())


def test_packed_and_planned_at_once_with_a_whole_network_for_the_device(made: Made, call: Call) -> None:
    more = ("--planner", "autosplit", "--distortions", made.tables, "--max-loss", "2%", "--narrow", "0.5")
    code, out, err = made.pack(*more, "--json")
    assert code == 0, err
    few = json.loads(out)["few_bits"]
    assert few["whole"]["cut"] == OUTPUT
    assert few["whole"]["ratio"] == 0.5
    assert few["whole"]["agrees"] > 0.9
    found = made("inspect", made.folder / "bundle", "--json")
    assert found["finishes_alone"] is True
    words = ("run", made.folder / "bundle", "--to", "127.0.0.1:1", "--requests", 3, "--mode", "only_on_device")
    code, out, err = call(*words, "--verify", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert (told["answered"], told["wrong"]) == (3, 0)
    assert told["greatest_error"] > 0


def test_what_cannot_be_packed_is_one_sentence(made: Made, tmp_path: Path, call: Call) -> None:
    plan = read_json(made.plan, Plan)
    other = tmp_path / "other.json"
    write_json(other, plan.model_copy(update={"bits": BitPlan(weights={"nowhere": 4})}))
    plain = tmp_path / "plain.json"
    made("plan", "zoo:digits", *PAIR, "--planner", "mincut", "--out", plain, "--json")
    tiny = tmp_path / "tiny.json"
    made("quantize", "zoo:tiny", "--random", "--samples", 1, "--out", tiny, "--json")
    tables = ("--distortions", made.tables)
    for words, said in (
        (("--plan", made.plan), "gives layers few bits: give the --distortions"),
        (("--plan", other, *tables), "the layer 'nowhere', which digits does not have"),
        (("--plan", plain, *tables), "chooses no bits: leave --distortions out"),
        (("--plan", made.plan, "--distortions", tiny), "another model than digits"),
        (("--plan", made.plan, *tables, "--exits", _exits(tmp_path, call)), "cannot leave early"),
    ):
        code, out, err = made.pack(*words)
        assert code == 2, (words, out, err)
        assert said in " ".join(err.split()), err
    code, _, err = call("pack", "zoo:tiny", "--plan", made.plan, "--distortions", tiny, "--runs", 1)
    assert code == 2
    assert "the plan is for digits, another network than this tiny" in " ".join(err.split())


def _exits(folder: Path, call: Call) -> Path:
    path = folder / "exits.json"
    code, _, err = call("profile", "zoo:digits", "--exits", "--data", "digits", "--out", path, "--json")
    assert code == 0, err
    return path


def normalised(path: Path) -> Path:
    """A convolution with a normalisation behind it."""
    rng = np.random.default_rng(0)
    numbers = {
        "w": rng.standard_normal((4, 3, 3, 3)),
        **{name: rng.uniform(0.5, 1.5, 4) for name in ("s", "b", "m", "v")},
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1] * 4),
        helper.make_node("BatchNormalization", ["c", "s", "b", "m", "v"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", k, 8, 8]) for name, k in (("x", 3), ("y", 4))]
    stored = [numpy_helper.from_array(values.astype(np.float32), name) for name, values in numbers.items()]
    graph = helper.make_graph(nodes, "normalised", ends[:1], ends[1:], stored)
    onnx.save_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    return path


def test_a_profile_of_the_network_as_plans_with_bits_cut_it(call: Call, tmp_path: Path) -> None:
    name = str(normalised(tmp_path / "normalised.onnx"))
    whole, folded = tmp_path / "whole.json", tmp_path / "folded.json"
    net = fused(load_model(name))
    for path, more in ((whole, ()), (folded, ("--fold",))):
        code, _, err = call("profile", name, "--device", "eyeriss", "--out", path, "--json", *more)
        assert code == 0, err
    assert read_json(folded, Profile).fingerprint == net.fingerprint
    with pytest.raises(BadInput, match=r"not of normalised as it is here; .* profile it with --fold"):
        read_profile("device", whole, net)
