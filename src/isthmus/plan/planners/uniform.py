"""U2, U4, U6, U8 of Auto-Split (KDD 2021): the whole network on the device, everything at one width."""

from __future__ import annotations

from isthmus.codec import RAW
from isthmus.errors import BadInput, NoPlan
from isthmus.graph import OUTPUT, cut_at
from isthmus.plan.choose import choose
from isthmus.plan.joint import splits_for
from isthmus.plan.splits import at_bits, without_memory
from isthmus.plan.types import Plan, Problem
from isthmus.units import show_bytes


def u2(problem: Problem) -> Plan:
    """All on the device at 2 bits. Raises as `uniform` does."""
    return uniform(problem, 2)


def u4(problem: Problem) -> Plan:
    """All on the device at 4 bits. Raises as `uniform` does."""
    return uniform(problem, 4)


def u6(problem: Problem) -> Plan:
    """All on the device at 6 bits. Raises as `uniform` does."""
    return uniform(problem, 6)


def u8(problem: Problem) -> Plan:
    """All on the device at 8 bits. Raises as `uniform` does."""
    return uniform(problem, 8)


def uniform(problem: Problem, bits: int) -> Plan:
    """All on the device at one width. Raises BadInput without distortion tables for it, NoPlan where that does not fit
    the device or breaks another limit."""
    name = f"u{bits}"
    splits = splits_for(problem, name)
    if bits not in splits.bits:
        raise BadInput(f"the distortions of {problem.graph.name} are for {splits.bits} bits, not {bits}")
    found = splits.uniform(len(splits.storage.heads) - 1, bits)
    solution = splits.solution(found, name)
    memory = problem.limits.home_memory_bytes
    if not solution.fits:
        need = show_bytes(solution.need_bytes(problem.limits.memory_of))
        raise NoPlan(
            f"{name} needs {need} on the device, more than {show_bytes(memory or 0)}; take fewer bits, or autosplit"
        )
    free = without_memory(at_bits(problem, solution.bits))
    note = f"{bits} bits everywhere, {show_bytes(solution.memory_bytes)}, distortion {found.distortion:.3g}"
    plan = choose(free, name, [((cut_at(problem.graph, OUTPUT),), RAW)], note)
    return plan.model_copy(update={"bits": solution.bits, "solutions": (solution,)})
