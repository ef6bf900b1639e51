"""Pretend: machines and links that follow traces, in virtual time, and whoever decides in them. Nothing here sleeps,
reads a clock, or draws a number that is not seeded."""

from isthmus.simulate.fixed import Statics, statics
from isthmus.simulate.load import Away, Load, Others, read_load
from isthmus.simulate.noise import Noise
from isthmus.simulate.play import Played, play
from isthmus.simulate.policies import POLICIES, Clairvoyant, Informed, make_policy, seconds_of_all
from isthmus.simulate.requests import Due, Requests
from isthmus.simulate.world import Went, World

__all__ = [
    "POLICIES",
    "Away",
    "Clairvoyant",
    "Due",
    "Informed",
    "Load",
    "Noise",
    "Others",
    "Played",
    "Requests",
    "Statics",
    "Went",
    "World",
    "make_policy",
    "play",
    "read_load",
    "seconds_of_all",
    "statics",
]
