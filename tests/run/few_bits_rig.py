"""Bundles of zoo:digits whose device computes with few bits: with a whole network there, and without room for one."""

from __future__ import annotations

import time
from pathlib import Path

from isthmus.bundle import Bundle
from isthmus.bundle.few_bits import Wanted, few_bits
from isthmus.bundle.pack import Contents, pack
from isthmus.engine import Engine
from isthmus.graph import INPUT, Graph, cut_at, cut_of, fused_graph, graph_of
from isthmus.link import Link
from isthmus.model import Model, digits_test, fused, load_model
from isthmus.plan import Plan, problem_for
from isthmus.plan.cost import price, row
from isthmus.profile import Profile
from isthmus.profile.distortion import Widths, measure_distortions
from isthmus.profile.measure import Measuring, measure
from isthmus.profile.samples import Samples
from isthmus.quant import BitPlan, Distortions

LINK = Link(20e6, 20e6, 0.002)


class Rig:
    """The network, its tables and profile, made once; bundles of it."""

    def __init__(self, name: str = "zoo:digits") -> None:
        self.net: Model = fused(load_model(name))
        self.engine = Engine.open(self.net)
        self.graph: Graph = graph_of(self.net)
        images, labels = digits_test()
        self.samples = Samples({self.net.inputs[0].name: images[:60]}, labels[:60])
        self.tables: Distortions = measure_distortions(self.net, self.samples, Widths((2, 4, 6, 8)), source="digits")
        self.profile: Profile = measure(
            self.engine, Measuring(runs=1, codecs=("int8",)), taken="2026", clock=time.perf_counter
        )

    def bits(self, weights: int = 8, outputs: int = 8, **own: int) -> BitPlan:
        """One width for all weights and one for all tensors, but for some."""
        layers = fused_graph(self.graph).nodes
        return BitPlan(
            weights={n.name: weights for n in layers if n.product is not None},
            outputs={t: outputs for n in layers for t in n.outputs} | own,
        )

    def plan(self, cut: str, codec: str, bits: BitPlan) -> Plan:
        """A plan somebody might have made."""
        problem = problem_for(self.graph, self.profile, self.profile, LINK)
        return Plan(
            model=self.net.name,
            fingerprint=self.net.fingerprint,
            planner="autosplit",
            batch=1,
            cuts=(cut,),
            codec=codec,
            cost=row(price(problem, [cut_at(self.graph, cut)], codec)),
            why="asked for",
            bits=bits,
        )

    def packed(self, plan: Plan, out: Path, *, whole: BitPlan | None, together: bool = True) -> Bundle:
        """A bundle; `together`: the device's memory holds both of its parts at once."""
        limit = None if together else 45_000
        parts = few_bits(
            self.engine, self.net, Wanted(plan, self.tables, whole, limit), self.samples, footprint=lambda *_: None
        )
        contents = Contents(
            self.profile,
            self.profile,
            plan,
            LINK,
            clips=parts.clips,
            codecs={INPUT: ("int8",), plan.cuts[0]: (plan.codec,)},
            few_bits=parts,
        )
        return pack(self.net, self.engine, contents, out, packed="2026")

    def two_widths(self) -> tuple[str, BitPlan]:
        """A cut where two tensors cross, and bits that give them different widths."""
        wanted = ("getitem", "relu", "getitem_3", "relu_1", "getitem_6", "relu_2", "mean", "view")
        head = frozenset(i for i, node in enumerate(self.graph.nodes) if node.name in wanted)
        return cut_of(self.graph, head).id, self.bits(relu_2=4, view=6)
