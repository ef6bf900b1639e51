"""Do samples of one batch leave one another alone? Only then may strangers' requests be gathered into one, and samples
that are done be taken out.

Shapes do not tell: a mean over the batch, or levels whose range is measured over it (DynamicQuantizeLinear), gives
tensors in proportion to the batch, too. So the network is run: a sample must be answered as before when another one,
much larger, takes its neighbour's place; a faint one, too, for behind a clip ordinary samples fill the range already,
and a larger one changes nothing. Both times the same kernels run on the same shapes, so that even the rounding is the
same, and few bits do not tip over.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from isthmus.engine.difference import relative
from isthmus.run.types import Array, Arrays, Runner

Seam = tuple[int, int]
"""Where samples of a tensor are joined and parted: (axis, length of one sample along it)."""

_LARGER = -8
"""What a neighbour is multiplied by, so that ranges and sums over the batch are others."""
_FAINT = 1 / 64
"""What both samples are multiplied by at the second trial; a neighbour is then an ordinary one."""
_BESIDE = 1e-4
"""How far an answer may move with its neighbour, over its greatest absolute value: not at all, but for threads that sum
in another order. On every network tried it was 0 for those that keep samples apart, 0.01 and more for the others."""
_ALONE = 0.01
"""The same for an answer alone and in a batch of two, whose kernels differ: at most 1e-6 on networks tried, but levels
of few bits may tip over. What divides by the size of the batch is far above it, for every sample."""


def apart(engine: Runner, seam: Callable[[str], Seam | None]) -> bool:
    """Whether samples are answered as if they were alone, up to the last cut that is ready: with few bits and no whole
    network on this device, only that part is tried. Costs 14 samples; `engine` must take batches of two."""

    def answers(inputs: Arrays, samples: int) -> list[dict[str, Array]]:
        """To each sample its own."""
        made = engine.head(engine.cuts[-1].id, inputs)
        return [_sample(made, seam, at) for at in range(samples)]

    pair = engine.model.random_inputs(2)
    faint = {name: np.multiply(x, _FAINT, dtype=x.dtype) if x.dtype.kind == "f" else x for name, x in pair.items()}
    together = answers(pair, 2)
    for tried, made, larger in ((pair, together, _LARGER), (faint, answers(faint, 2), 1 / _FAINT)):
        for at in range(2):
            beside = {name: x.copy() for name, x in tried.items()}
            for x in _sample(beside, seam, 1 - at).values():
                x[...] = np.multiply(x, larger, dtype=x.dtype) if x.dtype.kind == "f" else x == 0
            if _farthest(answers(beside, 2)[at], made[at]) > _BESIDE:
                return False
    whole_batch = {name: x for name, x in pair.items() if seam(name) is None}
    alone = [answers({**whole_batch, **_sample(pair, seam, at)}, 1)[0] for at in range(2)]
    return min(_farthest(one, both, kinds="f") for one, both in zip(alone, together, strict=True)) <= _ALONE


def _farthest(got: Arrays, wanted: Arrays, kinds: str = "fiub") -> float:
    return max((relative(got[name], x) for name, x in wanted.items() if x.dtype.kind in kinds), default=0.0)


def _sample(tensors: Arrays, seam: Callable[[str], Seam | None], at: int) -> dict[str, Array]:
    """One sample of all tensors that have samples, as views."""
    found = {}
    for name, x in tensors.items():
        if (place := seam(name)) is not None:
            axis, length = place
            found[name] = x[(*[slice(None)] * axis, slice(at * length, (at + 1) * length))]
    return found
