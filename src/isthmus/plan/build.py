"""From profiles and a link to a `Problem`, and from a problem to the choices worth listing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import combinations_with_replacement
from math import comb

from isthmus.codec import RAW, length_varies
from isthmus.errors import BadInput
from isthmus.graph import Cut, Graph, cut_at, narrow_cuts
from isthmus.link.types import Link
from isthmus.plan.cost import CostTable, Option, allowed_codecs
from isthmus.plan.limits import keeps_private
from isthmus.plan.types import Limits, Problem
from isthmus.profile.times import Times
from isthmus.profile.types import AccuracyRow, Profile

MOST_COMBINATIONS = 50_000
"""More nested narrow cuts than this are not listed: pricing them takes seconds and mincut needs no list."""


def problem_for(
    graph: Graph,
    device: Profile,
    server: Profile,
    link: Link,
    *,
    codecs: Mapping[str, Sequence[str]] | None = None,
    default_codecs: Sequence[str] = (RAW,),
    device_factor: float = 1.0,
    load: float = 1.0,
    limits: Limits | None = None,
    additive: bool = False,
    ready: Collection[str] | None = None,
    accuracy: Iterable[AccuracyRow] = (),
    clipped: Collection[str] = (),
) -> Problem:
    """Device first, server second, home on the device.

    codecs: cut id → codecs that keep the accuracy there; `default_codecs` for the rest. `device_factor` and `load`
    multiply the device's and the server's times; `additive` prices parts as sums of node times; `ready`, `clipped`: see
    `Problem`; `accuracy`: codecs as they were measured at cuts, whose bytes are prices where they depend on what is
    written. Raises BadInput for a profile of another model than the other's, or a factor that is not above zero.
    """
    if device.fingerprint != server.fingerprint:
        raise BadInput(f"the device's profile is of {device.model}, the server's of another model, {server.model}")
    for name, factor in (("device_factor", device_factor), ("load", load)):
        if not 0 < factor < float("inf"):
            raise BadInput(f"{name} must be finite and above zero, not {factor}")
    return Problem(
        graph=graph,
        machines=(Times(device, graph, device_factor, additive), Times(server, graph, load, additive)),
        links=(link,),
        limits=limits or Limits(),
        codecs={cut: tuple(names) for cut, names in (codecs or {}).items()},
        default_codecs=tuple(default_codecs),
        ready=None if ready is None else tuple(ready),
        sample_bytes={
            (r.cut, r.codec): r.sample_bytes for r in accuracy if r.sample_bytes is not None and length_varies(r.codec)
        },
        clipped=frozenset(clipped),
    )


def candidates_for(problem: Problem, ready: Collection[str] | None = None) -> list[Option]:
    """Every nested combination of cuts × codecs allowed there, in running order.

    The cuts are exactly those named in `ready` (or else in `problem.ready`), without either the narrow ones.
    Raises BadInput for an unknown cut in `ready`, or more than MOST_COMBINATIONS nested combinations.
    """
    names = problem.ready if ready is None else ready
    cuts = narrow_cuts(problem.graph) if names is None else _named(problem.graph, names)
    links = len(problem.links)
    count = comb(len(cuts) + links - 1, links)
    if count > MOST_COMBINATIONS:
        raise BadInput(
            f"{len(cuts)} cuts on {links} links make {count} combinations, more than {MOST_COMBINATIONS}; "
            "use mincut, which needs no list of them"
        )
    return [(nested, codec) for nested in _nested(cuts, links) for codec in allowed_codecs(problem, nested)]


def cost_table(problem: Problem) -> CostTable:
    """The candidates that keep at home what the limits keep there, priced for any link and load: what a chooser
    chooses among. Raises BadInput as `candidates_for` and `CostTable.of` do."""
    return CostTable.of(problem, [o for o in candidates_for(problem) if keeps_private(problem, o[0])])


def _named(graph: Graph, ids: Collection[str]) -> tuple[Cut, ...]:
    return tuple(sorted((cut_at(graph, name) for name in dict.fromkeys(ids)), key=lambda c: (len(c.head), c.id)))


def _nested(cuts: Sequence[Cut], links: int) -> Iterator[tuple[Cut, ...]]:
    for chosen in combinations_with_replacement(cuts, links):
        if all(chosen[j].head <= chosen[j + 1].head for j in range(links - 1)):
            yield chosen
