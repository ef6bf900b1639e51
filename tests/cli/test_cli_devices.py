"""Profiles and plans for machines that are not here, as a person types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Call

from isthmus.files import read_json
from isthmus.profile import Profile


def test_a_profile_is_computed_written_and_says_so(call: Call, tmp_path: Path) -> None:
    file = tmp_path / "eyeriss.json"
    words = ("profile", "zoo:mobilenet_v2", "--device", "eyeriss", "--batches", "1,4", "--bits", 4, "--out", file)
    code, out, _ = call(*words)
    assert code == 0
    assert "eyeriss (simulated)" in out
    assert "not measured" in out
    made = read_json(file, Profile)
    assert (made.machine.kind, sorted(made.batches)) == ("simulated", [1, 4])
    assert "4 bit" in made.machine.cpu
    code, out, _ = call(*words[:-4], "--out", file, "--json")
    assert code == 0
    wide = Profile.model_validate_json(out)
    assert wide.batches[1].whole.low_s > made.batches[1].whole.low_s


def test_a_plan_for_two_devices_by_name_needs_no_run(call: Call) -> None:
    words = ("plan", "zoo:mobilenet_v2", "--device", "eyeriss", "--server", "tpu", "--up", "20Mbit", "--json")
    code, out, err = call(*words, "--planner", "mincut")
    assert code == 0
    assert "declared" not in err
    plan = json.loads(out)
    assert plan["cost"]["total_s"] > 0
    slow = json.loads(call(*words, "--planner", "device_only", "--slowdown", 3)[1])
    whole = json.loads(call(*words, "--planner", "device_only")[1])
    assert slow["cost"]["total_s"] == pytest.approx(3 * whole["cost"]["total_s"])


def test_a_computed_profile_plans_like_any_other(call: Call, tmp_path: Path) -> None:
    file = tmp_path / "tpu.json"
    assert call("profile", "zoo:tiny", "--device", "tpu", "--out", file)[0] == 0
    code, out, _ = call("plan", "zoo:tiny", "--device", "eyeriss", "--server-profile", file, "--json")
    assert code == 0
    assert json.loads(out)["planner"] == "neurosurgeon"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("profile", "zoo:tiny", "--device", "eyriss"), "did you mean eyeriss?"),
        (("profile", "zoo:tiny", "--bits", 4), "give --device too"),
        (("profile", "zoo:tiny", "--device", "eyeriss", "--resume"), "nothing is measured"),
        (("plan", "zoo:tiny", "--device", "eyeriss", "--device-profile", "x.json"), "not both"),
        (("plan", "zoo:tiny", "--device", "eyeriss", "--server", "tpu", "--retime", 2), "nothing runs here"),
        (("plan", "zoo:tiny", "--device", "nowhere.toml", "--server", "tpu"), "cannot read devices"),
    ],
)
def test_what_cannot_be_is_one_sentence(call: Call, words: tuple[object, ...], sentence: str) -> None:
    code, _, err = call(*words)
    assert 0 < code < 70
    assert sentence in " ".join(err.split())
    assert "Traceback" not in err
