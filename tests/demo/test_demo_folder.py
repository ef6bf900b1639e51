"""A demo replaces what a demo left, and nobody else's files."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Call

from isthmus.demo.folder import claim, clear
from isthmus.errors import BadInput


def test_what_a_demo_left_makes_way_and_the_rest_stays(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "demo"
    claim(folder)
    (folder / "bundle").mkdir()
    (folder / "bundle" / "manifest.json").touch()
    (folder / "report.html").touch()
    (folder / "notes.txt").touch()
    (tmp_path / "mine").mkdir()
    (folder / "journal.jsonl").symlink_to(tmp_path / "mine")
    claim(folder)
    clear(folder)
    assert sorted(p.name for p in folder.iterdir()) == [".isthmus-demo", "notes.txt"]
    assert (tmp_path / "mine").is_dir(), "where a link led to is left alone"


@pytest.mark.parametrize("name", ["bundle", "report.html", "thesis.txt"])
def test_files_that_no_demo_left_stop_it_before_it_begins(call: Call, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("mine")
    code, out, err = call("demo", "--out", tmp_path)
    assert code == 2
    assert "was not left by a demo" in " ".join(err.split())
    assert not out
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("words", "exits"),
    [(("--model", "zoo:nope"), 3), (("--codecs", "nope"), 2), (("--slowdown", "1e300"), 2)],
    ids=["model", "codecs", "slowdown"],
)
def test_what_cannot_be_run_costs_nothing(words: tuple[str, str], exits: int, call: Call, tmp_path: Path) -> None:
    claim(tmp_path)
    (tmp_path / "summary.json").touch()
    assert call("demo", "--out", tmp_path, *words)[0] == exits
    assert (tmp_path / "summary.json").exists()


@pytest.mark.parametrize("where", ["file", "file/below"])
def test_a_file_is_no_folder_for_it(where: str, call: Call, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, _, err = call("demo", "--out", tmp_path / where)
    assert code == 2
    assert "cannot make" in err
    with pytest.raises(BadInput, match=r"cannot make"):
        claim(tmp_path / where)
