"""Fusing a network changes its nodes and not its answers."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from isthmus.engine import Engine
from isthmus.errors import BadModel
from isthmus.model import IR_VERSION, OPSET, Model, fused, load_model, model_from_proto
from isthmus.model.bench import Bench
from isthmus.model.limits import Limits
from isthmus.model.passes import Pass, in_order, run_passes

RNG = np.random.default_rng(3)


def net(
    nodes: list[onnx.NodeProto],
    weights: dict[str, np.ndarray],
    shape: tuple[int | str, ...],
    outputs: tuple[str, ...] = ("y",),
    *,
    bare: bool = False,
) -> Model:
    stored = [numpy_helper.from_array(v, k) for k, v in weights.items()]
    if bare:
        for tensor in stored:
            if tensor.data_type == TensorProto.FLOAT:
                tensor.ClearField("raw_data")
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))],
        [
            onnx.ValueInfoProto(name=o, type=onnx.TypeProto(tensor_type=onnx.TypeProto.Tensor(elem_type=1)))
            for o in outputs
        ],
        stored,
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    return model_from_proto(proto, "net")


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def batch_norm(channels: int, stem: str = "n") -> dict[str, np.ndarray]:
    variance = RNG.uniform(0.2, 3.0, channels).astype(np.float32)
    return {
        f"{stem}g": normal(channels),
        f"{stem}o": normal(channels),
        f"{stem}m": normal(channels),
        f"{stem}v": variance,
    }


def norm_node(read: str, made: str, stem: str = "n", epsilon: float = 1e-5) -> onnx.NodeProto:
    names = [f"{stem}{part}" for part in "gomv"]
    return helper.make_node("BatchNormalization", [read, *names], [made], epsilon=epsilon)


def same(before: Model, after: Model, cache: Path, batch: int = 2, error: float = 2e-5) -> None:
    inputs = before.random_inputs(batch)
    wanted = Engine.open(before, cuts="none", cache_dir=cache).whole(inputs)
    found = Engine.open(after, cuts="none", cache_dir=cache).whole(inputs)
    for name, value in wanted.items():
        assert value.max() - value.min() > 1e-3 * np.abs(value).max()  # an answer that hangs on the input
        assert np.abs(np.subtract(found[name], value)).max() <= error * np.abs(value).max(), name


def ops(model: Model) -> Counter[str]:
    return Counter(n.op_type for n in model.proto.graph.node)


CONV = {"w": normal(8, 2, 3, 3), "b": normal(8)}
LAYERS = {
    "convolution": ([helper.make_node("Conv", ["x", "w", "b"], ["c"])], {"w": normal(8, 4, 3, 3), "b": normal(8)}, 8),
    "without bias": ([helper.make_node("Conv", ["x", "w"], ["c"])], {"w": normal(8, 4, 1, 1)}, 8),
    "grouped": ([helper.make_node("Conv", ["x", "w", "b"], ["c"], group=2)], CONV, 8),
    "transposed": ([helper.make_node("ConvTranspose", ["x", "w"], ["c"], group=2)], {"w": normal(4, 3, 3, 3)}, 6),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_a_normalisation_goes_into_the_layer_before_it(kind: str, cache_dir: Path) -> None:
    layer, weights, channels = LAYERS[kind]
    nodes = [*layer, norm_node("c", "y", epsilon=1e-2)]
    model = net(nodes, weights | batch_norm(channels), ("N", 4, 6, 6))
    found = fused(model)
    assert ops(found) == Counter({layer[0].op_type: 1})
    same(model, found, cache_dir)


@pytest.mark.parametrize("across", [0, 1])
def test_a_matrix_product_takes_a_normalisation_up(across: int, cache_dir: Path) -> None:
    product = helper.make_node("Gemm", ["x", "w", "b"], ["c"], transB=across, alpha=0.7, beta=1.9)
    weight = normal(5, 7) if across else normal(7, 5)
    model = net([product, norm_node("c", "y")], {"w": weight, "b": normal(1, 5)} | batch_norm(5), ("N", 7))
    found = fused(model)
    assert ops(found) == Counter({"Gemm": 1})
    same(model, found, cache_dir, batch=3)


def test_constants_that_scale_and_shift_channels_are_folded(cache_dir: Path) -> None:
    nodes = [
        helper.make_node("Unsqueeze", ["s", "axes"], ["scale"]),
        helper.make_node("Conv", ["x", "w", "b"], ["c"]),
        helper.make_node("Mul", ["scale", "c"], ["c1"]),
        helper.make_node("Sub", ["t", "c1"], ["c2"]),
        helper.make_node("Div", ["c2", "four"], ["c3"]),
        helper.make_node("Add", ["c3", "t"], ["y"]),
    ]
    weights = {
        "w": normal(8, 4, 3, 3),
        "b": normal(8),
        "s": normal(8),
        "axes": np.array([1, 2]),
        "t": normal(1, 8, 1, 1),
    }
    model = net(nodes, weights | {"four": np.array(4, np.float32)}, ("N", 4, 6, 6))
    found = fused(model)
    assert ops(found) == Counter({"Conv": 1})
    same(model, found, cache_dir)


def test_what_is_no_scale_of_channels_stays(cache_dir: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Mul", ["c", "map"], ["c1"]),  # one factor a place, not a channel
        helper.make_node("Conv", ["c1", "w1"], ["d"]),
        helper.make_node("Div", ["four", "d"], ["d1"]),  # a reciprocal
        helper.make_node("Add", ["d1", "d"], ["y"]),
    ]
    weights = {"w": normal(4, 4, 3, 3), "map": normal(4, 4), "w1": normal(4, 4, 1, 1), "four": np.array(4, np.float32)}
    model = net(nodes, weights, ("N", 4, 6, 6))
    assert ops(fused(model)) == ops(model)


def test_a_tensor_that_others_read_or_that_is_an_output_is_not_folded_away() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        norm_node("c", "d"),
        helper.make_node("Add", ["c", "d"], ["y"]),
    ]
    model = net(nodes, {"w": normal(4, 4, 1, 1)} | batch_norm(4), ("N", 4, 5, 5))
    assert fused(model) is model


def test_an_output_of_the_network_is_not_folded_away(cache_dir: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        norm_node("c", "d"),
        helper.make_node("Identity", ["d"], ["y"]),
    ]
    model = net(nodes, {"w": normal(4, 4, 1, 1)} | batch_norm(4), ("N", 4, 5, 5), ("c", "y", "d"))
    found = fused(model)
    assert found is model
    model = net(nodes, {"w": normal(4, 4, 1, 1)} | batch_norm(4), ("N", 4, 5, 5), ("c", "y"))
    assert ops(fused(model)) == Counter({"Conv": 1, "BatchNormalization": 1})
    same(model, fused(model), cache_dir)


def test_a_weight_that_two_layers_share_is_changed_for_one(cache_dir: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        norm_node("c", "d"),
        helper.make_node("Conv", ["d", "w"], ["y"]),
    ]
    model = net(nodes, {"w": normal(4, 4, 1, 1)} | batch_norm(4), ("N", 4, 5, 5))
    found = fused(model)
    assert ops(found) == Counter({"Conv": 2})
    same(model, found, cache_dir)


def test_a_variance_of_nothing_is_left_alone() -> None:
    values = batch_norm(4) | {"nv": np.zeros(4, np.float32)}
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), norm_node("c", "y", epsilon=0.0)]
    model = net(nodes, values | {"w": normal(4, 4, 1, 1)}, ("N", 4, 5, 5))
    assert fused(model) is model


def test_idle_nodes_go_and_outputs_keep_their_names(cache_dir: Path) -> None:
    nodes = [
        helper.make_node("Identity", ["x"], ["x1"]),
        helper.make_node("Conv", ["x1", "w"], ["c"]),
        helper.make_node("Dropout", ["c"], ["d"]),
        helper.make_node("Relu", ["d"], ["r"]),
        helper.make_node("Identity", ["r"], ["y"]),
    ]
    model = net(nodes, {"w": normal(4, 4, 1, 1)}, ("N", 4, 5, 5))
    found = fused(model)
    assert [(n.op_type, list(n.output)) for n in found.proto.graph.node] == [("Conv", ["c"]), ("Relu", ["y"])]
    same(model, found, cache_dir)


def test_idle_nodes_in_a_row_and_side_by_side_go(cache_dir: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("Identity", ["r"], ["a"]),
        helper.make_node("Exp", ["r"], ["e"]),
        helper.make_node("Identity", ["a"], ["y"]),  # the output's name goes back to the Relu, and to the Exp
        helper.make_node("Identity", ["y"], ["b"]),
        helper.make_node("Identity", ["a"], ["z"]),  # joins two outputs
        helper.make_node("Add", ["b", "e"], ["s"]),
        helper.make_node("Dropout", ["s"], ["t"]),
    ]
    model = net(nodes, {}, ("N", 4), outputs=("y", "z", "t"))
    found = fused(model)
    assert [(n.op_type, list(n.input), list(n.output)) for n in found.proto.graph.node] == [
        ("Relu", ["x"], ["y"]),
        ("Exp", ["y"], ["e"]),
        ("Identity", ["y"], ["z"]),
        ("Add", ["y", "e"], ["t"]),
    ]
    same(model, found, cache_dir)


def test_constants_that_fill_the_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    scaled = [helper.make_node("Add", ["w", f"s{k}"], [f"w{k}"]) for k in range(4)]
    chained = [helper.make_node("Add", [f"w{k - 1}" if k else "w", "s0"], [f"w{k}"]) for k in range(4)]
    weights = {"w": normal(40, 40)} | {f"s{k}": normal(1) for k in range(4)}
    monkeypatch.setattr("isthmus.model.constants.LIMITS", Limits(weight_bytes=3 * 6_400))
    scaled.append(helper.make_node("Sum", [f"w{k}" for k in range(4)], ["v"]))
    for nodes in (scaled, chained):
        nodes.append(helper.make_node("MatMul", ["x", nodes[-1].output[0]], ["y"]))
    assert ops(fused(net(chained, weights, ("N", 40)))) == Counter({"MatMul": 1})
    with pytest.raises(BadModel, match="constants that net works out take more than 19,200 bytes"):
        fused(net(scaled, weights, ("N", 40)))


def test_an_input_handed_on_as_output_keeps_its_node() -> None:
    model = net([helper.make_node("Identity", ["x"], ["y"])], {}, ("N", 4))
    assert fused(model) is model


def test_sizes_alone_fold_to_the_same_network(cache_dir: Path) -> None:
    wide = {"w": normal(1100, 4, 1, 1), "b": normal(1100)} | batch_norm(1100)
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["c"]), norm_node("c", "y")]
    full, bare = (net(nodes, wide, ("N", 4, 5, 5), bare=b) for b in (False, True))
    assert not bare.has_weights
    found, sizes = fused(full), fused(bare)
    assert not sizes.has_weights
    assert [(n.op_type, n.input) for n in found.proto.graph.node] == [
        (n.op_type, n.input) for n in sizes.proto.graph.node
    ]
    assert [list(t.dims) for t in found.proto.graph.initializer] == [
        list(t.dims) for t in sizes.proto.graph.initializer
    ]


def test_a_pass_that_breaks_its_promise_is_caught() -> None:
    model = net([helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Relu", ["r"], ["y"])], {}, ("N", 4))

    def lose(bench: Bench) -> None:
        bench.drop({id(bench.nodes[0])})

    def idle(bench: Bench) -> None:
        bench.drop(set())

    with pytest.raises(BadModel, match=r"pass 'lose' .* y reads r before anything has made it"):
        run_passes(model, (Pass("lose", lose, lambda _: None),))
    with pytest.raises(BadModel, match=r"pass 'idle' .* still wrong"):
        run_passes(model, (Pass("idle", idle, lambda _: "still wrong"),))
    assert in_order(Bench(model)) is None


@pytest.mark.parametrize("name", ["shufflenet", "squeezenet"])
def test_real_networks_answer_as_before(name: str, cache_dir: Path) -> None:
    model = load_model(f"light:{name}")
    found = fused(model)
    assert not ops(found).keys() & {"BatchNormalization", "Dropout", "Identity", "Unsqueeze"}
    same(model, found, cache_dir, batch=1, error=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet50", "densenet121", "inception_v2"])
def test_large_networks_answer_as_before(name: str, cache_dir: Path) -> None:
    model = load_model(f"light:{name}")
    found = fused(model)
    # of densenet's normalisations half follow a concatenation, where no layer can take them up
    assert ops(found)["BatchNormalization"] == (62 if name == "densenet121" else 0)
    same(model, found, cache_dir, batch=1, error=1e-3)


@pytest.mark.parametrize("name", ["cifar10_resnet20", "mlperf_tiny_resnet8", "mnist", "mobilenet_v1_0.5_160"])
def test_trained_networks_answer_as_before(name: str, cache_dir: Path) -> None:
    folder = os.environ.get("ISTHMUS_DATA")
    if not folder:
        pytest.skip("ISTHMUS_DATA names no folder of trained networks")
    model = load_model(Path(folder) / "models" / f"{name}.onnx")
    found = fused(model)
    assert len(found.proto.graph.node) < len(model.proto.graph.node)
    same(model, found, cache_dir)
