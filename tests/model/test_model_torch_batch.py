"""torch keeps what a module does for the batch of its example: where others get something else, it is no open batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from isthmus.errors import BadModel
from isthmus.model.torch_module import from_torch

torch: Any = pytest.importorskip("torch", reason="the torch extra is not installed")
pytest.importorskip("onnxscript", reason="the torch extra is not installed")


def module_of(forward: Callable[[Any], Any]) -> Any:
    class Given(torch.nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
        def forward(self, x: Any) -> Any:
            return forward(x)

    return Given()


@pytest.mark.parametrize(("example", "kept"), [(1, "1 to 2"), (2, "1 to 2"), (3, "3 to 1024"), (8, "3 to 1024")])
def test_a_branch_on_the_batch_is_refused(example: int, kept: str) -> None:
    module = module_of(lambda x: x * 2 if x.shape[0] > 2 else x + 1)
    with pytest.raises(BadModel, match=rf"torch exports it for {kept} samples only; make it the same for all"):
        from_torch(module, torch.randn(example, 4), name="branching")
    assert from_torch(module, torch.randn(example, 4), name="b", dynamic_batch=False).inputs[0].shape == (example, 4)


@pytest.mark.parametrize(
    "forward",
    [
        lambda x: x.view(len(x), -1),
        lambda x: x.view(int(x.shape[0]), -1),
        lambda x: x / len(x),
        lambda x: x * 2 if len(x) >= 4 else x,
    ],
    ids=["view", "int", "division", "branch"],
)
def test_a_batch_made_a_number_is_refused(forward: Callable[[Any], Any]) -> None:
    with pytest.raises(BadModel, match=r"torch exports it for 2 samples only; use x\.shape\[0\], or fix the shapes"):
        from_torch(module_of(forward), torch.randn(1, 4, 4), name="counting")


@pytest.mark.parametrize(
    "forward",
    [
        lambda x: x.view(x.shape[0], -1),
        lambda x: x.flatten(1) / x.shape[0],
        lambda x: torch.cat([torch.ones(1, 1, 4).expand(x.shape[0], -1, -1), x], 1),
    ],
    ids=["view", "division", "token"],
)
def test_any_batch_stays_any(forward: Callable[[Any], Any]) -> None:
    assert from_torch(module_of(forward), torch.randn(1, 4, 4), name="open").inputs[0].shape == (None, 4, 4)
