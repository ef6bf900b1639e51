"""`isthmus simulate` with exits, as a person types it: rewards, journals, and clear sentences."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Call

from isthmus.record import read_journal

PAIR = ("zoo:b_alexnet", "--device", "edgent2018_device", "--server", "edgent2018_server", "--codecs", "float32")
EXITS = ("--exits", "0.747,0.755,0.765,0.775,0.782")
TRACE = ("--trace", "400kbit:20s,4Mbit:20s")


def test_policies_with_exits_side_by_side(call: Call, tmp_path: Path) -> None:
    names = "edgent_map,edgent,edgent_each,edgent_map_accuracy,server"
    words = (*PAIR, *EXITS, *TRACE, "--deadline", "300ms", "--wait", "never", "--every", "1s", "--policies", names)
    code, out, _ = call("simulate", *words, "--json", "--journal", tmp_path / "j")
    assert code == 0
    rows = {row["policy"]: row for row in json.loads(out)["policies"]}
    assert list(rows) == names.split(",")
    for row in rows.values():
        worth = row["served"]
        assert 0 <= worth["met"] <= 1
        assert len(worth["reward_cdf"]) == 21
        assert worth["throughput_per_s"] == pytest.approx(1 / row["mean_s"])
        assert row["fallbacks"] == 0
    assert rows["edgent_map"]["served"]["reward"] > rows["edgent"]["served"]["reward"]
    assert rows["edgent_map"]["served"]["state_changes"] >= 1
    assert rows["server"]["served"]["accuracy"] == 0.782
    _, steps = read_journal(tmp_path / "j" / "edgent_map.jsonl")
    asked = [s for s in steps if s.kind == "request"]
    assert {s.exit for s in asked} == set(rows["edgent_map"]["shares"]["exits"])
    assert call("report", tmp_path / "j" / "edgent_map.jsonl", "--out", tmp_path / "page.html")[0] == 0
    code, out, _ = call("simulate", *words)
    assert code == 0
    assert "in time" in out
    assert "exit1" in out


def test_states_come_from_other_traces(call: Call, tmp_path: Path) -> None:
    past = tmp_path / "past.txt"
    past.write_text("".join(f"{t} {0.5 if t < 30 else 5}\n" for t in range(60)))
    words = (*PAIR, *EXITS, *TRACE, "--deadline", "300ms", "--policies", "edgent_map", "--states", past, "--json")
    code, out, err = call("simulate", *words)
    assert code == 0
    assert not err.strip()
    assert 1 <= json.loads(out)["policies"][0]["served"]["state_changes"] <= 2


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--policies", "edgent_map"), "a configuration map weighs accuracies: give the exits' table"),
        (("--policies", "edgent_map", "--exits", "0.5,0.6"), "b_alexnet has 5 exits"),
        (("--policies", "edgent_map", "--exits", "good"), "'good' is neither an exits.json that is there nor shares"),
        (("--policies", "device", "--states", "x.txt"), "--states are for the policies that choose among exits"),
        (("--policies", "edgent_map", *EXITS, "--states", "nowhere.txt"), "cannot read the trace nowhere.txt"),
        (("--policies", "edgent_best", *EXITS), "'edgent_best' is no policy; there are dynamic, table"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(call: Call, words: tuple[str, ...], sentence: str) -> None:
    code, out, err = call("simulate", *PAIR, *TRACE, *words)
    assert code == 2
    assert sentence in " ".join(err.split())
    assert not out
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a b\nc d\n", "states.txt looks like none of the trace formats"),
        ("", "states.txt holds no trace: it is empty"),
        ("0 0\n1 0\n2 0\n", "the traces carry nothing at any time: there is no bandwidth state"),
    ],
)
def test_a_states_file_without_numbers(call: Call, tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "states.txt"
    path.write_text(text)
    code, out, err = call("simulate", *PAIR, *TRACE, *EXITS, "--policies", "edgent_map", "--states", path)
    assert code == 2
    assert sentence in " ".join(err.split())
    assert not out


def test_a_requirement_no_state_can_meet_is_told_and_the_fastest_is_played(call: Call) -> None:
    words = (*PAIR, *TRACE, *EXITS, "--policies", "edgent_map", "--requests", 3, "--wait", "never", "--json")
    code, out, err = call("simulate", *words, "--deadline", "1ms")
    assert code == 0
    assert "nothing is within 1 ms in any of the" in " ".join(err.split())
    assert "comes nearest at" in " ".join(err.split())
    assert json.loads(out)["policies"][0]["served"]["met"] == 0


def test_a_bandwidth_far_from_every_state_is_told(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "states.txt"
    path.write_text("".join(f"{t} 1\n" for t in range(20)))
    words = ("--planner", "edgent_map", "--up", "10Mbit", "--deadline", "1s", "--states", path, "--json")
    code, out, _ = call("plan", *PAIR, *EXITS, *words)
    assert code == 0
    why = json.loads(out)["why"]
    assert "10 Mbit/s is far above every state of the map; that of 1 Mbit/s is nearest and counts" in why
