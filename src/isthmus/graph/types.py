"""The network as a planner sees it: operators in running order and the activations between them. Frozen, checked once.

Weights appear as sizes only, so a shape-only model of any size can be planned. Nodes that derive from constants alone
are not here: they belong to whichever side needs them and never cross a link.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TypeGuard, TypeVar

from isthmus.errors import BadModel
from isthmus.graph.dtypes import DTYPES

_S = TypeVar("_S")

INPUT = "@input"
"""Id of the cut before the first node: everything runs on the far side, the raw input crosses."""
OUTPUT = "@output"
"""Id of the cut after the last node: everything runs on the near side, nothing crosses."""


@dataclass(frozen=True)
class Tensor:
    """An activation: its shape at the graph's batch and its numpy dtype name."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    itemsize: int

    @property
    def elements(self) -> int:
        count = 1
        for d in self.shape:
            count *= d
        return count

    @property
    def bytes(self) -> int:
        return self.elements * self.itemsize

    @property
    def can_cross(self) -> bool:
        """Whether a link carries its element type: a network may compute in others on the way."""
        return self.dtype in DTYPES


@dataclass(frozen=True)
class Product:
    """A node's multiply-accumulates as matrix products: `count` times (rows × depth)·(depth × columns).

    A convolution stands here as im2col would lay it out: rows are the places of the output over the whole batch,
    columns the output channels of one group, depth the inputs behind one output, count the groups (a depthwise
    convolution is one product for each channel).
    """

    rows: int
    columns: int
    depth: int
    count: int = 1

    @property
    def macs(self) -> int:
        return self.rows * self.columns * self.depth * self.count


@dataclass(frozen=True)
class Node:
    """One operator. `name` is its first output (unique by construction); inputs are activations, never weights.

    `kernel` and `strides` are those of a convolution or a pooling over windows, one number an axis; () elsewhere.
    `parts` are the names of the operators that were fused into this one, in running order; () where none were.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    macs: int = 0
    parameters: int = 0
    weight_bytes: int = 0
    product: Product | None = None
    kernel: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    parts: tuple[str, ...] = ()

    @property
    def whole(self) -> tuple[str, ...]:
        """Names of all the operators that stand here: `parts`, or this one alone."""
        return self.parts or (self.name,)


class Prefix(Set[int]):
    """The first `count` nodes of the running order, and `later` ones (in running order): a set like any other in a few
    bytes, for a chain has as many heads as nodes and all that end in the same outputs share what is later."""

    __slots__ = ("_first", "_later")

    def __init__(self, count: int, later: tuple[int, ...] = ()) -> None:
        self._first, self._later = range(count), later

    def __contains__(self, node: object) -> bool:
        if node in self._first or not isinstance(node, int):
            return node in self._first
        place = bisect_left(self._later, node)
        return self._later[place : place + 1] == (node,)

    def __iter__(self) -> Iterator[int]:
        return chain(self._first, self._later[self._begin :])

    def __len__(self) -> int:
        return len(self._first) + len(self._later) - self._begin

    def __repr__(self) -> str:
        return f"Prefix({len(self._first)}, {self._later})"

    def __hash__(self) -> int:
        return hash(frozenset(self))  # equal sets, equal hashes

    def __le__(self, other: Set[object]) -> bool:
        return len(self) <= len(other) if self._nests(other) else super().__le__(other)

    def __sub__(self, other: Set[object]) -> Set[int]:
        if not self._nests(other):
            return super().__sub__(other)
        new = self._first[len(other._first) :]
        return frozenset(new).difference(self._later[bisect_left(self._later, new.start) : self._begin])

    @property
    def _begin(self) -> int:
        """Where the later nodes begin that are not among the first."""
        return bisect_left(self._later, len(self._first))

    def _nests(self, other: Set[object]) -> TypeGuard[Prefix]:
        """Whether one of the two surely holds the other."""
        return isinstance(other, Prefix) and self._later is other._later

    @classmethod
    def _from_iterable(cls, it: Iterable[_S]) -> Set[_S]:
        return frozenset(it)


@dataclass(frozen=True)
class Cut:
    """A place to cut one link: `head` are the indices of the nodes that run before it (closed under predecessors),
    `crossing` the tensors that go over, in running order, each once.

    `id` is what plans, profiles and the wire call it: the crossing tensors joined by "+", or INPUT / OUTPUT.
    """

    id: str
    crossing: tuple[str, ...]
    head: Set[int]

    @property
    def narrow(self) -> bool:
        """One tensor crosses."""
        return len(self.crossing) == 1


@dataclass(frozen=True)
class Graph:
    """A directed acyclic graph of operators at one batch size.

    Promises: nodes stand in running order; every activation a node reads is an input or the output of an earlier
    node; every tensor's shape is known. Raises BadModel when made from something else.
    """

    name: str
    batch: int
    nodes: tuple[Node, ...]
    tensors: Mapping[str, Tensor]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    blocks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        known = set(self.inputs)
        for node in self.nodes:
            for name in node.inputs:
                if name not in known:
                    raise BadModel(f"{self.name}: node {node.name} reads {name} before anything has made it")
            for name in node.outputs:
                if name in known:
                    raise BadModel(f"{self.name}: two nodes make {name}")
                known.add(name)
        for name in [*known, *self.outputs]:
            if name not in self.tensors:
                raise BadModel(f"{self.name}: the shape of {name} is not known")

    @cached_property
    def producer(self) -> dict[str, int]:
        """Tensor name → index of the node that makes it (inputs are absent)."""
        return {t: i for i, n in enumerate(self.nodes) for t in n.outputs}

    @cached_property
    def consumers(self) -> dict[str, tuple[int, ...]]:
        """Tensor name → indices of the nodes that read it, in running order."""
        found: dict[str, list[int]] = {t: [] for t in self.tensors}
        for i, node in enumerate(self.nodes):
            for name in dict.fromkeys(node.inputs):
                found[name].append(i)
        return {t: tuple(c) for t, c in found.items()}

    @property
    def macs(self) -> int:
        return sum(n.macs for n in self.nodes)

    @property
    def parameters(self) -> int:
        return sum(n.parameters for n in self.nodes)

    @property
    def input_bytes(self) -> int:
        return sum(self.tensors[t].bytes for t in self.inputs)

    @property
    def output_bytes(self) -> int:
        return sum(self.tensors[t].bytes for t in self.outputs)
