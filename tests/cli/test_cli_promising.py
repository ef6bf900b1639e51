"""`--late-from`: a promise made from the journal of a run whose lateness is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import Call

from isthmus.record import Journal, Seconds, Step

WORDS = (
    *("plan", "zoo:b_alexnet", "--planner", "edgent", "--exits", "0.747,0.755,0.765,0.775,0.782", "--server-first"),
    *("--device", "edgent2018_device", "--server", "edgent2018_server", "--codecs", "float32"),
    *("--up", "400kbit", "--rtt", "0ms"),
)


def journal(path: Path, late: float, count: int = 40) -> Path:
    """One exchange in ten took `late` longer; device and server were as even as can be."""
    with Journal(path) as made:
        for k in range(count):
            crossing = 0.2 * (1 + late * (k % 10 == 7))
            spent = Seconds(total=crossing + 0.03, head=0.02, up=crossing, tail=0.01)
            made.write(Step(id=k, t_s=float(k), ran="split", cut="a", codec="float32", seconds=spent, up_bytes=1000))
    return path


def planned(call: Call, *words: object) -> dict[str, Any]:
    code, out, err = call(*WORDS, *words, "--json")
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def test_the_promise_is_that_of_the_lateness_written_by_hand(call: Call, tmp_path: Path) -> None:
    run = journal(tmp_path / "run.jsonl", 0.4)
    by_hand = planned(call, "--late", "0.4", "--deadline", "500ms")
    by_run = planned(call, "--late-from", run, "--deadline", "500ms")
    assert by_run["promise"] == pytest.approx(by_hand["promise"])
    assert by_run["promise"]["sure_s"] > 1.2 * by_run["cost"]["total_s"]
    code, _, err = call(*WORDS, "--late-from", run, "--deadline", "300ms")
    assert (code, "comes nearest at 407 ms in 95% of requests" in " ".join(err.split())) == (5, True)
    assert "one in ten takes longer by: exchanges 40%, the device 0%, the server 0%" in " ".join(err.split())
    assert planned(call, "--late-from", run, "--deadline", "300ms", "--sure", "0")["promise"] is None


def test_machines_are_late_too(call: Call, tmp_path: Path) -> None:
    """Laws know no spread: what a run showed of the device is all that is known of it."""
    with Journal(tmp_path / "local.jsonl") as made:
        for k in range(40):
            local = 0.2 * (1 + 0.3 * (k % 10 == 3))
            spent = Seconds(total=local, local=local)
            made.write(Step(id=k, t_s=float(k), ran="device", cut="@output", codec="float32", seconds=spent))
    alone = ("--planner", "device_only", "--deadline", "10s")
    even, uneven = (
        planned(call, *alone, *more)["promise"]["sure_s"] for more in ((), ("--late-from", tmp_path / "local.jsonl"))
    )
    assert uneven == pytest.approx(even * (1 + 0.3 * 1.4307), rel=1e-3)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--late", "0.1"), "give --late or --late-from, not both"),
        ((), "this one holds 6 of 1 kinds"),
    ],
)
def test_what_tells_nothing_says_why(call: Call, tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    run = journal(tmp_path / "run.jsonl", 0.4, count=6)
    code, _, err = call(*WORDS, "--late-from", run, *words)
    assert (code, said in " ".join(err.split())) == (2, True)


def test_a_journal_that_is_none(call: Call, tmp_path: Path) -> None:
    (tmp_path / "run.jsonl").write_text("hello\n")
    code, _, err = call(*WORDS, "--late-from", tmp_path / "run.jsonl")
    assert code not in (0, 1)
    assert "run.jsonl" in err
    assert "Traceback" not in err
