"""A network with side branches: its layers are left as they are, and every branch reads the output of one of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from isthmus.errors import BadInput
from isthmus.model.exits.layers import Place, places_of
from isthmus.model.torch_modes import in_mode

_WIDTH = 64
_SIDE = 4


class Branched(nn.Module):  # type: ignore[misc, unused-ignore]
    """`net` and branches by the name of the module whose output they read, in running order.

    Gives a tuple of logits, one entry an exit, the network's own answer last. A branch is run as soon as its module is,
    so that what follows may overwrite that module's output. With `frozen` the network stays as it is when the branches
    are trained: neither its weights nor the statistics of its batch norms change.
    """

    def __init__(self, net: nn.Module, branches: Mapping[str, nn.Module], *, frozen: bool = False) -> None:
        super().__init__()
        self.net = net
        self.places = tuple(branches)
        self.branches = nn.ModuleList(branches.values())
        self.frozen = False
        if frozen:
            self.freeze()

    def freeze(self) -> None:
        """From now on only the branches learn."""
        self.frozen = True
        for parameter in self.net.parameters():
            parameter.requires_grad_(False)
        self.train(self.training)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the exits: exit1 …, the last is the network's own answer."""
        return tuple(f"exit{i + 1}" for i in range(len(self.places) + 1))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        answers: dict[int, Tensor] = {}
        hooks = [
            self.net.get_submodule(place).register_forward_hook(self._leave(index, answers))
            for index, place in enumerate(self.places)
        ]
        try:
            last = self.net(image)
        finally:
            for hook in hooks:
                hook.remove()
        return (*(answers[i] for i in range(len(self.places))), last)

    def train(self, mode: bool = True) -> Branched:
        """Training mode; a frozen network stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.net.eval()
        return self

    def _leave(self, index: int, answers: dict[int, Tensor]) -> Any:
        def hook(_module: nn.Module, _given: object, output: Tensor) -> None:
            # a copy while training: the next layer may work in place, and the branch's gradient needs what it read
            answers[index] = self.branches[index](output.clone() if self.training else output)

        return hook


def attach(
    net: nn.Module, at: Iterable[str], example: Tensor, *, classes: int | None = None, frozen: bool = False
) -> Branched:
    """`net` with a plain branch at each of these modules (names as in `named_modules`; put in running order).

    `classes` defaults to the width of the network's answer. Raises BadInput for a module that is not there, gives
    something a branch cannot read, or runs more than once, and for a network whose answer is no table of logits.
    """
    places = {place.name: place for place in places_of(net, example)}
    wanted = set(at)
    for name in wanted:
        _usable(name, places, net)
    width = _classes(net, example)
    if classes not in (None, width):
        raise BadInput(f"the network answers with {width} classes, not {classes}")
    branches = {name: branch_for(place, width) for name, place in places.items() if name in wanted}
    return Branched(net, branches, frozen=frozen)


def branch_for(place: Place, classes: int) -> nn.Module:
    """A branch for the output of a module: a convolution, pooling to at most 4 × 4 and one linear layer for a plane;
    mean and linear layer for a sequence; a linear layer for features."""
    if len(place.shape) == 2:
        return nn.Linear(place.shape[1], classes)
    if len(place.shape) == 3:
        return nn.Sequential(_Mean(), nn.LayerNorm(place.shape[2]), nn.Linear(place.shape[2], classes))
    channels, height, width = place.shape[1:]
    filters = min(_WIDTH, max(16, channels))
    window = (max(1, height // _SIDE), max(1, width // _SIDE))
    rows, columns = height // window[0], width // window[1]
    return nn.Sequential(
        nn.Conv2d(channels, filters, 3, padding=1, bias=False),
        nn.BatchNorm2d(filters),
        nn.ReLU(),
        nn.AvgPool2d(window),
        nn.Flatten(),
        nn.Linear(filters * rows * columns, classes),
    )


class _Mean(nn.Module):  # type: ignore[misc, unused-ignore]
    """Mean over the steps of a sequence."""

    def forward(self, steps: Tensor) -> Tensor:
        return steps.mean(1)


def _usable(name: str, places: Mapping[str, Place], net: nn.Module) -> None:
    if name not in dict(net.named_modules()):
        near = [n for n in places if name.split(".")[0] in n] or list(places)
        raise BadInput(f"the network has no module '{name[:80]}'; some of its modules are {', '.join(near[:8])}")
    if name not in places:
        raise BadInput(f"a branch cannot read the output of '{name}'; it reads tables, sequences and planes of floats")
    if places[name].runs > 1:
        raise BadInput(f"'{name}' runs {places[name].runs} times in one pass; name a module that runs once")


def _classes(net: nn.Module, example: Tensor) -> int:
    with in_mode(net, training=False), torch.no_grad():
        answer = net(example)
    if not isinstance(answer, Tensor) or answer.dim() != 2:
        raise BadInput("exits can be attached to networks that answer with one table of logits, an input a row")
    return int(answer.shape[1])
