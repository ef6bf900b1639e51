"""Training and evaluation mode of a PyTorch module, which each module inside it has for itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def in_mode(module: Any, *, training: bool) -> Iterator[None]:
    """All of `module` in training or in evaluation mode; afterwards every module in it has the mode it had, for some
    may differ from their parent (a batch norm that is frozen while the rest is trained)."""
    before = [(part, part.training) for part in module.modules()]
    module.train(training)
    try:
        yield
    finally:
        for part, mode in before:
            part.training = mode
