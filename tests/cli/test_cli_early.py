"""A network with exits, packed with its table and run: to one exit, and left as soon as one is sure."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Call

from isthmus.bundle import open_bundle
from isthmus.engine import Engine
from isthmus.errors import BadBundle, BadInput
from isthmus.files import read_json, write_json
from isthmus.model import digits_test, load_model
from isthmus.profile import ExitTable, cascade
from isthmus.profile.exit_measure import measure_exits
from isthmus.profile.samples import Samples
from isthmus.run import serve
from isthmus.session import connect, table_of

SHOWN = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model as a file, with its table beside it, and labelled images."""
    at = tmp_path_factory.mktemp("exits")
    model = load_model("zoo:digits")
    at.joinpath("net.onnx").write_bytes(model.proto.SerializeToString())
    images, labels = digits_test()
    name = model.inputs[0].name
    engine = Engine.open(load_model(str(at / "net.onnx")), cuts="none")
    write_json(at / "exits.json", measure_exits(engine, Samples({name: images}, labels), data="digits"))
    shown: dict[str, Any] = {name: images[:SHOWN]}
    np.savez(at / "images.npz", **shown)
    return at


@pytest.fixture(scope="module")
def bundle(folder: Path) -> Path:
    words = ["pack", str(folder / "net.onnx"), "--out", str(folder / "bundle"), "--runs", "1", "--json"]
    subprocess.run([sys.executable, "-m", "isthmus", *words], capture_output=True, check=True)
    return folder / "bundle"


@pytest.fixture(scope="module")
def address(bundle: Path) -> Iterator[str]:
    opened = open_bundle(bundle)
    with serve(Engine.open(opened.model()), opened.manifest.name, clips=opened.clips, exits=opened.exits) as server:
        yield server.address


def test_the_table_beside_the_model_goes_into_the_bundle(folder: Path, bundle: Path) -> None:
    opened = open_bundle(bundle)
    assert opened.exits == read_json(folder / "exits.json", ExitTable)
    assert set(opened.device.exits) == {"exit1", "exit2", "exit3"}
    assert set(table_of(opened, exit_at="exit1").cuts) < set(table_of(opened).cuts)
    with pytest.raises(BadInput, match=r"has no output 'exit9'"):
        table_of(opened, exit_at="exit9")


def test_a_table_that_was_changed_or_is_of_another_model_is_refused(call: Call, bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    text = (copy / "exits.json").read_text()
    (copy / "exits.json").write_text(text.replace('"entropy"', '"Entropy"', 1))
    with pytest.raises(BadBundle, match=r"exits\.json was changed after packing"):
        open_bundle(copy)
    (tmp_path / "exits.json").write_text(text)
    code, _, err = call("pack", "zoo:tiny", "--exits", tmp_path / "exits.json", "--out", tmp_path / "b", "--runs", 1)
    assert code == 2
    assert "exits.json is of net, not of tiny as it is here" in " ".join(err.split())
    assert not (tmp_path / "b").exists()


def test_run_early_says_how_many_left_where(call: Call, folder: Path, bundle: Path, address: str) -> None:
    words = ("run", bundle, "--to", address, "--data", folder / "images.npz", "--requests", SHOWN, "--verify")
    code, out, err = call(*words, "--early", "--cut", "relu_1", "--json")
    assert code == 0, err
    summary = json.loads(out)
    engine = Engine.open(open_bundle(bundle).model(), cuts="none")
    table = read_json(folder / "exits.json", ExitTable)
    at = cascade(engine.whole(dict(np.load(folder / "images.npz"))), table.rows)
    offline = {table.rows[k].output: int(n) for k, n in enumerate(np.bincount(at, minlength=3)) if n}
    assert {row["exit"]: row["samples"] for row in summary["exits"]} == offline
    assert all(row["p50_s"] > 0 for row in summary["exits"])
    assert (summary["wrong"], summary["verified"], summary["fallbacks"]) == (0, SHOWN, 0)
    assert summary["ran"]["device"] == offline["exit1"]
    code, out, err = call(*words, "--early")
    assert code == 0, err
    assert f"{offline['exit1']} ({offline['exit1'] / SHOWN:.1%}) at exit1" in " ".join(out.split())


def test_run_to_one_exit(call: Call, bundle: Path, address: str) -> None:
    code, out, err = call("run", bundle, "--to", address, "--requests", 5, "--exit", "exit2", "--verify", "--json")
    assert code == 0, err
    summary = json.loads(out)
    assert [(row["exit"], row["share"]) for row in summary["exits"]] == [("exit2", 1.0)]
    assert summary["wrong"] == 0
    code, _, err = call("run", bundle, "--to", address, "--exit", "exit9")
    assert (code, "its outputs are exit1, exit2, exit3" in err) == (2, True)


def test_without_a_table_nobody_leaves_early(folder: Path, tmp_path: Path, call: Call) -> None:
    lone = tmp_path / "net.onnx"
    shutil.copy(folder / "net.onnx", lone)
    code, _, err = call("pack", lone, "--out", tmp_path / "bundle", "--runs", 1, "--json")
    assert code == 0, err
    opened = open_bundle(tmp_path / "bundle")
    assert opened.exits is None
    code, _, err = call("run", tmp_path / "bundle", "--early")
    assert code == 2
    assert "has no table of exits" in err
    with connect(opened, "127.0.0.1:9", mode="only_on_device", exit_at="exit1") as session:
        assert list(session.infer(opened.model().random_inputs(1)).outputs) == ["exit1"]


def test_a_configuration_map_moves_cut_and_exit(call: Call, bundle: Path, address: str, folder: Path) -> None:
    words = ("run", bundle, "--to", address, "--requests", 20, "--data", folder / "images.npz", "--verify", "--json")
    code, out, err = call(*words, "--planner", "edgent_map_accuracy", "--deadline", "5s")
    assert code == 0, err
    found = json.loads(out)
    assert (found["answered"], found["lost"], found["wrong"]) == (20, 0, 0)
    assert [use["exit"] for use in found["exits"]] == ["exit3"]  # the most accurate is in time everywhere
    code, _, err = call(*words, "--planner", "edgent_map", "--exit", "exit1")
    assert code == 2
    assert "chooses cut and exit itself" in err
    code, _, err = call(*words, "--states", folder / "images.npz")
    assert code == 2
    assert "--states are for --planner edgent_map" in err


def test_a_map_needs_a_table_of_exits(call: Call, tmp_path: Path) -> None:
    assert call("pack", "zoo:tiny", "--out", tmp_path / "b", "--runs", 1, "--json")[0] == 0
    code, _, err = call("run", tmp_path / "b", "--to", "127.0.0.1:9", "--requests", 1, "--planner", "edgent_map")
    assert code == 2
    assert "packed without a table of exits" in " ".join(err.split())
