"""What `isthmus run --data` sends: every sample of the file, in its order, and requests as large as they were asked."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from isthmus.cli.sending import inputs_for
from isthmus.codec import Array
from isthmus.errors import BadInput
from isthmus.model import Model, load_model


def stored(path: Path, model: Model, count: int) -> Array:
    inputs = model.random_inputs(count, 3)
    np.savez(path, **inputs)
    return alone(inputs)


def alone(inputs: Mapping[str, Array]) -> Array:
    (array,) = inputs.values()
    return array


@pytest.mark.parametrize(("count", "batch"), [(5, 1), (5, 2), (5, 5), (7, 3), (6, 3), (8, 5)])
def test_all_samples_are_sent_in_turn_again_and_again(tmp_path: Path, count: int, batch: int) -> None:
    model = load_model("zoo:tiny")
    samples = stored(tmp_path / "x.npz", model, count)
    requests = [alone(request) for request in islice(inputs_for(model, batch, tmp_path / "x.npz"), count)]
    assert [len(x) for x in requests] == [batch] * count
    np.testing.assert_array_equal(np.concatenate(requests), np.concatenate([samples] * batch))


def test_fewer_samples_than_a_request_holds_are_refused(tmp_path: Path) -> None:
    model = load_model("zoo:tiny")
    stored(tmp_path / "x.npz", model, 5)
    with pytest.raises(BadInput, match=r"holds 5 samples, fewer than the 8 of --batch"):
        inputs_for(model, 8, tmp_path / "x.npz")
