"""What the runtime of this machine keeps for a kernel, measured once: on chains of small layers.

Two chains that differ in length alone differ in kernels alone, and one whose results have fewer bits has a node without
weights more a layer. Kernels of a chain are lighter than those of usual networks, whose names and constants are longer,
so the usual figures are taken as many times as a chain's kernels take what they took where those were fitted.
Runs the engine, each chain in a process of its own; imported by its own name.
"""

from __future__ import annotations

from pathlib import Path

from isthmus.codec import write_head
from isthmus.engine.few_bits import ready_part
from isthmus.engine.footprint import held_bytes
from isthmus.engine.instructions import has_vnni
from isthmus.engine.store import default_folder
from isthmus.files import scratch_folder
from isthmus.graph import fused_graph, graph_of
from isthmus.model import Model, fused
from isthmus.profile.regression.specimens import write_chain
from isthmus.profile.types import RuntimeMemory
from isthmus.quant import BitPlan, Distortions, LayerBits, OutputBits, quantised_head

_SHORT, _LONG = 8, 56
_CHANNELS, _SIZE = 16, 4
_PRODUCT_BYTES, _OTHER_BYTES = 20_400, 5_000
"""Of a chain's kernels where the usual figures come from."""


def measure_runtime_memory() -> RuntimeMemory | None:
    """Some ten seconds; None where the system does not tell how much memory a process holds."""
    with scratch_folder() as folder:
        short, long = (_held(layers, 8, folder) for layers in (_SHORT, _LONG))
        clamped = _held(_LONG, 4, folder)
    if short is None or long is None or clamped is None:
        return None
    usual = RuntimeMemory()
    product = max(0, long - short) / (_LONG - _SHORT)
    other = max(0, clamped - long) / _LONG
    return RuntimeMemory(
        product_bytes=round(usual.product_bytes * product / _PRODUCT_BYTES),
        other_bytes=round(usual.other_bytes * other / _OTHER_BYTES),
        signed=has_vnni(),
    )


def _held(layers: int, bits: int, folder: Path) -> int | None:
    """What a chain with results of so many bits holds."""
    net = fused(write_chain(layers, _CHANNELS, _SIZE))
    tables = made_up_tables(net, (4, 8))
    nodes = fused_graph(graph_of(net)).nodes
    plan = BitPlan(
        weights={node.name: 4 for node in nodes if node.product is not None},
        outputs={name: bits for node in nodes for name in node.outputs},
    )
    outputs = tuple(signature.name for signature in net.outputs)
    part, shapes = folder / f"{layers}-{bits}.packed", folder / f"{layers}-{bits}.onnx"
    write_head(part, quantised_head(net, (), plan, tables, early=outputs))
    shapes.write_bytes(net.proto.SerializeToString())
    ready_part(part, default_folder(), 1)  # optimised for this CPU, and kept
    return held_bytes(part, shapes)


def made_up_tables(net: Model, bits: tuple[int, ...]) -> Distortions:
    """Tables of a fused network whose ranges and errors are nobody's: for parts of which memory alone is asked, which
    does not depend on values. Ranges begin at zero behind an activation that does."""
    graph, ops = fused_graph(graph_of(net)), {node.name: node.op for node in graph_of(net).nodes}
    none = (0.0,) * len(bits)
    layers = []
    for node in graph.nodes:
        low = 0.0 if ops[node.whole[-1]] in ("Relu", "Clip") else -6.0
        weighted = node.product is not None and node.parameters > 0
        for name in node.outputs:
            tensor = graph.tensors[name]
            floats = tensor.dtype == "float32"
            layers.append(
                LayerBits(
                    node=node.name,
                    weight_elements=node.parameters if weighted else 0,
                    weights=none if weighted else (),
                    output=name,
                    output_elements=tensor.elements,
                    outputs=none if floats else (),
                    limits=((low, 6.0),) * len(bits) if floats else (),
                )
            )
    inputs = tuple(
        OutputBits(name=name, elements=graph.tensors[name].elements, errors=none, limits=((-3.0, 3.0),) * len(bits))
        for name in graph.inputs
    )
    return Distortions(
        model=net.name,
        fingerprint=net.fingerprint,
        bits=bits,
        layers=tuple(layers),
        inputs=inputs,
        samples=0,
        source="made up",
    )
