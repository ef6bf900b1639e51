"""The network as a planner sees it: operators, the activations between them, and the places to cut."""

from isthmus.graph.blocks import block_cuts
from isthmus.graph.bottlenecks import Bottleneck, Granularity, bottlenecks
from isthmus.graph.cuts import all_cuts, cut_at, cut_of, narrow_cuts, prefix_cuts, tensors_before
from isthmus.graph.describe import Description, describe
from isthmus.graph.exits import at_exit, exits_of
from isthmus.graph.from_onnx import graph_of
from isthmus.graph.fuse import VIEWS, fused_graph
from isthmus.graph.types import INPUT, OUTPUT, Cut, Graph, Node, Product, Tensor

__all__ = [
    "INPUT",
    "OUTPUT",
    "VIEWS",
    "Bottleneck",
    "Cut",
    "Description",
    "Granularity",
    "Graph",
    "Node",
    "Product",
    "Tensor",
    "all_cuts",
    "at_exit",
    "block_cuts",
    "bottlenecks",
    "cut_at",
    "cut_of",
    "describe",
    "exits_of",
    "fused_graph",
    "graph_of",
    "narrow_cuts",
    "prefix_cuts",
    "tensors_before",
]
