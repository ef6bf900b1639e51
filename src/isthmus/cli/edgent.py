"""What `isthmus plan` needs for planners that choose among exits: the exits and their accuracies, bandwidth states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from isthmus.adapt import bandwidth_states, belief_spread
from isthmus.cli.common import err
from isthmus.errors import BadInput
from isthmus.files import read_json
from isthmus.graph import Graph
from isthmus.link import read_trace
from isthmus.plan import CostTable, Problem
from isthmus.plan.map_types import ConfigMap
from isthmus.plan.remarks import unmet
from isthmus.plan.rewards import REWARD_OF
from isthmus.plan.strategies import strategies
from isthmus.plan.types import Exit
from isthmus.profile import ExitTable
from isthmus.profile.exit_file import exits_beside
from isthmus.profile.exit_table import early_exits

CHOOSES_EXIT = ("edgent", "edgent_mincut", *REWARD_OF)
"""Planners that choose among early exits."""
Exits = Annotated[
    str,
    typer.Option(
        help="How good the exits are: exits.json of profile --exits or train-exits, or shares as 0.75,0.78; without, "
        "its own exits.json beside the model, or the table that ships with zoo:digits."
    ),
]
States = Annotated[
    list[Path] | None,
    typer.Option("--states", help="Traces whose bandwidth states edgent_map prepares for; may be given again."),
]
ServerFirst = Annotated[
    bool,
    typer.Option("--server-first", help="Edgent's own order: the server runs the first part, the device the rest."),
]


@dataclass(frozen=True)
class TableFile:
    """A table of exits as it was read, and whether it was asked for or found beside the model."""

    path: Path
    table: ExitTable
    asked: bool

    def of(self, name: str, fingerprint: str) -> ExitTable | None:
        """The table, if it is this network's, which nobody knows where a fingerprint is empty. None, and a word on
        stderr, for another's that was only found. Raises BadInput for another's that was asked for."""
        theirs = self.table.fingerprint
        if not theirs or not fingerprint or theirs == fingerprint:
            return self.table
        other = f"{self.path} is of {self.table.model}, not of {name} as it is here"
        if self.asked:
            raise BadInput(f"{other}; make one with isthmus profile --exits")
        err.print(f"{other}: it is left out", highlight=False, soft_wrap=True)
        return None


def table_file(model: str, given: Path | None) -> TableFile | None:
    """The table that is given, else the one beside the model (`exits_beside`)."""
    path = exits_beside(model) if given is None else given
    return None if path is None else TableFile(path, read_json(path, ExitTable), asked=given is not None)


def exits_for(planner: str, model: str, graph: Graph, fingerprint: str, given: str) -> tuple[Exit, ...]:
    """The exits of a network with their accuracies, as far as they are told; none for a planner that does not choose.
    `fingerprint`: of the network as it is trained, empty where that is not known.

    Raises BadModel for a network without early exits where accuracies were given, BadInput for accuracies that do not
    fit it.
    """
    if planner not in CHOOSES_EXIT or (not given and len(graph.outputs) == 1):
        return ()
    outputs = early_exits(graph)
    named = _file(given)
    found = None if given and named is None else table_file(model, named)
    table = None if found is None else found.of(graph.name, fingerprint)
    if found is not None and table is not None:
        unknown = [row.output for row in table.rows if row.output not in outputs]
        if unknown:
            raise BadInput(
                f"{found.path} is of a model with an exit {unknown[0]}; {graph.name} has {', '.join(outputs)}"
            )
        return tuple(Exit(row.output, row.accuracy) for row in table.rows)
    if not given:
        return tuple(Exit(output) for output in outputs)
    shares = _shares(given)
    if len(shares) != len(outputs):
        raise BadInput(f"{graph.name} has {len(outputs)} exits ({', '.join(outputs)}), not {len(shares)}")
    return tuple(Exit(output, share) for output, share in zip(outputs, shares, strict=True))


@dataclass(frozen=True)
class Past:
    """What traces of the past tell: the bandwidth states, and how rates turned out beside what was believed."""

    states_bps: tuple[float, ...] = ()
    spread: tuple[float, ...] = ()


def past_of(traces: list[Path] | None) -> Past:
    """Of these traces; nothing where none are given. Raises BadInput for files that are no traces, or carry nothing."""
    if not traces:
        return Past()
    read = [read_trace(path) for path in traces]
    return Past(bandwidth_states(read), belief_spread(read))


def say_unmet(config: ConfigMap) -> None:
    """On stderr: that no state has a strategy in time, and which comes nearest."""
    if sentence := unmet(config):
        err.print(sentence, highlight=False)


@dataclass(frozen=True)
class RightSized:
    """What a simulation needs for policies that choose among exits: the problem, and the tables of every exit by batch
    size."""

    problem: Problem
    tables: dict[str, dict[int, CostTable]]


def right_sized(
    problems: Mapping[int, Problem], exits: tuple[Exit, ...], within_s: float | None, past: Past
) -> RightSized:
    """For these exits, a requirement and what is known of the past. Raises NoPlan where no exit keeps the limits."""
    tables: dict[str, dict[int, CostTable]] = {}
    for batch, problem in problems.items():
        for each in strategies(replace(problem, exits=exits)):
            if each.exit.output:
                tables.setdefault(each.exit.output, {})[batch] = each.table
    first = problems[min(problems)]
    limits = replace(first.limits, latency_s=within_s)
    known = replace(first, exits=exits, states_bps=past.states_bps, states_spread=past.spread, limits=limits)
    return RightSized(known, tables)


def _file(given: str) -> Path | None:
    """The table that is named, where these words name one."""
    named = Path(given)
    return named if named.suffix == ".json" or named.is_file() else None


def _shares(text: str) -> list[float]:
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or any(not 0 <= share <= 1 for share in found):
        raise BadInput(
            f"'{text[:80]}' is neither an exits.json that is there nor shares of right answers, as 0.75,0.78"
        )
    return found
