"""How a session with a server begins."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from numbers import Real

from isthmus.codec import PictureScale
from isthmus.errors import BadInput, Full, Refused
from isthmus.profile import ExitTable
from isthmus.quant import ChannelClip
from isthmus.record.types import Chooser, StepWriter, check_chooser
from isthmus.run.client import Session
from isthmus.run.codecs import Codecs
from isthmus.run.early import Early, digest_of
from isthmus.run.halves import Halves
from isthmus.run.policy import checked
from isthmus.run.split_pb2 import Hello
from isthmus.run.types import PROTOCOL, Mode, Runner
from isthmus.run.verify import verifier
from isthmus.run.way import GREETING_S, Way


def check_deadline(deadline_s: object) -> None:
    """Raises BadInput for what is no number of seconds that can be waited."""
    if not (isinstance(deadline_s, Real) and 0 < float(deadline_s) < threading.TIMEOUT_MAX):
        raise BadInput(f"a deadline of {deadline_s!r} s cannot be kept; give seconds above zero")


def connect_engine(
    engine: Runner,
    address: str,
    *,
    chooser: Chooser,
    deadline_s: float = 2.0,
    mode: Mode = "auto",
    clips: Mapping[str, ChannelClip] | None = None,
    pictures: Mapping[str, PictureScale] | None = None,
    exits: ExitTable | None = None,
    clock: Callable[[], float] = time.perf_counter,
    journal: StepWriter | None = None,
    verify: bool | Runner = False,
    true_bps: Callable[[float], float | None] | None = None,
    pace: Callable[[int], None] | None = None,
    original: Runner | None = None,
    written: Mapping[str, Mapping[str, str]] | None = None,
) -> Session:
    """A session that computes with `engine` here and the server at `address` ("host:port") there.

    `deadline_s`: how long after its start a request waits for the server before the device finishes it. `clips` and
    `pictures` are the server's; so is `exits`: with a table inputs leave at the first exit that is sure, at the latest
    at the one the chooser names, and when the server fails the answer so far is given where the next one would come
    after the deadline. `journal` gets a line a request; one that it cannot take costs no answer (`Session.unwritten`),
    and no more does a `chooser` that fails to take what it is told (`Session.stumbled`). With `verify`, each is
    recomputed (by that engine, if one is given) and compared; with the answers of `original` where that is another
    network than the one that answers (few bits). `written`: for a codec, the codecs of single tensors. `true_bps(t)` is
    the link's real rate where the run knows it; `pace(bytes)` may sleep before each frame, to make the link slow on
    purpose.
    Raises Refused when the server holds another model, version, clips or table, BadInput for an address that can never
    be one, for what is no chooser or journal, and for a mode that needs a whole network here where there is none, and,
    in the mode `only_on_server`, Unreachable or Full; otherwise a server that is absent or full is no error: the device
    works until it takes us.
    """
    check_deadline(deadline_s)
    check_chooser(chooser)
    if journal is not None and not hasattr(journal, "write"):
        raise BadInput(
            f"a journal is one that write(step) may be called on, as an isthmus.record.Journal, not {journal!r}"
        )
    if engine.finishes == "never" and mode in ("only_on_device", "prefer_on_device"):
        raise BadInput(f"the mode {mode} needs a whole network on this device, and its memory holds none; take auto")
    halves, codecs = Halves(engine), Codecs(clips, pictures, written, slowdown=engine.slowdown)
    hello = Hello(
        protocol=PROTOCOL,
        model=engine.model.name,
        fingerprint=engine.model.fingerprint,
        clips=codecs.digest,
        exits=digest_of(exits),
    )
    way = Way(address, hello, clock=clock, pace=pace)
    early = None if exits is None else Early(halves, exits)
    if early is not None:
        early.to(None).warm_up(clock)
    session = Session(
        halves,
        codecs,
        chooser,
        mode=checked(mode),
        deadline_s=deadline_s,
        clock=clock,
        journal=journal,
        true_bps=true_bps,
        verifier=verifier(verify, halves, codecs, exits, original),
        early=early,
    )
    if mode == "only_on_device":
        return session
    keeper = session.attach(way.connect)
    keeper.wait_tried(2 * GREETING_S)
    trouble = keeper.trouble
    meant = isinstance(trouble, Refused) and not isinstance(trouble, Full)
    if not session.connected and (meant or mode == "only_on_server"):
        session.close()
        raise trouble
    return session
