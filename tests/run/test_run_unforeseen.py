"""Exits that no table of exits names may be asked for, but not without end: each costs memory for good."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from isthmus.engine import Engine
from isthmus.errors import Refused
from isthmus.graph import INPUT, prefix_cuts
from isthmus.model import load_model
from isthmus.profile import ExitTable
from isthmus.run import Bounds
from isthmus.run.codecs import Codecs
from isthmus.run.desk import Desk
from isthmus.run.early import Early
from isthmus.run.halves import Halves
from isthmus.run.heads import Request, request_header
from isthmus.run.places import Place, Places


@pytest.fixture
def fresh(cache_dir: Path) -> Engine:
    """The network with three exits, asked for none of them yet."""
    return Engine.open(load_model("zoo:digits"), cuts="none", cache_dir=cache_dir)


def desk_of(engine: Engine, table: ExitTable | None, unready_cuts: int) -> Desk:
    halves = Halves(engine)
    early = None if table is None else Early(halves, table)
    return Desk(Places(halves, early), Codecs(), Bounds(unready_cuts=unready_cuts), time.perf_counter)


def test_so_many_exits_and_no_more_are_made_ready_on_request(fresh: Engine) -> None:
    desk = desk_of(fresh, None, 1)
    for cut in fresh.at_exit("exit1").cuts[:-1]:
        assert desk.expected(Place(cut.id, "exit1").id, 1)
    with pytest.raises(Refused, match=r"the exit exit2 is not ready here, and 1 others were built already"):
        desk.expected(Place(INPUT, "exit2").id, 1)
    assert list(fresh._exits) == [("exit1",)]
    assert desk.expected(Place(INPUT, "exit1").id, 2)
    assert desk.expected(INPUT, 1)


def test_exits_that_the_table_names_are_foreseen(fresh: Engine, table: ExitTable) -> None:
    desk = desk_of(fresh, table, 0)
    for row in table.rows:
        for early in (False, True):
            assert desk.expected(Place(INPUT, row.output, early).id, 1)
    first = table.model_copy(update={"rows": table.rows[-1:]})
    with pytest.raises(Refused, match=r"the exit exit1 is not ready here, and 0 others"):
        desk_of(fresh, first, 0).expected(Place(INPUT, "exit1").id, 1)


def test_cuts_built_on_request_count_for_a_minute_and_exits_for_good(cache_dir: Path) -> None:
    """Of such cuts the engine keeps a few, so they cost time and not memory."""
    engine = Engine.open(load_model("zoo:digits"), cache_dir=cache_dir)
    now = [100.0]
    desk = Desk(Places(Halves(engine)), Codecs(), Bounds(unready_cuts=2), lambda: now[0])
    inputs = engine.model.random_inputs()

    def ask(cut: str) -> None:
        heads, payloads = Codecs().dump("float32", engine.head(cut, inputs))
        desk.admit(request_header(Request(cut, 1, sum(map(len, payloads)), heads)))

    one, two, three, four = [c.id for c in prefix_cuts(engine.graph) if c.id not in desk.places.ready][:4]
    ask(one)
    now[0] += 40
    ask(two)
    for refused in (three, four):
        with pytest.raises(Refused, match=r"is not ready here, and 2 others were built already"):
            ask(refused)
    now[0] += 30
    ask(one)  # counts a minute from now
    now[0] += 20
    with pytest.raises(Refused, match=r"is not ready here, and 2 others"):
        ask(three)
    now[0] += 15
    desk.expected(Place(INPUT, "exit1").id, 1)
    with pytest.raises(Refused, match=r"is not ready here, and 2 others"):
        ask(three)
    now[0] += 1000
    ask(three)
    with pytest.raises(Refused, match=r"is not ready here, and 2 others"):
        ask(four)


@pytest.mark.parametrize("place", ["@input@@exit9", "@input@~exit1", "@output@@exit1", "@input@@exit1@<float32"])
def test_a_place_that_is_none_uses_nothing_up(fresh: Engine, place: str) -> None:
    desk = desk_of(fresh, None, 1)
    with pytest.raises(Refused):
        desk.expected(place, 1)
    assert not desk._unready
    assert not fresh._exits
