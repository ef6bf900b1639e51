"""Keep deciding: what the link and the machines are like now, and which cut is best for that."""

from isthmus.adapt.at_exit import AtExit
from isthmus.adapt.bandwidth import Bandwidth
from isthmus.adapt.change_points import ChangePoints, Prior
from isthmus.adapt.chooser import TableChooser
from isthmus.adapt.fixed import Fixed, Unlearning, always_device, always_server
from isthmus.adapt.habits import Habits
from isthmus.adapt.health import Health
from isthmus.adapt.load import LoadFactor, Recent
from isthmus.adapt.map_chooser import EachRequest, MapChooser
from isthmus.adapt.own import is_own, own_chooser
from isthmus.adapt.states import bandwidth_states, belief_spread, segments

__all__ = [
    "AtExit",
    "Bandwidth",
    "ChangePoints",
    "EachRequest",
    "Fixed",
    "Habits",
    "Health",
    "LoadFactor",
    "MapChooser",
    "Prior",
    "Recent",
    "TableChooser",
    "Unlearning",
    "always_device",
    "always_server",
    "bandwidth_states",
    "belief_spread",
    "is_own",
    "own_chooser",
    "segments",
]
