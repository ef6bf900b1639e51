"""A planner that stands in nobody's table: found by file or module, and held to the one promise."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from plan_worlds import random_problem

from isthmus.errors import BadInput
from isthmus.plan import PLANNERS, planner_called

MINE = """
from isthmus.plan.planners.device_only import device_only
def stay(problem):
    return device_only(problem).model_copy(update={"planner": "stay", "why": "because"})
def changed(**changes):
    return lambda problem: device_only(problem).model_copy(update=changes)
def costing(**changes):
    def planner(problem):
        plan = device_only(problem)
        return plan.model_copy(update={"cost": plan.cost.model_copy(update=changes)})
    return planner
def dear(problem):
    plan = device_only(problem)
    nan = plan.cost.model_copy(update={"codec_s": float("nan")})
    return plan.model_copy(update={"candidates": [c.model_copy(update={"cost": nan}) for c in plan.candidates]})
nowhere = changed(cuts=("nope",))
two = changed(cuts=("@input", "@output"))
wide = changed(codec="int99")
picture = changed(cuts=("@input",), codec="jpeg:75")
leaving = changed(exit="nope")
nan = costing(total_s=float("nan"))
less = costing(fixed_s=-1.0)
def number(problem):
    return 7
seven = 7
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return path


def test_a_file_a_module_and_the_table(mine: Path) -> None:
    problem = random_problem(random.Random(1), most=6)
    assert planner_called(f"{mine}:stay")(problem).planner == "stay"
    assert planner_called("isthmus.plan.planners.device_only:device_only")(problem) == PLANNERS["device_only"](problem)
    assert planner_called("mincut") is PLANNERS["mincut"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("mincutt", r"there is no planner 'mincutt': mincut"),
        ("{mine}:gone", r"has no function 'gone'"),
        ("{mine}:seven", r"has no function 'seven'"),
        ("{mine}x.py:stay", r"there is no file"),
        ("no.such.module:stay", r"cannot be imported"),
    ],
)
def test_a_name_that_leads_nowhere_is_one_sentence(name: str, says: str, mine: Path) -> None:
    with pytest.raises(BadInput, match=says):
        planner_called(name.format(mine=mine))


def test_only_a_plan_is_an_answer(mine: Path) -> None:
    with pytest.raises(BadInput, match=r"answered with int"):
        planner_called(f"{mine}:number")(random_problem(random.Random(1), most=6))


@pytest.mark.parametrize(
    ("function", "says"),
    [
        ("nowhere", r"has no tensor 'nope' to cut at"),
        ("two", r"1 links need 1 cuts, not 2"),
        ("wide", r"there is no codec 'int99'"),
        ("picture", r"codec jpeg:75 cannot write "),
        ("leaving", r"has no output 'nope'"),
        ("nan", r"a cost of nan seconds is no time"),
        ("less", r"a cost of -1.0 seconds is no time"),
        ("dear", r"a cost of nan seconds is no time"),
    ],
)
def test_a_plan_that_cannot_be_carried_out_is_no_answer(function: str, says: str, mine: Path) -> None:
    wanted = rf"mine.py:{function} answered with a plan that cannot be carried out: .*{says}"
    with pytest.raises(BadInput, match=wanted):
        planner_called(f"{mine}:{function}")(random_problem(random.Random(1), most=6))


def test_the_command_line_takes_it(mine: Path, call: Callable[..., tuple[int, str, str]]) -> None:
    code, told, _ = call("plan", "zoo:tiny", "--planner", f"{mine}:stay", "--runs", 1, "--json")
    assert code == 0
    assert (json.loads(told)["planner"], json.loads(told)["why"]) == ("stay", "because")
    code, _, said = call("plan", "zoo:tiny", "--planner", "mincutt")
    assert code != 0
    assert "there is no planner 'mincutt'" in said
    assert "Traceback" not in said
