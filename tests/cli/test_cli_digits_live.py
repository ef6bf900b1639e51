"""zoo:digits from packing to answering, the server first: `pack`, `serve` in a process of its own, `run`."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_rig import Serving
from conftest import Call

from isthmus.adapt import EachRequest
from isthmus.bundle import open_bundle
from isthmus.errors import NoPlan
from isthmus.graph import OUTPUT
from isthmus.link import Trace
from isthmus.link.shape import ShapedLink
from isthmus.model import digits_test
from isthmus.record import Lateness, Step, read_journal
from isthmus.session import connect, each_chooser_of, ready, right_sized_choice, right_sizing_of

FALLS_S = 3.0


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """So slow a device that anything is sooner answered by the server; the table of exits ships with the network."""
    path = tmp_path_factory.mktemp("digits") / "bundle"
    words = ("pack", "zoo:digits", "--out", path, "--runs", 1, "--slowdown", 3000, "--server-first", "--json")
    subprocess.run([sys.executable, "-m", "isthmus", *map(str, words)], capture_output=True, check=True)
    return path


@pytest.fixture(scope="module")
def address(bundle: Path) -> Iterator[str]:
    serving = Serving(bundle)
    yield serving.address
    assert serving.end(signal.SIGTERM) == 0


def test_the_bundle_holds_the_order_and_the_table_that_ships(bundle: Path) -> None:
    opened = open_bundle(bundle)
    assert opened.plan.first == "server"
    assert opened.exits is not None
    assert [row.output for row in opened.exits.rows] == ["exit1", "exit2", "exit3"]


def test_a_cut_in_the_middle_is_run_the_server_first(call: Call, bundle: Path, address: str, tmp_path: Path) -> None:
    """Real pictures, every answer recomputed; what comes down is the waist and not the picture."""
    images, labels = digits_test()
    name = open_bundle(bundle).model().inputs[0].name
    shown: dict[str, Any] = {name: images[:8]}
    np.savez(tmp_path / "images.npz", **shown)
    cut = open_bundle(bundle).manifest.cuts[2]
    words = ("--data", tmp_path / "images.npz", "--cut", cut, "--journal", tmp_path / "run.jsonl", "--slowdown", 1)
    code, out, err = call("run", bundle, "--to", address, "--requests", 8, "--verify", "--json", *words)
    assert code == 0, err
    summary = json.loads(out)
    assert (summary["answered"], summary["verified"], summary["wrong"]) == (8, 8, 0)
    assert [(p["ran"], p["cut"], p["first"]) for p in summary["places"]] == [("split", cut, "server")]
    _, steps = read_journal(tmp_path / "run.jsonl")
    assert all(s.up_bytes >= images[0].nbytes and s.down_bytes > 0 for s in steps if s.kind == "request")
    with connect(ready(bundle, slowdown=1), address) as session:
        session.wait_connected(10)
        answers = [session.infer({name: image[None]}).outputs["exit3"].argmax() for image in images[:8]]
    assert np.mean(np.equal(answers, labels[:8])) > 0.8


def test_edgent_plans_anew_for_every_request(call: Call, bundle: Path, address: str) -> None:
    """A loose deadline has the last exit; the link is fast, so the server answers."""
    words = ("--planner", "edgent_each", "--deadline", "2s", "--slowdown", 1, "--verify", "--json")
    code, out, err = call("run", bundle, "--to", address, "--requests", 6, *words)
    assert code == 0, err
    summary = json.loads(out)
    assert (summary["answered"], summary["wrong"], summary["fallbacks"]) == (6, 0, 0)
    assert [use["exit"] for use in summary["exits"]] == ["exit3"]
    code, _, err = call("run", bundle, "--to", address, *words, "--states", bundle / "exits.json")
    assert (code, "edgent_each plans for the rate measured last" in " ".join(err.split())) == (2, True)
    code, _, err = call("run", bundle, "--to", address, *words, "--exit", "exit1")
    assert (code, "edgent_each chooses cut and exit itself" in " ".join(err.split())) == (2, True)


def test_a_link_that_falls_brings_the_work_home(bundle: Path, address: str) -> None:
    """Live, over a link that falls from 8 Mbit/s to 4 kbit/s: a picture of 256 bytes shows no rate, how long it takes
    does, and a probe that lies in its way for 25 s tells as much; the device, slow as it is said to be, is sooner done
    then. No request is a surprise by itself: any may be late on a busy machine."""
    here = ready(bundle, slowdown=1)
    chooser = each_chooser_of(here.bundle, within_s=0.08)
    assert isinstance(chooser, EachRequest)
    images, _ = digits_test()
    name = here.engine.model.inputs[0].name
    falling = Trace.of([0, FALLS_S], [8e6, 4e3], duration_s=600)
    steps: list[Step] = []
    with (
        ShapedLink(address, falling, down="8Mbit", delay_s=0.002) as link,
        connect(here, link.address, chooser=chooser, deadline_s=5.0) as session,
    ):
        session.wait_connected(10)
        while not steps or (steps[-1].t_s < 60 and not _at_home(steps)):
            steps.append(session.infer({name: images[:1]}).step)
    assert any(step.ran == "server" for step in steps if step.t_s < FALLS_S - 1)
    assert _at_home(steps)


def _at_home(steps: Sequence[Step]) -> bool:
    """The last ten requests were meant for the device, long after the fall."""
    last = steps[-10:]
    return last[0].t_s > FALLS_S and all((step.cut, step.asked) == (OUTPUT, "") for step in last)


def test_a_promise_for_the_next_run_is_made_from_the_journal_of_this_one(
    call: Call, bundle: Path, address: str, tmp_path: Path
) -> None:
    journal, words = tmp_path / "run.jsonl", ("--to", address, "--requests", 24, "--slowdown", 1, "--json")
    code, _, err = call("run", bundle, *words, "--cut", "@input", "--journal", journal)
    assert code == 0, err
    code, out, err = call("run", bundle, *words, "--planner", "edgent", "--deadline", "5s", "--late-from", journal)
    assert code == 0, err
    assert [use["exit"] for use in json.loads(out)["exits"]] == ["exit3"]
    assert "one in ten takes longer by: exchanges" in " ".join(err.split())
    code, _, err = call("run", bundle, *words, "--late-from", journal)
    assert (code, "--late-from is for planners that promise" in " ".join(err.split())) == (2, True)


def test_what_a_run_showed_is_counted_with(bundle: Path) -> None:
    """Where one in ten takes a million times as long nothing can be promised; else it can."""
    opened = open_bundle(bundle)
    assert right_sized_choice(opened, within_s=5.0).exit == "exit3"
    late = Lateness(link=1e6, device=1e6, server=None)
    problem = right_sizing_of(opened, within_s=5.0, seen=late)
    assert (problem.links[0].late, [m.late for m in problem.machines]) == (1e6, [1e6, 0.0])
    with pytest.raises(NoPlan, match=r"in 95% of requests"):
        right_sized_choice(opened, within_s=5.0, seen=late)
