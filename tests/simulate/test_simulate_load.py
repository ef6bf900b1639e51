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
