"""Quantised heads as onnxruntime runs them, against the same network worked out layer by layer in numpy."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper
from onnx.reference import ReferenceEvaluator

from isthmus.codec import codec_for, read_head, write_head
from isthmus.codec.packing import pack, packed_bytes
from isthmus.engine import Engine
from isthmus.engine.instructions import has_vnni, vnni_in
from isthmus.errors import BadInput, BadModel
from isthmus.graph import Graph, fused_graph, graph_of
from isthmus.model import Model, fused, load_model, model_from_proto
from isthmus.profile.distortion import RANDOM, Widths, measure_distortions, random_samples
from isthmus.quant import (
    BitPlan,
    Distortions,
    QuantisedHead,
    Steps,
    layer_weights,
    quantise_weight,
    quantised_head,
    weight_values,
)

Floats = NDArray[np.float32]
Load = Callable[[str], Model]


class Case:
    """A network, its tables, and any head of it in both ways."""

    def __init__(self, model: Model) -> None:
        self.net = fused(model)
        self.graph: Graph = fused_graph(graph_of(self.net))
        self.tables: Distortions = measure_distortions(
            self.net, random_samples(self.net, 6), Widths((1, 2, 4, 6, 8)), source=RANDOM
        )

    def plan(self, weights: int, outputs: int) -> BitPlan:
        return BitPlan(
            weights={n.name: weights for n in self.graph.nodes},
            outputs={t: outputs for n in self.graph.nodes for t in n.outputs},
        )

    def slowly(self, plan: BitPlan, inputs: Mapping[str, Floats], until: str) -> dict[str, Floats]:
        """Every tensor of the quantised network in floats: weights and tensors replaced by what their levels mean."""
        weights = layer_weights(self.net)
        nodes = {n.output[0]: n for n in self.net.proto.graph.node}
        stored = {t.name: onnx.numpy_helper.to_array(t) for t in self.net.proto.graph.initializer}
        values: dict[str, Floats] = {name: self._levelled(name, 8, x) for name, x in inputs.items()}
        for layer in self.graph.nodes:
            for part in layer.whole:
                node = nodes[part]
                read = {name: values.get(name, stored.get(name)) for name in node.input if name}
                if part in weights and plan.weights.get(layer.name, 16) <= 8:
                    name, axis = weights[part]
                    made = quantise_weight(weight_values(self.net, name), axis, plan.weights[layer.name], "mse")
                    read[name] = made.restored
                    self._round_bias(node, made.scales, plan, read)
                values[part] = evaluate(node, read)
            bits = plan.outputs.get(layer.outputs[0], 16)
            if bits <= 8:
                values[layer.outputs[0]] = self._levelled(layer.outputs[0], bits, values[layer.outputs[0]])
            if until == layer.outputs[0]:
                break
        return values

    def _round_bias(
        self, node: onnx.NodeProto, scales: Floats, plan: BitPlan, read: dict[str, NDArray[np.generic] | None]
    ) -> None:
        """To multiples of the product of both scales, what a 32-bit sum can begin with."""
        bits = plan.outputs.get(node.input[0], 8 if node.input[0] in self.graph.inputs else 16)
        if len(node.input) > 2 and bits <= 8:
            unit = scales.astype(np.float64) * self._steps(node.input[0], bits).scale
            read[node.input[2]] = (np.rint(np.asarray(read[node.input[2]], np.float64) / unit) * unit).astype(
                np.float32
            )

    def _steps(self, name: str, bits: int) -> Steps:
        return Steps.between(*self.tables.tensor(name).limits[self.tables.bits.index(bits)], bits)

    def _levelled(self, name: str, bits: int, x: Floats) -> Floats:
        return self._steps(name, bits).restored(x)


def evaluate(node: onnx.NodeProto, read: Mapping[str, NDArray[np.generic] | None]) -> Floats:
    held = {k: v for k, v in read.items() if v is not None}
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape) for k, v in held.items()],
        [onnx.ValueInfoProto(name=node.output[0])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
    return np.asarray(ReferenceEvaluator(model).run([node.output[0]], held)[0], np.float32)  # type: ignore[index]


@pytest.fixture(scope="module")
def digits(model_of: Load) -> Case:
    return Case(model_of("zoo:digits"))


def run(head: QuantisedHead, inputs: Mapping[str, Floats], cache: Path) -> dict[str, NDArray[np.generic]]:
    return Engine.open(head.model, cuts="none", cache_dir=cache).whole(inputs)


@pytest.mark.parametrize(("weights", "outputs"), [(8, 8), (4, 8), (2, 4), (6, 6), (1, 2), (8, 1), (8, 16), (16, 4)])
@pytest.mark.parametrize("cut", ["relu_1", "relu_2", "relu_8"])
def test_the_head_is_the_quantised_network_within_a_step(
    weights: int, outputs: int, cut: str, digits: Case, cache_dir: Path
) -> None:
    plan = digits.plan(weights, outputs)
    head = quantised_head(digits.net, [cut], plan, digits.tables)
    inputs = digits.net.random_inputs(3, seed=77)
    made = run(head, inputs, cache_dir)
    wanted = digits.slowly(plan, inputs, cut)[cut]
    found = head.restored(made)[cut]
    assert wanted.max() > wanted.min()
    if outputs == 16:
        assert head.plain == (cut,)
        assert np.abs(np.subtract(found, wanted)).max() <= 1e-3 * np.abs(wanted).max()
        return
    step = head.steps[cut]
    assert step.bits == outputs
    assert made[head.levels[cut]].dtype == np.uint8
    assert int(np.max(made[head.levels[cut]].astype(int))) <= step.levels
    apart = np.abs(np.subtract(found, wanted)) / step.scale
    assert apart.max() <= 1.01
    assert (apart > 0.5).mean() < 0.01


def test_integer_kernels_run_it(digits: Case, cache_dir: Path) -> None:
    head = quantised_head(digits.net, ["relu_8"], digits.plan(4, 6), digits.tables)
    kernels = [n.op_type for n in Engine.open(head.model, cuts="none", cache_dir=cache_dir).core.proto.graph.node]
    assert kernels.count("QLinearConv") >= 5
    assert "Conv" not in kernels
    assert "FusedConv" not in kernels


def test_the_tail_goes_on_from_what_the_levels_mean(digits: Case, cache_dir: Path) -> None:
    head = quantised_head(digits.net, ["relu_3"], digits.plan(8, 8), digits.tables)
    inputs = digits.net.random_inputs(4, seed=5)
    engine = Engine.open(digits.net, cuts="none", cache_dir=cache_dir)
    last = digits.net.outputs[-1].name
    cut = next(c.id for c in engine.cuts if c.crossing == ("relu_3",))
    tail = engine.tail(cut, head.restored(run(head, inputs, cache_dir)))
    whole = engine.whole(inputs)[last]
    assert np.abs(np.subtract(tail[last], whole)).max() < 0.2 * np.abs(whole).max()


@pytest.mark.parametrize("bits", [1, 2, 4, 6, 8])
def test_the_wire_carries_the_levels_and_nothing_is_lost(bits: int, digits: Case, cache_dir: Path) -> None:
    head = quantised_head(digits.net, ["relu_2"], digits.plan(8, bits), digits.tables)
    made = run(head, digits.net.random_inputs(2, seed=8), cache_dir)
    crossing = np.asarray(head.restored(made)["relu_2"], np.float32)
    levels = np.asarray(made[head.levels["relu_2"]], np.uint8)
    codec = codec_for(f"int{bits}", "float32", head.steps["relu_2"].clip)
    payload = memoryview(codec.dump(crossing)).cast("B")
    packed = np.empty(packed_bytes(levels.size, bits), np.uint8)
    pack(levels.reshape(-1), bits, packed)
    assert payload.tobytes() == packed.tobytes()
    back = codec.load(payload, crossing.shape, "float32")
    assert np.allclose(np.asarray(back, np.float32), crossing, rtol=1e-6, atol=0)


def test_early_outputs_come_as_floats(digits: Case, cache_dir: Path) -> None:
    early = digits.graph.outputs[0]
    plan = digits.plan(8, 8)
    head = quantised_head(digits.net, ["relu_8"], plan, digits.tables, early=[early])
    inputs = digits.net.random_inputs(2, seed=4)
    made = run(head, inputs, cache_dir)
    assert head.plain == (early,)
    assert made[early].dtype == np.float32
    wanted = digits.slowly(plan, inputs, early)[early]
    assert (
        np.abs(np.subtract(made[early], wanted)).max()
        <= 1.01 * Steps.between(*digits.tables.tensor(early).limits[-1], 8).scale
    )


def clipped(low: float, high: float) -> Model:
    """A convolution and a Clip of its values, some of which lie outside; a Relu where there is no upper bound."""
    bounds = ["c"] if high == np.inf else ["c", "low", "high"]
    kind = "Relu" if high == np.inf else "Clip"
    weight = np.random.default_rng(1).normal(0, 1, (4, 3, 3, 3)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node(kind, bounds, ["y"])],
        "clipped",
        [helper.make_tensor_value_info("x", 1, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("y", 1, ["N", 4, 6, 6])],
        [
            onnx.numpy_helper.from_array(weight, "w"),
            onnx.numpy_helper.from_array(np.array(low, np.float32), "low"),
            onnx.numpy_helper.from_array(np.array(high, np.float32), "high"),
        ],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return model_from_proto(proto, "clipped")


@pytest.mark.parametrize(
    ("low", "high", "limits", "left_out"),
    [
        (0.0, 3.0, (0.0, 3.0), True),  # the last level is the bound
        (0.0, 3.0, (0.0, 2.0), True),  # all levels lie below it
        (0.0, 3.0, (0.0, 9.0), False),  # some levels lie above it
        (0.0, 3.0, (-1.0, 3.0), False),  # some levels lie below zero
        (0.43, 3.0, (0.0, 3.0), False),  # the bound is not zero
        (-1.0, 3.0, (-1.0, 3.0), False),
        (0.0, np.inf, (0.0, 3.0), True),
        (0.0, np.inf, (-1.0, 3.0), False),
    ],
)
@pytest.mark.parametrize("bits", [4, 8])
def test_an_activation_is_left_out_only_where_the_levels_imply_it(
    low: float, high: float, limits: tuple[float, float], left_out: bool, bits: int, cache_dir: Path
) -> None:
    case = Case(clipped(low, high))
    rows = case.tables.model_dump()
    rows["layers"][0]["limits"] = [limits] * len(case.tables.bits)
    case.tables = Distortions.model_validate(rows)
    plan = case.plan(6, bits)
    head = quantised_head(case.net, ["y"], plan, case.tables)
    assert {"Clip", "Relu"}.isdisjoint(n.op_type for n in head.model.proto.graph.node) == left_out
    inputs = case.net.random_inputs(3, seed=9)
    found = np.asarray(head.restored(run(head, inputs, cache_dir))["y"], np.float32)
    wanted = case.slowly(plan, inputs, "y")["y"]
    assert np.abs(found - wanted).max() <= 1.01 * head.steps["y"].scale
    assert (np.abs(found - wanted) > 0.5 * head.steps["y"].scale).mean() < 0.01
    assert wanted.max() > 1.5  # where the levels end or the bound is


def test_signed_weights_are_the_same_numbers(digits: Case) -> None:
    heads = [quantised_head(digits.net, ["relu_2"], digits.plan(8, 8), digits.tables, signed=s) for s in (False, True)]
    kinds = []
    for head in heads:
        levels = {t.name: onnx.numpy_helper.to_array(t) for t in head.model.proto.graph.initializer}
        kinds.append({levels[name].dtype.name for name in head.weight_bits})
    assert kinds == [{"uint8"}, {"int8"}]
    inputs = digits.net.random_inputs(1, seed=2)
    made = [ReferenceEvaluator(h.model.proto).run(None, inputs)[0] for h in heads]  # type: ignore[index]
    assert np.array_equal(made[0], made[1])


@pytest.mark.parametrize("weights", [1, 2, 3, 4, 6, 8])
def test_the_file_is_packed_and_gives_the_same_head(weights: int, digits: Case, tmp_path: Path) -> None:
    digits_bits = weights if weights in digits.tables.bits else 4
    plan = BitPlan(weights={n.name: weights for n in digits.graph.nodes}, outputs=digits.plan(digits_bits, 4).outputs)
    head = quantised_head(digits.net, ["relu_8"], plan, digits.tables)
    size = write_head(tmp_path / "head.onnx", head)
    again = read_head(tmp_path / "head.onnx")
    assert size == (tmp_path / "head.onnx").stat().st_size
    assert (again.levels, again.steps, again.plain, again.weight_bits) == (
        head.levels,
        head.steps,
        head.plain,
        head.weight_bits,
    )
    assert again.model.fingerprint == head.model.fingerprint
    count = sum(np.prod(t.dims) for t in head.model.proto.graph.initializer if t.name in head.weight_bits)
    rest = size - count * weights / 8
    assert 0 < rest < 15_000  # names of nodes, scales and biases


def test_a_file_is_read_for_either_kind_of_cpu(digits: Case, tmp_path: Path) -> None:
    head = quantised_head(digits.net, ["exit1"], digits.plan(8, 8), digits.tables)
    write_head(tmp_path / "head.onnx", head)
    either = read_head(tmp_path / "head.onnx", signed=True)
    wanted = quantised_head(digits.net, ["exit1"], digits.plan(8, 8), digits.tables, signed=True)
    inputs = digits.net.random_inputs(2, seed=2)
    made = [ReferenceEvaluator(h.model.proto).run(None, inputs)[0] for h in (head, either)]  # type: ignore[index]
    assert np.array_equal(*made)
    for other in (either, wanted):
        values = {t.name: onnx.numpy_helper.to_array(t) for t in other.model.proto.graph.initializer}
        assert {values[name].dtype.name for name in other.weight_bits} == {"int8"}


def test_the_file_of_a_large_head_takes_what_its_weights_take(tmp_path: Path) -> None:
    net = fused(load_model("zoo:googlenet"))
    graph = fused_graph(graph_of(net))
    tables = measure_distortions(net, random_samples(net, 1), Widths((4, 8), "minmax"), source=RANDOM)
    plan = BitPlan(weights={n.name: 4 for n in graph.nodes}, outputs={t: 8 for n in graph.nodes for t in n.outputs})
    head = quantised_head(net, [graph.outputs[-1]], plan, tables)
    size = write_head(tmp_path / "head.onnx", head)
    weights = sum(layer.weight_elements for layer in tables.layers)
    biases = graph.parameters - weights
    assert size == pytest.approx(weights / 2 + 4 * biases, rel=0.1)


def test_a_broken_file_is_refused(digits: Case, tmp_path: Path) -> None:
    path = tmp_path / "head.onnx"
    write_head(path, quantised_head(digits.net, ["relu_2"], digits.plan(4, 4), digits.tables))
    content = path.read_bytes()
    for cut in range(0, len(content), 211):
        path.write_bytes(content[:cut])
        with pytest.raises(BadModel):
            read_head(path)
    path.write_bytes(digits.net.proto.SerializeToString())
    with pytest.raises(BadModel, match=r"does not begin as one"):
        read_head(path)
    for old, new, said in (
        (b'"stored_bits":4', b'"stored_bits":2', r"bytes at 2 bits, not"),
        (b"isthmus.head", b"isthmus.tail", r"does not say which of its weights are packed"),
        (b'"version":1', b'"version":7', r"is no quantised head: Input should be 1"),
    ):
        path.write_bytes(changed(content, old, new))
        with pytest.raises(BadModel, match=said):
            read_head(path)
    path.write_bytes(content + b"!")
    with pytest.raises(BadModel, match=r"bytes of weights, and its graph names"):
        read_head(path)


def test_nothing_stands_behind_the_graph_of_a_file(digits: Case, tmp_path: Path) -> None:
    path = tmp_path / "head.onnx"
    write_head(path, quantised_head(digits.net, ["relu_2"], digits.plan(4, 4), digits.tables))
    content = path.read_bytes()
    start = content.index(b"\n") + 5
    end = start + int.from_bytes(content[start - 4 : start], "little")
    for more in (b"!", bytes(1000)):
        size = (end - start + len(more)).to_bytes(4, "little")
        path.write_bytes(content[: start - 4] + size + content[start:end] + more + content[end:])
        with pytest.raises(BadModel, match=r"its graph is cut short or too large"):
            read_head(path)


def changed(content: bytes, old: bytes, new: bytes) -> bytes:
    """The file with another word in its graph."""
    start = content.index(b"\n") + 5
    length = int.from_bytes(content[start - 4 : start], "little")
    graph = zlib.decompress(content[start : start + length])
    assert old in graph
    made = zlib.compress(graph.replace(old, new, 1))
    return content[: start - 4] + len(made).to_bytes(4, "little") + made + content[start + length :]


def test_what_cannot_be_meant_is_refused(digits: Case, model_of: Load) -> None:
    other = fused(model_of("zoo:tiny"))
    with pytest.raises(BadInput, match=r"are of another network than this tiny"):
        quantised_head(other, ["relu_1"], BitPlan(), digits.tables)
    with pytest.raises(BadInput, match=r"has no tensor 'nothing'"):
        quantised_head(digits.net, ["nothing"], BitPlan(), digits.tables)
    with pytest.raises(BadInput, match=r"gives relu_1 3 bits; the distortions were measured at 1, 2, 4, 6, 8"):
        quantised_head(digits.net, ["relu_1"], BitPlan(outputs={"relu_1": 3}), digits.tables)


def test_instructions_are_read_from_the_cpu(tmp_path: Path) -> None:
    assert not vnni_in(frozenset({"sse2", "avx2"}))
    assert vnni_in(frozenset({"sse2", "avx512_vnni"}))
    assert vnni_in(frozenset({"asimd"}))
    (tmp_path / "cpuinfo").write_text("processor : 0\nflags : fpu sse2 avx_vnni\n")
    assert has_vnni(tmp_path / "cpuinfo")
    (tmp_path / "empty").write_text("")
    assert not has_vnni(tmp_path / "empty")
    assert not has_vnni(tmp_path / "absent")
