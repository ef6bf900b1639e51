"""Seeded noise on compute times, by the number of the request: whoever plays, request 7 has the same bad luck."""

from __future__ import annotations

import numpy as np

from isthmus.errors import BadInput

_BLOCK = 4096


class Noise:
    """Log-normal factors of mean 1 for device and server; `sd` is that of their logarithm.

    >>> Noise(0.0, 1).at(5)
    (1.0, 1.0)
    >>> noisy = Noise(0.2, 1)
    >>> noisy.at(7) == Noise(0.2, 1).at(7), noisy.at(7) == noisy.at(8)
    (True, False)
    """

    def __init__(self, sd: float, seed: int) -> None:
        if not 0 <= sd <= 2 or seed < 0:
            raise BadInput(
                f"noise needs a standard deviation of log time within 0…2 and a seed from 0, not {sd}, {seed}"
            )
        self.sd, self._seed = sd, seed
        self._blocks: dict[int, list[tuple[float, float]]] = {}

    def at(self, number: int) -> tuple[float, float]:
        """The factors of one request."""
        if self.sd == 0:
            return 1.0, 1.0
        block, at = divmod(number, _BLOCK)
        if block not in self._blocks:
            drawn = np.random.default_rng((self._seed, block)).standard_normal((_BLOCK, 2))
            factors = np.exp(self.sd * drawn - self.sd**2 / 2)
            self._blocks[block] = [(device, server) for device, server in factors.tolist()]
        return self._blocks[block][at]
