"""Bringing a network in: files, the zoo, torch modules. Everything after this folder sees a checked `Model`."""

from isthmus.model.light import light_models, with_weights
from isthmus.model.names import load_model, zoo_names
from isthmus.model.onnx_file import load_model_file, model_from_proto
from isthmus.model.passes import fused
from isthmus.model.types import IR_VERSION, OPSET, Model, Signature
from isthmus.model.zoo import ZOO, digits_test

__all__ = [
    "IR_VERSION",
    "OPSET",
    "ZOO",
    "Model",
    "Signature",
    "digits_test",
    "fused",
    "light_models",
    "load_model",
    "load_model_file",
    "model_from_proto",
    "with_weights",
    "zoo_names",
]
