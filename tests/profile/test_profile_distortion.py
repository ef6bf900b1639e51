"""Distortion tables against errors worked out the slow way, and data that cannot be meant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from isthmus.engine import Engine
from isthmus.errors import BadInput, BadModel
from isthmus.graph import fused_graph, graph_of
from isthmus.model import Model, digits_test, fused, load_model
from isthmus.profile.distortion import RANDOM, Widths, measure_distortions, random_samples
from isthmus.profile.samples import Samples
from isthmus.quant import Distortions, Steps, layer_weights, quantise_weight, weight_values

Load = Callable[[str], Model]


def digits(count: int = 40) -> Samples:
    images, labels = digits_test()
    return Samples({"image": images[:count]}, labels[:count])


@pytest.fixture(scope="module")
def tables(model_of: Load) -> Distortions:
    model = model_of("zoo:digits")
    samples = Samples({model.inputs[0].name: digits().inputs["image"]}, digits().labels)
    return measure_distortions(model, samples, Widths((1, 4, 8, 16), "mse"), source="digits")


def test_the_tables_follow_the_fused_graph(tables: Distortions, model_of: Load) -> None:
    net = fused(model_of("zoo:digits"))
    graph = fused_graph(graph_of(net))
    assert tables.fingerprint == net.fingerprint
    assert [layer.node for layer in tables.layers] == [n.name for n in graph.nodes]
    assert [t.name for t in tables.inputs] == list(graph.inputs)
    assert (tables.samples, tables.source, tables.range) == (40, "digits", "mse")
    stored = {n.name: n.parameters for n in graph.nodes}
    for layer in tables.layers:
        # what is left of the parameters are biases
        assert 0.85 * stored[layer.node] <= layer.weight_elements <= stored[layer.node]
        assert layer.output_elements == graph.tensors[layer.output].elements


def test_errors_of_activations_are_measured_on_the_samples(
    tables: Distortions, model_of: Load, cache_dir: Path
) -> None:
    model = model_of("zoo:digits")
    engine = Engine.open(fused(model), cache_dir=cache_dir, cuts="none")
    inputs = {model.inputs[0].name: digits().inputs["image"]}
    made = {model.inputs[0].name: inputs[model.inputs[0].name], **engine.whole(inputs)}
    narrow = [layer.output for layer in tables.layers if layer.output in {"relu_1", "relu_2"}]
    made |= {t: engine.head(t, inputs)[t] for t in narrow if t in engine.safe}
    assert len(made) > 3
    for name, array in made.items():
        value = np.asarray(array, np.float32)
        row = tables.tensor(name)
        assert row.power == pytest.approx(float(np.square(value).mean()), rel=1e-4)
        for k, bits in enumerate((1, 4, 8)):
            steps = Steps.between(*row.limits[k], bits)
            error = float(np.square(steps.restored(value) - value).mean())
            assert row.errors[k] == pytest.approx(error, rel=1e-2), (name, bits)
        assert row.errors[3] == 0.0


def test_errors_of_weights_are_those_of_their_levels(tables: Distortions, model_of: Load) -> None:
    net = fused(model_of("zoo:digits"))
    weights = layer_weights(net)
    nodes = {p: n.name for n in fused_graph(graph_of(net)).nodes for p in n.whole}
    found = {layer.node: layer.weights for layer in tables.layers}
    assert len(weights) == 13
    for part, (name, axis) in weights.items():
        values = weight_values(net, name)
        for bits in (1, 4, 8):
            lost = quantise_weight(values, axis, bits, "mse").restored - values
            assert found[nodes[part]][tables.bits.index(bits)] == pytest.approx(float(np.square(lost).mean()), rel=1e-4)


def test_more_bits_lose_less(tables: Distortions) -> None:
    for layer in tables.layers:
        assert list(layer.outputs) == sorted(layer.outputs, reverse=True)
        assert list(layer.weights) == sorted(layer.weights, reverse=True)
        assert not layer.outputs or layer.outputs[0] > 20 * layer.outputs[2] > 0


def test_batches_make_no_difference_but_rounding(tables: Distortions, model_of: Load) -> None:
    model = model_of("zoo:digits")
    name = model.inputs[0].name
    fixed = load_model("zoo:digits")
    samples = Samples({name: digits().inputs["image"][::-1].copy()})
    again = measure_distortions(fixed, samples, Widths((1, 4, 8, 16)), source="digits")
    for one, other in zip(tables.layers, again.layers, strict=True):
        assert one.outputs == pytest.approx(other.outputs, rel=1e-3)


def test_progress_counts_to_its_end(model_of: Load) -> None:
    told: list[tuple[int, int]] = []
    model = model_of("zoo:tiny")
    found = measure_distortions(
        model,
        random_samples(model, 5),
        Widths((8,)),
        source=RANDOM,
        progress=lambda done, of, _: told.append((done, of)),
    )
    assert told[-1][0] == told[-1][1]
    assert [d for d, _ in told] == sorted(d for d, _ in told)
    assert found.source == "random data"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda x: x[:, :, :4], r"takes .* the samples hold"),
        (lambda x: x.astype(np.float64), r"the samples hold .* float64"),
        (lambda x: x.astype(">f4"), r"the samples hold .* >f4"),
        (lambda x: np.where(x > 5, np.nan, x), r"not finite"),
        (lambda x: np.repeat(x[:1], len(x), axis=0), r"all 40 samples of .* are the same"),
        (lambda x: np.random.default_rng(0).normal(size=x.shape).astype(np.float32), r"no more than by chance: values"),
    ],
)
def test_data_that_cannot_be_meant_is_refused(
    change: Callable[[np.ndarray], np.ndarray], sentence: str, model_of: Load
) -> None:
    model = model_of("zoo:digits")
    x = digits().inputs["image"]
    x = (x * 16 if x.max() <= 1 else x).astype(np.float32) if "not finite" in sentence else x
    samples = Samples({model.inputs[0].name: change(x)}, digits().labels)
    with pytest.raises(BadInput, match=sentence):
        measure_distortions(model, samples, Widths((8,)), source="x")


def test_models_that_cannot_be_quantised_are_refused(model_of: Load) -> None:
    tiny = model_of("zoo:tiny")
    whole = replace(tiny, inputs=(replace(tiny.inputs[0], dtype="int64"),))
    with pytest.raises(BadInput, match=r"is int64; only a network that takes numbers of floating point"):
        random_samples(whole, 1)
    with pytest.raises(BadInput, match=r"bits 4,2 cannot be measured"):
        Widths((4, 2))
    with pytest.raises(BadInput, match=r"bits none"):
        Widths(())
    bare = load_model("zoo:tiny", weights=False)
    if not bare.has_weights:
        with pytest.raises(BadModel):
            measure_distortions(bare, random_samples(tiny, 1), source=RANDOM)


def test_a_quantised_model_is_refused_by_name() -> None:
    from onnx import TensorProto, helper, numpy_helper

    from isthmus.model import IR_VERSION, OPSET, model_from_proto

    graph = helper.make_graph(
        [
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
        ],
        "q",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])],
        [
            numpy_helper.from_array(np.array(0.1, np.float32), "s"),
            numpy_helper.from_array(np.array(3, np.uint8), "z"),
        ],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    model = model_from_proto(proto, "small")
    with pytest.raises(BadModel, match=r"small is quantised already \(QuantizeLinear makes q\)"):
        random_samples(model, 1)
