"""The cache: whole entries only, made again when damaged, safe with two processes at once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from engine_nets import convolutions

from isthmus.engine import Engine
from isthmus.engine.store import default_folder, entry, key_of
from isthmus.engine.weights import PAGE_BYTES
from isthmus.errors import BadInput
from isthmus.model import load_model


def opened(cache: Path) -> tuple[Engine, bool]:
    """An engine of a network with weights of many pages, and whether it had to be made."""
    told: list[str] = []
    engine = Engine.open(convolutions(40), cache_dir=cache, progress=lambda _d, _n, what: told.append(what))
    return engine, bool(told)


def test_an_entry_is_made_once(tmp_path: Path) -> None:
    _, made = opened(tmp_path)
    _, again = opened(tmp_path)
    assert made
    assert not again
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


@pytest.mark.parametrize("file", ["core.onnx", "weights.bin", "source.onnx", "source.bin", "entry.json"])
@pytest.mark.parametrize("harm", ["truncated", "absent", "changed"])
def test_a_damaged_entry_is_made_again(file: str, harm: str, tmp_path: Path) -> None:
    before, _ = opened(tmp_path)
    inputs = before.model.random_inputs()
    wanted = before.whole(inputs)
    path = next(tmp_path.glob(f"*/{file}"))
    whole = path.read_bytes()
    assert whole, "an empty file cannot be harmed"
    if harm == "absent":
        path.unlink()
    elif harm == "truncated":
        path.write_bytes(whole[: len(whole) // 2])
    else:
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    after, made = opened(tmp_path)
    assert made == ((file, harm) != ("source.bin", "changed"))  # that one is read, and checked, on demand only
    np.testing.assert_array_equal(after.whole(inputs)["logits"], wanted["logits"])


def test_changed_source_weights_are_noticed_before_they_are_used(tmp_path: Path) -> None:
    opened(tmp_path)
    path = next(tmp_path.glob("*/source.bin"))
    path.write_bytes(bytes(path.stat().st_size))
    engine, _ = opened(tmp_path)
    with pytest.raises(BadInput, match=r"source\.bin is damaged; delete .*"):
        engine.head("c1", engine.model.random_inputs())


@pytest.mark.parametrize("notes", [{}, {"safe": None}, {"safe": ["c0"]}, {"safe": "nonsense"}, None])
@pytest.mark.parametrize("hashed", [True, False], ids=["another hash", "no hash"])
def test_notes_that_are_not_what_was_written_are_made_again(notes: Any, hashed: bool, tmp_path: Path) -> None:
    before, _ = opened(tmp_path)
    path = next(tmp_path.glob("*/entry.json"))
    said = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in said.items() if hashed or k != "sha256"} | {"notes": notes}))
    after, made = opened(tmp_path)
    assert made
    assert after.cuts == before.cuts
    assert not opened(tmp_path)[1]


def test_weights_begin_on_pages(tmp_path: Path) -> None:
    opened(tmp_path)
    found = 0
    for path in (next(tmp_path.glob("*/core.onnx")), next(tmp_path.glob("*/source.onnx"))):
        for tensor in onnx.load(path, load_external_data=False).graph.initializer:
            said = {e.key: e.value for e in tensor.external_data}
            if said:
                assert int(said["offset"]) % PAGE_BYTES == 0
                found += 1
    assert found >= 2


def test_two_processes_at_once(tmp_path: Path) -> None:
    """Both make the entry at the same time; one is kept and both answer alike."""
    script = (
        "import sys; from pathlib import Path\n"
        "from isthmus.engine import Engine; from isthmus.model import load_model\n"
        "model = load_model('zoo:tiny'); sys.stdin.readline()\n"
        "engine = Engine.open(model, cache_dir=Path(sys.argv[1]))\n"
        "print(engine.whole(model.random_inputs())['logits'].tobytes().hex())"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    both = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=60)[0] for process in both]
    assert [p.returncode for p in both] == [0, 0]
    assert len(set(answers)) == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_a_process_that_comes_second_takes_what_is_there(tmp_path: Path) -> None:
    """While one entry is being made another process finishes the same one: its entry stays."""

    def make(text: str, then: dict[str, Any] | None = None) -> Any:
        def fill(folder: Path) -> dict[str, Any]:
            if then:
                entry(tmp_path, "key", make("first"))
            (folder / "data").write_text(text)
            return {}

        return fill

    folder, _ = entry(tmp_path, "key", make("second", then={"first": True}))
    assert (folder / "data").read_text() == "first"


def test_a_failed_making_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path) -> dict[str, Any]:
        (folder / "half").write_text("half")
        raise BadInput("no")

    with pytest.raises(BadInput, match="no"):
        entry(tmp_path, "key", fail)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match=r"cache folder .*file.* set ISTHMUS_CACHE"):
        Engine.open(load_model("zoo:tiny"), cache_dir=tmp_path / "file")


def test_the_key_depends_on_every_part() -> None:
    parts = {"model": "a", "runtime": "b", "cpu": "c"}
    keys = {key_of(parts), *(key_of({**parts, k: "other"}) for k in parts)}
    assert len(keys) == 4


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path))
    assert default_folder() == tmp_path
    monkeypatch.delenv("ISTHMUS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "isthmus"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_folder() == Path.home() / ".cache" / "isthmus"


def test_who_has_no_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("ISTHMUS_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(BadInput, match="ISTHMUS_CACHE"):
        Engine.open(load_model("zoo:tiny"))


def test_an_entry_note_is_plain_json(tmp_path: Path) -> None:
    opened(tmp_path)
    note = json.loads(next(tmp_path.glob("*/entry.json")).read_text())
    assert set(note["files"]) == {"core.onnx", "weights.bin", "source.onnx", "source.bin"}
    assert all(next(tmp_path.glob(f"*/{n}")).stat().st_size == f["bytes"] for n, f in note["files"].items())
