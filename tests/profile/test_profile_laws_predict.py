"""Whole networks by laws: layers are a partition of the nodes, parts add up, and what is doubtful is said."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from isthmus.errors import BadInput
from isthmus.files import read_json, write_json
from isthmus.graph import INPUT, OUTPUT, Graph, Node, Product, Tensor, at_exit, cut_at, graph_of
from isthmus.link import Link
from isthmus.model import load_model
from isthmus.plan import PLANNERS, problem_for
from isthmus.profile import Machine, Profile, Times
from isthmus.profile.regression import (
    Call,
    Law,
    Regression,
    TypeLaws,
    is_regression,
    layers_of,
    load_regression,
    predict,
    price_layers,
    profile_for,
    remarks,
    shipped_regressions,
    variables_of,
)
from isthmus.profile.regression.read_table import conv_shape, pool_shape

MACHINE = Machine(name="made up", cpu="", system="", runtime="", threads=1, kind="regression")
MBIT = 1e6


def law(**coefficients: float) -> TypeLaws:
    return TypeLaws(laws={"extended": Law(coefficients=coefficients)})


def made_up(**more: object) -> Regression:
    """A law for all that ResNet needs, each another constant."""
    layers = {
        "convolution": law(macs_spatial=1e-9, macs_pointwise=1e-9, macs_first=1e-9, one=1e-3),
        "max_pooling": law(one=2e-3),
        "global_pooling": law(one=4e-3),
        "fully_connected": law(weight_bytes=1e-9, one=8e-3),
        "reshape": law(one=0.0),
    }
    return Regression.model_validate({"machine": MACHINE, "taken": "", "source": "made up", "layers": layers, **more})


def alexnet() -> Graph:
    """The 22 layers of the paper's network (and a reshape between them)."""
    graph = graph_of(load_model("zoo:b_alexnet", weights=False))
    return at_exit(graph, graph.outputs[-1])


def predicted(graph: Graph, regression: Regression) -> Profile:
    return predict([graph], regression, "made up", taken="")


@pytest.mark.parametrize("name", ["resnet50", "efficientnet_b0", "mobilenet_v2", "googlenet", "alexnet", "b_alexnet"])
@pytest.mark.parametrize("fuses", [True, False])
def test_layers_are_a_partition(name: str, fuses: bool) -> None:
    graph = graph_of(load_model(f"zoo:{name}", weights=False))
    layers = layers_of(graph, fuses=fuses)
    assert sorted(i for layer in layers for i in layer.nodes) == list(range(len(graph.nodes)))
    assert all(layer.lead in layer.nodes for layer in layers)
    assert sum(layer.shape.macs for layer in layers) == graph.macs
    assert sum(layer.shape.weight_bytes for layer in layers) >= sum(n.weight_bytes for n in graph.nodes)


def test_what_is_fused() -> None:
    """As the engine runs them: no addition or activation of a ResNet or MobileNetV2 is a layer of its own; of
    EfficientNet's x · sigmoid(x) each is one layer, the gates are layers, the sigmoids before them are not."""
    kinds = {}
    for name in ("resnet50", "mobilenet_v2", "efficientnet_b0"):
        graph = graph_of(load_model(f"zoo:{name}", weights=False))
        kinds[name] = [layer.type for layer in layers_of(graph, fuses=True)]
    assert set(kinds["resnet50"]) == {"convolution", "max_pooling", "global_pooling", "reshape", "fully_connected"}
    assert set(kinds["mobilenet_v2"]) == {
        "convolution", "depthwise_convolution", "global_pooling", "reshape", "fully_connected"
    }  # fmt: skip
    assert (kinds["efficientnet_b0"].count("silu"), kinds["efficientnet_b0"].count("gate")) == (49, 16)
    assert "sigmoid" not in kinds["efficientnet_b0"]


def test_seconds_by_hand() -> None:
    """Of ResNet-18: 20 convolutions, a pooling, a global one, a product, and one call."""
    graph = graph_of(load_model("zoo:resnet18", weights=False))
    product = next(n for n in graph.nodes if n.op == "Gemm")
    expected_s = 1e-9 * (graph.macs - product.macs) + 20e-3 + 2e-3 + 4e-3 + 8e-3 + 1e-9 * product.weight_bytes
    whole = predicted(graph, made_up(call=Call(fixed_s=0.5))).batches[1].whole
    assert whole.low_s == pytest.approx(expected_s + 0.5)


def test_heads_and_tails_add_up() -> None:
    """Without costs of calls and cuts they are the whole; with them, each cut is paid twice, by its megabytes."""
    graph = graph_of(load_model("zoo:resnet18", weights=False))
    plain = predicted(graph, made_up()).batches[1]
    dear = predicted(graph, made_up(call=Call(fixed_s=0.1, cut_s_per_mb=0.01))).batches[1]
    assert len(plain.heads) > 10
    for cut in plain.heads:
        assert plain.heads[cut].low_s + plain.tails[cut].low_s == pytest.approx(plain.whole.low_s)
        moved = sum(graph.tensors[t].bytes for t in cut_at(graph, cut).crossing) / 1e6
        both = dear.heads[cut].low_s + dear.tails[cut].low_s
        assert both == pytest.approx(plain.whole.low_s + 0.2 + 0.02 * moved)


def test_every_planner_reads_it() -> None:
    """Chain planners by heads and tails, the minimum cut by nodes; batches scale."""
    model = load_model("zoo:resnet18", weights=False)
    graphs = [graph_of(model, batch) for batch in (1, 4)]
    device = predict(graphs, made_up(), model.fingerprint, taken="")
    assert device.batches[4].whole.low_s > 3 * device.batches[1].whole.low_s
    link = Link(up_bps=MBIT, down_bps=MBIT, rtt_s=0.01)
    for planner in ("neurosurgeon", "mincut", "device_only"):
        problem = problem_for(graphs[0], device, device, link, default_codecs=("float32",))
        assert PLANNERS[planner](problem).cost.total_s > 0
    times = Times(device, graphs[0])
    start, end = cut_at(graphs[0], INPUT), cut_at(graphs[0], OUTPUT)
    assert sum(times.nodes_s()) == pytest.approx(times.part_s(start, end))


def test_the_published_device() -> None:
    """Li, Zhou, Chen 2018: the 22 layers take 1.64 s and loading over 0.84 s; figure 7 shows about 2.42 s."""
    graph = alexnet()
    device = load_regression("edgent2018_device")
    priced = list(price_layers(graph, device))
    assert len(priced) == 23, "22 layers of the paper and the reshape that ONNX writes between them"
    assert sum(p.seconds for p in priced) == pytest.approx(1.64, abs=0.005)
    assert device.loading is not None
    assert device.loading.coefficients["one"] == pytest.approx(0.842136)
    size = sum(n.weight_bytes for n in graph.nodes)
    whole_s = predicted(graph, device).batches[1].whole.low_s
    assert whole_s == pytest.approx(1.64 + 0.842 + 4.49e-9 * size, abs=0.005)
    assert whole_s == pytest.approx(2.48, rel=0.02)
    slowest = max(priced, key=lambda p: p.seconds).layer
    assert (slowest.type, slowest.shape.channels, slowest.shape.filters) == ("convolution", 64, 128)


@pytest.mark.parametrize(("up_bps", "published_s", "expected_s"), [(1e6, 0.123, 0.132), (50e3, 2.317, 2.0)])
def test_the_published_server(up_bps: float, published_s: float, expected_s: float) -> None:
    """All on the server: the upload of a 32 × 32 picture of float32 and the server's 34 ms, as planned."""
    graph = alexnet()
    device, server = (predicted(graph, load_regression(f"edgent2018_{which}")) for which in ("device", "server"))
    link = Link(up_bps=up_bps, down_bps=1e9, rtt_s=0.0)
    plan = PLANNERS["server_only"](problem_for(graph, device, server, link, default_codecs=("float32",)))
    assert plan.cost.total_s == pytest.approx(expected_s, rel=0.01)
    assert plan.cost.total_s == pytest.approx(published_s, rel=0.15)


def test_a_planner_moves_the_published_pair() -> None:
    """On a slow link the device computes all, on a quick one the server."""
    graph = alexnet()
    device, server = (predicted(graph, load_regression(f"edgent2018_{which}")) for which in ("device", "server"))
    ends = [
        PLANNERS["neurosurgeon"](
            problem_for(graph, device, server, Link(up_bps=up, down_bps=up, rtt_s=0.0), default_codecs=("float32",))
        ).cuts[0]
        for up in (30e3, 1e6)
    ]
    assert ends == [OUTPUT, INPUT]


def test_the_tables_headers_are_read_as_swapped() -> None:
    both = {name: load_regression(name) for name in shipped_regressions()}
    assert set(both) == {"edgent2018_device", "edgent2018_server"}
    whole = {name: predicted(alexnet(), r).batches[1].whole.low_s for name, r in both.items()}
    assert whole["edgent2018_device"] > 50 * whole["edgent2018_server"]
    assert all("swapped" in r.note for r in both.values())


def test_a_file_and_back(tmp_path: Path) -> None:
    path = tmp_path / "device.json"
    written = made_up(loading=Law(coefficients={"model_bytes": 1e-9, "one": 0.1}))
    write_json(path, written)
    assert load_regression(path) == read_json(path, Regression) == written
    model = load_model("zoo:resnet18", weights=False)
    found = profile_for(path, model, (1, 2), taken="now")
    assert found.machine.kind == "regression"
    assert found.fingerprint == model.fingerprint
    assert sorted(found.batches) == [1, 2]


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"layers": {}},
        {"layers": {"convolutions": {"laws": {}}}},
        {"layers": {"relu": {"laws": {"extended": {"coefficients": {"one": float("nan")}}}}}},
        {"colour": "red"},
    ],
)
def test_strict_files(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Regression.model_validate({**made_up().model_dump(), **change})


def test_names() -> None:
    assert is_regression("edgent2018_device")
    assert is_regression("here.json")
    assert not is_regression("eyeriss")
    with pytest.raises(BadInput, match=r"did you mean edgent2018_device\?"):
        load_regression("edgent2018_devise")
    with pytest.raises(BadInput, match=r"cannot read none.json"):
        load_regression("none.json")


def test_a_type_without_a_law() -> None:
    """MobileNetV2 on a device that knows no depthwise convolution: priced as a convolution, and said."""
    graph = graph_of(load_model("zoo:mobilenet_v2", weights=False))
    assert remarks(graph, made_up()) == ("made up has no law for depthwise_convolution (17×): priced as convolution",)
    few = made_up(layers={"relu": law(one=1.0)})
    with pytest.raises(BadInput, match=r"made up has no law for convolution \(conv_0 in mobilenet_v2\).*it knows relu"):
        predicted(graph, few)


def test_an_operator_of_no_type() -> None:
    graph = graph_of(load_model("zoo:tiny", weights=False))
    odd = graph.nodes[0].__class__(name=graph.nodes[0].name, op="LSTM", inputs=("x",), outputs=graph.nodes[0].outputs)
    changed = Graph(
        "odd", 1, (odd,), {**graph.tensors, "x": graph.tensors[graph.inputs[0]]}, ("x",), graph.nodes[0].outputs
    )
    with pytest.raises(BadInput, match=r"is a LSTM, which is no layer type"):
        layers_of(changed, fuses=True)


def test_outside_the_range_is_said() -> None:
    graph = graph_of(load_model("zoo:resnet18", weights=False))
    layers = layers_of(graph, fuses=True)
    sizes = [variables_of(x.shape, "extended")["bytes_in"] for x in layers if x.type == "convolution"]
    inside = Law(coefficients={"one": 1.0}, ranges={"bytes_in": (min(sizes), max(sizes))})
    small = inside.model_copy(update={"ranges": {"bytes_in": (min(sizes) + 1, max(sizes))}})
    laws = dict(made_up().layers)
    for ranged, said in ((inside, 0), (small, 1)):
        laws["convolution"] = TypeLaws(laws={"extended": ranged})
        found = remarks(graph, made_up(layers=laws))
        assert len(found) == said
    smallest = sizes.count(min(sizes))
    assert found == (f"bytes_in of {smallest} convolution layers lies outside what made up was fitted on",)
    assert 1 < smallest < len(sizes)


def test_a_set_that_a_file_lacks_falls_back() -> None:
    """The printed laws have the paper's variables only: asked for the extended ones, they give those."""
    graph, device = alexnet(), load_regression("edgent2018_device")
    both = [sum(p.seconds for p in price_layers(graph, device, which)) for which in ("extended", "paper")]
    assert both[0] == both[1]


def test_variables_of_the_paper_by_hand() -> None:
    """AlexNet's first convolution: 64 filters of 11 × 11 in steps of 4 over a picture of 3 × 224 × 224."""
    graph = graph_of(load_model("zoo:alexnet", weights=False))
    first = layers_of(graph, fuses=True)[0].shape
    assert variables_of(first, "paper") == {"input_bytes": 4 * 3 * 224 * 224, "filters": (11 / 4) ** 2 * 64}


def test_planes_by_hand() -> None:
    """A gate works plane by plane; planes of 32 × 32 floats are whole ways of a cache, those of 28 × 28 are not."""

    def of(op: str, *sides: int, batch: int = 2) -> dict[str, float]:
        tensors = {t: Tensor(t, (batch, 24, s, s), "float32", 4) for t, s in zip("xgy", sides, strict=True)}
        node = Node("y", op, ("x", "g") if op == "Mul" else ("x",), ("y",))
        graph = Graph("one", batch, (node,), tensors, ("x", "g"), ("y",))
        return variables_of(layers_of(graph, fuses=True)[0].shape, "extended")

    assert of("Mul", 8, 1, 8)["planes"] == 2 * 24
    moved = 2 * 4 * 2 * 24 * 32 * 32
    assert of("Transpose", 32, 1, 32)["aliased_bytes"] == moved
    assert of("Transpose", 28, 1, 28)["aliased_bytes"] == 0
    assert of("Reshape", 64, 1, 64)["aliased_bytes"] == 4 * moved


def test_places_at_the_ends_of_a_row() -> None:
    """Windows of 5 in steps of 1 reach over the ends of a row of 32 at four places; a window of 1 never does."""
    pooled = pool_shape("max_pooling", 32.0, 8.0, 32.0, 5.0, 1.0)
    found = variables_of(pooled, "extended")
    assert found["windows_border"] == pytest.approx(found["windows"] * 4 / 32)
    halved = variables_of(pool_shape("max_pooling", 32.0, 8.0, 16.0, 3.0, 2.0), "extended")
    assert halved["windows_border"] == pytest.approx(halved["windows"] * 1 / 16)
    narrow = variables_of(conv_shape("depthwise_convolution", 2.0, 8.0, 8.0, 7.0, 1.0), "extended")
    assert narrow["macs_border"] == narrow["macs"]
    plain = variables_of(conv_shape("convolution", 32.0, 8.0, 8.0, 1.0, 1.0), "extended")
    assert plain["macs_border"] == 0


def test_one_activation_is_fused_and_no_more() -> None:
    """conv → relu → sigmoid: the sigmoid is a layer; a relu that a second node reads past is one too."""
    tensors = {t: Tensor(t, (1, 8, 4, 4), "float32", 4) for t in "xabcd"}
    conv = Node("a", "Conv", ("x",), ("a",), macs=1024, product=Product(16, 8, 8), kernel=(1, 1), strides=(1, 1))
    relu, sigmoid = Node("b", "Relu", ("a",), ("b",)), Node("c", "Sigmoid", ("b",), ("c",))
    chain = Graph("chain", 1, (conv, relu, sigmoid), tensors, ("x",), ("c",))
    assert [x.type for x in layers_of(chain, fuses=True)] == ["convolution", "sigmoid"]
    assert [x.type for x in layers_of(chain, fuses=False)] == ["convolution", "relu", "sigmoid"]
    twice = Node("d", "Add", ("a", "b"), ("d",))
    forked = Graph("forked", 1, (conv, relu, twice), tensors, ("x",), ("d",))
    assert [x.type for x in layers_of(forked, fuses=True)] == ["convolution", "relu", "add"]
