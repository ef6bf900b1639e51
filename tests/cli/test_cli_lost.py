"""Requests that were lost: counted alike by the run, by what its callers are told, and by the report of its journal."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_rig import Serving
from conftest import Call

from isthmus.errors import Unreachable
from isthmus.run import Session
from isthmus.run.trip import Trip
from isthmus.run.work import Work


@pytest.fixture
def bundle(call: Call, tmp_path: Path) -> Path:
    profile = tmp_path / "p.json"
    code, _, err = call("profile", "zoo:tiny", "--out", profile, "--runs", 1, "--batches", "1,2")
    assert code == 0, err
    profiles = ("--device-profile", profile, "--server-profile", profile)
    code, _, err = call("pack", "zoo:tiny", "--out", tmp_path / "bundle", *profiles)
    assert code == 0, err
    return tmp_path / "bundle"


@pytest.fixture
def serving(bundle: Path) -> Iterator[Serving]:
    found = Serving(bundle)
    yield found
    found.end(signal.SIGTERM)


@pytest.mark.parametrize("gathered", [(), ("--max-batch", 2, "--max-delay", "5s")])
def test_lost_requests_are_counted_alike_everywhere(
    call: Call,
    bundle: Path,
    serving: Serving,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    gathered: tuple[str | int, ...],
) -> None:
    there = Session._there

    def gone(self: Session, trip: Trip, work: Work) -> None:
        if goes_well.pop():
            return there(self, trip, work)
        return self._instead(trip, work, Unreachable("the server has gone"))

    goes_well = [False, False, False, True]
    monkeypatch.setattr(Session, "_there", gone)
    journal = tmp_path / "run.jsonl"
    requests = 8 if gathered else 4
    words = ["--mode", "only_on_server", "--requests", requests, "--journal", journal, "--json", *gathered]
    code, out, _ = call("run", bundle, "--to", serving.address, *words)
    found = json.loads(out)
    assert code == 1
    assert (found["requests"], found["answered"], found["lost"]) == (4, 1, 3)
    if gathered:
        assert (found["callers"]["asked"], found["callers"]["answered"], found["callers"]["lost"]) == (8, 2, 6)
    page = tmp_path / "report.html"
    code, out, _ = call("report", journal, "--out", page, "--json")
    reported = json.loads(out)
    assert {name: found[name] for name in reported} == reported
    assert "3 answers were lost" in page.read_text()
