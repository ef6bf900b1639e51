"""Columns and groups: nothing is lost when many requests share a bar, and the extremes stay."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_runs import changing_run, steady_run

from isthmus.errors import BadInput
from isthmus.record import Evidence, Seconds, Step
from isthmus.report.columns import DRAWN_CAUSES, columns_of, groups_of, runs_of


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 10)), max_size=60), st.integers(4, 40))
def test_groups_keep_every_request_and_both_extremes(times: list[tuple[float, float]], most: int) -> None:
    steps = [
        Step(id=i, t_s=t, ran="device", cut="a", codec="", seconds=Seconds(total=s, head=s / 2))
        for i, (t, s) in enumerate(times)
    ]
    columns = columns_of(steps)
    groups = groups_of(columns, most)
    assert len(groups) <= most
    assert groups.count.sum() == len(steps)
    assert (groups.mean_s * groups.count).sum() == pytest.approx(sum(s for _, s in times))
    assert (groups.causes_s.sum(axis=1) == pytest.approx(groups.mean_s)) or not times
    assert max(groups.worst_s, default=0.0) == max((s for _, s in times), default=0.0)
    assert min(groups.best_s, default=0.0) == min((s for _, s in times), default=0.0)
    assert (groups.end_s >= groups.start_s).all()
    assert (groups.end_s[:-1] <= groups.start_s[1:]).all()


def test_few_requests_get_a_bar_each_and_many_share() -> None:
    assert groups_of(columns_of(steady_run(50))).single
    many = groups_of(columns_of(steady_run(5000)))
    assert not many.single
    assert 200 <= len(many) <= 400


def test_a_pause_stays_a_gap_but_a_long_request_fills_it() -> None:
    steps = steady_run(20) + [s.model_copy(update={"id": 100 + s.id, "t_s": s.t_s + 60}) for s in steady_run(20)]
    groups = groups_of(columns_of(steps))
    assert groups.end_s[19] == pytest.approx(1.9 + 0.2)
    long = steps[19].model_copy(update={"seconds": Seconds(total=30.0)})
    assert groups_of(columns_of([*steps[:19], long, *steps[20:]])).end_s[19] == pytest.approx(31.9)


def test_what_no_cause_accounts_for_is_the_rest_and_negative_times_are_none() -> None:
    step = steady_run(1, seconds=Seconds(total=1.0, head=0.5, queue=-0.25, up=0.25))
    causes = dict(zip(DRAWN_CAUSES, columns_of(step).causes_s[0], strict=True))
    assert (causes["queue"], causes["rest"]) == (0.0, 0.25)


def test_the_journals_clock_starts_the_axis_unless_the_run_starts_late() -> None:
    assert columns_of([]).span_s == (0.0, 1.0)
    assert columns_of(steady_run(1)).span_s == (0.0, 0.05)
    late = [s.model_copy(update={"t_s": s.t_s + 1000}) for s in steady_run(10)]
    assert columns_of(late).span_s[0] == 1000


def test_evidence_of_probes_counts_too() -> None:
    run = changing_run()
    columns = columns_of(run)
    assert len(columns.evidence_bps) == sum(s.evidence != Evidence() for s in run)
    assert len(columns.probes) == sum(s.kind == "probe" for s in run) > 10


def test_times_that_are_none_are_refused() -> None:
    with pytest.raises(BadInput, match=r"seconds\.total = nan"):
        columns_of(steady_run(1, seconds=Seconds(total=float("nan"))))


def test_runs_of_true() -> None:
    assert runs_of(np.array([], dtype=np.bool_)) == []
    assert runs_of(np.array([False, True, True, False, True])) == [(1, 2), (4, 4)]
