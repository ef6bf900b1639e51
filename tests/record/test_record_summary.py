"""The summary: every number against a plain re-count, and the cases where there is nothing to count."""

from __future__ import annotations

import statistics
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.errors import BadInput
from isthmus.record import CAUSES, Seconds, Step, fell_back, summarise, true_rate_bps


def step(number: int = 0, total: float = 0.1, **change: Any) -> Step:
    known: dict[str, Any] = {
        "id": number, "t_s": float(number), "ran": "split", "cut": "a", "codec": "int8",
        "seconds": Seconds(total=total, head=total / 2, up=total / 2), "up_bytes": 1000, "down_bytes": 10,
    }  # fmt: skip
    return Step(**(known | change))


RUN = [
    step(0, 0.1, predicted_s=0.11, true_bps=1e6, estimate_bps=2e6, wrong=False, error=0.01),
    step(1, 0.2, ran="server", cut="@input", predicted_s=0.1, true_bps=1e6, estimate_bps=1e6, wrong=True, error=0.5),
    step(2, 1.0, ran="device", cut="@output", asked="@input", trouble="the server was late", up_bytes=0),
    step(3, 0.4, ran="server", cut="@input"),
    step(9, 0.3, kind="probe", up_bytes=77),
    step(8, 0.3, kind="probe", late=True, up_bytes=1000),  # told by an answer that was given up
    step(4, 0.3, ran="device", cut="@output", up_bytes=0),
]


def test_sessions_that_share_a_journal_are_counted_each() -> None:
    found = summarise([step(0), step(0, wrong=False), step(1, wrong=False)])
    assert (found.requests, found.answered, found.lost, found.verified) == (3, 3, 0, 2)


def test_counts_of_a_small_run() -> None:
    found = summarise(RUN, requests=6)
    assert (found.requests, found.answered, found.lost, found.verified, found.wrong) == (6, 5, 1, 2, 1)
    assert found.cuts_used == ("a", "@input", "@output")
    assert found.ran == {"device": 2, "split": 1, "server": 2}
    assert (found.p50_s, found.mean_s, found.max_s) == pytest.approx((0.3, 0.4, 1.0))
    assert found.p99_s == pytest.approx(0.4 + 0.96 * 0.6)
    assert found.span_s == pytest.approx(4.3)
    assert (found.fallbacks, found.troubles) == (1, {"the server was late": 1})
    assert (found.up_bytes, found.down_bytes, found.probes, found.probe_bytes) == (3000, 50, 1, 77)
    assert found.prediction_error == pytest.approx(0.3)
    assert found.estimate_error == pytest.approx(0.5)
    assert found.greatest_error == 0.5
    assert found.mean_seconds is not None
    assert found.mean_seconds.head == pytest.approx(0.2)


def test_lines_of_lost_requests_are_counted_as_lost_and_as_nothing_else() -> None:
    gone = [step(20 + i, kind="lost", ran="server", cut="@input", trouble="the server has gone") for i in range(3)]
    without = summarise(RUN, requests=8)
    assert without.lost == 3
    troubles = {"the server was late": 1, "the server has gone": 3}
    assert summarise([*RUN, *gone]) == without.model_copy(update={"troubles": troubles})
    assert (summarise(gone).requests, summarise(gone).answered, summarise(gone).lost) == (3, 0, 3)


def test_a_fallback_is_no_switch_and_order_of_writing_does_not_matter() -> None:
    assert summarise(RUN).switches == 2  # a → @input (asked through the fallback) → @output
    assert summarise(RUN[::-1]) == summarise(RUN)


def test_places_add_up_to_the_run() -> None:
    places = summarise(RUN).places
    assert [(p.ran, p.cut, p.requests) for p in places] == [
        ("server", "@input", 2), ("device", "@output", 2), ("split", "a", 1),
    ]  # fmt: skip
    assert sum(p.share for p in places) == pytest.approx(1)
    assert sum(p.up_bytes for p in places) == 3000


def test_nothing_recorded_gives_none_not_zero() -> None:
    found = summarise([])
    assert (found.requests, found.lost, found.p50_s, found.p99_s, found.mean_seconds) == (0, 0, None, None, None)
    assert summarise([], requests=3).lost == 3
    only_probes = summarise([step(0, kind="probe")])
    assert (only_probes.requests, only_probes.probes, only_probes.cuts_used) == (0, 1, ())


def test_an_answer_counted_twice_cannot_hide_a_lost_one() -> None:
    assert summarise([step(0), step(0)], requests=2).lost == 1


def test_more_answers_than_requests_is_refused() -> None:
    with pytest.raises(BadInput, match="2 requests came back but only 1"):
        summarise([step(0), step(1)], requests=1)


def test_infinite_and_zero_estimates_do_not_spoil_the_medians() -> None:
    steps = [
        step(0, 0.0, predicted_s=1.0),
        step(1, 0.1, predicted_s=float("inf")),
        step(2, 0.1, predicted_s=0.15, true_bps=0.0, estimate_bps=1e6),
    ]
    found = summarise(steps)
    assert found.prediction_error == pytest.approx(0.5)
    assert found.estimate_error is None


def test_the_traces_rate_counts_where_the_step_knows_none() -> None:
    trace = ((0.0, 1e6), (2.0, 4e6))
    assert [true_rate_bps(step(i), trace) for i in (0, 1, 2, 3)] == [1e6, 1e6, 4e6, 4e6]
    assert true_rate_bps(step(0), ((0.5, 1e6),)) is None
    assert true_rate_bps(step(3, true_bps=7.0), trace) == 7.0
    assert summarise([step(3, estimate_bps=5e6)], link_trace=trace).estimate_error == pytest.approx(0.25)


@given(st.lists(st.floats(1e-4, 1e3), min_size=2, max_size=40))
def test_quantiles_agree_with_the_standard_library(totals: list[float]) -> None:
    found = summarise([step(i, total) for i, total in enumerate(totals)])
    hundredths = statistics.quantiles(totals, n=100, method="inclusive")
    assert (found.p50_s, found.p90_s, found.p99_s) == pytest.approx((hundredths[49], hundredths[89], hundredths[98]))


def test_what_counts_as_a_fallback() -> None:
    assert not fell_back(step())
    assert not fell_back(step(asked="a"))
    assert fell_back(step(asked="b"))
    assert fell_back(step(trouble="late"))


def test_causes_are_all_there_in_the_order_of_a_request() -> None:
    assert CAUSES == ("head", "encode", "up", "queue", "decode", "tail", "down", "lost", "local")


def test_many_different_troubles_stay_bounded() -> None:
    assert len(summarise([step(i, trouble=f"late by {i} ms") for i in range(500)]).troubles) == 50


def test_exits_are_counted_by_sample_and_timed_by_request() -> None:
    common: dict[str, Any] = {"t_s": 0.0, "ran": "device", "cut": "@output", "codec": "float32"}
    left = {"a": 2, "b": 1}
    steps = [
        Step(id=0, batch=3, exit="b", exits=left, asked="t", seconds=Seconds(total=1.0), **common),
        Step(id=1, batch=2, exit="b", seconds=Seconds(total=3.0), **common),
        Step(id=2, seconds=Seconds(total=9.0), **common),
    ]
    found = summarise(steps)
    rows = [(use.exit, use.samples, use.share, use.p50_s) for use in found.exits]
    assert rows == [("b", 3, 0.6, 2.0), ("a", 2, 0.4, 1.0)]
    assert found.fallbacks == 0, "to leave early on the device is no fallback"
    assert summarise(steps[2:]).exits == ()
