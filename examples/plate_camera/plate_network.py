"""One network that finds plates and reads them, in PyTorch: what is trained, and what becomes plates.onnx.

A YOLO-like detector looks once at the whole picture: each cell of a 12 × 12 grid says whether the centre of a plate
lies in it, where, and along which two edges the plate stretches. The reader then needs the plate's own pixels. It does
not get pixels: it samples the detector's features along those edges (a spatial transformer; Jaderberg et al., 2015), so
every plate lies level and equally large before it, and says six characters. Hence all of it is one ONNX network with
one input, and whatever runs on the server needs nothing that the cut does not send: no second upload of a crop.

The narrow place after the first three convolutions (6 values from 0 to 1 for every 4 × 4 pixels) is where detector and
reader part. While it trains, most pictures pass it with two bits a value, gradients as if they had not been rounded
(Bengio et al., 2013), so that whoever cuts there may send few bits.
"""

from __future__ import annotations

import torch
from plate_pictures import ALPHABET, LENGTH, MOST_PLATES, SIDE
from torch import Tensor, nn
from torch.nn import functional as F

CELL = 16
"""Pixels of a grid cell each way."""
OUTPUTS = ("scores", "places", "letters")
NARROW = 6
_CROP = (8, 24)
_MARGIN = (1.12, 1.35)
"""How much more than the plate is sampled, along and down."""
_STEPS = 3
_SENT_SHARE = 0.75
"""Of the pictures, while it trains, that go through the narrow place with two bits (three steps)."""


class Plates(nn.Module):  # type: ignore[misc, unused-ignore]
    """image (N × 3 × SIDE × SIDE, 0 to 1) → scores (N × 3), places (N × 3 × 6: x and y of the centre, of the edge along
    and of the edge down, in pixels) and letters (N × 3 × 6, places in the alphabet), the surest plate first."""

    corners: Tensor
    points: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.camera = nn.Sequential(_conv(3, 8, stride=2), _conv(8, 24, stride=2), _narrow(24, NARROW))
        self.widen = nn.Sequential(_conv(NARROW, 32), _conv(32, 32), _conv(32, 32))
        self.detect = nn.Sequential(
            _conv(32, 32, stride=2), _conv(32, 32, stride=2), _conv(32, 32, dilation=2), nn.Conv2d(32, 7, 1)
        )
        self.read = nn.Sequential(
            _conv(32, 32),
            _conv(32, 48, stride=2),
            _conv(48, 56, stride=2),
            _across(56),
            nn.Conv2d(56, len(ALPHABET), 1),
        )
        rows, columns = torch.meshgrid(torch.arange(SIDE // CELL), torch.arange(SIDE // CELL), indexing="ij")
        self.register_buffer("corners", CELL * torch.stack([columns, rows]).float(), persistent=False)
        self.register_buffer("points", _points(), persistent=False)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features, sure, places = self.look(image)
        found = torch.sigmoid(sure).flatten(1)
        peaks = F.max_pool2d(torch.sigmoid(sure), 3, stride=1, padding=1).flatten(1)
        scores, cells = torch.topk(torch.where(found < peaks, torch.zeros_like(found), found), MOST_PLATES)
        chosen = torch.gather(places.flatten(2), 2, cells[:, None].expand(-1, 6, -1)).transpose(1, 2)
        return scores, chosen, self.letters(features, chosen).argmax(-1)

    def look(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features (stride 4), how sure each cell is (logits, N × 1 × 12 × 12), and its plate (N × 6 × 12 × 12)."""
        narrow = self.camera(image)
        if self.training:
            narrow = _as_sent(narrow)
        features = self.widen(narrow)
        cells = self.detect(features)
        centres = self.corners + CELL * (2 * torch.sigmoid(cells[:, 1:3]) - 0.5)
        return features, cells[:, :1], torch.cat([centres, 2 * CELL * cells[:, 3:]], 1)

    def letters(self, features: Tensor, places: Tensor) -> Tensor:
        """The characters at these places (N × K × 6), as logits (N × K × LENGTH × 30)."""
        count = places.shape[1]
        centre, along, down = places[:, :, None, :2], places[:, :, None, 2:4], places[:, :, None, 4:]
        spots = centre + self.points[:, :1] * along + self.points[:, 1:] * down
        grid = (spots * (2 / SIDE) - 1).reshape(-1, count * _CROP[0], _CROP[1], 2)
        level = F.grid_sample(features, grid, align_corners=False)
        level = level.reshape(-1, level.shape[1], count, *_CROP).transpose(1, 2)
        said = self.read(level.reshape(-1, level.shape[2], *_CROP))
        found: Tensor = said.reshape(-1, count, len(ALPHABET), LENGTH).transpose(2, 3)
        return found


def _conv(inputs: int, outputs: int, *, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=dilation, dilation=dilation, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


def _narrow(inputs: int, outputs: int) -> nn.Sequential:
    """Values that stay within 0 and 1, most of them between the ends to begin with."""
    norm = nn.BatchNorm2d(outputs)
    nn.init.constant_(norm.weight, 0.3)
    nn.init.constant_(norm.bias, 0.3)
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), norm, nn.Hardtanh(0.0, 1.0))


def _as_sent(narrow: Tensor) -> Tensor:
    """Some pictures' values rounded to two bits; gradients pass."""
    rounded = narrow + (torch.round(narrow * _STEPS) / _STEPS - narrow).detach()
    sent = torch.rand(len(narrow), 1, 1, 1) < _SENT_SHARE
    return torch.where(sent, rounded, narrow)


def _across(channels: int) -> nn.Sequential:
    """Two rows of features to one, each column with its neighbours."""
    convolution = nn.Conv2d(channels, channels, (2, 3), padding=(0, 1), bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels), nn.ReLU())


def _points() -> Tensor:
    """Where a plate is sampled, in parts of its edges from its centre (8·24 × 2: along, down)."""
    down = ((torch.arange(_CROP[0]) + 0.5) / _CROP[0] - 0.5) * _MARGIN[1]
    along = ((torch.arange(_CROP[1]) + 0.5) / _CROP[1] - 0.5) * _MARGIN[0]
    rows, columns = torch.meshgrid(down, along, indexing="ij")
    return torch.stack([columns.flatten(), rows.flatten()], 1)
