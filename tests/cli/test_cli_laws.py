"""Latency laws as a person types them: fitted to a table, read by name and by file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Call

from isthmus.files import read_json, write_json
from isthmus.profile import Profile
from isthmus.profile.regression import Regression, load_regression


def test_laws_of_a_table(call: Call, tmp_path: Path) -> None:
    """Pooling that takes 1 ns a byte and 1 ms a call."""
    table, file = tmp_path / "pool.csv", tmp_path / "laws.json"
    rows = [f"{size},2,2,16,{(4 * 16 * size**2 * 1e-9 + 1e-3) * 1e3}" for size in range(4, 44, 2)]
    table.write_text("\n".join(["HW,kernel,stride,Cin,latency", *rows]))
    code, out, _ = call("profile", "--regression", "--table", table, "--machine", "old", "--out", file)
    assert code == 0
    assert "max_pooling" in out
    assert "15 + 5" in out
    made = read_json(file, Regression)
    assert made.machine.name == "old"
    assert made.layers["max_pooling"].laws["paper"].r2 == pytest.approx(1.0)
    code, out, _ = call("profile", "--regression", "--table", table, "--out", file, "--json")
    assert code == 0
    assert json.loads(out)["layers"]["max_pooling"]["held_out"] == 5


def test_the_pair_of_2018_is_planned_by_name(call: Call) -> None:
    words = ("plan", "zoo:b_alexnet", "--device", "edgent2018_device", "--server", "edgent2018_server", "--json")
    code, out, _ = call(*words, "--up", "20kbit", "--codecs", "float32", "--rtt", "0ms")
    assert code == 0
    slow = json.loads(out)
    code, out, _ = call(*words, "--up", "1Mbit", "--codecs", "float32", "--rtt", "0ms")
    assert code == 0
    quick = json.loads(out)
    assert (slow["cuts"], quick["cuts"]) == (["@output"], ["@input"])


def test_a_profile_by_a_file_of_laws(call: Call, tmp_path: Path) -> None:
    """What is priced by another type's law is said on stderr."""
    laws, file = tmp_path / "laws.json", tmp_path / "profile.json"
    write_json(laws, load_regression("edgent2018_server"))
    code, out, err = call("profile", "zoo:mobilenet_v2", "--device", laws, "--batches", "1,4", "--out", file)
    assert code == 0
    assert "not measured" in out
    assert "no law for depthwise_convolution (17×)" in " ".join(err.split())
    made = read_json(file, Profile)
    assert (made.machine.kind, sorted(made.batches)) == ("regression", [1, 4])


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("profile",), "say which model"),
        (("profile", "zoo:tiny", "--regression"), "leave the model"),
        (("profile", "zoo:tiny", "--table", "x.csv"), "give --regression too"),
        (("profile", "--regression", "--table", "none.csv"), "cannot read layer times"),
        (("profile", "--regression", "--table", "none.csv", "--resume"), "leave --resume out"),
        (("profile", "zoo:tiny", "--device", "edgent2018_devise"), "did you mean edgent2018_device?"),
        (("profile", "zoo:tiny", "--device", "none.json"), "cannot read none.json"),
        (("profile", "zoo:tiny", "--device", "edgent2018_device", "--bits", "8"), "laws of edgent2018_device"),
    ],
)
def test_bad_input(call: Call, words: tuple[str, ...], complaint: str) -> None:
    code, _, err = call(*words)
    assert code == 2
    assert complaint in " ".join(err.split())
