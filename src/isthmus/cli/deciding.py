"""`isthmus run --planner`, `--cut`: whoever decides in a run, where it is not the session's own chooser."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from isthmus.adapt import Fixed, is_own, own_chooser
from isthmus.cli.edgent import past_of, say_unmet
from isthmus.cli.promising import lateness_of
from isthmus.codec import make_codec
from isthmus.errors import BadInput
from isthmus.graph import at_exit, cut_at, graph_of
from isthmus.plan.rewards import REWARD_OF
from isthmus.record import Choice, Chooser, Lateness
from isthmus.session import Ready, each_chooser_of, map_chooser_of, right_sized_choice, tables_of

_DECIDES = ("dynamic", "edgent", "edgent_each", *REWARD_OF)


def _known(planner: str) -> str:
    """Refused before anything is opened, where there is none of this name."""
    if planner not in _DECIDES and not is_own(planner):
        raise BadInput(
            f"--planner {planner} is none of {', '.join(_DECIDES)}; give a chooser of your own as file.py:function"
        )
    return planner


Planner = Annotated[
    str,
    typer.Option(
        callback=_known,
        metavar="NAME",
        help="Who moves the cut: dynamic; with exits, in time for --deadline, edgent_map or edgent_map_accuracy, "
        "edgent once and for all, edgent_each anew for every request; or file.py:function of your own.",
    ),
]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Who is to decide, and within what. An empty cut or exit was not asked for."""

    planner: str
    cut: str
    codec: str
    exit_at: str
    within_s: float
    states: list[Path] | None
    late_from: Path | None
    batch: int
    server_first: bool

    def chooser(self, here: Ready) -> Chooser | None:
        """Whoever decides; None: the session's own. Raises BadInput for options that do not go together, or what the
        bundle has not."""
        if self.codec != "float32" and not self.cut:
            raise BadInput(f"--codec {self.codec} is the codec for --cut: give both, or neither")
        seen = lateness_of(self.late_from)
        if seen is not None and not self.planner.startswith("edgent"):
            promising = "planners that promise a deadline, as edgent and edgent_map"
            raise BadInput(f"--late-from is for {promising}, not {self.planner}")
        if self.planner == "dynamic":
            if self.states:
                raise BadInput("--states are for --planner edgent_map")
            return self._always(here) if self.cut else None
        return self._own(here) if is_own(self.planner) else self._promising(here, seen)

    def _always(self, here: Ready) -> Chooser:
        """The cut and codec asked for. Raises BadInput where the network, or as much of it as one exit needs, has no
        such cut, and for an unknown codec."""
        make_codec(self.codec)
        graph = graph_of(here.engine.model)
        cut_at(at_exit(graph, self.exit_at) if self.exit_at else graph, self.cut)
        return Fixed(Choice(cut=self.cut, codec=self.codec, first="server" if self.server_first else "device"))

    def _own(self, here: Ready) -> Chooser:
        if self.cut or self.states:
            raise BadInput(f"{self.planner} decides by itself: leave --cut and --states out")
        exit_at = self.exit_at or None
        tables = tables_of(here.bundle, [self.batch], exit_at=exit_at, server_first=self.server_first)
        return own_chooser(self.planner, tables, self.within_s)

    def _promising(self, here: Ready, seen: Lateness | None) -> Chooser:
        """One of Edgent's, for whom the deadline is a promise and an exit a way to keep it."""
        if self.cut or self.exit_at:
            raise BadInput(f"{self.planner} chooses cut and exit itself: leave --cut and --exit out")
        bundle, within_s, batch, back = here.bundle, self.within_s, self.batch, self.server_first
        if self.planner in ("edgent", "edgent_each"):
            if self.states:
                what = "the link that was packed" if self.planner == "edgent" else "the rate measured last"
                raise BadInput(f"--states are for --planner edgent_map; {self.planner} plans for {what}")
            if self.planner == "edgent_each":
                return each_chooser_of(bundle, within_s=within_s, seen=seen, batch=batch, server_first=back)
            return Fixed(right_sized_choice(bundle, within_s=within_s, seen=seen, batch=batch, server_first=back))
        past = past_of(self.states)
        chooser = map_chooser_of(
            bundle,
            reward=REWARD_OF[self.planner],
            within_s=within_s,
            states_bps=past.states_bps,
            states_spread=past.spread,
            seen=seen,
            batch=batch,
            server_first=back,
        )
        say_unmet(chooser.config)
        return chooser
