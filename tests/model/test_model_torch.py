"""torch modules as models: same answers, names kept, batch norms settled."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from isthmus.errors import BadModel
from isthmus.model import Model
from isthmus.model.torch_module import from_torch, settle_batchnorm

torch: Any = pytest.importorskip("torch", reason="the torch extra is not installed")
pytest.importorskip("onnxscript", reason="the torch extra is not installed")


@pytest.fixture(scope="module")
def network() -> Any:
    class Two(torch.nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            self.first = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU())
            self.second = torch.nn.Linear(8 * 6 * 6, 5)

        def forward(self, picture: Any) -> Any:
            early = self.first(picture)
            return early.mean((2, 3)), self.second(early.flatten(1))

    torch.manual_seed(0)
    return Two()


@pytest.fixture(scope="module")
def exported(network: Any) -> Model:
    return from_torch(network, torch.randn(1, 3, 8, 8), name="two", outputs=("early", "late"))


def test_signature(exported: Model) -> None:
    assert [(s.name, s.shape) for s in exported.inputs] == [("picture", (None, 3, 8, 8))]
    assert [(s.name, s.shape) for s in exported.outputs] == [("early", (None, 8)), ("late", (None, 5))]
    assert exported.proto.opset_import[0].version == 21


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_same_answers(network: Any, exported: Model, batch: int) -> None:
    feeds = exported.random_inputs(batch)
    session = ort.InferenceSession(exported.proto.SerializeToString(), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        wanted = network.eval()(torch.from_numpy(feeds["picture"]))
    for got, want in zip(session.run(["early", "late"], feeds), wanted, strict=True):
        np.testing.assert_allclose(got, want.numpy(), rtol=1e-4, atol=1e-5)


def test_fixed_batch(network: Any) -> None:
    model = from_torch(network, torch.randn(1, 3, 8, 8), name="two", dynamic_batch=False)
    assert model.inputs[0].shape == (1, 3, 8, 8)


@pytest.fixture(scope="module")
def forking() -> Any:
    class Branching(torch.nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
        def forward(self, x: Any) -> Any:
            return x if float(x.sum()) > 0 else -x

    return Branching()


def test_what_cannot_be_exported_is_said_as_torch_says_it(forking: Any) -> None:
    with pytest.raises(BadModel, match=r"^fork cannot be exported by torch: Could not guard on data-dep[^\n\x1b]*$"):
        from_torch(forking, torch.randn(2, 3), name="fork")


@pytest.mark.parametrize(
    ("complaint", "said"),
    [(ValueError("\x1b[31mred\x1b[0m"), "red"), (NotImplementedError(), "NotImplementedError")],
)
def test_a_complaint_in_colour_or_without_words(complaint: Exception, said: str) -> None:
    class Complaining(torch.nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
        def forward(self, x: Any) -> Any:
            raise complaint

    with pytest.raises(BadModel) as refused:
        from_torch(Complaining(), torch.randn(2, 3), name="m")
    assert str(refused.value) == f"m cannot be exported by torch: {said}"


def test_a_failed_export_prints_nothing(
    forking: Any, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    before = logging.root.manager.disable
    with pytest.raises(BadModel):
        from_torch(forking, torch.randn(2, 3), name="fork")
    assert capsys.readouterr() == ("", "")
    assert not [record for record in caplog.records if record.levelno > logging.DEBUG]  # torch's trace has no reader
    assert logging.root.manager.disable == before


def test_settled_batch_norms_have_the_statistics_of_the_data() -> None:
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3)).eval()
    batches = [torch.randn(64, 4) * 3 + 5 for _ in range(4)]
    settle_batchnorm(module, batches)
    assert not module.training
    assert module[0].momentum == 0.1
    everything = module(torch.cat(batches))
    assert torch.allclose(everything.mean(0), torch.zeros(3), atol=0.05)
    assert torch.allclose(everything.std(0), torch.ones(3), atol=0.1)


@pytest.mark.parametrize("use", [
    lambda module: settle_batchnorm(module, [torch.randn(4, 3, 8, 8)]),
    lambda module: from_torch(module, torch.randn(2, 3, 8, 8), name="two"),
], ids=["settled", "exported"])  # fmt: skip
def test_every_module_keeps_its_mode(use: Callable[[Any], object]) -> None:
    convolution = torch.nn.Conv2d(3, 8, 3)
    module = torch.nn.Sequential(convolution, torch.nn.BatchNorm2d(8), torch.nn.ReLU()).train()
    module[1].eval()
    use(module)
    assert [part.training for part in module.modules()] == [True, True, False, True]
