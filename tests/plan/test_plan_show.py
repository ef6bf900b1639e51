"""The terminal picture: within its columns, right without colour, the plan marked, long lists thinned."""

from __future__ import annotations

import json

from plan_worlds import Op, diamond, diamond_problem, graph, times
from rich.console import Console

from isthmus.cli.show_plan import MOST_BARS, plan_bars, show_plan
from isthmus.link.types import Link
from isthmus.plan import PLANNERS, Plan, Problem, plan_json


def drawn(what: object, width: int = 80) -> list[str]:
    console = Console(width=width, no_color=True, force_terminal=False)
    with console.capture() as capture:
        console.print(what)
    return capture.get().splitlines()


def chain_plan(count: int) -> Plan:
    ops = [
        Op(f"a_rather_long_layer_name_{i}", (f"a_rather_long_layer_name_{i - 1}" if i else "x",), 5000 // (i + 1))
        for i in range(count)
    ]
    of = graph(ops, {"x": 10_000}, [ops[-1].name])
    device, server = times(of, [1e-3] * count), times(of, [1e-4] * count)
    return PLANNERS["neurosurgeon"](
        Problem(of, (device, server), (Link(5e6, 5e6, 2e-3),), default_codecs=("float32", "int8"))
    )


def test_everything_fits_in_eighty_columns() -> None:
    lines = drawn(show_plan(chain_plan(60)))
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    for word in ("device", "up", "server", "sum", "next best"):
        assert word in text


def test_bars_are_in_proportion_and_stacked_by_cause() -> None:
    of = diamond()
    problem = diamond_problem(machines=(times(of, [1e-3] * 5), times(of, [8e-4] * 5)), links=(Link(1e6, 1e6),))
    plan = PLANNERS["exhaustive"](problem)
    lines = {line[2:].split()[0]: line for line in drawn(plan_bars(plan))[1:]}
    local, split = lines["@output"], lines["b+c"]
    assert set(local) & set("█░▓▒") == {"█"}
    assert abs(local.count("█") / split.count("█") - 5 / 3) < 0.2
    assert split.index("█") < split.index("░") < split.index("▓")


def test_a_choice_of_next_to_no_time_is_drawn() -> None:
    of = diamond()
    problem = diamond_problem(machines=(times(of, [1e-320] * 5), times(of, [1e-3] * 5)), links=(Link(1e6, 1e6),))
    plan = PLANNERS["exhaustive"](problem)
    assert plan.cuts == ("@output",)
    assert drawn(plan_bars(plan))


def test_the_plan_is_marked_once() -> None:
    plan = chain_plan(60)
    marked = [line for line in drawn(plan_bars(plan)) if line.startswith("►")]
    assert len(marked) == 1


def test_a_long_list_is_thinned_but_keeps_its_ends_and_the_plan() -> None:
    plan = chain_plan(MOST_BARS + 30)
    lines = drawn(plan_bars(plan))
    bars = [line for line in lines[1:] if "more cuts" not in line]
    assert len(bars) == MOST_BARS
    assert "@input" in bars[0]
    assert "@output" in bars[-1]
    assert lines[-1].strip() == "31 more cuts not shown; --json has them all"


def test_a_bar_far_longer_than_the_plan_is_cut_short_visibly() -> None:
    of = diamond()
    problem = diamond_problem(machines=(times(of, [1.0] * 5), times(of, [1e-4] * 5)))
    lines = drawn(plan_bars(PLANNERS["neurosurgeon"](problem)))
    assert next(line for line in lines if "@output" in line).count("»") == 1
    assert next(line for line in lines if "@input" in line).count("»") == 0


def test_several_links_are_drawn_too() -> None:
    of = diamond()
    machines = tuple(times(of, [s] * 5) for s in (1e-3, 3e-4, 1e-4))
    plan = PLANNERS["mincut"](Problem(of, machines, (Link(1e7, 1e7), Link(1e7, 1e7))))
    text = "\n".join(drawn(show_plan(plan)))
    assert "machine 3" in text
    assert "up 2" in text


def test_the_json_is_the_plan() -> None:
    plan = chain_plan(5)
    assert Plan.model_validate_json(json.dumps(plan_json(plan))) == plan
