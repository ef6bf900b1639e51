"""Distortion tables and bit plans refuse what cannot be meant and answer by name."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from isthmus.errors import BadInput
from isthmus.quant import BitPlan, Distortions, LayerBits, OutputBits, Upload


def _table(**changes: object) -> Distortions:
    first = LayerBits(
        node="conv", weight_elements=27, weights=(0.5, 0.1), output="conv", output_elements=64, outputs=(0.4, 0.2)
    )
    second = LayerBits(node="pool", weight_elements=0, output="pool", output_elements=16, outputs=(0.3, 0.0))
    fields: dict[str, object] = {"model": "net", "fingerprint": "f", "bits": (2, 8), "layers": (first, second)}
    fields |= {"inputs": (OutputBits(name="x", elements=3, errors=(0.9, 0.8)),), "samples": 4, "source": "pictures"}
    return Distortions.model_validate(fields | changes)


def test_tensors_are_found_by_name() -> None:
    table = _table()
    assert (table.tensor("conv").errors, table.tensor("x").errors) == ((0.4, 0.2), (0.9, 0.8))
    assert table.tensor("pool").elements == 16
    with pytest.raises(BadInput, match=r"no tensor 'dense'"):
        table.tensor("dense")


@pytest.mark.parametrize("bits", [(8, 2), (2, 2, 8), (0, 8), (2, 17)])
def test_widths_must_rise_and_be_possible(bits: tuple[int, ...]) -> None:
    with pytest.raises(ValidationError, match=r"bits must rise"):
        _table(bits=bits, layers=())


def test_every_list_has_one_entry_a_width() -> None:
    with pytest.raises(ValidationError, match=r"weights of conv has 2 entries for 3 widths"):
        _table(bits=(2, 4, 8))


def test_tables_and_plans_survive_their_file() -> None:
    table, plan = _table(), BitPlan(weights={"conv": 4}, outputs={"conv": 8})
    assert Distortions.model_validate_json(table.model_dump_json()) == table
    assert BitPlan.model_validate_json(plan.model_dump_json()) == plan


def test_a_plan_of_impossible_bits_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"conv cannot take 9 bits"):
        BitPlan(weights={"conv": 9})
    assert BitPlan(outputs={"conv": 16}).outputs == {"conv": 16}


@pytest.mark.parametrize("errors", [float("inf"), 1e308, -1.0])
def test_what_no_tensor_can_have_is_refused(errors: float) -> None:
    with pytest.raises(ValidationError, match=r"errors\.0"):
        OutputBits.model_validate({"name": "x", "elements": 3, "errors": (errors, 0.1)})
    for elements in (2**62, 10**30):
        with pytest.raises(ValidationError, match=r"less than or equal to 1099511627776"):
            OutputBits(name="x", elements=elements)
        with pytest.raises(ValidationError, match=r"less than or equal to 1099511627776"):
            LayerBits(node="n", weight_elements=elements, output="n", output_elements=1)
    for size in (float("inf"), 1e308):
        with pytest.raises(ValidationError, match="sample_bytes"):
            Upload(error=0.1, sample_bytes=size)
