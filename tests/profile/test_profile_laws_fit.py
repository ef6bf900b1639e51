"""Fitting: known coefficients are found again, outliers and noise or not; what is judged was not fitted."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from isthmus.errors import BadInput
from isthmus.profile.regression import (
    LayerShape,
    LayerType,
    Sample,
    VariableSet,
    fit_law,
    fit_types,
    quality,
    variables_of,
)
from isthmus.profile.regression.fit import fit_loading, judged_in_turn, split
from isthmus.profile.regression.read_table import conv_shape, map_shape, product_shape
from isthmus.profile.regression.solve import nnls, relative_fit

RNG = np.random.default_rng(5)


def shapes(kind: LayerType, count: int, seed: int = 0) -> list[LayerShape]:
    """Made-up shapes of one type."""
    rng = np.random.default_rng(seed)
    if kind == "fully_connected":
        return [product_shape(float(a), float(b)) for a, b in rng.integers(16, 4096, (count, 2))]
    if kind == "convolution":
        sizes = rng.integers(4, 64, (count, 3))
        kernels = rng.choice([1, 3, 5], count)
        return [
            conv_shape(kind, float(s), 8.0 * c, 8.0 * f, float(k), 1.0)
            for (s, c, f), k in zip(sizes, kernels, strict=True)
        ]
    return [map_shape(kind, float(n), float(n)) for n in rng.integers(64, 100_000, count)]


@pytest.mark.parametrize("signed", [True, False])
def test_coefficients_are_found_again(signed: bool) -> None:
    x = np.column_stack([RNG.uniform(1, 1e9, 80), RNG.uniform(1, 1e6, 80), np.ones(80)])
    true = np.array([3e-11, 2e-10, 1e-5])
    np.testing.assert_allclose(relative_fit(x, x @ true, signed=signed), true, rtol=1e-6)


def test_outliers_are_discounted() -> None:
    """One measurement in ten is three times too quick; plain least squares is far off."""
    x = np.column_stack([RNG.uniform(1, 1e9, 100), np.ones(100)])
    true = np.array([3e-11, 1e-4])
    y = x @ true * RNG.normal(1, 0.01, 100)
    y[::10] /= 3
    plain = nnls(x / y[:, None], np.ones(100))
    fitted = relative_fit(x, y, signed=False)
    assert abs(plain[1] / true[1] - 1) > 0.1 or abs(plain[0] / true[0] - 1) > 0.1, "the case is hard"
    np.testing.assert_allclose(fitted, true, rtol=0.05)


def test_small_layers_count_as_much_as_large_ones() -> None:
    """A million-fold range of seconds: the constant part, invisible beside the large ones, is still right."""
    x = np.column_stack([10.0 ** RNG.uniform(2, 10, 60), np.ones(60)])
    true = np.array([1e-10, 1e-6])
    np.testing.assert_allclose(relative_fit(x, x @ true, signed=False), true, rtol=1e-6)


def test_nnls_against_every_choice_of_columns() -> None:
    """The best non-negative solution over all subsets of columns, on problems whose plain solution is negative."""
    negative = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        a, b = rng.standard_normal((12, 5)) + 0.5, rng.standard_normal(12)
        negative += bool((np.linalg.lstsq(a, b, rcond=None)[0] < 0).any())
        best = float(b @ b)
        for size in range(1, 6):
            for columns in itertools.combinations(range(5), size):
                part = np.linalg.lstsq(a[:, columns], b, rcond=None)[0]
                if (part >= 0).all():
                    best = min(best, float(((a[:, columns] @ part - b) ** 2).sum()))
        found = nnls(a, b)
        assert (found >= 0).all()
        assert float(((a @ found - b) ** 2).sum()) == pytest.approx(best, rel=1e-9)
    assert negative > 50, "the cases are hard"


def test_columns_that_add_nothing_stay_at_zero() -> None:
    x = np.column_stack([RNG.uniform(1, 2, 30), np.zeros(30), np.ones(30)])
    found = relative_fit(x, 3 * x[:, 0] + 1, signed=False)
    np.testing.assert_allclose(found, [3, 0, 1], rtol=1e-6)


@pytest.mark.parametrize("kind", ["convolution", "fully_connected", "relu"])
@pytest.mark.parametrize("which", ["paper", "extended", "macs"])
def test_a_law_is_found_again(kind: LayerType, which: VariableSet) -> None:
    """Seconds made up from one set of variables are predicted by that set to the last digits, on other shapes."""
    made = [
        Sample(s, sum(v * 10.0 ** -(9 + i) for i, v in enumerate(variables_of(s, which).values())) + 1e-5)
        for s in shapes(kind, 80)
    ]
    fitted, judged = split(made, seed=0)
    law = fit_law(fitted, judged, which)
    assert law.r2 == pytest.approx(1.0)
    assert law.median_error == pytest.approx(0.0, abs=1e-5)


def test_what_is_judged_was_not_fitted() -> None:
    made = [Sample(s, 1e-4) for s in shapes("relu", 40)]
    fitted, judged = split(made, seed=3)
    assert len(judged) == 10
    assert not {id(s) for s in fitted} & {id(s) for s in judged}
    found = fit_types(made, seed=3)["relu"]
    assert (found.fitted, found.held_out) == (30, 10)
    low, high = found.laws["paper"].ranges["input_bytes"]
    assert (low, high) == (min(s.shape.in_bytes for s in fitted), max(s.shape.in_bytes for s in fitted))


def test_every_shape_is_judged_by_a_law_without_it() -> None:
    """Noise that no variable explains: the error of shapes left out is that of the noise, not of a fit to it; and where
    a law holds, none is left."""
    made = shapes("relu", 60)
    exact = [Sample(s, 1e-9 * s.in_bytes + 1e-5) for s in made]
    assert judged_in_turn(exact, "extended") == pytest.approx(0.0, abs=1e-5)
    up_or_down = np.random.default_rng(11)  # of its own: what other tests drew must not decide
    noisy = [replace(s, seconds=s.seconds * float(up_or_down.choice([0.7, 1.3]))) for s in exact]
    assert 0.2 < judged_in_turn(noisy, "extended") < 0.5
    few = noisy[:8]  # eight shapes and seven coefficients: the fit is near, the shapes left out are not
    inside = fit_law(few, few, "extended").median_error
    assert inside is not None
    assert judged_in_turn(few, "extended") > inside


def test_quality_by_hand() -> None:
    """Said 1, 2, 3; true 1, 2, 4: R² = 1 − 1 / (16/9 + 1/9 + 25/9) = 11/14, errors 0, 0, 1/4."""
    sizes = (1.0, 2.0, 3.0)
    law = fit_law([Sample(map_shape("relu", n, n), n) for n in (1.0, 2.0, 5.0, 9.0)], [], "paper")
    r2, error = quality(
        law, [Sample(map_shape("relu", n, n), t) for n, t in zip(sizes, (1, 2, 4), strict=True)], "paper"
    )
    assert r2 == pytest.approx(1 - 1 / (42 / 9))
    assert error == pytest.approx(0.0, abs=1e-9)


def test_the_paper_may_be_negative_and_the_extended_set_not() -> None:
    """Seconds that fall with the output's size (as the printed law of the server's fully connected layer does)."""
    made = [Sample(s, 1e-9 * s.in_bytes - 1e-9 * s.out_bytes + 1e-3) for s in shapes("fully_connected", 60)]
    assert fit_law(made, [], "paper").coefficients["output_bytes"] < 0
    assert min(fit_law(made, [], "extended").coefficients.values()) >= 0


def test_loading() -> None:
    law = fit_loading([(1e6 * n, 0.02 + 3e-9 * 1e6 * n) for n in range(1, 21)])
    assert law is not None
    assert law.coefficients["model_bytes"] == pytest.approx(3e-9)
    assert law.coefficients["one"] == pytest.approx(0.02)
    assert fit_loading([(1e6, 0.1)]) is None


def test_too_few_shapes() -> None:
    with pytest.raises(BadInput, match=r"3 shapes of relu are too few"):
        fit_types([Sample(s, 1e-4) for s in shapes("relu", 3)])


def test_a_type_that_no_clock_saw_gets_no_law() -> None:
    """Most batch norms took no time (their kernels went by another name): no law of nothing, and no error of 0 %."""
    unseen = [Sample(s, 0.0 if i % 3 else 1e-4) for i, s in enumerate(shapes("batch_norm", 30))]
    assert set(fit_types([*unseen, *(Sample(s, 1e-4) for s in shapes("relu", 30))])) == {"relu"}


def test_no_time_is_negative() -> None:
    with pytest.raises(BadInput, match=r"cannot take -1"):
        Sample(shapes("relu", 1)[0], -1.0)
