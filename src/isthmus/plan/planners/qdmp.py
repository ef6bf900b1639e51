"""QDMP (Zhang, Li, Luo, Wang, Shi: "Towards real-time cooperative deep inference over the cloud and edge end devices",
IMWUT 4(2), 2020): a minimum cut, looked for between two neighbouring cut vertices only.

Where one tensor is all that leads on, every partition lies wholly before or wholly behind it, so the cheapest lies
between two such places that are neighbours. The pairs are looked at by a lower bound (what must run where, and between
them the faster machine), and the flow is solved only while the bound could still win. The published text was not at
hand; the order by bound is ours.

QDMP_E and QDMP_E+U4 are Auto-Split's ablations (KDD 2021): QDMP's cut, found for numbers of 16 bits, with the device's
part at 8 or 4 bits afterwards, and what crosses as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

from isthmus.errors import BadInput, NoPlan
from isthmus.graph import INPUT, OUTPUT, Cut, cut_at, cut_of, narrow_cuts
from isthmus.plan.build import candidates_for
from isthmus.plan.choose import choose
from isthmus.plan.cost import Option, allowed_codecs, priced
from isthmus.plan.joint import distortions_of, splits_for
from isthmus.plan.layers import Layers, Pin
from isthmus.plan.planners import device_only, server_only
from isthmus.plan.potential import wire_codec
from isthmus.plan.splits import at_bits, without_memory
from isthmus.plan.types import Plan, Problem
from isthmus.quant.types import BitPlan
from isthmus.units import show_bytes


def qdmp(problem: Problem) -> Plan:
    """The cheapest partition of a DAG, as `mincut` finds it, with fewer flows. Limits that rule out the cheapest leave
    one-tensor cuts. Raises BadInput for more than two machines, NoPlan where nothing keeps the limits."""
    if len(problem.links) != 1:
        raise BadInput(f"qdmp cuts between two machines, not {len(problem.machines)}; use mincut")
    found: list[Option] = [device_only.option(problem), *server_only.options(problem)]
    solved = 0
    for codec in dict.fromkeys(problem.default_codecs):
        for cut in _between(problem, codec):
            solved += 1
            if codec in allowed_codecs(problem, (cut,)):
                found.append(((cut,), codec))
    pairs = max(1, len(_vertices(problem)) - 1)
    return choose(problem, "qdmp", [*found, *candidates_for(problem)], f"{solved} flows for {pairs} pairs of vertices")


def qdmp_e(problem: Problem) -> Plan:
    """QDMP's cut with the device's part at 8 bits. Raises as `qdmp` and `distortions_of` do, NoPlan where
    it is too big."""
    return _quantised(problem, 8, "qdmp_e")


def qdmp_e_u4(problem: Problem) -> Plan:
    """The same at 4 bits. Raises as `qdmp_e` does."""
    return _quantised(problem, 4, "qdmp_e_u4")


def in_floats(problem: Problem) -> Problem:
    """The problem of planners that know nothing of widths: 16 bits on the device and the wire, the input at 8 as a
    camera gives it, no limit of memory."""
    asked = without_memory(at_bits(problem, BitPlan()))
    return replace(asked, codecs={INPUT: ("int8",)}, default_codecs=("float16",), ready=None)


def _vertices(problem: Problem) -> list[Cut]:
    """Places where one tensor is all that leads on. With several answers a side branch may run on either side of one,
    so only both ends count."""
    graph = problem.graph
    return list(narrow_cuts(graph)) if len(graph.outputs) == 1 else [cut_at(graph, INPUT), cut_at(graph, OUTPUT)]


def _between(problem: Problem, codec: str) -> Iterator[Cut]:
    """The cheapest cut between each pair of neighbours that could still hold the cheapest of all."""
    layers = Layers(problem, codec)
    first_s, last_s = (m.nodes_s() for m in problem.machines)
    every = range(len(problem.graph.nodes))
    bounds = []
    for before, behind in pairwise(_vertices(problem)):
        fixed = sum(first_s[v] for v in before.head) + sum(last_s[v] for v in every if v not in behind.head)
        inner = sum(min(first_s[v], last_s[v]) for v in behind.head - before.head)
        bounds.append((fixed + inner, len(before.head), before, behind))
    summed = replace(problem, machines=tuple(replace(m, additive=True) for m in problem.machines))
    best = float("inf")
    for bound, _, before, behind in sorted(bounds, key=lambda b: b[:2]):
        if bound >= best:
            return
        pins: list[Pin] = [(v, 0, True) for v in before.head] + [(v, 0, False) for v in every if v not in behind.head]
        answer = layers.cheapest(pins)
        if answer is not None:
            cut = cut_of(problem.graph, answer[1][0])
            best = min(best, priced(summed, (cut,), codec).total_s)
            yield cut


def _quantised(problem: Problem, bits: int, planner: str) -> Plan:
    distortions_of(problem, planner)
    floats = qdmp(in_floats(problem))
    cut = cut_at(problem.graph, floats.cuts[0])
    splits = splits_for(problem, planner, cut)
    if bits not in splits.bits:
        raise BadInput(f"the distortions of {problem.graph.name} are for {splits.bits} bits, not {bits}")
    if not cut.head:
        solved = choose(in_floats(problem), planner, [((cut,), floats.codec)])
        return solved.model_copy(update={"why": f"{solved.why}; qdmp runs nothing on the device"})
    found = splits.uniform(len(splits.storage.heads) - 1, bits)
    solution = splits.solution(found, planner)
    if not solution.fits:
        raise NoPlan(
            f"{planner} needs {show_bytes(solution.need_bytes(problem.limits.memory_of))} on the device for the head "
            f"up to {solution.cut}, more than {show_bytes(problem.limits.home_memory_bytes or 0)}; autosplit looks for "
            "one that fits"
        )
    asked = without_memory(at_bits(problem, solution.bits))
    codec = wire_codec(bits) or "float32"
    option: Option = ((cut_at(problem.graph, solution.cut),), codec if solution.sent_bytes else "float32")
    plan = choose(asked, planner, [option], f"qdmp's cut at {bits} bits, distortion {found.distortion:.3g}")
    return plan.model_copy(update={"bits": solution.bits, "solutions": (solution,)})
