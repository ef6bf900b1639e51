"""Side branches on torch networks: where they go, what they leave alone, training that resumes to the bit, export."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort
import pytest

from isthmus.errors import BadInput
from isthmus.graph import at_exit, exits_of, graph_of
from isthmus.model import load_model

torch: Any = pytest.importorskip("torch", reason="the torch extra is not installed")
pytest.importorskip("onnxscript", reason="the torch extra is not installed")

from isthmus.model.exits.branches import Branched, attach  # noqa: E402
from isthmus.model.exits.checkpoint import load_checkpoint  # noqa: E402
from isthmus.model.exits.export import to_model  # noqa: E402
from isthmus.model.exits.layers import at_shares, passes_all, places_of  # noqa: E402
from isthmus.model.exits.nets import NETS, b_resnet  # noqa: E402
from isthmus.model.exits.recipe import Recipe, load_trained, make, trained  # noqa: E402
from isthmus.model.exits.train import Epoch, Labelled, Training, answers_of, seeded, train  # noqa: E402

if TYPE_CHECKING:
    from torch import nn
else:
    nn = torch.nn

torch.set_num_threads(1)
SHAPES = {"b_lenet": (1, 28, 28), "b_alexnet": (3, 32, 32), "b_resnet": (3, 32, 32)}


class Basic(nn.Module):  # type: ignore[misc, unused-ignore]
    """A residual block as torchvision writes it: one ReLU used twice, in place."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None if stride == 1 else nn.Conv2d(inputs, outputs, 1, stride)

    def forward(self, x: Any) -> Any:
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += x if self.downsample is None else self.downsample(x)
        return self.relu(out)


class ResNet(nn.Module):  # type: ignore[misc, unused-ignore]
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = nn.Sequential(Basic(8, 8, 1), Basic(8, 8, 1))
        self.layer2 = nn.Sequential(Basic(8, 16, 2), Basic(16, 16, 1))
        self.layer3 = nn.Sequential(Basic(16, 32, 2), Basic(32, 32, 1))
        self.drop = nn.Dropout(0.2)
        self.fc = nn.Linear(32, 4)

    def forward(self, x: Any) -> Any:
        x = self.layer3(self.layer2(self.layer1(self.relu(self.bn1(self.conv1(x))))))
        return self.fc(self.drop(x.mean((2, 3))))


def resnet() -> Any:
    with seeded(0):
        return ResNet()


def pictures(count: int, *, seed: int = 0, shape: tuple[int, int, int] = (3, 16, 16)) -> Labelled:
    """Four classes, told apart by the brightness of quarters."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, count)
    values = rng.random((count, *shape), dtype=np.float32)
    half = shape[1] // 2
    for i, label in enumerate(labels):
        top, left = half * (label // 2), half * (label % 2)
        values[i, :, top : top + half, left : left + half] += 1.0
    return Labelled(values, labels)


EXAMPLE = torch.zeros(2, 3, 16, 16)
QUICK = Training(epochs=4, batch=16, rate=5e-3, seed=7)


def branched(*, frozen: bool = False) -> Branched:
    with seeded(1):
        return attach(resnet(), ["layer1", "layer2.0"], EXAMPLE, frozen=frozen)


def same(one: Any, other: Any) -> bool:
    return one.keys() == other.keys() and all(torch.equal(v, other[k]) for k, v in one.items())


def copy_of(net: Any) -> dict[str, Any]:
    return {k: v.clone() for k, v in net.state_dict().items()}


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


def test_training_learns_and_every_exit_with_it() -> None:
    net = branched()
    went = train(net, pictures(192), pictures(64, seed=1), QUICK)
    assert went.finished
    assert len(went.history) == 4
    test = pictures(100, seed=2)
    for name, logits in answers_of(net, test.pictures).items():
        assert (logits.argmax(1) == test.labels).mean() > 0.9, name


def test_training_is_the_same_each_time() -> None:
    nets = [branched(), branched(), branched()]
    before = torch.random.get_rng_state()
    for net, seed in zip(nets, (7, 7, 8), strict=True):
        train(net, pictures(64), pictures(32, seed=1), QUICK.model_copy(update={"seed": seed, "epochs": 2}))
    assert same(copy_of(nets[0]), copy_of(nets[1]))
    assert not same(copy_of(nets[0]), copy_of(nets[2]))
    assert torch.equal(before, torch.random.get_rng_state())


def test_every_epoch_goes_through_all_pictures_in_another_order(monkeypatch: pytest.MonkeyPatch) -> None:
    import isthmus.model.exits.train as training

    seen: list[float] = []

    def noted(batch: Any, _most: int) -> Any:
        seen.extend(batch.sum((1, 2, 3)).tolist())
        return batch

    monkeypatch.setattr(training, "_shifted", noted)
    train(branched(), pictures(32), pictures(8), Training(epochs=2, batch=16))
    assert sorted(seen[:32]) == sorted(seen[32:])
    assert len(set(seen[:32])) == 32
    assert seen[:32] != seen[32:]


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
@pytest.mark.parametrize("steps", [5, 9])
def test_a_stopped_training_goes_on_bit_for_bit(tmp_path: Path, optimiser: str, steps: int) -> None:
    """Stopped in the middle of the second or third of four epochs, with dropout and shifts."""
    how = Training.model_validate({**QUICK.model_dump(), "optimiser": optimiser})
    straight, interrupted, resumed = branched(), branched(), branched()
    wanted = train(straight, pictures(64), pictures(32, seed=1), how)
    left = iter([False] * steps)
    file = tmp_path / "checkpoint.pt"
    first = train(
        interrupted, pictures(64), pictures(32, seed=1), how, checkpoint=file, stopped=lambda: next(left, True)
    )
    assert (first.finished, len(first.history)) == (False, steps // 4)
    second = train(resumed, pictures(64), pictures(32, seed=1), how, checkpoint=file, resume=True)
    assert second.finished
    assert second.history == wanted.history
    assert same(copy_of(straight), copy_of(resumed))
    assert same(dict(load_checkpoint(file).best), copy_of(straight))


def test_the_best_epoch_is_kept_and_training_ends_without_gain(monkeypatch: pytest.MonkeyPatch) -> None:
    import isthmus.model.exits.train as training

    scores = iter([0.5, 0.9, 0.7, 0.9, 0.8, 0.99])
    seen: list[dict[str, Any]] = []

    def validated(net: Any, *_: object) -> Epoch:
        seen.append(copy_of(net))
        return Epoch(loss=1, validation_loss=1, accuracies=(next(scores),) * 3)

    monkeypatch.setattr(training, "_validated", validated)
    net = branched()
    went = train(net, pictures(32), pictures(8), Training(epochs=20, batch=16, patience=3))
    assert (went.best, len(went.history)) == (1, 5)
    assert same(copy_of(net), seen[1])


def test_a_frozen_network_stays_as_it_is() -> None:
    net = branched(frozen=True)
    before, branches = copy_of(net.net), copy_of(net.branches)
    train(net, pictures(64), pictures(32, seed=1), QUICK.model_copy(update={"epochs": 2}))
    assert same(before, copy_of(net.net))
    after = copy_of(net.branches)
    assert not any(torch.equal(v, after[k]) for k, v in branches.items() if v.is_floating_point())


def test_frozen_recipe_trains_the_network_first(tmp_path: Path) -> None:
    recipe = Recipe(net="b_lenet", shape=(1, 8, 8), classes=4, frozen=True)
    learn, validate = pictures(96, shape=(1, 8, 8)), pictures(32, seed=1, shape=(1, 8, 8))
    how = Training(epochs=3, batch=16, rate=1e-2, weights=(1.0, 0.5))
    net, went = trained(recipe, learn, validate, how, tmp_path)
    assert went.finished
    alone = {k.removeprefix("net."): v for k, v in load_checkpoint(tmp_path / "backbone.pt").best.items()}
    assert same(alone, copy_of(net.net))
    found, again = load_trained(tmp_path / "checkpoint.pt")
    assert found == recipe
    assert same(copy_of(again), copy_of(net))
    with pytest.raises(BadInput, match=r"weights of another network than b_lenet"):
        load_trained(tmp_path / "backbone.pt")


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


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    file = tmp_path / "checkpoint.pt"
    train(branched(), pictures(32), pictures(8), _short(), spec="mine", checkpoint=file)
    return file


def _short() -> Training:
    return Training(epochs=1, batch=16)


@pytest.mark.parametrize(
    ("learn", "how", "spec", "words"),
    [
        (pictures(32), Training(epochs=2, batch=16), "mine", r"training with other settings"),
        (pictures(32), _short(), "other", r"training of another network \(mine\)"),
        (pictures(32, seed=5), _short(), "mine", r"training on other data"),
    ],
)
def test_another_training_is_not_resumed(
    checkpoint: Path, learn: Labelled, how: Training, spec: str, words: str
) -> None:
    with pytest.raises(BadInput, match=words):
        train(branched(), learn, pictures(8), how, spec=spec, checkpoint=checkpoint, resume=True)


def test_files_that_are_no_checkpoints(checkpoint: Path, tmp_path: Path) -> None:
    class Mine:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
            return Path.touch, (tmp_path / "ran",)

    content = checkpoint.read_bytes()
    other = tmp_path / "other.pt"
    torch.save({"net": Mine()}, other)
    harmful = other.read_bytes()
    for broken in (b"", b"PK", content[: len(content) // 2], pickle.dumps(Mine()), harmful):
        other.write_bytes(broken)
        with pytest.raises(BadInput, match=r"no checkpoint that can be read"):
            load_checkpoint(other)
    assert not (tmp_path / "ran").exists()
    torch.save({"version": 1}, other)
    with pytest.raises(BadInput, match=r"no checkpoint of isthmus"):
        load_checkpoint(other)
    with pytest.raises(BadInput, match=r"cannot be read|no checkpoint"):
        load_checkpoint(tmp_path / "nowhere.pt")
    with pytest.raises(BadInput, match=r"not made by name"):
        load_trained(checkpoint)


@pytest.mark.parametrize("weights", [(1.0,), (1.0, 1.0, -1.0), (0.0, 0.0, 0.0)])
def test_weights_that_do_not_fit(weights: tuple[float, ...]) -> None:
    with pytest.raises(BadInput, match=r"3 exits need 3 weights"):
        train(branched(), pictures(8), pictures(8), Training(weights=weights))


def test_what_cannot_be_trained() -> None:
    alone = Branched(resnet(), {}, frozen=True)
    with pytest.raises(BadInput, match=r"nothing to train"):
        train(alone, pictures(8), pictures(8), _short())
    wild = Labelled(pictures(32).pictures * np.float32(np.inf), pictures(32).labels)
    with pytest.raises(BadInput, match=r"loss of epoch 1 is no number; train with a lower rate than 10"):
        train(branched(), wild, pictures(8), Training(rate=10, batch=16))
    with pytest.raises(BadInput, match=r"labels do not fit"):
        Labelled(pictures(8).pictures, pictures(4).labels)
