"""YOLOv3, its SPP variant and YOLOv3-tiny (Redmon, Farhadi: YOLOv3: An Incremental Improvement, arXiv:1804.02767).

As in the authors' `yolov3.cfg`, `yolov3-spp.cfg` and `yolov3-tiny.cfg` at 416 × 416, up to the raw detection maps:
three boxes a position, each with 4 + 1 + 80 values; decoding and suppression of boxes are not part of the network.
Sizes are those of the published weight files, which hold four numbers a channel where batch norm is: 62,001,757 numbers
(yolov3), 63,052,381 (yolov3-spp), 8,858,734 (yolov3-tiny). At 416 × 416 yolov3 and yolov3-tiny take 65.9 and 5.6
thousand million operations, two a multiply-accumulate (https://pjreddie.com/darknet/yolo).
"""

from __future__ import annotations

from isthmus.model.types import Model
from isthmus.model.zoo.builder import Act, Net

_SIDE = 416
_SLOPE = 0.1
_DETECTED = 3 * (4 + 1 + 80)
"""Three boxes a position: centre and size, whether anything is there, 80 classes."""
_BRANCH = 0.5
"""Standard deviation a residual branch adds: eight blocks of one stage stay within a factor of two."""
_RESIDUALS = ((64, 1), (128, 2), (256, 8), (512, 8), (1024, 4))
"""Darknet-53 (table 1 of the paper): channels and residual blocks of each stage."""
_TINY = (16, 32, 64, 128, 256)


def yolov3(*, weights: bool = True, seed: int = 0) -> Model:
    """Darknet-53 and three detection maps, coarse to fine; 61.9 M parameters, 32.8 GMACs."""
    return _yolov3("yolov3", pyramid=False, weights=weights, seed=seed)


def yolov3_spp(*, weights: bool = True, seed: int = 0) -> Model:
    """YOLOv3 with spatial pyramid pooling before the coarsest map; 63.0 M parameters, 33.0 GMACs."""
    return _yolov3("yolov3_spp", pyramid=True, weights=weights, seed=seed)


def yolov3_tiny(*, weights: bool = True, seed: int = 0) -> Model:
    """Seven convolutions with poolings between, two detection maps; 8.9 M parameters, 2.8 GMACs."""
    net = Net("yolov3_tiny", weights=weights, seed=seed)
    x = net.input("input", (3, _SIDE, _SIDE))
    for channels in _TINY:
        fine = _leaky(net, x, channels, 3)
        x = net.block(net.max_pool(fine, 2, 2))
    # a window of two that moves by one: the last row and column are looked at alone
    x = net.block(net.max_pool(_leaky(net, x, 512, 3), 2, 1, pad=(0, 0, 1, 1)))
    x = net.block(_leaky(net, _leaky(net, x, 1024, 3), 256, 1))
    coarse = _detect(net, x, 512, "boxes_13")
    x = net.concat([net.upsample(_leaky(net, x, 128, 1)), fine])
    return net.model([coarse, _detect(net, x, 256, "boxes_26")])


def _yolov3(name: str, *, pyramid: bool, weights: bool, seed: int) -> Model:
    net = Net(name, weights=weights, seed=seed)
    x = _leaky(net, net.input("input", (3, _SIDE, _SIDE)), 32, 3)
    ends = []
    for channels, blocks in _RESIDUALS:
        x = _leaky(net, x, channels, 3, 2)
        for _ in range(blocks):
            inner = _leaky(net, _leaky(net, x, channels // 2, 1), channels, 3)
            x = net.block(net.add(x, inner))
        ends.append(x)
    x = _five(net, ends[4], 512, pyramid=pyramid)
    found = [_detect(net, x, 1024, "boxes_13")]
    for width, finer, output in ((256, ends[3], "boxes_26"), (128, ends[2], "boxes_52")):
        x = net.concat([net.upsample(_leaky(net, x, width, 1)), finer])
        x = _five(net, x, width)
        found.append(_detect(net, x, 2 * width, output))
    return net.model(found)


def _five(net: Net, x: Act, width: int, *, pyramid: bool = False) -> Act:
    """Five convolutions, 1 × 1 and 3 × 3 in turns; with a `pyramid` of poolings after the third, and one more."""
    x = _leaky(net, _leaky(net, _leaky(net, x, width, 1), 2 * width, 3), width, 1)
    if pyramid:
        pooled = [net.max_pool(x, kernel, 1, pad=kernel // 2) for kernel in (13, 9, 5)]
        x = _leaky(net, net.concat([*pooled, x]), width, 1)
    return _leaky(net, _leaky(net, x, 2 * width, 3), width, 1)


def _detect(net: Net, x: Act, width: int, name: str) -> Act:
    """The raw map of boxes; the last convolution has neither batch norm nor activation."""
    return net.conv(_leaky(net, x, width, 3), _DETECTED, 1, name=name)


def _leaky(net: Net, x: Act, channels: int, kernel: int, stride: int = 1) -> Act:
    return net.leaky_relu(net.conv(x, channels, kernel, stride, pad=kernel // 2), _SLOPE)
