"""Module blocks of torch networks: which modules they are, and that they are found again in the exported graph."""

from __future__ import annotations

from typing import Any

import onnx
import pytest

from isthmus.graph import graph_of
from isthmus.graph.blocks import block_cuts
from isthmus.model.torch_blocks import block_names, module_blocks
from isthmus.model.torch_module import from_torch

torch: Any = pytest.importorskip("torch", reason="the torch extra is not installed")
pytest.importorskip("onnxscript", reason="the torch extra is not installed")
nn: Any = torch.nn


class Block(nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
    """An inverted residual block; without a way past it where it strides."""

    def __init__(self, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.conv = nn.Sequential(
            nn.Conv2d(channels, 2 * channels, 1), nn.BatchNorm2d(2 * channels), nn.ReLU6(),
            nn.Conv2d(2 * channels, channels, 3, stride, 1), nn.BatchNorm2d(channels),
        )  # fmt: skip

    def forward(self, x: Any) -> Any:
        return x + self.conv(x) if self.stride == 1 else self.conv(x)


class Staged(nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
    """Stem, two stages of blocks (one nested), classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU())
        self.stages = nn.Sequential(Block(8), nn.Sequential(Block(8, 2), Block(8)))
        self.classifier = nn.Linear(8, 10)

    def forward(self, x: Any) -> Any:
        return self.classifier(self.stages(self.stem(x)).mean((2, 3)))


class Attributes(nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
    """Blocks as attributes, in no list."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = Block(3), Block(3, 2), nn.Linear(3, 2)

    def forward(self, x: Any) -> Any:
        return self.last(self.second(self.first(x)).mean((2, 3)))


class Wrapped(nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
    """A whole network as the first of two parts of a list."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.Sequential(Staged(), nn.Linear(10, 2))

    def forward(self, x: Any) -> Any:
        return self.parts(x)


def test_blocks_are_the_outermost_compound_modules_of_lists() -> None:
    assert block_names(Staged()) == ("stages.0", "stages.1.0", "stages.1.1")
    assert block_names(Attributes()) == ("first", "second")
    assert block_names(Wrapped()) == ("parts.0.stages.0", "parts.0.stages.1.0", "parts.0.stages.1.1")
    assert block_names(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3))) == ()


def test_exported_blocks_are_recorded_and_are_what_the_graph_shows() -> None:
    torch.manual_seed(0)
    model = from_torch(Staged(), torch.randn(2, 3, 16, 16), name="staged")
    graph = graph_of(model)
    assert len(model.blocks) == 3
    assert [graph.tensors[b].shape for b in model.blocks] == [(1, 8, 8, 8), (1, 8, 4, 4), (1, 8, 4, 4)]
    assert tuple(c.id for c in block_cuts(graph)) == model.blocks
    assert not any(n.metadata_props for n in model.proto.graph.node)
    bare = graph_of(type(model)(model.name, model.proto, model.inputs, model.outputs))
    assert bare.blocks == ()
    assert tuple(c.id for c in block_cuts(bare)) == model.blocks


@pytest.mark.parametrize("said", ["", "[1, 2]", "{'a': 1}", "['a'", "__import__('os')"])
def test_odd_notes_are_no_blocks(said: str) -> None:
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    node.metadata_props.add(key="pkg.torch.onnx.name_scopes", value=said)
    assert module_blocks(Staged(), onnx.GraphProto(node=[node])) == ()
