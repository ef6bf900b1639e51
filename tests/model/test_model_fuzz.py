"""Whatever bytes a file holds, loading it gives a model or BadModel, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isthmus.errors import BadModel
from isthmus.model import Model, load_model, load_model_file

WHOLE = load_model("zoo:tiny").proto.SerializeToString()
DIGITS = load_model("zoo:digits", weights=False).proto.SerializeToString()
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def loads(data: bytes, folder: Path) -> bool:
    """Whether it loaded; anything but BadModel goes through."""
    path = folder / "m.onnx"
    path.write_bytes(data)
    try:
        model = load_model_file(path)
    except BadModel:
        return False
    assert isinstance(model, Model)
    return True


@QUICK
@given(data=st.binary(max_size=300))
def test_random_bytes(data: bytes, tmp_path: Path) -> None:
    assert not loads(data, tmp_path)


@QUICK
@given(length=st.integers(0, len(WHOLE) - 1))
def test_cut_short(length: int, tmp_path: Path) -> None:
    loads(WHOLE[:length], tmp_path)


@pytest.mark.parametrize("base", [WHOLE, DIGITS], ids=["tiny", "digits"])
@QUICK
@given(data=st.data())
def test_flipped_bits(base: bytes, data: st.DataObject, tmp_path: Path) -> None:
    changed = bytearray(base)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(base) - 1))
        changed[place] ^= 1 << data.draw(st.integers(0, 7))
    loads(bytes(changed), tmp_path)


def test_the_graph_is_where_flips_are_hard(tmp_path: Path) -> None:
    """Every single-bit change outside the weights of the smallest network."""
    raw = [t.raw_data for t in load_model("zoo:tiny").proto.graph.initializer]
    weights = [range(WHOLE.index(r), WHOLE.index(r) + len(r)) for r in raw if len(r) > 16]
    places = [p for p in range(len(WHOLE)) if not any(p in w for w in weights)]
    results = []
    for place in places[::2]:
        changed = bytearray(WHOLE)
        changed[place] ^= 1 << (place % 8)
        results.append(loads(bytes(changed), tmp_path))
    assert 50 < results.count(False) < len(results)
