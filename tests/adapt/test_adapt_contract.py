"""What every chooser promises, whoever it is; and that the examples in the docstrings are true."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import isthmus.adapt
import isthmus.link
from isthmus.adapt import Fixed, Habits, TableChooser, always_device, always_server
from isthmus.graph.types import INPUT, OUTPUT
from isthmus.link.types import Link
from isthmus.plan.cost import CostTable
from isthmus.record.types import Choice, Chooser, Evidence, Seconds, Step


def table() -> CostTable:
    rng = np.random.default_rng(0)
    cuts = (INPUT, *(f"c{i}" for i in range(8)), OUTPUT)
    up = np.append(rng.uniform(1e4, 6e5, 9), 0.0)
    down = np.where(up > 0, 4e3, 0.0)
    work = np.linspace(0, 0.1, 10)
    return CostTable(cuts, ("int8",) * 10, work, 0.01 - work / 10, up, down, Link(1e7, 1e7, 0.01))


MAKERS: dict[str, Callable[[], Chooser]] = {
    "table": lambda: TableChooser(table()),
    "table with deadline": lambda: TableChooser(table(), Habits(deadline_s=0.05)),
    "device": always_device,
    "server": lambda: always_server("int8"),
    "fixed": lambda: Fixed(Choice(cut="c3", codec="int8")),
}
KNOWN = {(c, "int8") for c in table().cuts} | {(OUTPUT, "float32")}

evidence = st.builds(
    Evidence,
    up_bps=st.none() | st.floats(),
    rtt_s=st.none() | st.floats(),
    server_s=st.none() | st.floats(),
    queue_s=st.none() | st.floats(),
)
steps = st.builds(
    Step,
    kind=st.sampled_from(["request", "probe"]),
    id=st.integers(0, 9),
    t_s=st.floats(0, 100),
    ran=st.sampled_from(["device", "split", "server"]),
    cut=st.sampled_from([INPUT, OUTPUT, "c1", "never heard of"]),
    codec=st.sampled_from(["int8", "float32"]),
    seconds=st.builds(Seconds, total=st.floats(0, 2), head=st.floats(0, 2), local=st.floats(0, 2)),
    evidence=evidence,
    trouble=st.sampled_from(["", "", "late"]),
)


@pytest.mark.parametrize("name", MAKERS)
@given(history=st.lists(st.tuples(st.floats(0, 100), steps), max_size=12))
def test_any_history_leaves_a_chooser_able_to_choose(name: str, history: list[tuple[float, Step]]) -> None:
    """Nonsense as evidence, clocks that jump, cuts nobody knows: it answers, always with something that can run."""
    chooser: Chooser = MAKERS[name]()
    again: Chooser = MAKERS[name]()
    for now, step in history:
        choice = chooser.choose(now)
        assert (choice.cut, choice.codec) in KNOWN
        assert choice.predicted_s is None or 0 <= choice.predicted_s < float("inf")
        assert again.choose(now) == choice  # the same history, the same choice
        assert 0 <= chooser.probe_bytes(now) == again.probe_bytes(now) <= 1_000_000
        chooser.observe(step)
        again.observe(step)
        up_bps, load = chooser.beliefs
        assert up_bps is None or up_bps > 0
        assert load is None or load >= 0.2


@pytest.mark.parametrize("package", [isthmus.adapt, isthmus.link], ids=lambda p: p.__name__)
def test_the_examples_are_true(package: object) -> None:
    ran = 0
    name = package.__name__  # type: ignore[attr-defined]
    for module in pkgutil.iter_modules(package.__path__, name + "."):  # type: ignore[attr-defined]
        told = doctest.testmod(importlib.import_module(module.name))
        assert told.failed == 0, module.name
        ran += told.attempted
    assert ran >= 10


@pytest.mark.parametrize("module", ["isthmus.adapt", "isthmus.link"])
def test_importing_costs_no_heavy_library(module: str) -> None:
    heavy = "{'onnxruntime', 'grpc', 'torch', 'matplotlib', 'scipy', 'isthmus.run'} & set(sys.modules)"
    code = f"import sys, {module}; print(sorted({heavy}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("package", [isthmus.adapt, isthmus.link], ids=lambda p: p.__name__)
def test_public_names_exist_and_are_sorted(package: object) -> None:
    names = package.__all__  # type: ignore[attr-defined]
    assert names == sorted(names)
    assert all(hasattr(package, name) for name in names)
