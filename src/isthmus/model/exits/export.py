"""A trained network with branches as one ONNX model: an output for every exit."""

from __future__ import annotations

import torch

from isthmus.model.exits.branches import Branched
from isthmus.model.torch_module import from_torch
from isthmus.model.types import Model


def to_model(net: Branched, shape: tuple[int, ...], *, name: str) -> Model:
    """`shape` is that of one input, without the batch. Input `image` (float32, any batch), outputs `exit1` … in running
    order, the network's own answer last. Raises BadModel where torch cannot export it."""
    return from_torch(net, torch.zeros(2, *shape), name=name, outputs=net.outputs)
