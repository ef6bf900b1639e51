"""Measuring for real on a small network: complete, resumable, readable."""

from __future__ import annotations

import os
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from isthmus.codec import Codec, make_codec
from isthmus.engine import Engine
from isthmus.errors import BadInput
from isthmus.files import read_json, write_json
from isthmus.graph import INPUT, OUTPUT, at_exit, cut_at, graph_of, narrow_cuts
from isthmus.model import load_model
from isthmus.profile import Profile, Times
from isthmus.profile.accuracy import measure_accuracy
from isthmus.profile.calibrate import calibrate
from isthmus.profile.measure import Measuring, measure, measure_codecs, time_in_turns, timing_of
from isthmus.profile.samples import Samples, load_samples
from isthmus.profile.types import Timing


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return Engine.open(load_model("zoo:tiny"), cache_dir=tmp_path_factory.mktemp("cache"))


def test_everything_that_is_ready_is_measured_and_the_file_reads_back(engine: Engine, tmp_path: Path) -> None:
    told = []
    how = Measuring(batches=(1, 3), runs=2, codecs=("float32", "int8"), machine="here")
    found = measure(engine, how, taken="2026", clock=time.perf_counter, progress=lambda *a: told.append(a))
    inner = {c.id for c in engine.cuts} - {"@input", "@output"}
    assert inner
    for batch in (1, 3):
        part = found.batches[batch]
        assert set(part.heads) == set(part.tails) == inner
        assert 0 < part.whole.low_s <= part.whole.median_s <= part.whole.high_s
        assert set(part.nodes) == {n.name for n in engine.graph.nodes}
    assert found.complete
    assert set(found.codecs) == {"float32", "int8"}
    assert told[-1][0] == told[-1][1]
    assert [t[0] for t in told] == sorted(t[0] for t in told)
    write_json(tmp_path / "p.json", found)
    assert read_json(tmp_path / "p.json", Profile) == found


def test_only_the_cuts_asked_for_are_measured_ready_or_not(engine: Engine) -> None:
    narrow = [c.id for c in narrow_cuts(engine.graph) if c.id not in (INPUT, OUTPUT)]
    unready = next(name for name in narrow if name not in engine.safe)
    how = Measuring(runs=1, codecs=(), cuts=(unready, INPUT, OUTPUT))
    part = measure(engine, how, taken="2026", clock=time.perf_counter).batches[1]
    assert set(part.heads) == set(part.tails) == {unready}
    with pytest.raises(BadInput, match="no tensor 'nowhere'"):
        measure(engine, Measuring(cuts=("nowhere",)), taken="2026", clock=time.perf_counter)


def test_every_exit_is_measured_and_goes_on_where_it_stopped() -> None:
    engine = Engine.open(load_model("zoo:digits"))
    how = Measuring(batches=(1, 2), runs=2, codecs=(), exits=True)
    saved: list[Profile] = []
    found = measure(engine, how, taken="2026", clock=time.perf_counter, checkpoint=saved.append)
    assert list(found.exits) == list(engine.graph.outputs)
    for output, batches in found.exits.items():
        part = engine.at_exit(output)
        for size, batch in batches.items():
            assert set(batch.heads) == {c.id for c in part.cuts} - {INPUT, OUTPUT}
            assert set(batch.nodes) == {n.name for n in part.graph.nodes}
            assert batch.whole.low_s > 0
            assert batch.raw is None
            times = Times(found.at_exit(output, batch.nodes), at_exit(graph_of(engine.model, size), output))
            assert times.part_s(cut_at(times.graph, INPUT), cut_at(times.graph, OUTPUT)) == batch.whole.low_s
    half = next(p for p in saved if list(p.exits) == list(engine.graph.outputs[:2]))
    again = measure(engine, how, taken="2026", clock=time.perf_counter, resume=half)
    assert again.exits[engine.graph.outputs[0]] == half.exits[engine.graph.outputs[0]]
    assert set(again.exits[engine.graph.outputs[2]]) == {1, 2}


def test_an_interrupted_profile_goes_on_where_it_stopped(engine: Engine) -> None:
    how = Measuring(runs=3, codecs=())
    saved: list[Profile] = []

    class StoppedError(Exception):
        pass

    def checkpoint(profile: Profile) -> None:
        saved.append(profile)
        if len(saved) == 2:
            raise StoppedError

    with pytest.raises(StoppedError):
        measure(engine, how, taken="1", clock=time.perf_counter, checkpoint=checkpoint)
    half = Profile.model_validate_json(saved[-1].model_dump_json())
    assert not half.complete
    raw = half.batches[1].raw
    assert raw is not None
    assert len(raw.whole) == 2

    later: list[Profile] = []
    resumed = measure(engine, how, taken="2", clock=time.perf_counter, resume=half, checkpoint=later.append)
    assert resumed.complete
    assert resumed.taken == "1"
    assert resumed.batches[1].raw is None
    went_on = later[0].batches[1].raw
    assert went_on is not None
    assert len(went_on.whole) == 3
    assert went_on.whole[:2] == raw.whole, "what was measured is kept"
    again = measure(engine, how, taken="3", clock=time.perf_counter, resume=resumed)
    assert again.batches == resumed.batches, "a complete profile is not measured again"


def test_a_machine_that_rests_does_so_before_every_part(engine: Engine) -> None:
    """One round: the whole, a head and a tail at each cut; five runs each of writing and reading in two sizes."""
    rests: list[float] = []
    how = Measuring(runs=1, codecs=("int8",), rest_s=0.007)
    found = measure(engine, how, taken="1", clock=time.perf_counter, sleep=rests.append)
    assert rests == [0.007] * (1 + 2 * (len(engine.cuts) - 2) + 2 * 2 * 5)
    assert found.rest_s == 0.007
    timing = Timing(low_s=1.0, median_s=2.0, high_s=3.0, runs=3)
    assert found.typical_s(timing) == 2.0
    assert measure(engine, Measuring(runs=1, codecs=()), taken="1", clock=time.perf_counter).typical_s(timing) == 1.0
    with pytest.raises(BadInput, match=r"another rest"):
        measure(engine, Measuring(runs=1, codecs=()), taken="1", clock=time.perf_counter, resume=found)
    with pytest.raises(BadInput, match=r"0 to 60 s, not 61"):
        Measuring(rest_s=61)


def test_the_whole_network_is_timed_all_through_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is slow for some parts at the start of every round: once a round, the whole would always meet
    that."""
    monkeypatch.setattr("isthmus.profile.measure._CUTS_A_WHOLE", 2)
    engine = Engine.open(load_model("zoo:digits"))
    cuts = len(engine.cuts) - 2
    wholes = -(-cuts // 2)
    assert wholes >= 3
    round_parts, asked, now = wholes + 2 * cuts, [0], [0.0]

    def clock() -> float:
        part, ended = divmod(asked[0], 2)
        asked[0] += 1
        now[0] += ended * (2.0 if part % round_parts < 2 else 1.0)
        return now[0]

    part = measure(engine, Measuring(runs=3, codecs=()), taken="1", clock=clock).batches[1]
    assert part.whole.runs == 3 * wholes
    assert (part.whole.median_s, part.whole.low_s) == (1.0, 1.0)
    assert {t.runs for t in (*part.heads.values(), *part.tails.values())} == {3}


def test_picture_codecs_are_timed_on_pictures() -> None:
    pytest.importorskip("PIL")
    found = measure_codecs(("jpeg:90", "int8"), 1, time.perf_counter)
    assert found["jpeg:90"].encode_s_per_element > found["int8"].encode_s_per_element > 0
    assert found["jpeg:90"].decode_s_per_element > 0


def test_a_profile_of_something_else_is_not_resumed(engine: Engine) -> None:
    other = measure(engine, Measuring(runs=1, codecs=()), taken="1", clock=time.perf_counter)
    other = other.model_copy(update={"fingerprint": "0" * 64})
    with pytest.raises(BadInput, match="another model"):
        measure(engine, Measuring(runs=1), taken="2", clock=time.perf_counter, resume=other)


@pytest.mark.parametrize("wrong", [{"batches": (0,)}, {"batches": ()}, {"runs": 0}, {"slowdown": float("nan")}])
def test_absurd_measuring_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(BadInput):
        Measuring(**wrong)  # type: ignore[arg-type]


def test_the_low_quantile_is_the_fastest_fifth() -> None:
    found = timing_of([5.0, 1.0, 4.0, 2.0, 3.0, 9.0, 9.0, 9.0, 9.0, 9.0])
    assert (found.low_s, found.median_s, found.runs) == (1.5, 7.0, 10)


def test_calls_in_turns_meet_the_same_machine() -> None:
    """A machine that slows down from round to round: one call after the other would compare two machines."""
    now, order, slow = [0.0], [], iter(range(1, 100))

    def call(name: str, seconds: float) -> None:
        order.append(name)
        now[0] += seconds * (2.0 ** (len(order) // 2))

    calls = [lambda: call("few", 3.0), lambda: call("many", 6.0)]
    few, many = time_in_turns(calls, 4, lambda: now[0], lambda: order.append(f"rest {next(slow)}"))
    assert order[:2] == ["few", "many"]
    assert order[2:] == [entry for k in range(4) for entry in (f"rest {2 * k + 1}", "few", f"rest {2 * k + 2}", "many")]
    assert few.runs == many.runs == 4
    assert 2 <= many.median_s / few.median_s <= 4 < few.high_s / few.low_s


def digits() -> tuple[Engine, Samples]:
    from isthmus.model.zoo import digits_test

    engine = Engine.open(load_model("zoo:digits"))
    images, labels = digits_test()
    return engine, Samples({engine.model.inputs[0].name: images}, labels)


def test_accuracy_of_codecs_on_the_trained_digits_network() -> None:
    engine, samples = digits()
    cut = [c for c in engine.cuts if c.id in engine.safe][-1]
    clips = calibrate(engine, samples.part(0, 100), engine.cuts)
    assert set(cut.crossing) <= set(clips)

    def codec(_cut: str, tensor: str, name: str) -> Codec:
        return make_codec(name, clips.get(tensor) if name == "int4" else None)

    names = ["float32", "int8", "int4", "int2", "int3+huffman"]
    rows = {r.codec: r for r in measure_accuracy(engine, samples, [(cut.id, n) for n in names], codec)}
    assert rows["float32"].loss == 0.0
    assert rows["float32"].score > 0.95
    assert rows["int8"].loss <= 0.01
    assert rows["int4"].loss <= 0.05
    assert all(r.labelled and r.samples == len(samples) for r in rows.values())
    values = sum(engine.graph.tensors[t].elements for t in cut.crossing)
    assert rows["float32"].sample_bytes == 4 * values
    assert rows["int4"].sample_bytes == pytest.approx(values / 2, rel=0.01)
    assert (rows["int3+huffman"].sample_bytes or 0) < 3 * values / 8


def test_without_labels_agreement_with_the_whole_model_is_scored() -> None:
    engine, samples = digits()
    bare = Samples(samples.inputs).part(0, 64)
    (row,) = measure_accuracy(engine, bare, [(OUTPUT, "float32")], lambda *_: make_codec("float32"))
    assert (row.score, row.labelled) == (1.0, False)


def test_samples_from_a_file_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model("zoo:tiny")
    x = np.zeros((4, 1, 8, 8), np.float32)
    name = model.inputs[0].name
    path = tmp_path / "s.npz"
    np.savez(path, **{name: x, "labels": np.arange(4)})  # type: ignore[arg-type]
    assert len(load_samples(path, model)) == 4
    wrongs: list[dict[str, np.ndarray]] = [
        {name: x[:, :, :4]},
        {name: x.astype(np.float64)},
        {name: x.astype(">f4")},
        {"y": x},
        {name: x, "labels": np.zeros(3, int)},
    ]
    for wrong in wrongs:
        np.savez(path, **wrong)  # type: ignore[arg-type]
        with pytest.raises(BadInput):
            load_samples(path, model)
    for labels in (np.zeros((4, 2), int), np.array(3), np.zeros(4), np.zeros(3, int)):
        np.savez(path, **{name: x, "labels": labels})  # type: ignore[arg-type]
        with pytest.raises(BadInput, match=r"labels must be whole numbers, one a sample: \(4,\), not"):
            load_samples(path, model)
    for nothing in (np.nan, np.inf):
        x[2, 0, 0, 0] = nothing
        np.savez(path, **{name: x})  # type: ignore[arg-type]
        with pytest.raises(BadInput, match="holds values that are no numbers or infinite; leave those samples out"):
            load_samples(path, model)
    np.savez(path, **{name: np.array([object()])}, allow_pickle=True)
    with pytest.raises(BadInput, match=r"cannot read samples from .*: it holds something else than whole arrays"):
        load_samples(path, model)
    monkeypatch.setattr("isthmus.profile.samples.MAX_SAMPLE_BYTES", 1_000_000)
    np.savez_compressed(path, **{name: np.zeros((10_000, 1, 8, 8), np.float32)})  # type: ignore[arg-type]
    assert path.stat().st_size < 10_000
    with pytest.raises(BadInput, match="holds more than 1000000 bytes"):
        load_samples(path, model)


@pytest.mark.parametrize("shape", ["(10000000000000000000000000000000, 1)", "(1000000000000000, 1, 8, 8)", "()"])
def test_an_array_that_lies_about_its_shape_is_refused(shape: str, tmp_path: Path) -> None:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(4)
    for name, held in (("input.npy", content), ("input", b"no array")):
        with zipfile.ZipFile(tmp_path / "s.npz", "w") as archive:
            archive.writestr(name, held)
        with pytest.raises(BadInput, match="it holds something else than whole arrays"):
            load_samples(tmp_path / "s.npz", load_model("zoo:tiny"))


def test_a_pipe_is_not_read_to_an_end_it_may_not_have(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "s.npz")
    with pytest.raises(BadInput, match=r"s\.npz: it is no file"):
        load_samples(tmp_path / "s.npz", load_model("zoo:tiny"))


@pytest.mark.parametrize("kind", ["array", "text", "zip"])
def test_a_file_that_holds_no_named_arrays_says_how_to_make_one(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "s.npz"
    if kind == "array":
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    else:
        path.write_bytes(b"PK nonsense" if kind == "zip" else b"1,2,3")
    with pytest.raises(BadInput, match=r"s.npz is no .npz file; numpy.savez\(file, input=…\) makes one"):
        load_samples(path, load_model("zoo:tiny"))
