"""Latency laws: seconds of a layer from its size, fitted by layer type on a device and read for any network.

Table I and II of Li, Zhou, Chen (Edgent, MECOMM 2018), after Neurosurgeon (Kang et al., ASPLOS 2017). Reading and
predicting is light; `measure` runs the engine and is imported by its own name.
"""

from isthmus.profile.regression.fit import Sample, fit_law, fit_types, quality
from isthmus.profile.regression.layers import Layer, layers_of
from isthmus.profile.regression.named import is_regression, load_regression, profile_for, shipped_regressions
from isthmus.profile.regression.predict import Priced, predict, price_layers, remarks
from isthmus.profile.regression.shapes import LayerShape, variables_of
from isthmus.profile.regression.types import Call, Law, LayerType, Regression, TypeLaws, VariableSet

__all__ = [
    "Call",
    "Law",
    "Layer",
    "LayerShape",
    "LayerType",
    "Priced",
    "Regression",
    "Sample",
    "TypeLaws",
    "VariableSet",
    "fit_law",
    "fit_types",
    "is_regression",
    "layers_of",
    "load_regression",
    "predict",
    "price_layers",
    "profile_for",
    "quality",
    "remarks",
    "shipped_regressions",
    "variables_of",
]
