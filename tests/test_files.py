"""Files between the verbs: written whole or not at all, wherever a path leads; read within bounds."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import BaseModel

from isthmus.errors import BadInput
from isthmus.files import read_json, read_within, scratch_folder, write_whole


class Row(BaseModel):
    number: int


def test_a_link_is_followed_and_stays_one(tmp_path: Path) -> None:
    target, link = tmp_path / "kept" / "real.json", tmp_path / "link.json"
    link.symlink_to(target)
    for content in (b"one", b"two"):  # a link that leads nowhere yet, and one to a file
        write_whole(link, content)
        assert link.is_symlink()
        assert target.read_bytes() == content
    assert [p.name for p in target.parent.iterdir()] == ["real.json"], "the temporary file stood beside the target"


def test_a_pipe_is_written_into_and_stays_one(tmp_path: Path) -> None:
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        for path in (pipe, link):
            write_whole(path, b"content")
            assert os.read(reader, 100) == b"content"
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_device_is_written_into_and_a_full_one_is_one_sentence(tmp_path: Path) -> None:
    device = tmp_path / "full"
    try:
        os.mknod(device, stat.S_IFCHR | 0o600, os.makedev(1, 7))
        device.open("wb").close()
    except OSError:
        pytest.skip("devices can be made by root only, and not everywhere")
    with pytest.raises(BadInput, match="No space left on device"):
        write_whole(device, b"content")
    assert stat.S_ISCHR(device.stat().st_mode)


def test_a_folder_and_a_circle_of_links_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"it is a folder; name a file in it$"):
        write_whole(tmp_path, b"content")
    circle = tmp_path / "circle"
    circle.symlink_to(circle)
    with pytest.raises(BadInput, match="Too many levels of symbolic links"):
        write_whole(circle, b"content")
    assert list(tmp_path.iterdir()) == [circle]


def test_what_could_not_be_written_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_whole(path, b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "chmod", full)
    with pytest.raises(BadInput, match="No space left on device"):
        write_whole(path, b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"


def test_reading_stops_at_the_bound_whatever_size_is_claimed(
    tmp_path: Path, piped: Callable[[bytes], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read_json(piped(b'{"number": 3}'), Row) == Row(number=3)
    monkeypatch.setattr("isthmus.files.MAX_JSON_BYTES", 12)
    with pytest.raises(BadInput, match="holds more than 12 bytes"):
        read_json(piped(b'{"number": 3}'), Row)
    (tmp_path / "file").write_bytes(b"12345")
    assert read_within(tmp_path / "file", 5) == b"12345"
    with pytest.raises(BadInput, match="holds more than 4 bytes"):
        read_within(tmp_path / "file", 4)


def test_a_temporary_folder_that_cannot_be_made_or_filled_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Path] = []

    def fill() -> None:
        with scratch_folder() as folder:
            made.append(folder)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(BadInput, match="no temporary files can be written: No space left on device; TMPDIR"):
        fill()
    assert not made[0].exists()
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    with pytest.raises(BadInput, match="no temporary files can be written: No such file or directory"):
        fill()
    assert len(made) == 1
