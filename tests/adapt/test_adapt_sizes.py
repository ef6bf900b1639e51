"""A table for every batch size: the right one prices, learns and remembers."""

from __future__ import annotations

import numpy as np
import pytest

from isthmus.adapt import Habits, TableChooser
from isthmus.adapt.sizes import Sizes
from isthmus.errors import BadInput
from isthmus.graph.types import INPUT, OUTPUT
from isthmus.link.types import Link
from isthmus.plan.cost import CostTable
from isthmus.record.types import Evidence, Seconds, Step


def table(device_s: tuple[float, ...], server_s: tuple[float, ...], up_kb: tuple[float, ...]) -> CostTable:
    up = np.array(up_kb) * 1e3
    return CostTable(
        cuts=(INPUT, "middle", OUTPUT),
        codecs=("float32",) * 3,
        device_s=np.array(device_s),
        server_s=np.array(server_s),
        up_bytes=up,
        down_bytes=np.where(up > 0, 100.0, 0.0),
        link=Link(16e6, 16e6, 0.001),
    )


ONE = table((0, 0.02, 0.1), (0.02, 0.01, 0), (200, 50, 0))
FOUR = table((0, 0.07, 0.16), (0.03, 0.02, 0), (800, 200, 0))
"""Dearer to send, cheaper a sample to compute: at 16 Mbit/s the middle wins for one, the device for four."""


def step(batch: int, cut: str, *, head: float, server_s: float | None = None, local: float = 0.0) -> Step:
    return Step(
        id=0,
        t_s=0.0,
        ran="device" if cut == OUTPUT else "split",
        cut=cut,
        codec="float32",
        batch=batch,
        seconds=Seconds(total=0.1, head=head, local=local),
        evidence=Evidence(server_s=server_s),
    )


def test_each_batch_size_is_priced_by_its_own_table() -> None:
    chooser = TableChooser({1: ONE, 4: FOUR})
    for batch, priced, cut in ((1, ONE, "middle"), (4, FOUR, OUTPUT), (1, ONE, "middle")):
        choice = chooser.choose(0.0, batch)
        assert choice.cut == cut
        assert choice.predicted_s == pytest.approx(priced.latency_s(16e6, 16e6, 0.001).min())


def test_a_batch_without_a_table_is_in_proportion_to_the_nearest_below() -> None:
    sizes = Sizes({4: FOUR, 16: FOUR})
    assert sizes.at(6).table.latency_s(16e6, 16e6, 0.0) == pytest.approx(1.5 * FOUR.latency_s(16e6, 16e6, 0.0))
    assert sizes.at(1).table.up_bytes == pytest.approx(FOUR.up_bytes / 4)  # nothing below: the least
    assert sizes.at(32).table.device_s == pytest.approx(2 * FOUR.device_s)
    assert sizes.at(6) is sizes.at(6)
    for batch in range(17, 200):  # what is made is bounded, and still right
        assert sizes.at(batch).table.server_s == pytest.approx(batch / 16 * FOUR.server_s)


def test_loads_are_learnt_from_the_table_of_the_batch() -> None:
    """A batch of four takes what its table says: nobody is slow. The same seconds for one sample are a load."""
    at_rest = TableChooser({1: ONE, 4: FOUR})
    for _ in range(5):
        at_rest.observe(step(4, "middle", head=0.07, server_s=0.02))
    assert at_rest.beliefs[1] == pytest.approx(1.0)
    assert at_rest.choose(0.0, 1).predicted_s == pytest.approx(ONE.latency_s(16e6, 16e6, 0.001).min(), rel=0.01)
    loaded = TableChooser({1: ONE, 4: FOUR})
    for _ in range(5):
        loaded.observe(step(1, "middle", head=0.07, server_s=0.02))
    assert loaded.beliefs[1] == pytest.approx(2.0, rel=0.02)


def test_the_margin_compares_with_the_last_choice_of_the_same_batch() -> None:
    """Between two batch sizes in turn, each stays with its own cut; the other's is no reason to move."""
    chooser = TableChooser({1: ONE, 4: FOUR}, Habits(margin=0.3))
    chooser.choose(0.0, 1)
    chooser.choose(0.0, 4)
    cheaper = table((0, 0.02, 0.04), (0.02, 0.01, 0), (200, 50, 0))  # the device gains 28 % on the middle for one
    chooser._sizes.at(1).table = cheaper
    kept = chooser.choose(0.0, 1)
    assert kept.cut == "middle"
    assert "too little" in kept.why
    fresh = TableChooser({1: cheaper, 4: FOUR}, Habits(margin=0.3))
    fresh.choose(0.0, 4)
    assert fresh.choose(0.0, 1).cut == OUTPUT  # nothing was chosen for one before


def test_no_table_and_no_sample_are_refused() -> None:
    with pytest.raises(BadInput, match=r"at least one batch size"):
        TableChooser({})
    with pytest.raises(BadInput, match=r"from 1 up"):
        TableChooser({0: ONE})
    with pytest.raises(BadInput, match=r"at least 1 sample, not 0"):
        TableChooser(ONE).choose(0.0, 0)
