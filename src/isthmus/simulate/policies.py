"""Policies by name: who decides in a simulation. Each is a `record.Chooser`; only `dynamic` has to find out how the
link is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from isthmus.adapt import Fixed, Habits, TableChooser, Unlearning, is_own, own_chooser
from isthmus.adapt.sizes import Sizes
from isthmus.codec import RAW
from isthmus.errors import BadInput
from isthmus.graph.types import INPUT, OUTPUT
from isthmus.plan.cost import CostTable
from isthmus.plan.types import Problem
from isthmus.record import Choice, Chooser, Step
from isthmus.simulate.fixed import Name, names_of, statics
from isthmus.simulate.requests import Requests
from isthmus.simulate.right_sizing import RIGHT_SIZING, right_sizing
from isthmus.simulate.world import Floats, World

POLICIES = {
    "dynamic": "the live chooser: learns link and load from its own requests and probes",
    "table": "looks the true rate at the start up in the switch table (the paper's method)",
    "static": "the one fixed choice with the least total over the whole trace",
    "device": "everything on the device",
    "server": "everything on the server; server/CODEC says how the input is written",
    "clairvoyant": "knows the future: for every request the choice that ends first",
    **RIGHT_SIZING,
    "cut:ID": "always this cut; cut:ID/CODEC says how the tensor is written",
    "FILE.py:FUNCTION": "a chooser of your own (docs/planners.md)",
}
LEAST_BPS = 1.0
"""An outage, to who looks up the best choice for a rate."""


def make_policy(
    name: str,
    world: World,
    requests: Requests,
    *,
    habits: Habits | None = None,
    believed: Mapping[int, CostTable] | None = None,
    problem: Problem | None = None,
) -> Chooser:
    """The policy of this name, new, for one walk through these requests.

    habits: of `dynamic`; by default the live client's, with the world's deadline. believed: the tables that `dynamic`
    and `table` decide by, where they are not the truth. problem: what those decide by that choose among exits. Raises
    BadInput for a name that is none, a cut or codec that is in no table, or code of your own that makes no chooser.
    """
    if name in RIGHT_SIZING:
        return right_sizing(name, world, problem, habits=habits, believed=believed)
    tables = world.tables if believed is None else believed
    if is_own(name):
        return own_chooser(name, tables, world.deadline_s)
    if name == "dynamic":
        return TableChooser(tables, habits or Habits(deadline_s=world.deadline_s))
    if name == "table":
        return Informed(world, tables)
    if name == "clairvoyant":
        return Clairvoyant(world)
    if name == "static":
        found = statics(world, requests)
        return _fixed(found.names[found.best], "the best of all that never change")
    return _fixed(fixed_name(name, names_of(world, requests)), name)


def fixed_name(name: str, known: Sequence[Name]) -> Name:
    """The cut and codec that a fixed policy's name means: `device`, `server[/CODEC]`, `cut:ID[/CODEC]`."""
    kind, _, rest = name.partition("/")
    if name == "device":
        found = [n for n in known if n[0] == OUTPUT][:1]
    elif kind == "server":
        found = [n for n in known if n == (INPUT, rest or RAW)]
    elif name.startswith("cut:"):
        wanted = name.removeprefix("cut:")
        cut, _, codec = wanted.rpartition("/")  # names of cuts may hold slashes too
        found = [n for n in known if n in ((wanted, RAW), (cut, codec))]
    else:
        raise BadInput(f"'{name}' is no policy; there are {', '.join(POLICIES)}")
    if not found:
        raise BadInput(f"the policy '{name}' names a choice that has no price here; there are {_listed(known)}")
    return found[0]


class Informed:
    """Knows the uplink, the downlink and the loads as they are when a request starts, and takes the cheapest choice as
    if they stayed so: dynamic split computing as its paper has it (Bakhtiarnia et al., 2023)."""

    def __init__(self, world: World, tables: Mapping[int, CostTable] | None = None) -> None:
        self._world = world
        self._sizes = world.sizes if tables is None or tables is world.tables else Sizes(tables)
        self._now_s = 0.0

    def choose(self, now_s: float, batch: int = 1) -> Choice:
        """The cheapest at the present rate."""
        world, self._now_s = self._world, now_s
        table = self._sizes.at(batch).table
        up_bps, down_bps = (max(LEAST_BPS, t.rate_at(now_s)) for t in (world.up, world.back))
        loads = world.load.at(now_s), world.device_load.at(now_s)
        latency_s = table.latency_s(up_bps, down_bps, world.round_trip_s, *loads)
        at = int(np.argmin(latency_s))
        return _choice(table, at, float(latency_s[at]), "cheapest")

    def observe(self, step: Step) -> None:
        """Nothing is learnt: it knows."""

    def probe_bytes(self, now_s: float) -> int:
        """No probe is wanted."""
        return 0

    @property
    def beliefs(self) -> tuple[float | None, float | None]:
        """The truth."""
        return max(LEAST_BPS, self._world.up.rate_at(self._now_s)), self._world.load.at(self._now_s)


class Clairvoyant(Unlearning):
    """Knows the trace, the loads and even the noise: it takes, for every request, the choice that really ends first."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._number = 0

    def choose(self, now_s: float, batch: int = 1) -> Choice:
        """The choice whose answer comes first if it starts now."""
        world = self._world
        size = world.sizes.at(batch)
        ended_s = world.go(size.every, np.array([now_s]), batch, noise=world.draws.at(self._number)).ended_s
        self._number += 1
        at = int(np.argmin(ended_s))
        predicted_s = float(ended_s[at]) - now_s
        return _choice(size.table, at, predicted_s, "ends first")


def seconds_of_all(world: World, starts_s: Sequence[float] | Floats, batch: int = 1) -> Floats:
    """What every choice would have taken had a request started at each of these moments, each for itself; shape
    (moments, choices of `world.sizes.at(batch).table`). Its least along the choices is what a clairvoyant needs."""
    starts = np.asarray(starts_s, np.float64)[:, None]
    seconds: Floats = world.go(world.sizes.at(batch).every[None, :], starts, batch).ended_s - starts
    return seconds


def _choice(table: CostTable, at: int, predicted_s: float, why: str) -> Choice:
    codec = table.codecs[at]
    return Choice(cut=table.asked[at], codec=codec, first=table.first, predicted_s=predicted_s, why=why)


def _fixed(name: Name, why: str) -> Fixed:
    return Fixed(Choice(cut=name[0], codec=name[1], why=why))


def _listed(known: Sequence[Name], most: int = 6) -> str:
    shown = [f"{cut}/{codec}" for cut, codec in known[:most]]
    return ", ".join(shown) + (f" and {len(known) - most} more" if len(known) > most else "")
