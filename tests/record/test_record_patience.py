"""How long a client stays away after strikes: by hand, and after more of them than any float can double."""

from __future__ import annotations

import itertools

import pytest

from isthmus.record.patience import pause_s


@pytest.mark.parametrize(("first_s", "longest_s"), [(0.1, 1.0), (1.0, 8.0), (1e-9, 1e9)])
def test_a_pause_doubles_with_each_strike_up_to_the_longest(first_s: float, longest_s: float) -> None:
    pauses_s = [pause_s(strikes, first_s, longest_s) for strikes in range(1, 2000)]
    assert pauses_s[0] == first_s
    for before_s, after_s in itertools.pairwise(pauses_s):
        assert after_s == min(longest_s, 2 * before_s)
    assert pauses_s[-1] == longest_s
    assert pause_s(10**9, first_s, longest_s) == longest_s
