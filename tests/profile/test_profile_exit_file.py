"""Tables of exits that nobody names: beside a model's file, or shipped with a trained network."""

from __future__ import annotations

from pathlib import Path

import pytest

from isthmus.engine import Engine
from isthmus.files import read_json
from isthmus.model import digits_test, load_model
from isthmus.profile.exit_file import exits_beside
from isthmus.profile.exit_measure import measure_exits
from isthmus.profile.exits import ExitTable
from isthmus.profile.samples import Samples


def test_the_shipped_table_is_of_the_network_that_ships() -> None:
    """Measured again, it comes out the same but for the last digits of sums."""
    path = exits_beside("zoo:digits")
    assert path is not None
    shipped = read_json(path, ExitTable)
    model = load_model("zoo:digits")
    assert shipped.fingerprint == model.fingerprint
    images, labels = digits_test()
    again = measure_exits(
        Engine.open(model, cuts="none"), Samples({model.inputs[0].name: images}, labels), data="digits"
    )
    assert (shipped.samples, shipped.calibrated_on) == (again.samples, again.calibrated_on) == (225, 224)
    for ours, theirs in zip(shipped.rows, again.rows, strict=True):
        assert (ours.output, ours.macs) == (theirs.output, theirs.macs)
        assert ours.accuracy == pytest.approx(theirs.accuracy, abs=1 / 225)
        assert ours.share == pytest.approx(theirs.share, abs=2 / 225)
        assert ours.temperature == pytest.approx(theirs.temperature, rel=1e-2)


def test_a_table_beside_the_models_file(tmp_path: Path) -> None:
    model = tmp_path / "net.onnx"
    (tmp_path / "exits.json").touch()
    assert exits_beside(str(model)) is None, "there is no such model"
    model.touch()
    assert exits_beside(str(model)) == tmp_path / "exits.json"
    (tmp_path / "exits.json").unlink()
    assert exits_beside(str(model)) is None


@pytest.mark.parametrize("name", ["zoo:b_alexnet", "zoo:tiny", "digits"])
def test_nothing_ships_with_networks_that_are_not_trained(name: str) -> None:
    assert exits_beside(name) is None
