"""Opening an engine and what it refuses: inputs, threads, slow-downs, models without weights; exits; lifetime."""

from __future__ import annotations

import gc
import re
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_nets import WITH_EXITS, WITH_INPUT, convolutions
from numpy.typing import NDArray

from isthmus.engine import RUNTIME, Engine, FewBits, PackedParts, SlowDown, profile_clock, wait_s
from isthmus.engine.slow import work_clock
from isthmus.errors import BadInput, BadModel
from isthmus.graph import INPUT, OUTPUT
from isthmus.model import load_model


@pytest.fixture(scope="module")
def exits(cache_dir: Path) -> Engine:
    return Engine.open(convolutions(exits=WITH_EXITS), cache_dir=cache_dir)


def test_what_an_engine_says_about_itself(exits: Engine) -> None:
    model = convolutions(exits=WITH_EXITS)
    assert exits.model.fingerprint == model.fingerprint
    assert exits.model.inputs == model.inputs
    assert exits.runtime == RUNTIME
    assert exits.threads == 1
    assert (exits.cuts[0].id, exits.cuts[-1].id) == (INPUT, OUTPUT)
    assert [c.id for c in exits.cuts[1:-1] if c.id not in exits.safe] == []
    sizes = [len(c.head) for c in exits.cuts]
    assert sizes == sorted(sizes)


def test_outputs_are_made_where_they_belong(exits: Engine) -> None:
    """An exit before the cut comes with the head; one that hangs off the crossing tensor with the tail."""
    inputs = exits.model.random_inputs(2)
    whole = exits.whole(inputs)
    assert set(whole) == {"logits", "early", "side"}
    assert exits.head(INPUT, inputs).keys() == {"x"}
    assert exits.head(OUTPUT, inputs).keys() == whole.keys()
    assert exits.tail(OUTPUT, {}) == {}
    places = {"r0": ({"r0"}, {"early", "side", "logits"}), "r2": ({"r2", "early", "side"}, {"logits"})}
    for cut_id, (in_head, in_tail) in places.items():
        head = exits.head(cut_id, inputs)
        tail = exits.tail(cut_id, head)
        assert set(head) == in_head
        assert set(tail) == in_tail
        for name, value in whole.items():
            np.testing.assert_array_equal({**head, **tail}[name], value)


def test_an_exit_can_be_forced_into_the_head(exits: Engine) -> None:
    inputs = exits.model.random_inputs()
    head = exits.head("r0!early", inputs)
    tail = exits.tail("r0!early", {"r0": head["r0"]})
    assert head.keys() == {"r0", "early"}
    assert tail.keys() == {"side", "logits"}
    for name, value in exits.whole(inputs).items():
        np.testing.assert_allclose(floats({**head, **tail}[name]), floats(value), atol=1e-5)


def test_a_network_input_may_cross_as_well(cache_dir: Path) -> None:
    engine = Engine.open(convolutions(exits=WITH_INPUT), cache_dir=cache_dir)
    inputs = engine.model.random_inputs()
    head = engine.head("x+r1", inputs)
    assert head.keys() == {"x", "r1"}
    np.testing.assert_array_equal(head["x"], inputs["x"])
    tail = engine.tail("x+r1", head)
    for name, value in engine.whole(inputs).items():
        np.testing.assert_allclose(floats(tail[name]), floats(value), atol=1e-5)


def floats(array: Any) -> NDArray[np.float64]:
    return np.asarray(array, np.float64)


good = np.zeros((2, 3, 12, 12), np.float32)


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ({}, "takes x; it was given no x"),
        ({"x": good, "y": good}, "it was given y, which it does not take"),
        ({"x": good.astype(np.float64)}, "x must be float32, not float64"),
        ({"x": good[0]}, "x must be 1×3×12×12, not 3×12×12"),
        ({"x": good[:, :2]}, "x must be 2×3×12×12, not 2×2×12×12"),
        ({"x": good[:0]}, "x must be 1×3×12×12, not 0×3×12×12"),
        ({"x": good.tolist()}, "x must be a numpy array, not list"),
        ({"x": np.ma.array(good)}, "x must not be masked"),
        ({"x": good.astype(">f4")}, "x must be float32, not byte-swapped float32"),
    ],
)
def test_wrong_inputs_are_refused_in_one_sentence(inputs: dict[str, Any], says: str, exits: Engine) -> None:
    for run in (exits.whole, lambda x: exits.head("r0", x), lambda x: exits.tail(INPUT, x)):
        with pytest.raises(BadInput, match=says) as caught:
            run(inputs)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({"r1": np.zeros((1, 16, 12, 12), np.float32)}, "takes r0; it was given no r0"),
        ({"r0": np.zeros((1, 16, 12, 11), np.float32)}, "r0 must be 1×16×12×12"),
        ({"r0": np.zeros((1, 16, 12, 12), np.int8)}, "r0 must be float32, not int8"),
        ({"r0": np.zeros((1, 16, 12, 12), ">f4")}, "r0 must be float32, not byte-swapped float32"),
    ],
)
def test_wrong_crossing_tensors_are_refused(tensors: dict[str, Any], says: str, exits: Engine) -> None:
    with pytest.raises(BadInput, match=says):
        exits.tail("r0", tensors)


def test_a_fixed_batch_is_kept(cache_dir: Path) -> None:
    engine = Engine.open(convolutions(batch=4), cache_dir=cache_dir)
    inputs = engine.model.random_inputs()
    assert inputs["x"].shape[0] == 4
    np.testing.assert_array_equal(
        engine.tail("r1", engine.head("r1", inputs))["logits"], engine.whole(inputs)["logits"]
    )
    with pytest.raises(BadInput, match="x must be 4×3×12×12, not 1×3×12×12"):
        engine.whole({"x": good[:1]})


def test_what_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    model = convolutions()
    for wrong in (0.5, float("nan"), float("inf"), -1.0):
        with pytest.raises(BadInput, match="slow-down"):
            Engine.open(model, cache_dir=tmp_path, slowdown=wrong)
    for threads in (0, 1.5, "2", None, True):
        count: Any = threads
        with pytest.raises(BadInput, match=f"^{threads!r} threads cannot compute; give 1 to 1024$"):
            Engine.open(model, cache_dir=tmp_path, threads=count)
        with pytest.raises(BadInput, match=f"^{threads!r} threads cannot compute; give 1 to 1024$"):
            FewBits(model, PackedParts({}, together=False), threads=count)
    for cuts in ("r1", None, 3, [3], b"r1"):
        some: Any = cuts
        with pytest.raises(BadInput, match=f"'safe', 'none' or a list of their ids, not {re.escape(repr(cuts))}$"):
            Engine.open(model, cache_dir=tmp_path, cuts=some)
    with pytest.raises(BadModel, match="load it with weights"):
        Engine.open(load_model("zoo:tiny", weights=False), cache_dir=tmp_path)
    with pytest.raises(BadInput, match="no tensor 'nowhere'"):
        Engine.open(model, cache_dir=tmp_path, cuts=["nowhere"])


def test_a_declared_slow_down_waits_in_proportion() -> None:
    waited: list[float] = []
    times = iter([10.0, 10.25])
    slow = SlowDown(5.0, wait=waited.append, clock=lambda: next(times))
    assert slow.run(lambda: "made") == "made"
    assert waited == [1.0]


def test_every_run_of_a_slow_engine_waits(cache_dir: Path) -> None:
    waited: list[float] = []
    engine = Engine.open(convolutions(), cache_dir=cache_dir, slowdown=3.0, wait=waited.append)
    inputs = engine.model.random_inputs()
    head = engine.head("r1", inputs)
    engine.tail("r1", head)
    engine.whole(inputs)
    assert len(waited) == 3
    assert min(waited) > 0
    assert engine.slowdown == 3.0


def test_an_interruption_is_not_multiplied() -> None:
    """A run that sleeps for 20 ms has hardly computed; with several threads nobody can tell, and all of it counts."""
    waited: list[float] = []
    for threads in (1, 2):
        SlowDown(100.0, wait=waited.append, clock=work_clock(threads)).run(lambda: time.sleep(0.02))
    if time.get_clock_info("thread_time").resolution <= 1e-6:
        assert waited[0] < 99 * 0.02
    assert waited[1] >= 99 * 0.02


def test_waiting_lasts_at_least_as_long_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 0.5, 0.9, 1.1])
    slept: list[float] = []
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    monkeypatch.setattr("time.sleep", slept.append)
    wait_s(1.0)
    assert slept == [pytest.approx(1.0, abs=1e-3)]
    assert slept[0] < 1.0
    assert next(clock, None) is None, "it looked at the clock until the time was over"


def test_nothing_that_ran_depends_on_what_was_dropped(tmp_path: Path) -> None:
    """Sessions hold their pages: the model, the caller's arrays and the cache files may go."""
    model = convolutions(32)
    engine = Engine.open(model, cache_dir=tmp_path)
    inputs = model.random_inputs(2)
    wanted = {k: v.copy() for k, v in engine.whole(inputs).items()}
    ends = {c: {k: v.copy() for k, v in engine.head(c, inputs).items()} for c in engine.safe}
    del model
    shutil.rmtree(tmp_path)
    gc.collect()
    garbage = [np.full(1 << 20, 7, np.float32) for _ in range(8)]
    for cut_id, head in ends.items():
        np.testing.assert_array_equal(engine.tail(cut_id, head)["logits"], wanted["logits"])
    results = engine.whole(inputs)
    del engine, garbage
    gc.collect()
    np.testing.assert_array_equal(results["logits"], wanted["logits"])


def in_threads(count: int, work: Callable[[], None]) -> list[Exception]:
    failed: list[Exception] = []

    def guarded() -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001  (handed to the main thread)
            failed.append(error)

    threads = [threading.Thread(target=guarded) for _ in range(count)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return failed


def test_several_threads_at_once(cache_dir: Path) -> None:
    engine = Engine.open(convolutions(), cache_dir=cache_dir, cuts="none")
    inputs = engine.model.random_inputs()
    wanted = engine.whole(inputs)["logits"]

    def work() -> None:
        for cut_id in [*engine.safe, "a2", "c1"]:
            head = engine.head(cut_id, inputs)
            np.testing.assert_allclose(floats(engine.tail(cut_id, head)["logits"]), floats(wanted), atol=1e-5)

    assert in_threads(4, work) == []


def test_only_the_last_pairs_built_on_demand_stay(cache_dir: Path) -> None:
    engine = Engine.open(convolutions(), cache_dir=cache_dir)
    made = {i: engine.halves(i) for i in ("c0", "c1", "a2", "c3")}
    assert engine.halves("c0") is made["c0"]
    engine.halves("r1+c2")
    assert engine.halves("c0") is made["c0"], "used last but one: it stays"
    assert engine.halves("c1") is not made["c1"], "used longest ago: it was let go"


def test_a_profile_of_a_declared_slow_machine_is_taken_by_what_is_multiplied() -> None:
    assert profile_clock(1.0, 1) is time.perf_counter
    for threads in (1, 2):
        assert profile_clock(5.0, threads) is work_clock(threads)
