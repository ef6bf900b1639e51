"""The dense part of Faster R-CNN (Ren, He, Girshick, Sun: Towards Real-Time Object Detection with Region Proposal
Networks, NeurIPS 2015) on a feature pyramid (Lin et al.: Feature Pyramid Networks for Object Detection, CVPR 2017).

As torchvision builds `fasterrcnn_resnet50_fpn`, up to the raw maps of the region proposal network: what follows
(choosing proposals, pooling their features, the two layers over each) depends on the picture and is left out.
torchvision states 41,755,286 parameters without batch norms and 134.38 GMACs at 800 × 800; 14,362,055 of them, and
14.36 GMACs for a thousand proposals, are that second part.
"""

from __future__ import annotations

from isthmus.model.types import Model
from isthmus.model.zoo.builder import Act, Net
from isthmus.model.zoo.resnet import bottleneck, stages

_SIDE = 800
_WIDTH = 256
"""Channels of every level of the pyramid."""
_ANCHORS = 3
"""Boxes looked at around each position: three aspect ratios."""


def fasterrcnn_resnet50_fpn(*, weights: bool = True, seed: int = 0) -> Model:
    """ResNet-50, pyramid levels 2 … 6, and for each whether an object is there (`objects_p2` …) and how its box differs
    from the anchor (`boxes_p2` …); 27.4 M parameters, 120 GMACs at 800 × 800."""
    net = Net("fasterrcnn_resnet50_fpn", weights=weights, seed=seed)
    levels = _pyramid(net, stages(net, net.input("input", (3, _SIDE, _SIDE)), (3, 4, 6, 3), bottleneck))
    inner = objects = boxes = None
    found_objects, found_boxes = [], []
    for number, level in enumerate(levels, start=2):
        # the same three convolutions look at every level
        inner = net.conv(level, _WIDTH, 3, pad=1, like=inner)
        seen = net.relu(inner)
        objects = net.conv(seen, _ANCHORS, 1, like=objects, name=f"objects_p{number}")
        boxes = net.conv(seen, 4 * _ANCHORS, 1, like=boxes, name=f"boxes_p{number}")
        found_objects.append(objects)
        found_boxes.append(boxes)
    return net.model([*found_objects, *found_boxes])


def _pyramid(net: Net, ends: list[Act]) -> list[Act]:
    """Levels 2 … 6 from the outputs of the four stages: what is coarser is added to what is finer, from the top."""
    sideways = [net.conv(end, _WIDTH, 1) for end in ends]
    merged = [sideways[-1]]
    for side in reversed(sideways[:-1]):
        merged.append(net.add(side, net.upsample(merged[-1])))
    levels = [net.conv(x, _WIDTH, 3, pad=1) for x in reversed(merged)]
    return [*levels, net.max_pool(levels[-1], 1, 2)]
