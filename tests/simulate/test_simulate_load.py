"""A server's load from a file."""

from __future__ import annotations

from pathlib import Path

from isthmus.simulate import read_load


def test_a_load_keeps_the_clock_of_its_file_and_is_1_before(tmp_path: Path) -> None:
    file = tmp_path / "load.txt"
    file.write_text("10 4\n20 2\n")
    load = read_load(file)
    assert [load.at(t_s) for t_s in (0, 9.9, 10, 12, 25)] == [1, 1, 4, 4, 2]
    file.write_text("0 3\n5 2\n")
    assert [read_load(file).at(t_s) for t_s in (0, 6)] == [3, 2]


def test_a_load_that_repeats_does_so_by_the_steps_of_its_file(tmp_path: Path) -> None:
    """Not by the time before its first line."""
    file = tmp_path / "load.txt"
    file.write_text("100 2\n101 3\n")
    load = read_load(file, loop=True)
    assert [load.at(t_s) for t_s in (99.5, 100.5, 101.5, 102.5, 202.5)] == [1, 2, 3, 1, 2]
