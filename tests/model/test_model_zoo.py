"""The zoo: published sizes, block tables, shapes that onnx agrees with, weights that depend on the seed alone."""

from __future__ import annotations

import math

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from isthmus.errors import BadModel
from isthmus.graph import block_cuts, exits_of, graph_of
from isthmus.model import ZOO, Model, load_model
from isthmus.model.zoo import SEEDED
from isthmus.model.zoo.mbconv import rounded
from isthmus.profile.exit_table import early_exits

# model: side, blocks, natural bottlenecks, compressive ones as (block counted from 1, side, channels)
EFFICIENTNETS = {
    "efficientnet_b0": (224, 16, 15, [(2, 56, 24), (4, 28, 40), (6, 14, 80), (12, 7, 192)]),
    "efficientnet_b1": (240, 23, 21, [(3, 60, 24), (6, 30, 40), (9, 15, 80), (17, 8, 192)]),
    "efficientnet_b2": (260, 23, 21, [(3, 65, 24), (6, 33, 48), (9, 17, 88), (17, 9, 208)]),
    "efficientnet_b3": (300, 26, 24, [(3, 75, 32), (6, 38, 48), (9, 19, 96), (19, 10, 232)]),
    "efficientnet_b4": (380, 32, 30, [(3, 95, 32), (7, 48, 56), (11, 24, 112), (23, 12, 272)]),
    "efficientnet_b5": (456, 39, 36, [(4, 114, 40), (9, 57, 64), (14, 29, 128), (28, 15, 304)]),
    "efficientnet_b6": (528, 45, 42, [(4, 132, 40), (10, 66, 72), (16, 33, 144), (32, 17, 344)]),
    "efficientnet_b7": (600, 55, 44, [(12, 75, 80), (19, 38, 160), (39, 19, 384)]),
    "efficientnet_v2_b0": (224, 21, 20, [(2, 56, 32), (4, 28, 48), (6, 14, 96), (14, 7, 192)]),
    "efficientnet_v2_b1": (240, 27, 25, [(3, 60, 32), (6, 30, 48), (9, 15, 96), (19, 8, 192)]),
    "efficientnet_v2_b2": (260, 28, 26, [(3, 65, 32), (6, 33, 56), (9, 17, 104), (19, 9, 208)]),
    "efficientnet_v2_b3": (300, 32, 30, [(3, 75, 40), (6, 38, 56), (9, 19, 112), (21, 10, 232)]),
    "efficientnet_v2_s": (384, 40, 34, [(7, 48, 64), (11, 24, 128), (26, 12, 256)]),
    "efficientnet_v2_m": (480, 57, 49, [(9, 60, 80), (14, 30, 160), (35, 15, 304)]),
    "efficientnet_v2_l": (480, 79, 68, [(12, 60, 96), (19, 30, 192), (48, 15, 384)]),
}

# parameters in millions, multiply-accumulates in thousand millions: the papers and torchvision
PUBLISHED = {
    "alexnet": (61.1, 0.71),
    "vgg16": (138.4, 15.5),
    "resnet18": (11.7, 1.81),
    "resnet50": (25.5, 4.1),
    "mobilenet_v2": (3.5, 0.30),
    "googlenet": (7.0, 1.58),
    "resnext50_32x4d": (25.0, 4.23),
    "mnasnet1_0": (4.4, 0.314),
    "yolov3_tiny": (8.9, 2.78),
    "yolov3": (61.9, 32.93),
    "yolov3_spp": (63.0, 33.1),
    "fasterrcnn_resnet50_fpn": (27.4, 120.02),
    "efficientnet_b0": (5.3, 0.39),
    "efficientnet_b7": (66.3, 37.0),
    "efficientnet_v2_b0": (7.1, 0.72),
    "efficientnet_v2_s": (21.5, 8.4),
    "efficientnet_v2_m": (54.1, 24.6),
    "efficientnet_v2_l": (118.5, 56.1),
}


# Exact counts: how many numbers are published, and how many of them a channel has that are folded away here with its
# batch norm: torchvision counts scale and shift (one is left), darknet's files hold mean and variance too.
EXACT = {
    "resnext50_32x4d": (25_028_904, 1),
    "mnasnet1_0": (4_383_312, 1),
    "yolov3_tiny": (8_858_734, 3),
    "yolov3": (62_001_757, 3),
    "yolov3_spp": (63_052_381, 3),
}


def weights_of(model: Model) -> dict[str, int]:
    """Number of values of everything a convolution or a matrix product reads."""
    read = {name for n in model.proto.graph.node if n.op_type in ("Conv", "Gemm") for name in n.input[1:]}
    return {t.name: math.prod(t.dims) for t in model.proto.graph.initializer if t.name in read}


def normed_channels(model: Model) -> int:
    """Channels of the convolutions that had a batch norm: all but those whose maps are outputs."""
    last = {o.name for o in model.proto.graph.output}
    weights = weights_of(model)
    return sum(weights[n.input[2]] for n in model.proto.graph.node if n.op_type == "Conv" and n.output[0] not in last)


@pytest.mark.parametrize("name", EXACT)
def test_exact_size(name: str) -> None:
    model = load_model(f"zoo:{name}", weights=False)
    published, folded = EXACT[name]
    assert sum(weights_of(model).values()) + folded * normed_channels(model) == published


def test_dense_part_of_faster_rcnn_is_what_is_left_without_its_second_part() -> None:
    """torchvision's 41,755,286 parameters and 134.38 GMACs at 800 × 800, less two layers of 1,024 over 7 × 7 × 256 and
    two of 91 classes and 4 · 91 coordinates for a thousand proposals; batch norms (26,560 channels) are frozen there
    and no parameters, their shifts are biases here. One set of weights looks at all five levels."""
    model = load_model("zoo:fasterrcnn_resnet50_fpn", weights=False)
    layers = ((7 * 7 * 256, 1024), (1024, 1024), (1024, 91), (1024, 4 * 91))
    assert sum(weights_of(model).values()) - 26_560 == 41_755_286 - sum((i + 1) * o for i, o in layers)
    dense = graph_of(model).macs + 1000 * sum(i * o for i, o in layers)
    assert dense / 1e9 == pytest.approx(134.38, abs=0.005)
    assert len(model.outputs) == 10
    assert [shapes_of(model)[f"boxes_p{level}"] for level in (2, 6)] == [(12, 200, 200), (12, 13, 13)]


@pytest.mark.parametrize(
    ("name", "maps"),
    [("yolov3_tiny", (13, 26)), ("yolov3", (13, 26, 52)), ("yolov3_spp", (13, 26, 52))],
)
def test_detection_maps_are_outputs_and_no_exits(name: str, maps: tuple[int, ...]) -> None:
    model = load_model(f"zoo:{name}", weights=False)
    assert [shapes_of(model)[o.name] for o in model.outputs] == [(255, side, side) for side in maps]
    graph = graph_of(model)
    assert exits_of(graph) == ()
    with pytest.raises(BadModel, match=r"no early exit among its outputs \(boxes_13"):
        early_exits(graph)


@pytest.mark.parametrize(
    ("name", "blocks"),
    [
        ("resnext50_32x4d", 16),
        ("mnasnet1_0", 17),
        ("yolov3_tiny", 7),
        ("yolov3", 23),
        ("yolov3_spp", 23),
        ("fasterrcnn_resnet50_fpn", 16),
    ],
)
def test_blocks_of_the_study(name: str, blocks: int) -> None:
    """All blocks are recorded; those of a detector are cuts only as long as one tensor crosses there."""
    model = load_model(f"zoo:{name}", weights=False)
    assert len(model.blocks) == blocks
    found = [c.id for c in block_cuts(graph_of(model))]
    assert found == [b for b in model.blocks if b in found]
    assert found[0] == model.blocks[0]


def shapes_of(model: Model) -> dict[str, tuple[int, ...]]:
    """Shapes without the batch, as the zoo declares them."""
    graph = model.proto.graph
    values = (*graph.value_info, *graph.output, *graph.input)
    return {v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim[1:]) for v in values}


@pytest.mark.parametrize("name", EFFICIENTNETS)
def test_block_table(name: str) -> None:
    side, blocks, natural, compressive = EFFICIENTNETS[name]
    model = load_model(f"zoo:{name}", weights=False)
    shapes = shapes_of(model)
    assert model.inputs[0].shape == (None, 3, side, side)
    assert len(model.blocks) == blocks
    least, found, count = math.inf, [], 0
    for place, block in enumerate(model.blocks, start=1):
        ratio = math.prod(shapes[block]) / (3 * side * side)
        count += ratio < 1
        if ratio < min(1.0, least):
            least = ratio
            found.append((place, shapes[block][1], shapes[block][0]))
    assert (count, found) == (natural, compressive)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_size(name: str) -> None:
    model = load_model(f"zoo:{name}", weights=False)
    shapes = shapes_of(model)
    weights = weights_of(model)
    macs = sum(
        math.prod(shapes[n.output[0]][1:]) * weights[n.input[1]]
        for n in model.proto.graph.node
        if n.op_type in ("Conv", "Gemm")
    )
    million, thousand_million = PUBLISHED[name]
    assert sum(weights.values()) / 1e6 == pytest.approx(million, rel=0.012)
    assert macs / 1e9 == pytest.approx(thousand_million, rel=0.03)


@pytest.mark.parametrize("name", SEEDED)
def test_shapes_are_what_onnx_infers(name: str) -> None:
    model = load_model(f"zoo:{name}", weights=False)
    declared = shapes_of(model)
    bare = onnx.ModelProto()
    bare.CopyFrom(model.proto)
    del bare.graph.value_info[:]
    for output in bare.graph.output:
        output.type.tensor_type.ClearField("shape")
    inferred = onnx.shape_inference.infer_shapes(bare, strict_mode=True).graph
    resized = any(n.op_type == "Resize" for n in model.proto.graph.node)
    for value in (*inferred.value_info, *inferred.output):
        dims = value.type.tensor_type.shape.dim
        # onnx multiplies a named batch by the scale of a Resize, 1, and forgets its name
        assert dims[0].dim_param == "N" or (resized and dims[0].dim_param.startswith("unk"))
        assert tuple(d.dim_value for d in dims[1:]) == declared[value.name]
    assert len(inferred.value_info) + len(inferred.output) == len(model.proto.graph.node)


@pytest.mark.parametrize("name", ["tiny", "mobilenet_v2", "googlenet", "efficientnet_b0", "mnasnet1_0", "yolov3_tiny"])
def test_valid_named_and_in_order(name: str) -> None:
    model = load_model(f"zoo:{name}")
    onnx.checker.check_model(model.proto)
    assert all(n.name == n.output[0] for n in model.proto.graph.node)
    assert model.dynamic_batch
    assert model.has_weights
    order = [n.name for n in model.proto.graph.node]
    assert [order.index(b) for b in model.blocks] == sorted(order.index(b) for b in model.blocks)


def test_seed_decides_the_weights() -> None:
    first, again, other = (load_model("zoo:mobilenet_v2", seed=s).fingerprint for s in (0, 0, 1))
    assert first == again != other


def test_without_weights_nothing_but_the_weights_is_missing() -> None:
    whole, bare = load_model("zoo:efficientnet_b0"), load_model("zoo:efficientnet_b0", weights=False)
    assert not bare.has_weights
    assert bare.proto.ByteSize() < whole.proto.ByteSize() / 50
    stripped = onnx.ModelProto()
    stripped.CopyFrom(whole.proto)
    for tensor in stripped.graph.initializer:
        if tensor.dims:
            tensor.ClearField("raw_data")
    for tensor in bare.proto.graph.initializer:
        tensor.ClearField("raw_data") if tensor.dims else None
    assert stripped == bare.proto


LAYERED = [
    *("tiny", "resnet18", "mobilenet_v2", "googlenet", "efficientnet_b0", "efficientnet_v2_b0"),
    *("resnext50_32x4d", "mnasnet1_0", "yolov3_tiny"),
]


@pytest.mark.parametrize("name", LAYERED)
@pytest.mark.parametrize(("seed", "least", "greatest"), [(0, 0.3, 3.0), (3, 0.2, 5.0)])
def test_activations_keep_their_spread_and_the_answer_depends_on_the_input(
    name: str, seed: int, least: float, greatest: float
) -> None:
    """Seed 0 is the one whose statistics were measured. Layers on pooled values (the gates of squeeze-and-excitation)
    are weak on purpose."""
    model = load_model(f"zoo:{name}", seed=seed)
    proto = model.proto
    layers = [n.output[0] for n in proto.graph.node if n.op_type in ("Conv", "Gemm")]
    known = {o.name for o in proto.graph.output}
    proto.graph.output.extend(onnx.ValueInfoProto(name=n) for n in layers if n not in known)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    values = dict(zip(layers, session.run(layers, model.random_inputs(2, seed=11)), strict=True))
    spreads = {n: float(v.std()) for n, v in values.items() if v.shape[2:] != (1, 1)}
    assert len(spreads) > len(values) / 2
    assert not {n: s for n, s in spreads.items() if not least <= s <= greatest}
    first, second = values[layers[-1]].reshape(2, -1)
    assert np.corrcoef(first, second)[0, 1] < 0.9


def test_same_padding_puts_the_odd_pixel_at_the_bottom_right() -> None:
    """TensorFlow's rule: 224 with stride 2 and kernel 3 needs one pixel, after the last."""
    proto = load_model("zoo:efficientnet_b0", weights=False).proto
    pads = [list(a.ints) for a in proto.graph.node[0].attribute if a.name == "pads"]
    assert pads == [[0, 0, 1, 1]]


def test_rounding_loses_at_most_a_tenth() -> None:
    assert [rounded(c) for c in (35.2, 52.8, 11.9, 3.0, 1792.0)] == [32, 56, 16, 8, 1792]


def test_every_builder_is_in_the_table() -> None:
    assert {
        "tiny",
        "digits",
        "alexnet",
        "vgg16",
        "resnet18",
        "resnet50",
        "mobilenet_v2",
        "googlenet",
        "b_lenet",
        "b_alexnet",
        "resnext50_32x4d",
        "mnasnet1_0",
        "yolov3_tiny",
        "yolov3",
        "yolov3_spp",
        "fasterrcnn_resnet50_fpn",
    } < set(ZOO)
    assert set(EFFICIENTNETS) < set(ZOO)
    assert len(ZOO) == 16 + len(EFFICIENTNETS)
