"""Where a torch network can be left: its modules in running order, the work done by then, and whether all passes there.

Works for any `nn.Module`: it is run once, and its modules are watched. Work is counted by torch's own counter, so that
convolutions and products outside modules count too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from isthmus.errors import BadInput
from isthmus.model.torch_modes import in_mode

_RANKS = (2, 3, 4)
"""Outputs a branch can read: features, a sequence of features, channels over a plane."""


@dataclass(frozen=True)
class Place:
    """A module's output: the name as in `named_modules`, its shape (batch first), the share of the network's work done
    by then (0 … 1), and how often the module ran."""

    name: str
    shape: tuple[int, ...]
    share: float
    runs: int = 1


def places_of(net: nn.Module, example: Tensor) -> tuple[Place, ...]:
    """The modules of `net` (itself not among them) whose output is a table, a sequence or a plane of floats, in running
    order. `example` is one input batch. Raises BadInput where the network does not take it or does no work."""
    found: dict[str, Place] = {}
    counter = FlopCounterMode(display=False)

    def watch(name: str) -> Any:
        def hook(_module: nn.Module, _given: object, output: object) -> None:
            if isinstance(output, Tensor) and output.is_floating_point() and output.dim() in _RANKS:
                done = counter.get_total_flops()
                runs = found[name].runs + 1 if name in found else 1
                found.pop(name, None)
                found[name] = Place(name, tuple(output.shape), float(done), runs)

        return hook

    hooks = [module.register_forward_hook(watch(name)) for name, module in net.named_modules() if name]
    try:
        with in_mode(net, training=False), torch.no_grad(), counter:
            net(example)
    except (RuntimeError, TypeError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        raise BadInput(f"the network does not take an input of shape {tuple(example.shape)}: {first}") from error
    finally:
        for hook in hooks:
            hook.remove()
    total = counter.get_total_flops()
    if not total:
        raise BadInput("the network does no convolution and no product: there is nothing to leave early")
    return tuple(replace(place, share=place.share / total) for place in found.values())


def passes_all(net: nn.Module, name: str, example: Tensor) -> bool:
    """Does everything the network answers pass through this module's output? Then cutting its gradient cuts off the
    input. Branches of a residual or inception block do not."""
    watched = example.detach().clone().requires_grad_()
    hook = net.get_submodule(name).register_forward_hook(lambda _m, _g, output: output.detach())
    try:
        with in_mode(net, training=False), torch.enable_grad():
            answer = net(watched)
            if not answer.requires_grad:
                return True
            (gradient,) = torch.autograd.grad(answer.sum(), watched, allow_unused=True)
    finally:
        hook.remove()
    return gradient is None


def at_shares(net: nn.Module, shares: Sequence[float], example: Tensor) -> tuple[str, ...]:
    """For each share of the work (0 … 1, rising) the module to leave at: the nearest through which everything passes.

    Of modules at the same place (a block and its last layer) the later, which is the whole block with its activation,
    is taken. SPINN puts six exits at 0.15, 0.3 … 0.9 (Laskaridis et al., MobiCom 2020, §4.1). Raises BadInput for
    shares that are none, and where there are not that many places.
    """
    if list(shares) != sorted(set(shares)) or not shares or not (shares[0] > 0 and shares[-1] < 1):
        raise BadInput(f"exits are placed at rising shares of the work between 0 and 1, not at {list(shares)}")
    usable = [p for p in places_of(net, example) if p.runs == 1 and 0 < p.share < 1]
    known: dict[str, bool] = {}
    chosen: list[Place] = []
    for share in shares:
        later = usable[usable.index(chosen[-1]) + 1 :] if chosen else usable
        later = [p for p in later if not chosen or p.share > chosen[-1].share]
        for place in sorted(later, key=lambda p: (abs(p.share - share), -usable.index(p))):
            if place.name not in known:
                known[place.name] = passes_all(net, place.name, example)
            if known[place.name]:
                chosen.append(place)
                break
        else:
            raise BadInput(f"the network has no place for an exit at {share:g} of its work after {len(chosen)} others")
    return tuple(place.name for place in chosen)
