"""How late one in ten is, of journals where that is known; and what such a journal makes of a promise."""

from __future__ import annotations

import random
from typing import Any

import pytest

from isthmus.errors import BadInput
from isthmus.record import Evidence, Seconds, Step, crossing_s, late_of


def split(number: int, crossing: float = 0.1, head: float = 0.04, tail: float = 0.01, **change: Any) -> Step:
    """A split request; half of what crosses goes up, a tenth of it waits at the server."""
    spent = Seconds(
        total=crossing + head + tail, head=head * 0.75, encode=head * 0.25, up=0.5 * crossing, queue=0.1 * crossing,
        down=0.4 * crossing, decode=tail * 0.5, tail=tail * 0.5,
    )  # fmt: skip
    known: dict[str, Any] = {"id": number, "t_s": float(number), "ran": "split", "cut": "a", "codec": "float32"}
    return Step(**(known | {"seconds": spent} | change))


def local(number: int, took_s: float = 0.2, **change: Any) -> Step:
    known: dict[str, Any] = {"ran": "device", "cut": "@output", "seconds": Seconds(total=took_s, local=took_s)}
    return split(number, **(known | change))


def given_up(number: int) -> Step:
    """Asked at the same cut, and finished on the device after a second."""
    spent = Seconds(total=1.2, head=0.03, lost=1.0, local=0.17)
    return local(number, seconds=spent, asked="a", trouble="no answer")


def uneven(share: float, count: int = 50) -> list[float]:
    """Of so many, one in ten takes `share` longer; in any order."""
    found = [1.0 + share] * (count // 10) + [1.0] * (count - count // 10)
    random.Random(0).shuffle(found)
    return found


def test_each_part_by_itself() -> None:
    link, head, tail = uneven(0.5), uneven(0.2), uneven(2.0)
    random.Random(1).shuffle(head)
    random.Random(2).shuffle(tail)
    steps = [split(k, 0.1 * a, 0.04 * b, 0.01 * c) for k, (a, b, c) in enumerate(zip(link, head, tail, strict=True))]
    found = late_of(steps)
    assert (found.link, found.device, found.server) == pytest.approx((0.5, 0.2, 2.0))
    assert crossing_s(steps[0]) == pytest.approx(0.1 * link[0])


def test_kinds_are_compared_with_their_own() -> None:
    """Two cuts that differ tenfold, each as even as can be: nothing is late."""
    steps = [split(k, 0.1 if k % 2 else 1.0, cut="a" if k % 2 else "b") for k in range(40)]
    found = late_of(steps)
    assert (found.link, found.device, found.server) == pytest.approx((0.0, 0.0, 0.0))
    shallow = [s.model_copy(update={"cut": "a", "exit": "exit1" if s.cut == "a" else None}) for s in steps]
    assert late_of(shallow).link == pytest.approx(0.0)
    mixed = [s.model_copy(update={"cut": "a"}) for s in steps]
    assert (late_of(mixed).link or 0) > 0.5


@pytest.mark.parametrize("first", ["device", "server"])
def test_what_the_server_says_of_itself_counts(first: Any) -> None:
    told = [Evidence(server_s=0.01 * f, device_s=0.04 * g) for f, g in zip(uneven(1.0), uneven(0.3), strict=True)]
    found = late_of([split(k, first=first, evidence=e) for k, e in enumerate(told)])
    assert (found.server, found.device, found.link) == pytest.approx((1.0, 0.3, 0.0))


def test_all_on_the_device_says_nothing_of_the_link() -> None:
    found = late_of([local(k, 0.2 * f) for k, f in enumerate(uneven(0.25))])
    assert (found.link, found.server) == (None, None)
    assert found.device == pytest.approx(0.25)
    few = [split(k) for k in range(19)]
    assert late_of([*few, *(local(k) for k in range(30))]).link is None


def test_an_answer_that_never_came_is_later_than_any() -> None:
    some = [split(k, 0.1) for k in range(48)]
    found = late_of([*some, given_up(48), given_up(49)])
    assert found.link == pytest.approx(0.0)
    assert found.device == pytest.approx(0.0)  # what it finished afterwards is no head
    late = [split(k, 0.1 * (1.5 if k < 4 else 1)) for k in range(48)]
    assert late_of([*late, given_up(48), given_up(49)]).link == pytest.approx(0.5)
    with pytest.raises(BadInput, match=r"more than one exchange in ten was given up"):
        late_of([*some, *(given_up(k) for k in range(6))])


def test_a_request_that_was_lost_is_later_than_any() -> None:
    gone = [split(k, kind="lost", seconds=Seconds(total=1.0), trouble="no answer") for k in range(48, 54)]
    assert late_of([*(split(k) for k in range(48)), *gone[:2]]).link == pytest.approx(0.0)
    with pytest.raises(BadInput, match=r"more than one exchange in ten was given up"):
        late_of([*(split(k) for k in range(48)), *gone])


def test_what_was_refused_is_nobodys_work() -> None:
    """The device computed all of it instead of its part: that is not the part being late."""
    refused = [local(k, 0.9, asked="a", trouble="the server refused it") for k in range(8)]
    found = late_of([*refused, *(split(k) for k in range(8, 48))])
    assert (found.link, found.device, found.server) == pytest.approx((0.0, 0.0, 0.0))


def test_too_few_requests_say_how_many_there_are() -> None:
    with pytest.raises(BadInput, match=r"by 20 requests that can be compared .*; this one holds 6 of 2 kinds"):
        late_of([*(split(k) for k in range(3)), *(local(k) for k in range(3))])
    with pytest.raises(BadInput, match=r"this one holds 0 of 0 kinds"):
        late_of([split(k, kind="probe") for k in range(30)])
