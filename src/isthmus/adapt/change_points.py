"""Bayesian online change point detection (R. P. Adams, D. J. C. MacKay, "Bayesian Online Changepoint Detection", 2007).

A series is cut into segments of unknown mean and spread; after every sample there is a probability for each possible
length of the present segment. Two additions, because one stalled transfer is not a slower link:

- a sample may be an outlier (probability `outliers`): its density is then flat over `span`, and a segment takes it in
  only as far as it believes it (the weight w below). That explains a lone outlier; a second one like it is a change.
- a segment's memory is limited to `memory` samples, so that a slow drift is followed instead of averaged.

Cost: one update touches at most `longest` + 1 run lengths with plain numpy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import BadInput

Floats = NDArray[np.float64]

_MOST_SPREAD = 1.0
"""Variance of the logarithm up to which a run's spread is believed: a run of a single sample knows nothing of its own,
and e^(variance / 2) has no upper end. Between 1 and 3 the mean latency over real traces is the same."""


@dataclass(frozen=True)
class Prior:
    """What is known before a segment: Normal-Gamma with mean `mu` worth `kappa` samples and a spread of about
    `sqrt(beta / alpha)` worth 2·`alpha` samples; a change before any sample with probability `hazard`.

    The defaults are for the natural logarithm of bandwidth in bit/s: a mean anywhere around 3 Mbit/s, a spread of
    about 15 % (dispersion itself errs by 4 %, the rest is the link). `benchmarks/change_points.py --tune` chose them:
    least one-step error over synthetic steps and real cellular and Wi-Fi traces among those with fewer than 5 false
    alarms in 1,000 samples. The error is flat around them: 0.112 to 0.125 over the whole grid.
    """

    mu: float = 15.0
    kappa: float = 0.002
    alpha: float = 2.0
    beta: float = 0.045
    hazard: float = 1 / 60
    outliers: float = 0.03
    span: float = 12.0
    memory: float = 60.0
    longest: int = 120

    def __post_init__(self) -> None:
        positive = (self.kappa, self.beta, self.span)
        if not all(0 < v < math.inf for v in positive) or not math.isfinite(self.mu):
            raise BadInput("a prior needs finite mu and kappa, beta, span above zero")
        if not (
            0 < self.hazard < 1 and 0 < self.outliers < 1 and self.alpha >= 2 and self.memory >= 2 and self.longest >= 2
        ):
            raise BadInput("a prior needs hazard and outliers within 0…1, alpha, memory and longest of at least 2")


class ChangePoints:
    """Feed it samples; it says what the present segment is like.

    >>> found = ChangePoints()
    >>> changes = [found.update(math.log(bps)) for bps in [20e6, 21e6, 19e6, 20e6, 0.1e6, 20e6, 20e6, 5e6, 5e6, 5.1e6]]
    >>> changes.index(True), changes.count(True)  # the stalled sample is no change, the second 5e6 is
    (8, 1)
    >>> round(math.exp(found.mean) / 1e6, 1)
    5.0
    """

    def __init__(self, prior: Prior | None = None) -> None:
        self.prior = prior or Prior()
        self.mean = self.prior.mu
        """of the most probable segment"""
        self.sd = math.sqrt(self.prior.beta / self.prior.alpha)
        """spread of single samples within it"""
        self.samples = 0.0
        """how many (weighted) samples speak for it"""
        self.doubt = 0.0
        """probability that another segment than `mean`'s began with one of the last two samples: a change in the air"""
        self.age = 0
        """samples in the most probable segment"""
        self._count = 0
        self._n = 1  # how many run lengths are alive, oldest first
        self._fresh = (self.prior.mu, self.prior.kappa, self.prior.alpha, self.prior.beta)
        self._state = np.zeros((5, self.prior.longest + 2))  # rows: probability, mu, kappa, alpha, beta
        self._state[:, 0] = 1.0, *self._fresh
        self._born = np.zeros(self.prior.longest + 2, np.int64)  # number of samples seen before the run began

    @property
    def sd_of_mean(self) -> float:
        """How far the segment's mean itself may be off."""
        return self.sd / math.sqrt(max(self.samples, 0.5))

    @property
    def expected_inverse(self) -> float:
        """The expected e^(−x) of the next sample, over every run length there may be; 1 / e^mean before any sample.

        Of log bandwidth it is the expected seconds a bit, which is what a transfer costs: a rate that is half the time
        10 and half the time 1 costs as much as one of 1.8 all the time, not of 3.2. It moves with every doubt about
        the present segment, where the mean waits for the second sample. A run's spread counts up to `_MOST_SPREAD`.
        """
        last = self._n - 1
        if last < 1:
            return math.exp(-self.mean)
        p, mu, kappa, alpha, beta = self._state[:, :last]
        variance = np.minimum(beta / (alpha - 1) * (1 + 1 / kappa), _MOST_SPREAD)
        return float(np.exp(variance / 2 - mu) @ p) / float(p.sum())

    def update(self, x: float) -> bool:
        """One more sample. True when another segment than before has become the most probable (not for the first
        sample). Raises BadInput for a sample that is not finite."""
        if not math.isfinite(x):
            raise BadInput(f"a sample must be finite, not {x}")
        self._weigh(x)
        self._count += 1
        self._drop()
        return self._conclude()

    def _weigh(self, x: float) -> None:
        """One step of the recursion (Adams & MacKay, algorithm 1): predict, grow, change, learn."""
        prior, n = self.prior, self._n
        p, mu, kappa, alpha, beta = self._state[:, :n]
        off = x - mu
        grown_square = kappa * off * off / (kappa + 1)
        student = (1 - prior.outliers) * _student(grown_square, kappa, alpha, beta)
        density = student + prior.outliers / prior.span
        p *= density
        p /= p.sum()
        w = student / density
        self._learn(mu, kappa, alpha, beta, off, w)
        self._begin(prior.hazard)

    def _learn(self, mu: Floats, kappa: Floats, alpha: Floats, beta: Floats, off: Floats, w: Floats) -> None:
        """Normal-Gamma with the sample counted w times (Murphy 2007, eq. 85-89), memory fading beyond `memory`."""
        prior = self.prior
        grown = kappa + w
        share = w / grown
        beta += 0.5 * share * kappa * off * off
        mu += share * off
        alpha += 0.5 * w
        if self._count >= prior.memory:  # below it nothing can be over the limit yet
            fade = np.minimum(1.0, prior.memory / grown)
            grown *= fade
            alpha += (prior.alpha - alpha) * (1 - fade)
            beta += (prior.beta - beta) * (1 - fade)
        kappa[:] = grown

    def _begin(self, probability: float) -> None:
        """A run that begins after this sample: it knows nothing yet."""
        n = self._n
        self._state[0, :n] *= 1 - probability
        self._state[:, n] = probability, *self._fresh
        self._born[n] = self._count + 1
        self._n = n + 1

    def _drop(self) -> None:
        """Keep at most `longest` runs: the least probable goes, its probability to the others."""
        last = self._n - 1
        if last < self.prior.longest:
            return
        at = int(np.argmin(self._state[0, :last]))
        self._state[:, at:last] = self._state[:, at + 1 : last + 1]
        self._born[at:last] = self._born[at + 1 : last + 1]
        self._n = last

    def _conclude(self) -> bool:
        last = self._n - 1  # the run that has seen nothing yet says nothing: ask the others, there always is one
        best = int(np.argmax(self._state[0, :last]))
        born = int(self._born[best])
        changed = self._count > 1 and born != self._count - 1 - self.age
        self.age = self._count - born
        _, mu, kappa, alpha, beta = self._state[:, best].tolist()
        self.mean = mu
        self.samples = kappa - self.prior.kappa
        self.sd = math.sqrt(beta / alpha)
        young = [at for at in range(max(0, last - 2), last) if at != best and self._born[at] >= self._count - 2]
        self.doubt = float(self._state[0, young].sum()) / (1 - self.prior.hazard)
        return changed


def _student(square: Floats, kappa: Floats, alpha: Floats, beta: Floats) -> Floats:
    """Density of the next sample: Student's t, 2·alpha degrees of freedom, scale² = beta (kappa + 1) / (alpha kappa)
    (Murphy 2007, eq. 100). square: kappa (x - mu)² / (kappa + 1)."""
    doubled = 2 * beta
    density: Floats = np.sqrt(_gamma_ratio_square(alpha) * kappa / ((kappa + 1) * math.pi * doubled))
    density *= np.power(1 + square / doubled, -(alpha + 0.5))
    return density


def _gamma_ratio_square(a: Floats) -> Floats:
    """(Γ(a + ½) / Γ(a))² by its asymptotic series; within 2e-4 for a ≥ 2, 1e-8 for a ≥ 20."""
    q = 1 / a
    ratio: Floats = a - 0.25 + q * (1 / 32 + q * (1 / 128 - q * (5 / 2048)))
    return ratio
