"""The cache can be tidied: what nobody opened for long goes, and nothing that is not the cache's own."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from engine_nets import convolutions

from isthmus.engine import Engine
from isthmus.engine.store import entry, kept, prune
from isthmus.errors import BadInput
from isthmus.model import load_model

DAY_S = 86_400.0


def made(root: Path, key: str, opened_s: float) -> Path:
    def make(folder: Path) -> dict[str, int]:
        (folder / "weights.bin").write_bytes(bytes(1000))
        return {}

    place, _ = entry(root, key, make)
    os.utime(place / "entry.json", (opened_s, opened_s))
    return place


def test_the_longest_unopened_come_first_and_go(tmp_path: Path) -> None:
    new, old = made(tmp_path, "a" * 32, 50 * DAY_S), made(tmp_path, "b" * 32, 10 * DAY_S)
    left = tmp_path / ".aaaaaaaa-x7"
    left.mkdir()
    os.utime(left, (5 * DAY_S, 5 * DAY_S))
    others = [tmp_path / "photographs", tmp_path / ("c" * 31)]
    for other in others:
        other.mkdir()
        os.utime(other, (1.0, 1.0))
    found = kept(tmp_path)
    assert [one.path for one in found] == [left, old, new]
    assert found[1].bytes == 1000 + (old / "entry.json").stat().st_size
    assert [one.path for one in prune(tmp_path, 20 * DAY_S)] == [left, old]
    assert sorted(tmp_path.iterdir()) == sorted([new, *others])


def test_opening_an_entry_makes_it_young(tmp_path: Path) -> None:
    place = made(tmp_path, "a" * 32, 10 * DAY_S)
    entry(tmp_path, "a" * 32, lambda folder: {})
    assert prune(tmp_path, 20 * DAY_S) == []
    assert place.is_dir()


def test_what_was_opened_at_that_very_moment_stays(tmp_path: Path) -> None:
    place = made(tmp_path, "a" * 32, 10 * DAY_S)
    assert prune(tmp_path, 10 * DAY_S) == []
    assert [one.path for one in prune(tmp_path, 10 * DAY_S + 1)] == [place]


def test_an_open_network_goes_on(tmp_path: Path) -> None:
    engine = Engine.open(load_model("zoo:tiny"), cache_dir=tmp_path)
    inputs = engine.model.random_inputs()
    before, cut = engine.whole(inputs), engine.cuts[1].id
    assert len(prune(tmp_path, 1e12)) == 1
    after = engine.tail(cut, engine.head(cut, inputs))
    assert all(np.allclose(before[name], after[name], atol=1e-5) for name in before)
    assert kept(tmp_path) == []


def test_what_an_open_network_never_made_is_said_to_be_gone(tmp_path: Path) -> None:
    engine = Engine.open(convolutions(), cache_dir=tmp_path, cuts="none")
    assert prune(tmp_path, 1e12)
    for cut_id in (min(engine.safe), "c1"):
        with pytest.raises(BadInput, match=r"was deleted while it was in use; start again"):
            engine.head(cut_id, engine.model.random_inputs())


def test_no_cache_is_nothing_to_tidy(tmp_path: Path) -> None:
    assert kept(tmp_path / "none") == [] == prune(tmp_path / "none", 1e12)


def test_a_cache_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for look in (kept, lambda root: prune(root, 1e12)):
        with pytest.raises(BadInput, match=r"the cache folder .* cannot be read .* set ISTHMUS_CACHE"):
            look(tmp_path / ("x" * 300))


def test_the_doctor_counts_and_prunes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Callable[..., tuple[int, str, str]]
) -> None:
    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path))
    old = made(tmp_path, "b" * 32, 10 * DAY_S)
    _, told, _ = call("doctor", "--prune", 30, "--json")
    says = {f["what"]: f["says"] for f in json.loads(told)["findings"]}
    assert says["pruned"].startswith("1 optimised networks of 0.0 GB")
    assert "2 optimised networks" in says["cache"]  # the old one, and the small network the doctor runs
    assert not old.exists()
    assert len(kept(tmp_path)) == 1
