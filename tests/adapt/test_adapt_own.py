"""A chooser of the user's own: by name, in virtual time and live."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from isthmus.adapt import is_own, own_chooser
from isthmus.engine import Engine
from isthmus.errors import BadInput
from isthmus.plan import Problem, planner_called
from isthmus.record import Step, read_journal
from isthmus.run import Server, connect_engine

MINE = """
from isthmus.adapt import always_device, always_server
def stays(tables, deadline_s):
    return always_device()
class Counts:
    def __init__(self, tables, deadline_s):
        self.sizes, self.deadline_s, self.seen = sorted(tables), deadline_s, 0
        self.beliefs = (None, None)
    def choose(self, now_s, batch=1):
        return always_server().choose(now_s)
    def observe(self, step):
        self.seen += 1
    def probe_bytes(self, now_s):
        return 0
def nothing(tables, deadline_s):
    return 7
"""
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return path


def test_names_of_cuts_and_codecs_are_not_code() -> None:
    assert [is_own(name) for name in ("cut:relu_3", "server/jpeg:75", "dynamic", "cut:a.py:b")] == [False] * 4
    assert is_own("mine.py:stays")
    assert is_own("lab.policies:Mine")


def test_it_decides_for_a_live_session(mine: Path, engine: Engine, server: Server) -> None:
    chooser = own_chooser(f"{mine}:Counts", {}, 2.0)
    with connect_engine(engine, server.address, chooser=chooser) as session:
        assert session.wait_connected(10)
        step = session.infer(engine.model.random_inputs()).step
    assert step.ran == "server"
    assert (chooser.seen, chooser.deadline_s) == (1, 2.0)  # type: ignore[attr-defined]


def test_what_is_no_chooser_is_refused(mine: Path) -> None:
    with pytest.raises(BadInput, match=r"made is a int, which is no chooser: it has no choose, observe"):
        own_chooser(f"{mine}:nothing", {}, None)


def test_the_command_line_plays_and_runs_it(mine: Path, tmp_path: Path, server: Server, call: Call) -> None:
    code, _, said = call("pack", "zoo:tiny", "--out", tmp_path / "bundle", "--runs", 1)
    assert code == 0, said
    words = ("simulate", tmp_path / "bundle", "--trace", "9Mbit:3s", "--every", "100ms", "--json")
    code, told, said = call(*words, "--policies", f"device,{mine}:stays,{mine}:Counts")
    assert code == 0, said
    rows = {row["policy"]: row for row in json.loads(told)["policies"]}
    assert rows[f"{mine}:stays"]["mean_s"] == rows["device"]["mean_s"]
    assert rows[f"{mine}:Counts"]["shares"]["ran"]["server"] == 1.0
    to = ("--to", server.address, "--requests", 5, "--json")
    code, told, said = call("run", tmp_path / "bundle", *to, "--planner", f"{mine}:stays")
    assert code == 0, said
    assert json.loads(told)["ran"]["device"] == 5


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--planner", "edgentt"), "is none of dynamic, edgent"),
        (("--planner", "gone.py:f"), "there is no file gone.py"),
        (("--planner", "{mine}:stays", "--cut", "relu_1"), "leave --cut and --states out"),
    ],
)
def test_bad_names_are_one_sentence(words: tuple[str, ...], says: str, mine: Path, tmp_path: Path, call: Call) -> None:
    if not (tmp_path / "bundle").exists():
        call("pack", "zoo:tiny", "--out", tmp_path / "bundle", "--runs", 1)
    named = [word.format(mine=mine) for word in words]
    code, _, said = call("run", tmp_path / "bundle", "--to", "127.0.0.1:9", "--requests", 1, *named)
    assert code not in (0, 70)
    assert says in " ".join(said.split())


BROKEN = """
class Broken:
    beliefs = (None, None)
    def __init__(self, tables, deadline_s):
        pass
    def choose(self, now_s, batch=1):
        return 7 if batch > 1 else now_s / 0
    def observe(self, step):
        raise KeyError("seen")
    def probe_bytes(self, now_s):
        return [][0]
"""


def test_a_chooser_that_fails_is_told_as_its_own(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text(BROKEN)
    chooser = own_chooser(f"{path}:Broken", {}, None)
    with pytest.raises(BadInput, match=r"choose of .*:Broken raised ZeroDivisionError: .* \(broken.py, line 7\)"):
        chooser.choose(0.0)
    with pytest.raises(BadInput, match=r"choose of .*:Broken answered with int; it must answer with a Choice"):
        chooser.choose(0.0, 2)
    with pytest.raises(BadInput, match=r"observe of .*:Broken raised KeyError: 'seen' \(broken.py, line 9\)"):
        chooser.observe(cast(Step, None))
    with pytest.raises(BadInput, match=r"probe_bytes of .*:Broken raised IndexError"):
        chooser.probe_bytes(0.0)
    assert chooser.beliefs == (None, None)


DEAF = """
from isthmus.adapt import always_server
class Deaf:
    beliefs = (None, None)
    def __init__(self, tables, deadline_s):
        pass
    def choose(self, now_s, batch=1):
        return always_server().choose(now_s)
    def observe(self, step):
        raise KeyError("seen")
    def probe_bytes(self, now_s):
        return 0
"""


def test_a_run_whose_chooser_does_not_listen_loses_no_answer_and_says_so(
    tmp_path: Path, server: Server, call: Call
) -> None:
    (tmp_path / "deaf.py").write_text(DEAF)
    code, _, said = call("pack", "zoo:tiny", "--out", tmp_path / "bundle", "--runs", 1)
    assert code == 0, said
    words = ("--to", server.address, "--requests", 3, "--journal", tmp_path / "j.jsonl", "--json")
    code, told, said = call("run", tmp_path / "bundle", *words, "--planner", f"{tmp_path / 'deaf.py'}:Deaf")
    assert (code, json.loads(told)["answered"]) == (2, 3), said
    shown = " ".join(said.split())
    assert "the chooser failed 3 times, which cost no answer: observe of" in shown
    assert "raised KeyError: 'seen' (deaf.py, line 10)" in shown
    assert len([step for step in read_journal(tmp_path / "j.jsonl")[1] if step.kind == "request"]) == 3


SAYS = """
from isthmus.adapt import always_server
class Says:
    def __init__(self, beliefs, size=0):
        self.said, self.size = beliefs, size
    def choose(self, now_s, batch=1):
        return always_server().choose(now_s)
    def observe(self, step):
        pass
    def probe_bytes(self, now_s):
        return self.size
    @property
    def beliefs(self):
        if self.said == "boom":
            raise RuntimeError("boom")
        return self.said
raises = lambda tables, deadline_s: Says("boom")
none = lambda tables, deadline_s: Says(None)
words = lambda tables, deadline_s: Says(("fast", 1))
three = lambda tables, deadline_s: Says((1e6, 1.0, 2.0))
good = lambda tables, deadline_s: Says((1e6, None), 9_000.0)
no_size = lambda tables, deadline_s: Says((None, None), None)
"""


@pytest.mark.parametrize(
    ("function", "says"),
    [
        ("raises", "raised RuntimeError: boom (says.py, line 15)"),
        ("none", "beliefs of {own} are None; they must be a pair of uplink in bit/s and server load"),
        ("words", "beliefs of {own} are ('fast', 1); they must be a pair"),
        ("three", "beliefs of {own} are (1000000.0, 1.0, 2.0); they must be a pair"),
        ("no_size", "probe_bytes of {own} answered with None; it must answer with a number of bytes"),
    ],
)
def test_what_a_chooser_believes_and_wants_is_checked(function: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "says.py").write_text(SAYS)
    own = f"{tmp_path / 'says.py'}:{function}"

    def ask() -> None:
        chooser = own_chooser(own, {}, None)
        assert chooser.beliefs
        chooser.probe_bytes(0.0)

    with pytest.raises(BadInput, match=re.escape(says.format(own=own))):
        ask()
    good = own_chooser(f"{tmp_path / 'says.py'}:good", {}, None)
    assert (good.beliefs, good.probe_bytes(0.0)) == ((1e6, None), 9_000)


@pytest.mark.parametrize(("text", "says"), [("x = 1 / 0", "ZeroDivisionError: .*line 1"), ("def f(:", "SyntaxError")])
def test_a_file_that_cannot_be_run_is_one_sentence(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(text)
    with pytest.raises(BadInput, match=rf"broken.py cannot be run: it raised {says}"):
        own_chooser(f"{tmp_path / 'broken.py'}:f", {}, None)


def test_code_that_fails_is_told_what_it_must_be(mine: Path) -> None:
    with pytest.raises(BadInput, match=r"os:getcwd raised TypeError: .*; it must be a function that makes a chooser"):
        own_chooser("os:getcwd", {}, None)
    with pytest.raises(BadInput, match=r"os:getcwd raised TypeError: .*; it must be a function that makes a Plan"):
        planner_called("os:getcwd")(cast(Problem, None))
