"""The mode a person asks for, laid over what the chooser would do."""

from __future__ import annotations

from isthmus.codec import RAW
from isthmus.errors import BadInput, IsthmusError, Refused, Remote
from isthmus.graph import INPUT, OUTPUT
from isthmus.record.types import Choice
from isthmus.run.halves import Halves
from isthmus.run.types import MODES, Mode


def checked(mode: Mode) -> Mode:
    """The mode. Raises BadInput when it is none."""
    if mode not in MODES:
        raise BadInput(f"'{mode}' is no mode; there are {', '.join(MODES)}")
    return mode


def within(mode: Mode, choice: Choice, halves: Halves) -> Choice:
    """The choice if the mode allows it, else the nearest that it does.

    auto: the chooser's. prefer_on_device and only_on_device: all on the device; the first asks the server where the
    device fails (out of memory). prefer_on_server and only_on_server: all on the server, by the chooser's codec if it
    sends the input too; the first falls back on the device, which does nothing beside it. private: the chooser's,
    unless a raw input would leave the device.
    """
    if mode in ("only_on_device", "prefer_on_device"):
        return all_here(choice, f"the mode is {mode}")
    if mode in ("only_on_server", "prefer_on_server"):
        return _instead(choice, INPUT, f"the mode is {mode}")
    if mode == "private" and choice.cut != OUTPUT and (choice.first == "server" or halves.sends_input(choice.cut)):
        return all_here(choice, "the mode is private and the input would have left the device")
    return choice


def all_here(choice: Choice, why: str) -> Choice:
    """The device alone instead, up to the same exit."""
    return _instead(choice, OUTPUT, why)


def lost(why: IsthmusError, deadline_s: float) -> Remote:
    """Why a request is lost that only the server could have finished."""
    kind = type(why) if isinstance(why, Remote) else Refused
    return kind(
        f"no answer within {deadline_s:g} s ({why}), and this device has no whole network to finish with: the request "
        "is lost"
    )


def _instead(choice: Choice, cut: str, why: str) -> Choice:
    if choice.cut == cut:
        return choice.model_copy(update={"beside": False})
    return Choice(cut=cut, codec=RAW, exit=choice.exit, why=why)
