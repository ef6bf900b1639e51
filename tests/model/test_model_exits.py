"""Side branches on torch networks: where they go, what they leave alone, export, recipes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort
import pytest

from isthmus.errors import BadInput
from isthmus.graph import at_exit, exits_of, graph_of
from isthmus.model import load_model

torch: Any = pytest.importorskip("torch", reason="the torch extra is not installed")
pytest.importorskip("onnxscript", reason="the torch extra is not installed")

from exit_nets import EXAMPLE, branched, resnet  # noqa: E402

from isthmus.model.exits.branches import Branched, attach  # noqa: E402
from isthmus.model.exits.export import to_model  # noqa: E402
from isthmus.model.exits.layers import at_shares, passes_all, places_of  # noqa: E402
from isthmus.model.exits.nets import NETS, b_resnet  # noqa: E402
from isthmus.model.exits.recipe import Recipe, make  # noqa: E402
from isthmus.model.exits.train import answers_of, seeded  # noqa: E402

if TYPE_CHECKING:
    from torch import nn
else:
    nn = torch.nn

SHAPES = {"b_lenet": (1, 28, 28), "b_alexnet": (3, 32, 32), "b_resnet": (3, 32, 32)}


def test_work_done_by_each_module_is_that_of_the_graph() -> None:
    """torch's counter against our own count of the exported network cut there."""
    net = resnet()
    places = {p.name: p for p in places_of(net, EXAMPLE)}
    exported = graph_of(to_model(Branched(net, {"layer2": nn.Flatten()}), (3, 16, 16), name="r"))
    early = at_exit(exported, exported.outputs[0])
    assert places["layer2"].share == pytest.approx(early.macs / at_exit(exported, exported.outputs[1]).macs)
    assert places["layer1.0.relu"].runs == 2
    assert list(places)[-1] == "fc"


def test_everything_passes_the_end_of_a_block_and_not_its_inside() -> None:
    net = resnet()
    assert all(passes_all(net, name, EXAMPLE) for name in ("bn1", "layer1", "layer2.0", "layer3"))
    assert not any(passes_all(net, name, EXAMPLE) for name in ("layer1.0.conv1", "layer2.0.bn2", "layer2.0.downsample"))


def test_places_at_shares_of_the_work() -> None:
    net = resnet()
    shares = {p.name: p.share for p in places_of(net, EXAMPLE)}
    blocks = [n for n in shares if n.count(".") == 1]
    for wanted in ((0.2,), (0.3, 0.6), (0.15, 0.3, 0.45, 0.6, 0.75)):
        found = at_shares(net, wanted, EXAMPLE)
        assert len(set(found)) == len(wanted)
        assert [shares[n] for n in found] == sorted(shares[n] for n in found)
        assert all(passes_all(net, n, EXAMPLE) for n in found)
    (only,) = at_shares(net, (0.45,), EXAMPLE)
    nearest = min(blocks, key=lambda n: abs(shares[n] - 0.45))
    assert shares[only] == shares[nearest]


def test_every_module_keeps_its_mode() -> None:
    net = resnet().train()
    net.bn1.eval()
    places_of(net, EXAMPLE)
    passes_all(net, "layer1", EXAMPLE)
    both = attach(net, ["layer1"], EXAMPLE)
    answers_of(both, EXAMPLE.numpy())
    assert [name for name, part in both.named_modules() if not part.training] == ["net.bn1"]


def test_the_network_answers_as_before() -> None:
    """In-place operations after an exit neither disturb the branch nor the network."""
    net = resnet()
    x = torch.randn(5, 3, 16, 16)
    with torch.no_grad():
        wanted = net.eval()(x)
        both = attach(net, ["layer1.0.bn2", "layer2"], EXAMPLE).eval()
        inside = both.branches[0](_output_of(net, "layer1.0.bn2", x))
        answers = both(x)
    assert both.places == ("layer1.0.bn2", "layer2")
    assert torch.equal(answers[-1], wanted)
    assert torch.equal(answers[0], inside)
    assert [tuple(a.shape) for a in answers] == [(5, 4)] * 3


def _output_of(net: Any, name: str, x: Any) -> Any:
    kept = []
    hook = net.get_submodule(name).register_forward_hook(lambda _m, _g, out: kept.append(out.clone()))
    net(x)
    hook.remove()
    return kept[0]


def test_every_exit_teaches_what_lies_before_it() -> None:
    net: Any = branched().train()
    early, _, _ = net(torch.randn(4, 3, 16, 16))
    early.sum().backward()
    assert net.net.conv1.weight.grad.abs().sum() > 0
    assert net.net.layer3[0].conv1.weight.grad is None


def test_a_layer_that_is_overwritten_can_be_left_and_learnt_from() -> None:
    """The sum of a residual block is written over what its last batch norm gave."""
    net: Any = attach(resnet(), ["layer1.0.bn2"], EXAMPLE).train()
    sum(a.sum() for a in net(torch.randn(4, 3, 16, 16))).backward()
    assert net.net.layer1[0].conv2.weight.grad.abs().sum() > 0


def test_sequences_and_features_can_be_left_too() -> None:
    class Tokens(nn.Module):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            self.mix, self.narrow, self.answer = nn.Linear(16, 12), nn.Linear(12, 8), nn.Linear(8, 3)

        def forward(self, x: Any) -> Any:
            return self.answer(self.narrow(self.mix(x.flatten(1, 2)).mean(1)))

    net = attach(Tokens(), ["mix", "narrow"], EXAMPLE)
    assert [tuple(a.shape) for a in net.eval()(EXAMPLE)] == [(2, 3)] * 3


@pytest.mark.parametrize(
    ("at", "words"),
    [
        (["layer9"], r"no module 'layer9'; some of its modules are"),
        (["layer1.0.relu"], r"'layer1.0.relu' runs 2 times in one pass"),
    ],
)
def test_places_that_are_none(at: list[str], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        attach(resnet(), at, EXAMPLE)


def test_networks_that_cannot_be_left() -> None:
    with pytest.raises(BadInput, match=r"does not take an input of shape \(2, 1, 16, 16\)"):
        places_of(resnet(), EXAMPLE[:, :1])
    with pytest.raises(BadInput, match=r"one table of logits"):
        attach(nn.Sequential(nn.Conv2d(3, 3, 3)), ["0"], EXAMPLE)
    with pytest.raises(BadInput, match=r"answers with 4 classes, not 5"):
        attach(resnet(), ["layer1"], EXAMPLE, classes=5)
    with pytest.raises(BadInput, match=r"rising shares of the work between 0 and 1"):
        at_shares(resnet(), (0.5, 0.2), EXAMPLE)
    with pytest.raises(BadInput, match=r"no place for an exit"):
        at_shares(resnet(), tuple(i / 40 for i in range(1, 40)), EXAMPLE)


@pytest.mark.parametrize("name", sorted(NETS))
def test_exports_are_equal_to_torch(name: str) -> None:
    with seeded(3):
        net = NETS[name]().eval()
    model = to_model(net, SHAPES[name], name=name)
    session = ort.InferenceSession(model.proto.SerializeToString(), providers=["CPUExecutionProvider"])
    assert exits_of(graph_of(model)) == net.outputs
    for batch in (1, 5):
        x = np.random.default_rng(batch).random((batch, *SHAPES[name]), dtype=np.float32)
        found = session.run(list(net.outputs), {"image": x})
        for got, want in zip(found, answers_of(net, x).values(), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    if name != "b_resnet":
        written = graph_of(load_model(f"zoo:{name}", weights=False))
        sizes = [[at_exit(g, o).macs for o in exits_of(g)] for g in (graph_of(model), written)]
        assert sizes[0] == sizes[1]


def test_depths_of_the_residual_network() -> None:
    for depth in (8, 20, 110):
        net = b_resnet(depth=depth)
        convolutions = [m for n, m in net.net.named_modules() if isinstance(m, nn.Conv2d)]
        assert len(convolutions) + 1 == depth
    with pytest.raises(BadInput, match=r"6 n \+ 2 layers .* not 21"):
        b_resnet(depth=21)


def test_recipes_with_other_places() -> None:
    by_share = make(Recipe(net="b_resnet", shape=(3, 16, 16), classes=5, at=("0.3", "0.7"), depth=8))
    assert len(by_share.places) == 2
    assert make(Recipe(net="b_lenet", shape=(1, 28, 28), classes=5, at=("relu2",))).places == ("relu2",)
    with pytest.raises(BadInput, match=r"not both: relu2, 0.5"):
        make(Recipe(net="b_lenet", shape=(1, 28, 28), classes=5, at=("relu2", "0.5")))
    with pytest.raises(BadInput, match=r"for b_resnet only, not for b_lenet"):
        make(Recipe(net="b_lenet", shape=(1, 28, 28), classes=5, depth=20))
    with pytest.raises(BadInput, match=r"at least 8 × 8, not 4 × 4"):
        make(Recipe(net="b_lenet", shape=(1, 4, 4), classes=5))
