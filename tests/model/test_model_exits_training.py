"""Training networks with exits: it learns, resumes to the bit, keeps the best epoch, and refuses by name."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.errors import BadInput

torch: Any = pytest.importorskip("torch", reason="the torch extra is not installed")

from exit_nets import QUICK, branched, copy_of, pictures, resnet, same  # noqa: E402

from isthmus.model.exits.branches import Branched  # noqa: E402
from isthmus.model.exits.checkpoint import load_checkpoint  # noqa: E402
from isthmus.model.exits.recipe import Recipe, trained  # noqa: E402
from isthmus.model.exits.train import Epoch, Labelled, Training, answers_of, train  # noqa: E402


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
    kept = load_checkpoint(tmp_path / "checkpoint.pt")
    assert Recipe.model_validate_json(kept.spec) == recipe
    assert same(dict(kept.best), copy_of(net))


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
