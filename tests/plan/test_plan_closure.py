"""The exact solver against trying every set, and against scipy's maximum flow on graphs too large for that."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_flow

from isthmus.plan.closure import START, Closure
from isthmus.plan.maxflow import Flow


def random_closure(rng: random.Random, count: int) -> Closure:
    """Items in a random DAG that ends in few, parcels that shrink on the way, a dear start: as networks are."""
    needs: list[list[int]] = []
    for i in range(count):
        several = rng.choice((1, 1, 1, 2, 3)) if i and rng.random() < 0.97 else 0
        needs.append(sorted({rng.randrange(max(0, i - 6), i) for _ in range(several)}))
    for i in sorted(set(range(count - 1)) - {p for wanted in needs for p in wanted}):
        reader = min(count - 1, i + rng.randint(1, 6))
        needs[reader] = sorted({*needs[reader], i})
    readers: dict[int, list[int]] = {i: [] for i in range(-1, count)}
    for i, wanted in enumerate(needs):
        for p in wanted or [START]:
            readers[p].append(i)
    prices = [
        int(1000 * 0.03 ** (i / count) * rng.lognormvariate(0, 0.8)) * (20 if i < 0 else 1) for i in range(-1, count)
    ]
    parcels = [(maker, found, prices[maker + 1]) for maker, found in readers.items() if found]
    weights = [rng.choice((-1, 1, 1, 1)) * rng.randint(0, 40_000 // count) for _ in range(count)]
    return Closure(weights, needs, parcels)


def closed(closure: Closure, chosen: frozenset[int]) -> bool:
    return all(p in chosen for i in chosen for p in closure.needs[i])


def least(closure: Closure) -> int:
    """The value of the best closed set, by trying all."""
    count = len(closure.weights)
    sets = (frozenset(i for i in range(count) if bits >> i & 1) for bits in range(1 << count))
    return min(closure.value(s) for s in sets if closed(closure, s))


def flow_value(closure: Closure) -> int:
    """The same number as a maximum flow, by somebody else's code on the unshrunk network."""
    start = len(closure.weights)
    end = start + 1
    endless = 2**30
    edges: dict[tuple[int, int], int] = {}

    def add(a: int, b: int, room: int) -> None:
        edges[a, b] = min(endless, edges.get((a, b), 0) + room)

    for i, weight in enumerate(closure.weights):
        add(*((i, end, weight) if weight > 0 else (start, i, -weight)))
        for p in closure.needs[i]:
            add(i, p, endless)
    for k, (maker, readers, paid) in enumerate(closure.parcels):
        middle = end + 1 + k
        add(start if maker == START else maker, middle, paid)
        for reader in readers:
            add(middle, reader, endless)
    rows, columns = zip(*edges, strict=True)
    size = end + 1 + len(closure.parcels)
    matrix = csr_matrix((np.array(list(edges.values()), dtype=np.int32), (rows, columns)), shape=(size, size))
    return int(maximum_flow(matrix, start, end).flow_value) + sum(w for w in closure.weights if w < 0)


@given(seed=st.integers(0, 10**9), count=st.integers(1, 9))
@settings(max_examples=300, deadline=None)
def test_the_cheapest_closed_set_is_the_cheapest(seed: int, count: int) -> None:
    closure = random_closure(random.Random(seed), count)
    chosen = closure.cheapest()
    assert closed(closure, chosen)
    assert closure.value(chosen) == least(closure)


@given(seed=st.integers(0, 10**9), count=st.integers(2, 9))
@settings(max_examples=400, deadline=None)
def test_a_single_unit_decides(seed: int, count: int) -> None:
    """Small whole numbers: ties everywhere, and any rule that is off by one is found out."""
    rng = random.Random(seed)
    made = random_closure(rng, count)
    closure = Closure(
        [rng.randint(-1, 3) for _ in range(count)],
        made.needs,
        [(maker, readers, rng.randint(0, 6 if maker == START else 3)) for maker, readers, _ in made.parcels],
    )
    chosen = closure.cheapest()
    assert closed(closure, chosen)
    assert closure.value(chosen) == least(closure)


@pytest.mark.parametrize("scale", [1, 10**15])
def test_large_problems_agree_with_another_maximum_flow(scale: int) -> None:
    """Scaled, the numbers are too large for a float to hold: an answer a unit off is seen."""
    inside = 0
    for seed in range(25):
        made = random_closure(random.Random(seed), 300)
        parcels = [(maker, readers, price * scale) for maker, readers, price in made.parcels]
        chosen = Closure([w * scale for w in made.weights], made.needs, parcels).cheapest()
        assert closed(made, chosen)
        assert made.value(chosen) == flow_value(made)
        inside += 10 < len(chosen) < 290
    assert inside >= 10, inside


def test_a_chain_and_dense_blocks() -> None:
    rng = random.Random(3)
    count = 200
    chain = [[i - 1] if i else [] for i in range(count)]
    dense = [list(range(i // 20 * 20 - (1 if i >= 20 and i % 20 == 0 else 0), i)) for i in range(count)]
    # every other one concatenates what the ones between have made, as in a DenseNet
    joined = [list(range(i // 20 * 20 + 1, i, 2)) or chain[i] if i % 2 == 0 else [i - 1] for i in range(count)]
    for needs, left in ((chain, 0), (dense, count), (joined, count)):
        readers: dict[int, list[int]] = {i: [] for i in range(-1, count)}
        for i, wanted in enumerate(needs):
            for p in wanted or [START]:
                readers[p].append(i)
        parcels = [(m, r, rng.randint(1, 10_000)) for m, r in readers.items() if r]
        closure = Closure([rng.randint(-20, 100) for _ in range(count)], needs, parcels)
        assert closure.value(closure.cheapest()) == flow_value(closure)
        edges = sum(map(len, closure._network()._edges)) // 2
        debts = sum(weight < 0 for weight in closure.weights)
        assert edges <= len(parcels) + debts + left, "what follows from the last need or reader is left out"


def test_of_equals_the_smallest_is_taken_every_time() -> None:
    closure = Closure([5, 0, 0], [[], [0], [1]], [(START, [0], 5), (0, [1], 5), (1, [2], 5)])
    assert closure.value(frozenset()) == closure.value(frozenset({0, 1, 2})) == least(closure)
    assert [closure.cheapest() for _ in range(5)] == [frozenset()] * 5


@pytest.mark.parametrize("seed", range(30))
def test_the_flow_alone_is_maximal(seed: int) -> None:
    rng = random.Random(seed)
    count = rng.randint(3, 40)
    supplies = {v: rng.randint(1, 60) for v in rng.sample(range(1, count), rng.randint(1, count - 1))}
    edges = [(b, a, rng.randint(0, 50)) for a, b in pairwise(range(count))]
    for _ in range(count * 3):
        a, b = rng.sample(range(count), 2)
        edges.append((a, b, rng.randint(0, 50)))
    flow, source = Flow([supplies.get(v, 0) for v in range(count)]), count
    summed = {(source, v): amount for v, amount in supplies.items()}
    for few in (edges[:5], edges[5:], []):  # in parts
        tails, heads, rooms = ([edge[k] for edge in few] for k in range(3))
        flow.add(tails, heads, rooms)
    for a, b, room in edges:
        summed[a, b] = summed.get((a, b), 0) + room
    side = flow.sink_side()
    rows, columns = zip(*summed, strict=True)
    size = count + 1
    matrix = csr_matrix((np.array(list(summed.values()), dtype=np.int32), (rows, columns)), shape=(size, size))
    expected = int(maximum_flow(matrix, source, 0).flow_value)
    assert flow.value == expected
    assert side[0]
    paid = sum(room for (a, b), room in summed.items() if side[b] and (a == source or not side[a]))
    assert paid == expected
