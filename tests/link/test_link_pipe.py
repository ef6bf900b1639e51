"""A direction of the shaped link: exact departures, without a clock."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.errors import BadInput
from isthmus.link.generate import constant, steps
from isthmus.link.pipe import MAX_QUEUE_BYTES, STEP_BYTES, Pipe, RateSchedule


def pipe_of(text: str, delay_s: float = 0.0) -> Pipe:
    return Pipe(RateSchedule(0.0, steps(text)), delay_s)


def drain(pipe: Pipe, until_s: float) -> tuple[int, float]:
    """Pop at every event; bytes that came and when the last did."""
    total, last = 0, 0.0
    while (now := pipe.next_s()) <= until_s:
        total += sum(len(p.data) for p in pipe.pop(now) if p.data is not None)
        last = now
    return total, last


@given(st.floats(1e5, 1e8), st.integers(1, 60_000), st.floats(0, 1))
def test_a_message_takes_its_bits_over_the_rate_and_the_delay(bps: float, size: int, delay_s: float) -> None:
    pipe = Pipe(RateSchedule(0.0, constant(bps)), delay_s)
    pipe.push(1.0, 0, memoryview(bytes(size)))
    total, last = drain(pipe, 1e9)
    assert total == size
    assert last == pytest.approx(1.0 + size * 8 / bps + delay_s, rel=1e-9)


def test_bytes_come_in_steps_of_a_packet() -> None:
    pipe = pipe_of("1Mbit:9s")
    pipe.push(0.0, 0, memoryview(bytes(10_000)))
    first = pipe.next_s()
    assert first == pytest.approx(STEP_BYTES * 8 / 1e6)
    assert [len(p.data or b"") for p in pipe.pop(first)] == [STEP_BYTES]


def test_order_and_content_survive() -> None:
    pipe = pipe_of("1Mbit:9s", 0.2)
    sent = bytes(range(256)) * 40
    pipe.push(0.0, 7, memoryview(sent))
    pipe.push(0.0, 7, None)
    got = pipe.pop(5.0)
    assert b"".join(p.data for p in got if p.data is not None) == sent
    assert got[-1] == (7, None)


def test_an_outage_holds_everything_even_the_end_of_a_connection() -> None:
    pipe = pipe_of("0:10s,8Mbit:1s")
    pipe.push(0.0, 1, memoryview(bytes(1000)))
    pipe.push(0.0, 1, None)
    assert pipe.pop(9.99) == []
    assert len(pipe.pop(10.0011)) == 2


def test_a_new_rate_holds_for_what_has_not_left() -> None:
    pipe = pipe_of("1Mbit:99s")
    pipe.push(0.0, 1, memoryview(bytes(12_500)))  # 0.1 s
    pipe.advance(0.05)
    pipe.schedule.put(0.05, constant(10e6))
    pipe.changed()
    total, last = drain(pipe, 9.0)
    assert total == 12_500
    assert last == pytest.approx(0.055)
    with pytest.raises(BadInput, match="before the last change"):
        pipe.schedule.put(0.01, constant(1))


def test_the_queue_is_bounded_and_grows_with_the_rate() -> None:
    slow, fast = pipe_of("1Mbit:9s"), pipe_of("100Mbit:9s")
    assert slow.room_bytes(0.0) == 16_384
    assert fast.room_bytes(0.0) == 250_000
    slow.push(0.0, 1, memoryview(bytes(16_000)))
    assert slow.room_bytes(0.0) == 0


def test_the_queue_of_the_fastest_link_is_bounded_too() -> None:
    """20 ms at 1 Gbit/s would be 2.5 MB."""
    pipe = pipe_of("1Gbit:9s")
    assert pipe.room_bytes(0.0) == MAX_QUEUE_BYTES
    pipe.push(0.0, 1, memoryview(bytes(MAX_QUEUE_BYTES)))
    assert pipe.room_bytes(0.0) == 0


def test_a_late_wake_up_loses_no_capacity_but_a_pause_does() -> None:
    """A sender that always has more gets the whole rate though we wake only every 25 ms; one that pauses does not."""
    pipe, now, passed = pipe_of("8Mbit:99s"), 0.0, 0
    while now < 1.0:
        passed += sum(len(p.data) for p in pipe.pop(now) if p.data is not None)
        while room := pipe.room_bytes(now):
            pipe.push(now, 1, memoryview(bytes(room)))
        if pipe.next_s() > now:
            now += 0.025
    assert passed * 8 / 1.0 == pytest.approx(8e6, rel=0.03)
    paused = pipe_of("8Mbit:99s")
    paused.push(0.0, 1, memoryview(bytes(20_000)))
    assert paused.room_bytes(0.0) == 0
    assert len(paused.pop(0.05)) == 14
    paused.push(5.0, 1, memoryview(bytes(1_000)))
    assert paused.next_s() == pytest.approx(5.001)


def test_forgetting_empties_the_link() -> None:
    pipe = pipe_of("1Mbit:9s", 0.5)
    pipe.push(0.0, 1, memoryview(bytes(9_000)))
    pipe.advance(0.02)
    pipe.forget()
    assert pipe.next_s() == math.inf
    assert pipe.room_bytes(0.02) == 16_384


@given(
    st.lists(st.tuples(st.floats(0.1, 3), st.sampled_from([0.0, 1e6, 7e6])), min_size=1, max_size=5), st.floats(1, 3e7)
)
def test_a_schedule_of_many_changes_adds_up(changes: list[tuple[float, float]], bits: float) -> None:
    schedule, times, rates = RateSchedule(0.0, constant(2e6)), [0.0], [2e6]
    for gap, rate in changes:
        times.append(times[-1] + gap)
        rates.append(rate)
        schedule.put(times[-1], constant(rate))

    def carried(until: float) -> float:
        pieces = zip(rates, times, [*times[1:], math.inf], strict=True)
        return sum(rate * max(0.0, min(until, last) - max(0.05, first)) for rate, first, last in pieces)

    end = schedule.finish_s(0.05, bits)
    if math.isinf(end):
        assert changes[-1][1] == 0
        assert carried(1e6) < bits
    else:
        assert carried(end) == pytest.approx(bits, rel=1e-9, abs=1e-3)
