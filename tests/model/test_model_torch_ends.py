"""What goes into the export of a torch module and comes out of it: examples, and the names of inputs and outputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from isthmus.errors import BadModel
from isthmus.model.torch_module import from_torch

torch: Any = pytest.importorskip("torch", reason="the torch extra is not installed")
pytest.importorskip("onnxscript", reason="the torch extra is not installed")


@pytest.fixture(scope="module")
def module() -> Any:
    class Ends(torch.nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
        """Returns an input, and one tensor twice."""

        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(4, 4)

        def forward(self, x: Any, x_orig: Any) -> Any:
            made = self.layer(torch.relu(x_orig))
            return made, x, made

    torch.manual_seed(0)
    return Ends().eval()


@pytest.mark.parametrize("outputs", [None, ("relu", "same", "layer.weight"), ("linear", "linear_1", "x_1")])
def test_inputs_keep_their_names_and_outputs_get_theirs(module: Any, outputs: tuple[str, ...] | None) -> None:
    model = from_torch(module, (torch.randn(2, 4), torch.randn(2, 4)), name="ends", outputs=outputs)
    assert [s.name for s in model.inputs] == ["x", "x_orig"]
    assert outputs is None or [s.name for s in model.outputs] == [*outputs]
    feeds = model.random_inputs(3)
    session = ort.InferenceSession(model.proto.SerializeToString(), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        wanted = module(*(torch.from_numpy(feeds[name]) for name in ("x", "x_orig")))
    for got, want in zip(session.run([s.name for s in model.outputs], feeds), wanted, strict=True):
        np.testing.assert_allclose(got, want.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "outputs", [("a", "b"), ("a", "b", "c", "d"), ("a", "b", "a"), ("a", "b", "x"), ("a", "", "c")]
)
def test_names_that_do_not_fit_the_outputs(module: Any, outputs: tuple[str, ...]) -> None:
    with pytest.raises(BadModel, match=r"name each of the 3 tensors that ends returns once, and like no input \(x, x_"):
        from_torch(module, (torch.randn(2, 4), torch.randn(2, 4)), name="ends", outputs=outputs)


@pytest.mark.parametrize(
    ("example", "wrong"),
    [
        (lambda: (torch.randn(2, 4), torch.tensor(2.0)), r"has shape \(\), without a sample"),
        (lambda: torch.randn(0, 4), r"has shape \(0, 4\), without a sample"),
        (lambda: (torch.randn(2, 4), 2.0), "tuple of tensors, not Tensor, float"),
        (lambda: {"x": torch.randn(2, 4)}, "tuple of tensors, not dict"),
        (lambda: np.zeros((2, 4), np.float32), "tuple of tensors, not ndarray"),
        (lambda: (), "tuple of tensors, not nothing"),
    ],
)
def test_examples_that_are_none(module: Any, example: Any, wrong: str) -> None:
    with pytest.raises(BadModel, match=wrong):
        from_torch(module, example(), name="ends")


def test_an_example_without_a_batch() -> None:
    class Scaled(torch.nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
        def forward(self, x: Any, scale: Any) -> Any:
            return x * scale

    model = from_torch(Scaled(), (torch.randn(2, 4), torch.tensor(2.0)), name="scaled", dynamic_batch=False)
    assert [s.shape for s in model.inputs] == [(2, 4), ()]


def test_what_is_no_module() -> None:
    with pytest.raises(BadModel, match="scaled is a function; only"):
        from_torch(lambda x: 2 * x, torch.randn(2, 4), name="scaled")
