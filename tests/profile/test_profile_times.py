"""Reading a profile: measured where measured, the fit elsewhere, batches between."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from isthmus.errors import BadInput
from isthmus.graph import Graph, Node, Tensor, cut_at
from isthmus.profile import BatchProfile, CodecTiming, Fit, Machine, Profile, Times, Timing
from isthmus.profile.fit import fit_parts


def timing(seconds: float) -> Timing:
    return Timing(low_s=seconds, median_s=seconds, high_s=seconds, runs=3)


@pytest.mark.parametrize("field", ["low_s", "median_s", "high_s"])
@pytest.mark.parametrize("seconds", [1e308, float("inf"), float("nan"), -1.0])
def test_a_time_nobody_can_have_measured_is_refused(field: str, seconds: float) -> None:
    plain = timing(0.1).model_dump() | {field: seconds}
    with pytest.raises(ValidationError, match=field):
        Timing.model_validate(plain)
    with pytest.raises(ValidationError, match="nodes"):
        BatchProfile(whole=timing(0.1), nodes={"n": seconds})
    with pytest.raises(ValidationError, match="slowdown"):
        Machine(name="m", cpu="c", system="s", runtime="r", threads=1, slowdown=seconds)


def chain(batch: int = 1, size: int = 6) -> Graph:
    nodes = tuple(Node(f"t{i + 1}", "Op", (f"t{i}",), (f"t{i + 1}",)) for i in range(size))
    tensors = {f"t{i}": Tensor(f"t{i}", (batch, 250_000 * (size - i) // size), "float32", 4) for i in range(size + 1)}
    return Graph("chain", batch, nodes, tensors, ("t0",), (f"t{size}",))


MACHINE = Machine(name="m", cpu="c", system="s", runtime="r", threads=1)


def profile_of(batches: dict[int, BatchProfile], slowdown: float = 1.0) -> Profile:
    machine = MACHINE.model_copy(update={"slowdown": slowdown})
    codecs = {"int8": CodecTiming(fixed_s=1e-3, encode_s_per_element=1e-6, decode_s_per_element=2e-6)}
    return Profile(model="chain", fingerprint="f", machine=machine, taken="now", batches=batches, codecs=codecs)


NODES = {f"t{i + 1}": 0.001 * (i + 1) for i in range(6)}
ONE = BatchProfile(
    whole=timing(0.022),
    heads={"t2": timing(0.0041)},
    tails={"t2": timing(0.0191)},
    nodes=NODES,
    head_fit=Fit(a=1.1, b=0.002, c=0.0005),
    tail_fit=Fit(a=1.2, b=0.001, c=0.0003),
)


def test_measured_parts_are_believed_and_others_follow_the_fit() -> None:
    graph = chain()
    times = Times(profile_of({1: ONE}), graph)
    first, last = cut_at(graph, "@input"), cut_at(graph, "@output")
    assert times.part_s(first, last) == 0.022
    assert times.part_s(first, cut_at(graph, "t2")) == 0.0041
    assert times.part_s(cut_at(graph, "t2"), last) == 0.0191
    megabytes = graph.tensors["t3"].bytes / 1e6
    assert times.part_s(first, cut_at(graph, "t3")) == pytest.approx(1.1 * 0.006 + 0.002 * megabytes + 0.0005)
    assert times.part_s(cut_at(graph, "t3"), last) == pytest.approx(1.2 * 0.015 + 0.001 * megabytes + 0.0003)
    assert times.part_s(last, last) == 0.0


def test_slowdown_and_load_multiply_everything() -> None:
    graph = chain()
    slow = Times(profile_of({1: ONE}, slowdown=3.0), graph, factor=2.0)
    plain = Times(profile_of({1: ONE}), graph)
    first, last = cut_at(graph, "@input"), cut_at(graph, "@output")
    assert slow.part_s(first, last) == pytest.approx(6 * plain.part_s(first, last))
    assert slow.nodes_s()[2] == pytest.approx(6 * plain.nodes_s()[2])
    assert slow.codec_s("int8", 1000, encode=True) == pytest.approx(6 * (1e-3 + 1e-3))
    assert slow.codec_s("int8", 1000, encode=False) == pytest.approx(6 * (1e-3 + 2e-3))
    assert slow.codec_s("never timed", 1000, encode=True) == 0.0


def test_additive_times_are_plain_sums() -> None:
    graph = chain()
    times = Times(profile_of({1: ONE}), graph, additive=True)
    first = cut_at(graph, "@input")
    assert times.part_s(first, cut_at(graph, "t2")) == pytest.approx(0.003)
    assert times.part_s(first, cut_at(graph, "@output")) == pytest.approx(sum(times.nodes_s()))


@pytest.mark.parametrize(("batch", "wanted"), [(1, 0.022), (2, 0.044), (3, 0.066), (4, 0.088), (8, 0.176)])
def test_batches_between_are_interpolated_and_beyond_in_proportion(batch: int, wanted: float) -> None:
    four = ONE.model_copy(update={"whole": timing(0.088)})
    graph = chain(batch)
    times = Times(profile_of({1: ONE, 4: four}), graph)
    assert times.part_s(cut_at(graph, "@input"), cut_at(graph, "@output")) == pytest.approx(wanted)


def test_of_a_machine_that_rested_the_median_counts() -> None:
    graph = chain()
    spread = ONE.model_copy(update={"whole": Timing(low_s=0.02, median_s=0.03, high_s=0.05, runs=8)})
    whole = cut_at(graph, "@input"), cut_at(graph, "@output")
    assert Times(profile_of({1: spread}), graph).part_s(*whole) == pytest.approx(0.02)
    rested = profile_of({1: spread}).model_copy(update={"rest_s": 0.01})
    assert Times(rested, graph).part_s(*whole) == pytest.approx(0.03)


def test_a_profile_without_a_batch_says_so() -> None:
    graph = chain()
    with pytest.raises(BadInput, match="holds no batch size"):
        Times(profile_of({}), graph).part_s(cut_at(graph, "@input"), cut_at(graph, "@output"))


def test_the_fit_finds_the_three_numbers_and_leaves_the_noise_as_its_error() -> None:
    graph = chain(size=30)
    rng = np.random.default_rng(0)
    nodes = {f"t{i + 1}": float(s) for i, s in enumerate(rng.uniform(0.001, 0.003, 30))}
    cuts = [cut_at(graph, f"t{i}") for i in range(1, 30)]

    def timings(noise: float) -> dict[str, float]:
        found = {}
        for cut in cuts:
            total = sum(nodes[graph.nodes[i].name] for i in cut.head)
            seconds = 1.3 * total + 0.004 * graph.tensors[cut.id].bytes / 1e6 + 0.0007
            found[cut.id] = seconds * (1 + noise * float(rng.standard_normal()))
        return found

    exact = fit_parts(graph, cuts, timings(0.0), nodes, heads=True)
    assert (exact.a, exact.b, exact.c) == pytest.approx((1.3, 0.004, 0.0007), rel=1e-6)
    assert exact.error < 1e-9
    noisy = fit_parts(graph, cuts, timings(0.05), nodes, heads=True)
    assert 0.01 < noisy.error < 0.1
    tails = fit_parts(graph, cuts, timings(0.0), nodes, heads=False)
    assert tails.error > 0.05, "head times cannot be explained by the nodes of the tails"


def test_too_few_measured_parts_scale_the_node_sums_only() -> None:
    graph = chain()
    cuts = [cut_at(graph, "t2"), cut_at(graph, "t4")]
    found = fit_parts(graph, cuts, {"t2": 0.006, "t4": 0.020}, NODES, heads=True)
    assert (found.a, found.b, found.c) == pytest.approx((2.0, 0.0, 0.0))
    assert fit_parts(graph, cuts, {}, NODES, heads=True) == Fit()


def test_a_fused_node_takes_the_time_of_all_that_is_in_it() -> None:
    graph = chain()
    rest = Node("t3", "Op", ("t0",), ("t3",), parts=("t1", "t2", "t3"))
    fused = replace(graph, nodes=(rest, *graph.nodes[3:]))
    for additive in (True, False):
        plain, found = (Times(profile_of({1: ONE}), g, additive=additive) for g in (graph, fused))
        assert found.nodes_s()[0] == pytest.approx(sum(plain.nodes_s()[:3]))
        for end in ("t3", "t4"):
            parts = [t.part_s(cut_at(t.graph, "@input"), cut_at(t.graph, end)) for t in (plain, found)]
            assert parts[0] == pytest.approx(parts[1])
