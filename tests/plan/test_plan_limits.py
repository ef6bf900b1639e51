"""Limits that cannot be meant are refused when they are made, in one sentence that says which and what may be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from isthmus.errors import BadInput
from isthmus.plan import Limits

NO_NUMBERS: tuple[Any, ...] = (-1, -1e-9, float("nan"), float("inf"), "1", np.float32(-2))
KINDS = {
    "latency_s": r"^a limit of latency is a number of seconds above zero, not ",
    "home_memory_bytes": r"^a limit of memory in bytes is a number from 0 up, not ",
    "distortion": r"^a limit of distortion is a number from 0 up, not ",
    "loss": r"^a limit of accuracy loss is a number from 0 up, not ",
    "loss_errors": r"^standard errors on top of a loss are a number from 0 up, not ",
    "sure": r"between 0\.5 and below 1",
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_limit_that_is_no_number_from_zero_up_is_refused(kind: str) -> None:
    for value in NO_NUMBERS:
        wrong: Any = {kind: value}
        with pytest.raises(BadInput, match=KINDS[kind]):
            Limits(**wrong)


def test_a_latency_of_zero_is_refused_and_a_memory_of_zero_is_not() -> None:
    with pytest.raises(BadInput, match=KINDS["latency_s"]):
        Limits(latency_s=0.0)
    assert Limits(home_memory_bytes=0).home_memory_bytes == 0


@pytest.mark.parametrize("given", ["runtim", "", None])
def test_an_unknown_memory_is_refused(given: Any) -> None:
    with pytest.raises(BadInput, match=f"is of the accelerator or runtime .memory_of., not of '{given}'"):
        Limits(memory_of=given)
