"""All solutions of the joint question, where to cut and with how many bits: priced, judged, the front marked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from isthmus.codec import picture_names
from isthmus.errors import BadInput, NoPlan
from isthmus.graph import INPUT, Cut, cut_at
from isthmus.plan.cost import can_write
from isthmus.plan.limits import keeps_private
from isthmus.plan.losses import Estimates, with_front
from isthmus.plan.planners.mincut import cheapest_allowed
from isthmus.plan.potential import Potential, potential, wire_codec
from isthmus.plan.solution import Solution
from isthmus.plan.splits import Splits, priced_solution, worth_listing
from isthmus.plan.storage import Storage
from isthmus.plan.types import Problem
from isthmus.quant.types import MOST_BITS, Distortions

_PLANNER = "autosplit"
"""who these solutions are by"""


@dataclass(frozen=True)
class Joint:
    """Every solution, the fastest first; the places that were candidates; how losses are known."""

    solutions: tuple[Solution, ...]
    places: Potential
    estimates: Estimates
    splits: Splits

    def with_uploads(self, problem: Problem) -> Joint:
        """The same where the problem knows other bytes of pictures: those are priced anew."""
        storage = self.splits.storage
        rows = (
            upload(problem, storage, s.codec, _PLANNER) if s.cut == INPUT and ":" in s.codec else s
            for s in self.solutions
        )
        return replace(self, solutions=tuple(rows)).with_losses(problem)

    def with_losses(self, problem: Problem) -> Joint:
        """The same solutions where the problem knows other losses."""
        estimates = Estimates.of(problem, self.estimates.reference, self.solutions)
        rows = with_front(map(estimates.judged, self.solutions))
        return replace(self, solutions=tuple(rows), estimates=estimates)


def distortions_of(problem: Problem, planner: str) -> Distortions:
    """The distortion tables. Raises BadInput where there are none, where they are another network's, or where the
    machines are not a device at home and a server."""
    tables = problem.distortions
    if tables is None:
        raise BadInput(
            f"{planner} chooses bit widths and needs to know what they cost: isthmus quantize {problem.graph.name} "
            "--data … measures distortion tables, --distortions reads them"
        )
    if len(problem.machines) != 2 or problem.home != 0:
        raise BadInput(f"{planner} is for a device at home that runs first and a server")
    if not device_bits(tables):
        raise BadInput(f"the distortions of {tables.model} are for no width of 8 bits or less")
    return tables


def device_bits(tables: Distortions) -> tuple[int, ...]:
    """The widths of the tables that a device computes with."""
    return tuple(b for b in tables.bits if b <= 8)


def splits_for(problem: Problem, planner: str, head: Cut | None = None) -> Splits:
    """The candidate heads of the network, or one head alone. Raises BadInput as `distortions_of` does."""
    tables = distortions_of(problem, planner)
    try:
        storage = Storage.of(problem.graph, tables, device_bits(tables), head=head, literal=problem.literal)
    except BadInput as error:
        raise BadInput(f"{error}: they are of another network than {problem.graph.name}") from error
    steps = range(len(storage.heads)) if head is None else [len(storage.heads) - 1]
    return Splits(problem, storage, list(steps))


def joint(problem: Problem) -> Joint:
    """Every solution worth having. Raises BadInput as `distortions_of` does, NoPlan where nothing is left."""
    splits = splits_for(problem, _PLANNER)
    places = potential(problem, splits.storage)
    splits = Splits(problem, splits.storage, places.steps)
    found = worth_listing(splits, _PLANNER)
    for other in _other_heads(problem, splits):
        found += worth_listing(other, _PLANNER)
    found += server_solutions(problem, splits.storage)
    named = {s.name: s for s in sorted(found, key=lambda s: -s.total_s)}
    rows = tuple(s for s in named.values() if s.fits)
    if not rows:
        raise NoPlan(no_head(problem, places))
    return Joint(rows, places, Estimates(problem, splits.at_eight(), (), (), ()), splits).with_losses(problem)


def server_solutions(problem: Problem, storage: Storage) -> Iterator[Solution]:
    """Nothing on the device: the input as a camera gives it, as it is in memory, and as the pictures whose loss or
    distortion is known."""
    cut = cut_at(problem.graph, INPUT)
    if not keeps_private(problem, [cut]):
        return
    floats = any(problem.graph.tensors[name].dtype == "float32" for name in problem.graph.inputs)
    for bits, codec in ((8, "int8"), (32, "float32")) if floats else ((32, "float32"),):
        error = storage.input_error(bits)
        yield priced_solution(problem, _PLANNER, cut, codec, None, widths=(0.0, 0.0, float(bits)), distortion=error)
    for name in writable_pictures(problem):
        if name in storage.upload_errors or not problem.losses.keys().isdisjoint((name, f"{INPUT}/{name}")):
            yield upload(problem, storage, name, _PLANNER)


def writable_pictures(problem: Problem) -> list[str]:
    """The usual picture codecs, where the network's one input has a picture's shape."""
    if len(problem.graph.inputs) != 1:
        return []
    tensor = problem.graph.tensors[problem.graph.inputs[0]]
    return [name for name in picture_names() if tensor.dtype == "float32" and can_write(name, tensor)]


def upload(problem: Problem, storage: Storage, codec: str, planner: str) -> Solution:
    """The input as a picture, everything on the server."""
    error = storage.upload_errors.get(codec)
    cut = cut_at(problem.graph, INPUT)
    return priced_solution(problem, planner, cut, codec, None, widths=(0.0, 0.0, 8.0), distortion=error)


def no_head(problem: Problem, places: Potential) -> str:
    """Why there is nothing to choose from, with the head that comes nearest."""
    said = f"{_PLANNER} finds no split: {places.summary(problem.limits.home_memory_bytes)}"
    if places.nearest is None:
        return said
    cut, need = places.nearest
    return f"{said}; the smallest head, up to {cut}, needs {need} bytes; raise the memory limit, or let the input leave"


def _other_heads(problem: Problem, splits: Splits) -> Iterator[Splits]:
    """Cheapest cuts that are no prefix of the running order, at each width that can be sent."""
    known = {cut.id for cut in splits.storage.cuts}
    free = replace(problem, codecs={}, limits=replace(problem.limits, home_memory_bytes=None, latency_s=None))
    for bits in (*splits.bits, MOST_BITS):
        codec = wire_codec(bits)
        if codec is None:
            continue
        cuts, _ = cheapest_allowed(replace(free, default_codecs=(codec,)), codec)
        if cuts is None or cuts[0].id in known:
            continue
        known.add(cuts[0].id)
        other = splits_for(problem, _PLANNER, cuts[0])
        cut = other.storage.cuts[-1]
        if keeps_private(problem, [cut]) and (cut.id == cuts[0].id or cut.id not in known):
            known.add(cut.id)
            yield other
