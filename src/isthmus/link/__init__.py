"""The hop between two machines: its price (`Link`), its rate over time (`Trace`), and how to measure and shape one."""

from isthmus.link.generate import constant, markov, steps
from isthmus.link.probe import dispersion_bps
from isthmus.link.read import read_trace
from isthmus.link.shape import ShapedLink
from isthmus.link.trace import Trace
from isthmus.link.types import Link

__all__ = ["Link", "ShapedLink", "Trace", "constant", "dispersion_bps", "markov", "read_trace", "steps"]
