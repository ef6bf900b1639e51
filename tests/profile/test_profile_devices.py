"""Devices known by their figures: what layers move, seconds by width, files of devices, profiles for planners."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.errors import BadInput
from isthmus.graph import INPUT, OUTPUT, Graph, Node, Tensor, cut_at, graph_of, narrow_cuts
from isthmus.link import Link
from isthmus.model import load_model
from isthmus.model.zoo import ZOO
from isthmus.plan import PLANNERS, problem_for
from isthmus.profile import Profile, Times
from isthmus.profile.devices import (
    Device,
    Roofline,
    Systolic,
    Workload,
    computed_profile,
    cycles,
    find_device,
    node_seconds,
    read_devices,
    shipped,
)

EYERISS = find_device("eyeriss")
CARD = find_device("rtx_2080_ti")
SMALL = graph_of(load_model("zoo:mobilenet_v2", weights=False))


def graph(name: str, batch: int = 1) -> Graph:
    return graph_of(load_model(f"zoo:{name}", weights=False), batch)


def whole_s(device: Device, at: Graph, bits: int | None = None) -> float:
    return computed_profile(device, [at], "", taken="", bits=bits).batches[at.batch].whole.low_s


def wired(*nodes: tuple[str, str, tuple[str, ...], int], reads: int = 10) -> Graph:
    """A graph of (name, operator, inputs, elements of its output); the input is `x`, the last node the answer."""
    tensors = {"x": Tensor("x", (reads,), "float32", 4)}
    tensors |= {name: Tensor(name, (size,), "float32", 4) for name, _, _, size in nodes}
    made = tuple(Node(name, op, inputs, (name,)) for name, op, inputs, _ in nodes)
    return Graph("wired", 1, made, tensors, ("x",), (nodes[-1][0],))


def test_activations_and_additions_are_part_of_the_layer_before_them() -> None:
    net = wired(
        ("a", "Conv", ("x",), 40),
        ("a1", "Relu", ("a",), 40),
        ("b", "Conv", ("a1",), 40),
        ("c", "Add", ("b", "a1"), 40),
        ("d", "Relu", ("c",), 40),
        ("e", "MaxPool", ("d",), 7),
    )
    work = Workload.of(net)
    assert work.works.tolist() == [True, False, True, False, False, True]
    assert work.inputs == (("x",), (), ("a1",), (), (), ("d",))
    assert work.reads.tolist() == [10, 0, 40, 0, 0, 40]
    assert work.writes.tolist() == [40, 0, 40, 0, 0, 7]
    alone = Workload.of(net, fuses=False)
    assert alone.works.all()
    assert alone.reads.tolist() == [10, 40, 40, 80, 40, 40]
    assert alone.writes.tolist() == [40, 40, 40, 40, 40, 7]


def test_a_swish_is_part_of_its_layer_and_a_squeeze_and_excite_scaling_is_not() -> None:
    net = wired(
        ("a", "Conv", ("x",), 40),
        ("s", "Sigmoid", ("a",), 40),
        ("y", "Mul", ("a", "s"), 40),
        ("p", "GlobalAveragePool", ("y",), 4),
        ("w", "Conv", ("p",), 4),
        ("g", "Sigmoid", ("w",), 4),
        ("z", "Mul", ("y", "g"), 40),
    )
    work = Workload.of(net)
    assert work.works.tolist() == [True, False, False, True, True, False, True]
    assert work.inputs[6] == ("y", "g")
    assert work.writes.tolist() == [40, 0, 0, 4, 4, 0, 40]


def test_what_is_read_behind_the_activation_too_is_written_twice_and_reshapes_move_nothing() -> None:
    net = wired(
        ("a", "Conv", ("x",), 40),
        ("r", "Relu", ("a",), 40),
        ("v", "Flatten", ("r",), 40),
        ("b", "Conv", ("v",), 40),
        ("c", "Concat", ("a", "b"), 80),
    )
    work = Workload.of(net)
    assert work.works.tolist() == [True, False, False, True, True]
    assert work.writes.tolist() == [80, 0, 0, 40, 80]
    assert Workload.of(net, fuses=False).writes.tolist() == [40, 40, 0, 40, 80]
    first = wired(("v", "Reshape", ("x",), 10), ("r", "Relu", ("v",), 10))
    assert Workload.of(first).reads.tolist() == [0, 10]


def test_weights_are_read_by_each_layer_that_uses_them_however_often_they_are_counted() -> None:
    net = graph("resnet50")
    work = Workload.of(net)
    assert work.weights.sum() == sum(n.parameters for n in net.nodes)
    assert work.macs.sum() == net.macs
    shared = tuple(replace(n, parameters=0) for n in net.nodes)  # as if an earlier node had counted them
    again = Workload.of(replace(net, nodes=shared))
    biases = sum(n.parameters for n in net.nodes) - again.weights.sum()
    assert biases == sum(net.tensors[n.outputs[0]].shape[1] for n in net.nodes if n.product)


def test_a_layer_takes_its_cycles_or_its_data_whichever_is_more() -> None:
    net = graph("resnet50")
    assert isinstance(EYERISS, Systolic)
    work = Workload.of(net)
    seconds = node_seconds(EYERISS, work, 8, 8)
    spent = cycles((12, 14), "ws", work.rows, work.columns, work.depth, work.count)
    bytes_moved = work.weights + work.reads + work.writes
    for i in np.flatnonzero(work.works):
        assert seconds[i] == pytest.approx(max(spent[i] / 202.381e6, bytes_moved[i] / 1e9))
    assert (seconds[~work.works] == 0).all()
    last = next(i for i, n in enumerate(net.nodes) if n.op == "Gemm")
    fast = node_seconds(find_device("tpu"), work, 8, 8)
    assert fast[last] * 13e9 == pytest.approx(2048 * 1000 + 1000 + 2048 + 1000)  # one row: its weights take longest


def test_below_eight_bits_only_the_data_moves_faster() -> None:
    net = graph("mobilenet_v2")
    work = Workload.of(net)
    widths = {bits: node_seconds(EYERISS, work, bits, bits) for bits in (2, 4, 8, 16)}
    assert isinstance(EYERISS, Systolic)
    busy = cycles((12, 14), "ws", work.rows, work.columns, work.depth, work.count) / EYERISS.clock_hz
    assert (widths[2] >= busy).all()
    assert (widths[2] == busy).sum() > 30
    bound = work.works & (busy == 0)
    assert widths[2][bound] == pytest.approx(widths[8][bound] / 4)
    assert (widths[16] >= 2 * busy).all()
    assert whole_s(EYERISS, net, 2) < whole_s(EYERISS, net, 4) < whole_s(EYERISS, net, 8) < whole_s(EYERISS, net, 16)


def test_a_depthwise_layer_uses_one_column_of_the_array() -> None:
    net = graph("mobilenet_v2")
    depthwise = [n for n in net.nodes if n.product and n.product.columns == 1 and n.product.count > 1]
    assert len(depthwise) == 17
    work = Workload.of(net)
    for node in depthwise:
        at = net.producer[node.name]
        spent = int(cycles((12, 14), "ws", work.rows[at], work.columns[at], work.depth[at], work.count[at]))
        assert spent >= 14 * node.macs / 168


widths = st.integers(1, 16)


@settings(max_examples=60, deadline=None)
@given(widths, widths, widths, st.sampled_from(["eyeriss", "tpu", "rtx_2080_ti", "raspberry_pi_4"]), st.floats(1, 50))
def test_wider_numbers_or_less_bandwidth_never_make_a_layer_faster(
    weight: int, read: int, write: int, name: str, factor: float
) -> None:
    device = find_device(name)
    work = Workload.of(SMALL, fuses=device.fuses)
    base = node_seconds(device, work, weight, read, write)
    for wider in ((weight + 1, read, write), (weight, read + 1, write), (weight, read, write + 1)):
        assert (node_seconds(device, work, *wider) >= base).all()
    narrow = device.model_copy(update={"bandwidth_bytes_per_s": device.bandwidth_bytes_per_s / factor})
    assert (node_seconds(narrow, work, weight, read, write) >= base).all()


def test_many_choices_of_widths_are_priced_at_once() -> None:
    work = Workload.of(SMALL)
    rng = np.random.default_rng(1)
    weight, active = (rng.integers(1, 9, (5, len(SMALL.nodes))) for _ in range(2))
    many = node_seconds(EYERISS, work, weight, active)
    assert many.shape == (5, len(SMALL.nodes))
    for k in range(5):
        assert (many[k] == node_seconds(EYERISS, work, weight[k], active[k])).all()


@pytest.mark.parametrize("bits", [0, 65, -3])
def test_a_width_that_is_none_is_refused(bits: int) -> None:
    with pytest.raises(BadInput, match="1 to 64 bits wide"):
        node_seconds(EYERISS, Workload.of(SMALL), bits, 8)


PUBLISHED_MS = {
    "efficientnet_b0": {1: 13.15, 8: 13.42, 32: 16.46, 64: 25.14, 256: 94.86},
    "efficientnet_b4": {1: 23.31, 8: 26.65, 32: 89.07, 64: 173.2, 128: 346.32},
}
"""NVIDIA DeepLearningExamples, EfficientNet for PyTorch: one V100, FP32, mean latency."""


@pytest.mark.parametrize("name", PUBLISHED_MS)
def test_the_roofline_comes_near_published_figures_of_a_gpu(name: str) -> None:
    for batch, measured_ms in PUBLISHED_MS[name].items():
        ratio = 1e3 * whole_s(find_device("v100"), graph(name, batch)) / measured_ms
        assert 0.7 < ratio < 1.12, f"batch {batch}"


def test_a_larger_batch_is_never_faster_and_never_dearer_a_sample() -> None:
    for device in shipped().values():
        at = [whole_s(device, graph("mobilenet_v2", b)) / b for b in (1, 2, 8, 32)]
        assert at == sorted(at, reverse=True)
        totals = [a * b for a, b in zip(at, (1, 2, 8, 32), strict=True)]
        assert totals == sorted(totals)


def test_the_papers_pair() -> None:
    tpu = find_device("tpu")
    assert isinstance(EYERISS, Systolic)
    assert isinstance(tpu, Systolic)
    assert EYERISS.rows * EYERISS.columns * EYERISS.clock_hz == pytest.approx(34.0e9, rel=0.01)
    assert tpu.rows * tpu.columns * tpu.clock_hz == pytest.approx(96.0e12, rel=0.01)
    slow = find_device("rtx_2080_ti_at_300_mhz")
    assert isinstance(CARD, Roofline)
    assert isinstance(slow, Roofline)
    assert CARD.peak_flops / slow.peak_flops == pytest.approx(5.675, abs=0.01)


def test_a_computed_profile_says_so_adds_up_and_survives_its_file(tmp_path: Path) -> None:
    at = [graph("resnet50", b) for b in (1, 4)]
    made = computed_profile(EYERISS, at, "f" * 64, taken="2026-01-01", bits=8)
    assert made.machine.name == "eyeriss (simulated)"
    assert (made.machine.kind, computed_profile(CARD, at, "", taken="").machine.kind) == ("simulated", "roofline")
    assert Profile.model_validate_json(made.model_dump_json()) == made
    for net in at:
        times, plain = Times(made, net), Times(made, net, additive=True)
        first, last = cut_at(net, INPUT), cut_at(net, OUTPUT)
        assert set(made.batches[net.batch].heads) == {c.id for c in narrow_cuts(net)} - {INPUT, OUTPUT}
        for cut in narrow_cuts(net):
            for a, b in ((first, cut), (cut, last)):
                assert times.part_s(a, b) == pytest.approx(plain.part_s(a, b), abs=1e-12)


def test_profiles_from_before_machines_had_a_kind_are_measured() -> None:
    made = computed_profile(EYERISS, [SMALL], "", taken="").model_dump(mode="json")
    del made["machine"]["kind"]
    assert Profile.model_validate(made).machine.kind == "measured"


@pytest.mark.parametrize("planner", ["neurosurgeon", "mincut", "device_only", "server_only"])
def test_planners_need_neither_weights_nor_an_engine(planner: str) -> None:
    net = graph("efficientnet_b0")
    device, server = (computed_profile(find_device(n), [net], "f", taken="") for n in ("eyeriss", "tpu"))
    plan = PLANNERS[planner](problem_for(net, device, server, Link(1e8, 1e8, 1e-3), default_codecs=("int8",)))
    assert plan.cost.total_s > 0


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


BOARD = """
[board]
kind = "roofline"
peak_flops = 1e12
bandwidth_bytes_per_s = 1e10
source = "its data sheet"
"""


ARRAY = """
[array]
kind = "systolic"
rows = 12
columns = 14
clock_hz = 2e8
dataflow = "os"
bandwidth_bytes_per_s = 1e9
source = "its data sheet"
"""


def test_a_device_that_would_take_for_ever_is_refused() -> None:
    slow = EYERISS.model_copy(update={"bandwidth_bytes_per_s": 1.0})
    with pytest.raises(BadInput, match=r"eyeriss would take .* s for vgg16; at most 3.1536e\+07 s are planned for"):
        computed_profile(slow, [graph("vgg16")], "", taken="", bits=8)


def test_devices_of_ones_own(tmp_path: Path) -> None:
    one = write(tmp_path / "one.toml", BOARD)
    two = write(tmp_path / "two.toml", BOARD + BOARD.replace("[board]", "[other]"))
    assert find_device(str(one)).name == "board"
    assert find_device(f"{two}#other").name == "other"
    assert list(read_devices(two)) == ["board", "other"]
    with pytest.raises(BadInput, match=r"holds 2 devices \(board, other\)"):
        find_device(str(two))
    with pytest.raises(BadInput, match=r"knows no device 'othre'; did you mean other\?"):
        find_device(f"{two}#othre")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("[a", "is no TOML file"),
        ("a = 3", "a must be a table"),
        (BOARD.replace('kind = "roofline"\n', ""), "board: kind"),
        (BOARD.replace("1e12", "-1"), "board: peak_flops: Input should be greater than or equal to 1"),
        (BOARD.replace("1e10", "inf"), "board: bandwidth_bytes_per_s"),
        (BOARD.replace("1e10", "1e-320"), "board: bandwidth_bytes_per_s"),
        (BOARD + "launch_s = 1e308\n", "board: launch_s: Input should be less than"),
        (ARRAY.replace("rows = 12", f"rows = {10**30}"), "array: rows: Input should be less than"),
        (ARRAY.replace("columns = 14", f"columns = {9 * 10**18}"), "array: columns: Input should be less than"),
        (ARRAY.replace("2e8", "1e-320"), "array: clock_hz: Input should be greater than"),
        (ARRAY + f"word_bits = {10**26}\n", "array: word_bits: Input should be less than"),
        (BOARD + "cores = 4\n", "board: cores: Extra inputs"),
        (BOARD.replace('"roofline"', '"quantum"'), "board: kind: Input tag 'quantum'"),
    ],
)
def test_a_wrong_file_of_devices_is_named_with_what_is_wrong(tmp_path: Path, text: str, match: str) -> None:
    file = write(tmp_path / "mine.toml", text)
    with pytest.raises(BadInput, match=match) as caught:
        read_devices(file)
    assert "mine.toml" in str(caught.value)


def test_a_file_of_devices_is_read_within_bounds(
    piped: Callable[[bytes], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert list(read_devices(piped(BOARD.encode()))) == ["board"]
    monkeypatch.setattr("isthmus.profile.devices.table._MOST_BYTES", 20)
    with pytest.raises(BadInput, match="more than 20 bytes"):
        read_devices(piped(BOARD.encode()))


def test_a_device_nobody_knows() -> None:
    with pytest.raises(BadInput, match="did you mean eyeriss"):
        find_device("eyris")
    with pytest.raises(BadInput, match="there are eyeriss, tpu"):
        find_device("zzz")
    with pytest.raises(BadInput, match="cannot read devices"):
        find_device("nowhere.toml")


def test_every_shipped_device_says_where_its_figures_come_from() -> None:
    for name, device in shipped().items():
        assert device.name == name
        assert len(device.source) > 20


@pytest.mark.parametrize("name", sorted(ZOO))
def test_every_network_of_the_zoo_on_the_papers_pair(name: str) -> None:
    net = graph(name)
    for device in ("eyeriss", "tpu"):
        array = find_device(device)
        assert isinstance(array, Systolic)
        words = -(-array.bits // array.word_bits)
        least_s = words * net.macs / (array.rows * array.columns * array.clock_hz)
        moved_s = (net.parameters + net.input_bytes // 4) * array.bits / 8 / array.bandwidth_bytes_per_s
        assert max(least_s, moved_s) < whole_s(array, net) < 100 * (least_s + moved_s) + 0.1
