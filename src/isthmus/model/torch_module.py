"""A PyTorch module as a `Model`, through torch.export and ONNX. Needs the torch extra.

An untrained network with batch norm must see some data before it is exported (`settle_batchnorm`): with the running
statistics it is born with, deep networks collapse to zero or blow up, and nothing can be learnt from cutting them.
"""

from __future__ import annotations

import importlib
import logging
import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from typing import Any

from isthmus.errors import BadModel, Missing
from isthmus.model.onnx_file import model_from_proto
from isthmus.model.shapes import first_line
from isthmus.model.torch_blocks import module_blocks
from isthmus.model.torch_modes import in_mode
from isthmus.model.torch_names import name_ends
from isthmus.model.types import OPSET, Model

MAX_BATCH = 1024
"""Upper bound of the exported batch dimension; torch.export wants one to reason with."""
_ONE_IS_SPECIAL = 2
"""torch.export may say that a dimension begins here, though what it exports takes 1, too."""
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def from_torch(
    module: Any, example: Any, *, name: str, dynamic_batch: bool = True, outputs: tuple[str, ...] | None = None
) -> Model:
    """Export a `torch.nn.Module` in evaluation mode.

    `example` is one input tensor or a tuple of them, batch first (one sample or more, where the batch is to stay open).
    Inputs keep the names of `forward`'s parameters; `outputs` names what it returns, else outputs have torch's names;
    the outputs of the module's blocks are recorded. The mode of every module in it is left as it was. Raises BadModel
    when torch cannot export the module, or only for some batches where the batch is to stay open, and for an example or
    names that do not fit it, and Missing without the extra.
    """
    torch = need_torch()
    if not isinstance(module, torch.nn.Module):
        raise BadModel(f"{name} is a {type(module).__name__}; only a torch.nn.Module can be exported")
    examples = _examples(torch, example, name, dynamic_batch=dynamic_batch)
    shapes = None
    if dynamic_batch:
        batch = torch.export.Dim("N", min=1, max=MAX_BATCH)
        shapes = tuple({0: batch} for _ in examples)
    with in_mode(module, training=False), _quiet():
        try:
            program = torch.onnx.export(
                module, examples, dynamo=True, opset_version=OPSET, dynamic_shapes=shapes, verbose=False
            )
        except Exception as error:  # torch.export raises dozens of kinds, few of them public
            raise BadModel(f"{name} cannot be exported by torch: {_complaint(error)}") from error
    if dynamic_batch:
        _need_any_batch(program.exported_program, name)
    proto = program.model_proto
    name_ends(proto.graph, name, program.exported_program.graph_signature.user_inputs, outputs)
    return model_from_proto(proto, name, blocks=module_blocks(module, proto.graph), copy=False)


def settle_batchnorm(module: Any, batches: Iterable[Any]) -> None:
    """Replace the running statistics of every batch norm in `module` by those of `batches` (input tensors, batch
    first). The mode of every module in it is left as it was."""
    torch = need_torch()
    norms = [m for m in module.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    momenta = [m.momentum for m in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over the batches
    try:
        with in_mode(module, training=True), torch.no_grad():
            for batch in batches:
                module(batch)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


def from_library(scheme: str, name: str, *, seed: int = 0) -> Model:
    """`torchvision:NAME` or `timm:NAME`, untrained (nothing is downloaded), its batch norms settled on random input."""
    torch = need_torch()
    torch.manual_seed(seed)
    side = 224
    if scheme == "torchvision":
        models = _torchvision(torch)
        if name not in models.list_models():
            raise BadModel(f"torchvision has no model {name}; see torchvision.models.list_models()")
        module = models.get_model(name, weights=None)
    else:
        timm = _package("timm")
        if name not in timm.list_models():
            raise BadModel(f"timm has no model {name}; see timm.list_models()")
        module = timm.create_model(name, pretrained=False)
        side = module.default_cfg.get("input_size", (3, side, side))[-1]
    settle_batchnorm(module, (torch.randn(4, 3, side, side) for _ in range(2)))
    return from_torch(module, torch.randn(2, 3, side, side), name=f"{scheme}:{name}")


def need_torch() -> Any:
    """The package `torch`. Raises Missing with how to install it where it, or what exports from it, is absent."""
    _package("onnxscript")
    return _package("torch")


def _torchvision(torch: Any) -> Any:
    """torchvision.models. Wheels whose compiled part does not load still import once its operators are declared."""
    try:
        return importlib.import_module("torchvision.models")
    except ModuleNotFoundError as error:
        raise _missing("torchvision") from error
    except RuntimeError:
        declared = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            declared.define(operator + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _DECLARED.append(declared)
        return importlib.import_module("torchvision.models")


_DECLARED: list[Any] = []
"""Keeps the declaration alive: it is undone when collected."""


def _package(name: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise _missing(name) from error


def _missing(name: str) -> Missing:
    extra = "isthmus[torch]" if name in ("torch", "onnxscript") else name
    return Missing(f"this needs {name}, which is not installed: pip install '{extra}'")


def _examples(torch: Any, example: Any, name: str, *, dynamic_batch: bool) -> tuple[Any, ...]:
    """The example inputs one by one; where the batch is to stay open, of two samples or more, for torch.export takes a
    dimension of 1 for a constant."""
    examples = tuple(example) if isinstance(example, tuple | list) else (example,)
    if not examples or not all(isinstance(x, torch.Tensor) for x in examples):
        kinds = ", ".join(type(x).__name__ for x in examples) or "nothing"
        raise BadModel(f"the example of {name} must be a tensor or a tuple of tensors, not {kinds}")
    if not dynamic_batch:
        return examples
    for x in examples:
        if not x.ndim or not len(x):
            raise BadModel(
                f"an example of {name} has shape {tuple(x.shape)}, without a sample in dimension 0: "
                "give one, or fix the shapes with dynamic_batch=False"
            )
    return tuple(x if len(x) > 1 else torch.cat([x, x]) for x in examples)


def _need_any_batch(exported: Any, name: str) -> None:
    """Raise BadModel where torch kept only what the module does for the example's batch, or for some batches."""
    ranges = {str(symbol): bounds for symbol, bounds in exported.range_constraints.items()}
    for node in exported.graph.nodes:
        if node.op != "placeholder" or node.name not in exported.graph_signature.user_inputs:
            continue
        batch = node.meta["val"].shape[0]
        bounds = ranges.get(str(batch))
        if bounds is None:
            raise BadModel(
                f"{name} makes a plain number of its batch, as len(x) and int(x.shape[0]) do, so that torch exports it "
                f"for {batch} samples only; use x.shape[0], or fix the shapes with dynamic_batch=False"
            )
        if bounds.lower > _ONE_IS_SPECIAL or bounds.upper < MAX_BATCH:
            raise BadModel(
                f"{name} does something else for other batches than the example's, so that torch exports it for "
                f"{max(bounds.lower, 1)} to {bounds.upper} samples only; make it the same for all, or fix the shapes "
                "with dynamic_batch=False"
            )


def _complaint(error: BaseException) -> str:
    """What torch really complains of, in one line: around it the exporter puts a page of advice, coloured."""
    while error.__cause__ is not None:
        error = error.__cause__
    return _COLOUR.sub("", first_line(error))


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns about its own insides, and prints what it had of the graph when it gives up."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.ERROR))
    try:
        with warnings.catch_warnings(), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
