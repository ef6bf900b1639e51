"""Planning with early exits from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from conftest import Call

from isthmus.files import write_json
from isthmus.model import load_model
from isthmus.profile.exit_file import exits_beside
from isthmus.profile.exits import ExitRow, ExitTable
from isthmus.profile.types import Timing

PAIR = ["--device", "edgent2018_device", "--server", "edgent2018_server", "--rtt", "0ms", "--codecs", "float32"]
SHARES = "0.747,0.755,0.765,0.775,0.782"


def asked(call: Call, *words: str) -> dict[str, Any]:
    code, out, err = call("plan", *words, "--json")
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def refused(call: Call, *words: str) -> str:
    code, _, err = call("plan", *words)
    assert code not in (0, 1)
    assert "Traceback" not in err
    return err.replace("\n", " ")


def test_the_published_pair_gives_up_accuracy_as_the_link_gets_slower(call: Call) -> None:
    exits = []
    for up in ("1Mbit", "2Mbit"):
        words = ["zoo:b_alexnet", "--planner", "edgent", "--exits", SHARES, "--deadline", "120ms", "--server-first"]
        plan = asked(call, *words, *PAIR, "--up", up)
        exits.append(plan["exit"])
        assert plan["cost"]["total_s"] <= 0.12
    assert exits[0] != exits[1]
    assert exits[1] == "exit5"


def test_the_exit_is_timed_by_itself(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """--retime runs what the chosen exit needs, on both sides: no answer of another exit is ever computed."""
    made: set[str] = set()

    def second(run: Callable[[], object], runs: int, clock: object) -> Timing:
        found = run()
        made.update(found if isinstance(found, dict) else ())
        return Timing(low_s=1, median_s=1, high_s=1, runs=runs)

    monkeypatch.setattr("isthmus.cli.retiming.time_call", second)
    words = ["zoo:digits", "--planner", "edgent", "--exits", "0.9,0.5,0.4", "--runs", "1", "--retime", "99"]
    found = asked(call, *words)
    assert found["exit"] == "exit1"
    assert "exit1" in made
    assert made.isdisjoint({"exit2", "exit3"})
    whole = next(c for c in found["candidates"] if c["cuts"] == ["@output"])
    assert whole["measured_s"] == pytest.approx(whole["cost"]["total_s"])


def test_a_map_for_the_states_of_a_trace(call: Call, tmp_path: Path) -> None:
    trace = tmp_path / "bus.txt"
    rows = [(t, 2.0 if t < 60 else 0.12) for t in range(120)]
    trace.write_text("".join(f"{t} {mbps}\n" for t, mbps in rows))
    words = ["zoo:b_alexnet", "--planner", "edgent_map", "--exits", SHARES, "--deadline", "1s", *PAIR]
    found = asked(call, *words, "--up", "2Mbit", "--states", str(trace))
    rows_found = found["config"]["rows"]
    assert [round(row["state_bps"] / 1e6, 2) for row in rows_found] == [0.12, 2.0]
    assert "strategy by bandwidth state" in call("plan", *words, "--up", "2Mbit")[1]


def test_accuracies_come_from_a_table_too(call: Call, tmp_path: Path) -> None:
    rows = tuple(
        ExitRow(output=f"exit{k}", accuracy=0.7 + k / 50, threshold=None if k == 5 else 0.1) for k in range(1, 6)
    )
    table = ExitTable(model="b_alexnet", rows=rows, classes=10, data="made", samples=10, accuracy=0.8)
    write_json(tmp_path / "exits.json", table)
    words = ["zoo:b_alexnet", "--planner", "edgent", *PAIR, "--exits", str(tmp_path / "exits.json")]
    found = asked(call, *words)
    assert found["exit"] == "exit5"
    assert found["exits"][0]["accuracy"] == pytest.approx(0.8)


def test_the_network_that_ships_needs_no_table(call: Call) -> None:
    """A loose requirement gets the last exit; a millisecond less than that needs gets one before it."""
    words = ["zoo:digits", "--planner", "edgent", "--sure", "0", *PAIR, "--up", "10kbit"]
    loose = asked(call, *words, "--deadline", "10s")
    assert loose["exit"] == "exit3"
    assert loose["exits"][0]["accuracy"] == pytest.approx(0.9956, abs=1e-4)
    within_s = loose["cost"]["total_s"] - 1e-3
    tight = asked(call, *words, "--deadline", f"{1e3 * within_s:.6f}ms")
    assert tight["exit"] in ("exit1", "exit2")
    assert tight["cost"]["total_s"] <= within_s
    assert tight["exits"][0]["accuracy"] == pytest.approx(0.9956, abs=1e-4)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["zoo:b_alexnet", "--exits", "0.7,0.8"], r"has 5 exits"),
        (["zoo:b_alexnet", "--exits", "nowhere.json"], r"nowhere.json"),
        (["zoo:b_alexnet", "--exits", "0.7,x"], r"neither an exits.json that is there nor shares"),
        (["zoo:alexnet", "--exits", "0.7,0.8"], r"has no early exit among its outputs"),
        (["zoo:b_alexnet", "--exits", SHARES, "--deadline", "1ms"], r"comes nearest at"),
    ],
)
def test_what_cannot_be_planned_says_why(call: Call, words: list[str], said: str) -> None:
    assert said in refused(call, *words, "--planner", "edgent", *PAIR)


def test_a_deadline_is_kept_by_a_share_of_requests(call: Call) -> None:
    """A link that is late now and then: typical seconds keep 300 ms, those of 95 % of requests do not."""
    words = ["zoo:b_alexnet", "--planner", "edgent", "--exits", SHARES, "--server-first", *PAIR, "--up", "400kbit"]
    late = [*words, "--late", "0.4", "--deadline"]
    assert "comes nearest at 407 ms in 95% of requests (266 ms as a rule)" in refused(call, *late, "300ms")
    printed = asked(call, *late, "300ms", "--sure", "0")
    assert (printed["exit"], printed["promise"]) == ("exit5", None)
    sure = asked(call, *late, "500ms")
    assert sure["promise"]["share"] == 0.95
    assert sure["cost"]["total_s"] < sure["promise"]["sure_s"] <= sure["promise"]["within_s"] == 0.5
    assert sure["cost"]["total_s"] == pytest.approx(printed["cost"]["total_s"])
    shown = call("plan", *late, "500ms")[1]
    assert "in 95% of requests (within 500 ms)" in shown.replace("\n", " ")
    with_fixed = asked(call, *late, "500ms", "--fixed", "20ms", "--sure", "0.9")
    assert with_fixed["cost"]["fixed_s"] == pytest.approx(0.02)
    assert with_fixed["promise"]["sure_s"] - with_fixed["cost"]["total_s"] == pytest.approx(0.4 * 0.2668, rel=0.01)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--sure", "1"], r"between 0.5 and below 1"),
        (["--sure", "0.3"], r"between 0.5 and below 1"),
        (["--late", "-1"], r"late finite and at least zero"),
        (["--fixed", "some"], r"is not a duration"),
    ],
)
def test_what_cannot_be_promised_says_why(call: Call, words: list[str], said: str) -> None:
    asked_for = ["zoo:b_alexnet", "--planner", "edgent", "--exits", SHARES, "--deadline", "1s", *PAIR]
    assert said in refused(call, *asked_for, *words)


def test_exits_that_are_no_more_accurate_are_named(call: Call) -> None:
    words = ["zoo:b_alexnet", "--planner", "edgent", *PAIR, "--exits"]
    falling = asked(call, *words, "0.9,0.8,0.7,0.95,0.95")
    assert falling["exit"] == "exit5"
    assert falling["why"].endswith("no more accurate than an exit before: exit2, exit3, exit5")


def test_a_map_needs_accuracies(call: Call) -> None:
    assert "give the exits' table" in refused(call, "zoo:b_alexnet", "--planner", "edgent_map", *PAIR)


def digits_table(folder: Path, **changes: object) -> Path:
    """The table that ships with zoo:digits, with changes."""
    shipped = exits_beside("zoo:digits")
    assert shipped is not None
    path = folder / "exits.json"
    path.write_text(json.dumps({**json.loads(shipped.read_text()), **changes}))
    return path


@pytest.mark.parametrize("verb", ["plan", "simulate", "pack"])
def test_a_table_of_other_weights_is_refused_where_it_is_asked_for(call: Call, tmp_path: Path, verb: str) -> None:
    path = digits_table(tmp_path, fingerprint="0" * 64, model="stranger")
    more: dict[str, list[object]] = {
        "plan": ["--planner", "edgent", *PAIR],
        "simulate": [*PAIR[:4], "--policies", "edgent", "--trace", "1Mbit:9s", "--every", "1s"],
        "pack": ["--runs", 1, "--out", tmp_path / "b"],
    }
    code, _, err = call(verb, "zoo:digits", "--exits", path, *more[verb])
    assert code == 2, err
    assert f"{path} is of stranger, not of digits as it is here; make one" in " ".join(err.split())


def test_a_table_of_other_weights_beside_the_model_is_left_out(call: Call, tmp_path: Path) -> None:
    onnx.save(load_model("zoo:digits").proto, tmp_path / "net.onnx")
    path = digits_table(tmp_path, fingerprint="0" * 64, model="stranger")
    said = f"{path} is of stranger, not of net as it is here: it is left out"
    code, out, err = call("plan", tmp_path / "net.onnx", "--planner", "edgent", *PAIR, "--json")
    assert (code, said in " ".join(err.split())) == (0, True), err
    assert all(row["accuracy"] is None for row in json.loads(out)["exits"])
    code, _, err = call("pack", tmp_path / "net.onnx", "--runs", 1, "--out", tmp_path / "b")
    assert (code, said in " ".join(err.split())) == (0, True), err
    assert not (tmp_path / "b" / "exits.json").exists()
