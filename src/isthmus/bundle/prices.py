"""What the choices of a bundle cost whose device has few bits: its parts as long as they took when packed."""

from __future__ import annotations

from dataclasses import replace

from isthmus.bundle.types import FewBitsRow
from isthmus.plan import CostTable, Problem, candidates_for
from isthmus.plan.limits import keeps_private
from isthmus.plan.splits import at_bits


def few_bits_table(problem: Problem, row: FewBitsRow) -> CostTable:
    """Every choice that is there (`problem.ready`), priced for any link and load: the device's parts take what the
    profile says of the same in floating point, times what was measured when they were packed. Raises BadInput as
    `CostTable.of`."""
    options = [o for o in candidates_for(problem) if keeps_private(problem, o[0])]
    parts = {part.cut: part for part in row.parts}
    tables = []
    for cut in dict.fromkeys(o[0][0].id for o in options):
        part = parts.get(cut)
        asked = problem if part is None else narrowed(problem, part.ratio)
        asked = asked if part is None else at_bits(asked, part.bits)
        tables.append(CostTable.of(asked, [o for o in options if o[0][0].id == cut]))
    return CostTable.joined(tables) if tables else CostTable.of(problem, options)


def narrowed(problem: Problem, ratio: float) -> Problem:
    """With the home machine taking this many times its float time at few bits."""
    machines = list(problem.machines)
    machines[problem.home] = replace(machines[problem.home], narrow=ratio)
    return replace(problem, machines=tuple(machines))
