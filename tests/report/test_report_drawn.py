"""What is drawn is what the journal says: means, rests, marks and the order of cuts, each by a case done by hand."""

from __future__ import annotations

import re

import numpy as np
import pytest
from report_runs import steady_run

from isthmus.graph.types import INPUT, OUTPUT
from isthmus.record import Seconds
from isthmus.report.columns import DRAWN_CAUSES, columns_of, groups_of
from isthmus.report.distribution import latency_shares
from isthmus.report.order import cuts_in_order
from isthmus.report.scale import log_range
from isthmus.report.timeline import timeline


def test_a_bar_of_many_requests_is_as_high_as_their_mean() -> None:
    groups = groups_of(columns_of(steady_run(5000)))
    assert groups.count.max() > 10
    assert groups.causes_s.sum(axis=1) == pytest.approx(groups.mean_s)
    assert groups.mean_s == pytest.approx(np.full(len(groups), 0.05))


def test_causes_that_take_more_than_the_whole_leave_no_rest() -> None:
    """The clocks of two machines differ a little."""
    columns = columns_of(steady_run(1, seconds=Seconds(total=1.0, head=0.75, up=0.5)))
    assert dict(zip(DRAWN_CAUSES, columns.causes_s[0], strict=True))["rest"] == 0.0


@pytest.mark.parametrize("values", [[1e6], [2e6, 2.1e6], [1e6, 2e6]])
def test_a_rate_that_hardly_changes_is_not_drawn_over_the_whole_height(values: list[float]) -> None:
    low, high = log_range(values)
    assert high / low == pytest.approx(4.0)
    assert low < min(values) <= max(values) < high


def test_a_cut_that_the_network_s_order_lacks_stands_where_its_head_ends() -> None:
    heads = {INPUT: 0.0, "a": 0.1, "stranger": 0.2, "b": 0.3, OUTPUT: 0.0}
    steps = [steady_run(1, cut=c, seconds=Seconds(total=0.5, head=s))[0] for c, s in reversed(heads.items())]
    order, note = cuts_in_order(steps, ("a", "b"))
    assert order == (*heads,)
    assert "placed by the time of their head" in note


def test_only_probes_that_were_sent_are_marked() -> None:
    """An answer that came too late tells of the link too, and nobody sent a probe for it."""
    run = steady_run(40)
    told = [
        run[k].model_copy(update={"kind": "probe", "id": 100 + k, "late": late}) for k, late in ((9, None), (29, True))
    ]
    drawn = str(timeline(columns_of([*run, *told]), ((0.0, 20e6),), ("a",)).svg)
    assert len(re.findall(r'v7" class="probe"', drawn)) == 1


@pytest.mark.parametrize("strange_s", [0.0, 1e6])
def test_requests_beyond_either_end_of_the_axis_are_counted(strange_s: float) -> None:
    run = steady_run(40)
    run[7] = run[7].model_copy(update={"seconds": Seconds(total=strange_s)})
    assert latency_shares(columns_of(run)).notes == ("1 request lies beyond the axis",)
    assert latency_shares(columns_of(steady_run(40))).notes == ()
