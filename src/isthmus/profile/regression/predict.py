"""A whole network on a device that never ran it: its layers by the device's laws, as a profile planners can read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from isthmus.errors import BadInput
from isthmus.graph import INPUT, OUTPUT, Graph, cut_at, narrow_cuts
from isthmus.profile.regression.layers import Layer, layers_of
from isthmus.profile.regression.shapes import variables_of
from isthmus.profile.regression.types import MODEL_BYTES, ONE, Law, LayerType, Regression, VariableSet
from isthmus.profile.times import Times
from isthmus.profile.types import BatchProfile, Fit, Profile, Timing

_NEAREST: dict[LayerType, tuple[LayerType, ...]] = {
    "depthwise_convolution": ("convolution",),
    "relu": ("clip", "sigmoid", "batch_norm", "add", "max_pooling"),
    "clip": ("relu", "sigmoid", "batch_norm", "add", "max_pooling"),
    "sigmoid": ("activation", "clip", "relu", "batch_norm", "max_pooling"),
    "silu": ("sigmoid", "activation", "clip", "relu", "batch_norm", "max_pooling"),
    "activation": ("sigmoid", "clip", "relu", "batch_norm", "max_pooling"),
    "max_pooling": ("average_pooling",),
    "average_pooling": ("max_pooling",),
    "global_pooling": ("average_pooling", "max_pooling"),
    "lrn": ("batch_norm", "sigmoid", "relu"),
    "dropout": ("reshape", "relu", "batch_norm", "max_pooling"),
    "batch_norm": ("mul", "add", "relu", "clip", "max_pooling"),
    "add": ("mul", "batch_norm", "relu", "clip", "max_pooling"),
    "mul": ("add", "batch_norm", "relu", "clip", "max_pooling"),
    "gate": ("mul", "add", "batch_norm", "relu", "max_pooling"),
    "concat": ("copy", "add", "relu", "batch_norm", "max_pooling"),
    "softmax": ("sigmoid", "activation", "relu", "batch_norm"),
    "reshape": ("dropout", "copy", "relu", "batch_norm", "max_pooling"),
    "copy": ("concat", "add", "relu", "batch_norm", "max_pooling"),
}
"""Which law stands in for a type that a device has none of, the nearest first. Convolutions and products have none."""


@dataclass(frozen=True)
class Priced:
    """One layer by its law: `seconds`, the type whose law it was, and the variables outside the range fitted."""

    layer: Layer
    by: LayerType
    seconds: float
    outside: tuple[str, ...]


def predict(
    graphs: Iterable[Graph],
    regression: Regression,
    fingerprint: str,
    *,
    taken: str,
    variables: VariableSet = "extended",
) -> Profile:
    """The profile of a network on the device of `regression`; `graphs` are the network at each batch size wanted.

    Heads and tails at narrow cuts are sums of layers, and what a call and a cut cost there. Raises BadInput for a
    layer that no law can stand in for.
    """
    at = list(graphs)
    if not at:
        raise BadInput("a profile needs at least one batch size")
    return Profile(
        model=at[0].name,
        fingerprint=fingerprint,
        machine=regression.machine,
        taken=taken,
        batches={g.batch: _batch(g, regression, fingerprint, taken, variables) for g in at},
        codecs=regression.codecs,
    )


def price_layers(graph: Graph, regression: Regression, variables: VariableSet = "extended") -> Iterator[Priced]:
    """Every layer of a graph by the device's laws, in running order, without loading. Raises BadInput (see predict)."""
    for layer in layers_of(graph, fuses=regression.fuses):
        by = _stand_in(layer, graph, regression)
        law, which = regression.layers[by].law(variables)
        values = variables_of(layer.shape, which, by)
        yield Priced(layer, by, law.seconds(values), law.outside(values))


def remarks(graph: Graph, regression: Regression) -> tuple[str, ...]:
    """What to know before trusting a prediction: types priced by another's law, layers larger or smaller than any
    fitted. One sentence each."""
    replaced: dict[tuple[LayerType, LayerType], int] = {}
    beyond: dict[tuple[LayerType, str], int] = {}
    for priced in price_layers(graph, regression):
        if priced.by != priced.layer.type:
            key = priced.layer.type, priced.by
            replaced[key] = replaced.get(key, 0) + 1
        for variable in priced.outside:
            beyond[priced.by, variable] = beyond.get((priced.by, variable), 0) + 1
    name = regression.machine.name
    return (
        *(f"{name} has no law for {kind} ({count}×): priced as {by}" for (kind, by), count in replaced.items()),
        *(
            f"{variable} of {count} {kind} layer{'s' * (count > 1)} lies outside what {name} was fitted on"
            for (kind, variable), count in beyond.items()
        ),
    )


def _batch(graph: Graph, regression: Regression, fingerprint: str, taken: str, variables: VariableSet) -> BatchProfile:
    nodes = {n.name: 0.0 for n in graph.nodes}
    for priced in price_layers(graph, regression, variables):
        nodes[graph.nodes[priced.layer.lead].name] += priced.seconds
    fixed_s = regression.call.fixed_s
    if regression.loads_each_request and regression.loading is not None:
        fixed_s += _add_loading(graph, regression.loading, nodes)
    fit = Fit(a=1.0, b=regression.call.cut_s_per_mb, c=fixed_s)
    bare = BatchProfile(whole=Timing.certain(sum(nodes.values()) + fixed_s), nodes=nodes, head_fit=fit, tail_fit=fit)
    profile = Profile(
        model=graph.name, fingerprint=fingerprint, machine=regression.machine, taken=taken, batches={graph.batch: bare}
    )
    times = Times(profile, graph, factor=1.0 / regression.machine.slowdown)
    start, end = cut_at(graph, INPUT), cut_at(graph, OUTPUT)
    inner = [c for c in narrow_cuts(graph) if c.id not in (INPUT, OUTPUT)]
    return bare.model_copy(
        update={
            "heads": {c.id: Timing.certain(times.part_s(start, c)) for c in inner},
            "tails": {c.id: Timing.certain(times.part_s(c, end)) for c in inner},
        }
    )


def _add_loading(graph: Graph, loading: Law, nodes: dict[str, float]) -> float:
    """Loading its weights added to every node; the part paid once a request is returned."""
    per_byte = loading.coefficients[MODEL_BYTES]
    for node in graph.nodes:
        nodes[node.name] += per_byte * node.weight_bytes
    return loading.coefficients.get(ONE, 0.0)


def _stand_in(layer: Layer, graph: Graph, regression: Regression) -> LayerType:
    for kind in (layer.type, *_NEAREST.get(layer.type, ())):
        if kind in regression.layers:
            return kind
    raise BadInput(
        f"{regression.machine.name} has no law for {layer.type} ({graph.nodes[layer.lead].name} in {graph.name}), "
        f"nor one near it; it knows {', '.join(regression.layers)}"
    )
