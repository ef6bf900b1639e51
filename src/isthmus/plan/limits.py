"""What a choice must respect: the input's privacy, the memory at home, the latency."""

from __future__ import annotations

from collections.abc import Sequence

from isthmus.graph import Cut
from isthmus.plan.cost import traffic
from isthmus.plan.types import Problem


def keeps_private(problem: Problem, cuts: Sequence[Cut]) -> bool:
    """Does all stay at home that `private` and `private_until` keep there (`Problem.private_tensors`)?"""
    hidden = problem.private_tensors
    if not hidden:
        return True
    loads = (traffic(problem.graph, cut, forward_is_up=problem.home <= j).up for j, cut in enumerate(cuts))
    return not any(parcel.tensor.name in hidden for load in loads for parcel in load)


def must_stay(problem: Problem) -> frozenset[int]:
    """The nodes that have to run at home so that no private tensor leaves it: those that read one."""
    readers = problem.graph.consumers
    return frozenset(i for name in problem.private_tensors for i in readers.get(name, ()))


def home_bytes(problem: Problem, cuts: Sequence[Cut]) -> int:
    """Memory of home's part: its weights, and the most activations alive at once while it runs in running order.

    What it receives is alive from the start, what it makes and others want until the end.
    """
    graph, home = problem.graph, problem.home
    before = cuts[home - 1].head if home else frozenset[int]()
    inside = (cuts[home].head if home < len(cuts) else frozenset(range(len(graph.nodes)))) - before
    if not inside:
        return 0
    last_read: dict[str, int] = {}
    leaving: set[str] = set(graph.outputs)
    for i in sorted(inside):
        for name in graph.nodes[i].inputs:
            last_read[name] = i
    for i in inside:
        leaving |= {t for t in graph.nodes[i].outputs if any(c not in inside for c in graph.consumers[t])}
    arrived = [t for t in last_read if graph.producer.get(t, -1) not in inside]
    alive = most = sum(graph.tensors[t].bytes for t in arrived)
    for i in sorted(inside):
        node = graph.nodes[i]
        alive += sum(graph.tensors[t].bytes for t in node.outputs)
        most = max(most, alive)
        done = {t for t in node.inputs if last_read[t] == i and t not in leaving}
        done |= {t for t in node.outputs if t not in last_read and t not in leaving}
        alive -= sum(graph.tensors[t].bytes for t in done)
    return most + sum(graph.nodes[i].weight_bytes for i in inside)
