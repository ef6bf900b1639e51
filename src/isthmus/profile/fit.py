"""Filling the gaps between measured cuts: `a·Σ node seconds + b·MB over the cut + c`, by least relative squares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from isthmus.graph.types import INPUT, OUTPUT, Cut, Graph
from isthmus.profile.types import Fit

_FEWEST = 5
"""With fewer measured parts than this the three numbers cannot be told apart; node sums are scaled only."""


def fit_parts(
    graph: Graph, cuts: Sequence[Cut], timings: Mapping[str, float], nodes: Mapping[str, float], *, heads: bool
) -> Fit:
    """The fit over the measured seconds of the heads (or tails) of these cuts; its error is the median leave-one-out
    one."""
    inner = [c for c in cuts if c.id in timings and c.id not in (INPUT, OUTPUT)]
    if not inner or not nodes:
        return Fit()
    rows, seconds = [], []
    for cut in inner:
        inside = cut.head if heads else frozenset(range(len(graph.nodes))) - cut.head
        total = sum(nodes.get(graph.nodes[i].name, 0.0) for i in inside)
        megabytes = sum(graph.tensors[t].bytes for t in cut.crossing) / 1e6
        rows.append((total, megabytes, 1.0))
        seconds.append(timings[cut.id])
    x, y = np.array(rows), np.array(seconds)
    if len(inner) < _FEWEST:
        scale = float(np.median(y / np.maximum(x[:, 0], 1e-9)))
        return Fit(a=scale, error=float(np.median(np.abs(x[:, 0] * scale / y - 1))))
    a, b, c = _solve(x, y)
    left_out = [abs(float(x[i] @ _solve(np.delete(x, i, 0), np.delete(y, i))) / y[i] - 1) for i in range(len(y))]
    return Fit(a=a, b=b, c=c, error=float(np.median(left_out)))


def _solve(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least squares of the relative error; b and c may not be negative (they are a copy and a call)."""
    weighted = x / y[:, None]
    for columns in ([0, 1, 2], [0, 2], [0, 1], [0]):
        part, *_ = np.linalg.lstsq(weighted[:, columns], np.ones(len(y)), rcond=None)
        if (part[1:] >= 0).all() and part[0] > 0:
            break
    solved = np.zeros(3)
    solved[columns] = part
    return solved
