"""A server's load from a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from isthmus.errors import BadInput
from isthmus.simulate import Others, load, read_load


def test_a_load_keeps_the_clock_of_its_file_and_is_1_before(tmp_path: Path) -> None:
    file = tmp_path / "load.txt"
    file.write_text("10 4\n20 2\n")
    read = read_load(file)
    assert [read.at(t_s) for t_s in (0, 9.9, 10, 12, 25)] == [1, 1, 4, 4, 2]
    file.write_text("0 3\n5 2\n")
    assert [read_load(file).at(t_s) for t_s in (0, 6)] == [3, 2]


def test_a_load_that_repeats_does_so_by_the_steps_of_its_file(tmp_path: Path) -> None:
    """Not by the time before its first line."""
    file = tmp_path / "load.txt"
    file.write_text("100 2\n101 3\n")
    read = read_load(file, loop=True)
    assert [read.at(t_s) for t_s in (99.5, 100.5, 101.5, 102.5, 202.5)] == [1, 2, 3, 1, 2]


def test_others_are_drawn_up_to_a_limit_and_then_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A moment far off, or very many of them, takes no more memory; and they wait there as long as anywhere."""
    monkeypatch.setattr(load, "_MOST", 4 * 4096, raising=False)
    others = Others(8.0, 0.1, seed=3)
    near_s = np.linspace(500, 1500, 5001)
    first = others.wait_s(near_s)
    far = others.wait_s(np.linspace(2e4, 5e4, 20_001))
    times, _ = others._until(1e9)
    assert times.size == 4 * 4096
    assert 0.17 < far.mean() < 0.23  # the mean wait of the queue M/D/1: 0.2 s
    assert np.allclose(others.wait_s(near_s + 7 * times[-1]), first, atol=1e-6)
    assert others.wait_s(near_s).tolist() == first.tolist()
    assert Others(1e9, 1e-10).wait_s(np.array([1e12, np.inf])).tolist()[1] == np.inf


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("5 1e10", r"load.txt holds no load: a load factor is a number from 1e-06 to 1e\+06 \(.*\), not 1e\+10"),
        ("5 1e-300", r"load.txt holds no load: a load factor is a number from 1e-06 to 1e\+06 \(.*\), not 1e-300"),
        ("5", r"load.txt cannot be read as two columns: line 2 has 1 values instead of two"),
    ],
)
def test_a_load_that_is_none_is_refused_by_file_and_range(tmp_path: Path, line: str, said: str) -> None:
    file = tmp_path / "load.txt"
    file.write_text(f"0 1\n{line}\n")
    with pytest.raises(BadInput, match=said):
        read_load(file)
