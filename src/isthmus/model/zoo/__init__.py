"""Architectures written straight as ONNX, with seeded weights, and one trained network: no framework, no download."""

from __future__ import annotations

from collections.abc import Callable

from isthmus.model.types import Model
from isthmus.model.zoo.alexnet import alexnet
from isthmus.model.zoo.b_alexnet import b_alexnet
from isthmus.model.zoo.b_lenet import b_lenet
from isthmus.model.zoo.digits import digits, digits_test
from isthmus.model.zoo.efficientnet import EFFICIENTNETS
from isthmus.model.zoo.efficientnet_v2 import EFFICIENTNETS_V2
from isthmus.model.zoo.faster_rcnn import fasterrcnn_resnet50_fpn
from isthmus.model.zoo.googlenet import googlenet
from isthmus.model.zoo.mnasnet import mnasnet1_0
from isthmus.model.zoo.mobilenet import mobilenet_v2
from isthmus.model.zoo.resnet import resnet18, resnet50, resnext50_32x4d
from isthmus.model.zoo.tiny import tiny
from isthmus.model.zoo.vgg import vgg16
from isthmus.model.zoo.yolo import yolov3, yolov3_spp, yolov3_tiny

SEEDED: dict[str, Callable[..., Model]] = {
    "tiny": tiny,
    "alexnet": alexnet,
    "vgg16": vgg16,
    "resnet18": resnet18,
    "resnet50": resnet50,
    "resnext50_32x4d": resnext50_32x4d,
    "mobilenet_v2": mobilenet_v2,
    "mnasnet1_0": mnasnet1_0,
    "googlenet": googlenet,
    "b_lenet": b_lenet,
    "b_alexnet": b_alexnet,
    "yolov3_tiny": yolov3_tiny,
    "yolov3": yolov3,
    "yolov3_spp": yolov3_spp,
    "fasterrcnn_resnet50_fpn": fasterrcnn_resnet50_fpn,
    **EFFICIENTNETS,
    **EFFICIENTNETS_V2,
}
"""Networks with random weights: name → builder, each takes `weights` and `seed`."""
ZOO: dict[str, Callable[..., Model]] = {"digits": digits, **SEEDED}
"""All `zoo:` networks."""

__all__ = ["SEEDED", "ZOO", "digits_test"]
