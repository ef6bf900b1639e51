"""Pretend: machines and links that follow traces, in virtual time, and whoever decides in them. Nothing here sleeps,
reads a clock, or draws a number that is not seeded."""

from isthmus.record import StepWriter
from isthmus.simulate.compare import Row, Shares, compare
from isthmus.simulate.fixed import Statics, statics
from isthmus.simulate.gain import Gain, gain, gain_in_time, regret
from isthmus.simulate.load import Away, Load, Others, read_load
from isthmus.simulate.noise import Noise
from isthmus.simulate.play import Played, changes, play
from isthmus.simulate.policies import POLICIES, Clairvoyant, Informed, make_policy, seconds_of_all
from isthmus.simulate.requests import Due, Requests
from isthmus.simulate.right_sizing import RIGHT_SIZING
from isthmus.simulate.served import CDF_SHARES, Served, served
from isthmus.simulate.states import PAPER_BATCHES, PAPER_RATES_BPS, Evaluated, States, evaluate
from isthmus.simulate.traces import usable
from isthmus.simulate.world import Went, World

__all__ = [
    "CDF_SHARES",
    "PAPER_BATCHES",
    "PAPER_RATES_BPS",
    "POLICIES",
    "RIGHT_SIZING",
    "Away",
    "Clairvoyant",
    "Due",
    "Evaluated",
    "Gain",
    "Informed",
    "Load",
    "Noise",
    "Others",
    "Played",
    "Requests",
    "Row",
    "Served",
    "Shares",
    "States",
    "Statics",
    "StepWriter",
    "Went",
    "World",
    "changes",
    "compare",
    "evaluate",
    "gain",
    "gain_in_time",
    "make_policy",
    "play",
    "read_load",
    "regret",
    "seconds_of_all",
    "served",
    "statics",
    "usable",
]
