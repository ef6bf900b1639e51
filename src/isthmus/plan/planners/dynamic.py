"""Dynamic split computing: few places, and the best of them for every rate and batch size.

Bakhtiarnia, Milosevic, Zhang, Bajovic, Iosifidis: "Dynamic Split Computing for Efficient Deep Edge Intelligence",
ICASSP 2023. The choice at every moment is among all on the device, all on the server, and the compressive bottlenecks,
the places where less crosses than at any place before: anything else costs the device more and sends no less. Which of
them is best for a rate is laid down in a switch table, one for every batch size.

In the paper a layer is a block of the architecture, and so it is here where the graph has blocks; else, and by
`dynamic_narrow`, every place where one tensor crosses counts. A bottleneck that is not kept ready (an activation that
the runtime fuses with what made it) gives its place to the first one after it that is ready and where a tensor of the
same size crosses; where there is none it stays, and its times are those of the fit.
"""

from __future__ import annotations

from isthmus.errors import BadInput, NoPlan
from isthmus.graph import INPUT, OUTPUT, Cut, Granularity, block_cuts, bottlenecks, narrow_cuts
from isthmus.plan.choose import choose, within_limits
from isthmus.plan.cost import CostTable, Option, allowed_codecs
from isthmus.plan.limits import keeps_private
from isthmus.plan.planners import device_only, server_only
from isthmus.plan.switch import switch_table
from isthmus.plan.switch_types import SwitchTable
from isthmus.plan.types import Plan, Problem
from isthmus.units import show_rate


def dynamic(problem: Problem) -> Plan:
    """The best of the few for the link as it is, with switch tables for every rate (`Plan.switch`), at the problem's
    batch size and those of `problem.batches`.

    Raises BadInput unless there are two machines with home first, NoPlan where nothing keeps the limits.
    """
    return _planned(problem, "dynamic", "block" if block_cuts(problem.graph) else "narrow")


def dynamic_narrow(problem: Problem) -> Plan:
    """The same among all places where one tensor crosses, blocks or not."""
    return _planned(problem, "dynamic_narrow", "narrow")


def options(problem: Problem, granularity: Granularity) -> list[Option]:
    """All on the device, all on the server and the compressive bottlenecks, each with every codec allowed there.

    Bottlenecks are judged among the cuts that the limits leave: with `private_until`, one is compressive if less
    crosses than at every one after that node.
    """
    found = [device_only.option(problem), *server_only.options(problem)]
    for cut in places(problem, granularity):
        found += [((cut,), codec) for codec in allowed_codecs(problem, (cut,))]
    return found


def places(problem: Problem, granularity: Granularity) -> list[Cut]:
    """The compressive bottlenecks, or what stands for them among the cuts that are ready."""
    graph = problem.graph
    found = bottlenecks(graph, granularity, lambda cut: keeps_private(problem, (cut,)))
    inner = [c for c in narrow_cuts(graph) if c.id not in (INPUT, OUTPUT)]
    return [_ready(problem, b.cut, inner) for b in found if b.compressive]


def _ready(problem: Problem, cut: Cut, narrow: list[Cut]) -> Cut:
    """This cut if it is ready, else the first ready one after it while as many bytes cross, else this cut."""
    if problem.ready is None or cut.id in problem.ready:
        return cut
    tensors = problem.graph.tensors
    size = sum(tensors[t].bytes for t in cut.crossing)
    for other in narrow:
        if cut.head < other.head:
            if tensors[other.crossing[0]].bytes != size:
                break
            if other.id in problem.ready:
                return other
    return cut


def _planned(problem: Problem, planner: str, granularity: Granularity) -> Plan:
    if len(problem.machines) != 2 or problem.home != 0:
        raise BadInput(
            f"{planner} is for a device first and a server second, not for {len(problem.machines)} machines with "
            f"home={problem.home}; use mincut"
        )
    every = [problem, *(problem.at_batch(graph) for graph in problem.batches if graph.batch != problem.graph.batch)]
    tables = [_table(one, granularity) for one in sorted(every, key=lambda p: p.graph.batch)]
    here = next(t for t in tables if t.batch == problem.graph.batch)
    plan = choose(problem, planner, options(problem, granularity), _note(problem, here, granularity))
    return plan.model_copy(update={"switch": tuple(tables)})


def _table(problem: Problem, granularity: Granularity) -> SwitchTable:
    kept = within_limits(problem, options(problem, granularity))
    if not kept:
        raise NoPlan(
            f"at a batch of {problem.graph.batch} no choice keeps privacy and memory; raise the memory limit or leave "
            "that batch out"
        )
    costs = CostTable.of(problem, [(p.cuts, p.codec) for p in kept])
    loads = {"device_load": problem.machines[0].factor, "load": problem.machines[1].factor}
    return switch_table(costs, problem.graph.batch).model_copy(update=loads)


def _note(problem: Problem, table: SwitchTable, granularity: Granularity) -> str:
    ends = [show_rate(row.to_bps) for row in table.rows if row.to_bps is not None]
    note = f"best at other rates: another choice beyond {', '.join(ends)}" if ends else "the best at every rate"
    chosen = places(problem, granularity)
    note += f"; {len(chosen)} compressive bottlenecks ({granularity})"
    unready = [c.id for c in chosen if problem.ready is not None and c.id not in problem.ready]
    return f"{note}, not kept ready and priced by the fit: {', '.join(unready)}" if unready else note
