from __future__ import annotations

import numpy as np
import pytest

from scenarios.study.information import explained_share, value_of_knowing, value_of_knowing_all

N_COPIES = 100


def every_world(x: list[float], y: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of two independent numbers, each as often."""
    pairs = [(a, b) for a in x for b in y for _ in range(N_COPIES)]
    return np.array([a for a, _ in pairs]), np.array([b for _, b in pairs])


def by_brute_force(losses: np.ndarray, known: np.ndarray) -> float:
    """For each value of what is known the best decision, over all of its worlds."""
    values = np.unique(known)
    best = [losses[:, known == value].mean(axis=1).min() * (known == value).mean() for value in values]
    return float(losses.mean(axis=1).min() - sum(best))


def test_three_values_and_three_decisions() -> None:
    """A regression on x and x^2 is exact for three values."""
    x, y = every_world([-1.0, 0.0, 2.0], [-1.0, 0.5, 3.0])
    losses = np.array([3 * x + y, 1 - x + 0.1 * y**2, 1.5 + 0 * x])
    for known in (x, y):
        assert value_of_knowing(losses, known[:, None]) == pytest.approx(by_brute_force(losses, known))
    assert value_of_knowing(losses, x[:, None]) > value_of_knowing(losses, y[:, None])


def test_to_know_all_is_worth_most() -> None:
    x, y = every_world([-1.0, 1.0], [-1.0, 1.0])
    losses = np.array([x, y])
    both = np.column_stack([x, y])
    assert value_of_knowing_all(losses) == pytest.approx(0.5)  # 0 is the mean of each, -1/2 of the smaller one
    assert value_of_knowing(losses, both) == pytest.approx(0.5)
    assert value_of_knowing(losses, x[:, None]) == pytest.approx(by_brute_force(losses, x)) == pytest.approx(0.5)


def test_no_x_is_worth_more_than_all() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        x = rng.normal(size=(30, 2))
        losses = np.exp(rng.normal(size=(4, 30)) + x[:, 0])
        assert 0 <= value_of_knowing(losses, x) <= value_of_knowing_all(losses) + 1e-12


def test_noise_is_worth_nothing_nearly_always() -> None:
    rng = np.random.default_rng(0)
    worths = [value_of_knowing(rng.normal(size=(3, 50)), rng.normal(size=(50, 2))) for _ in range(100)]
    assert sum(worth > 0 for worth in worths) <= 7  # 2.5 of 100 are expected


def test_one_decision_leaves_nothing_to_know() -> None:
    x, _ = every_world([-1.0, 0.0, 1.0], [0.0])
    assert value_of_knowing(x[None, :], x[:, None]) == 0
    assert value_of_knowing_all(x[None, :]) == 0


def test_shares_of_the_variance() -> None:
    x, y = every_world([-1.0, 0.0, 1.0], [-1.0, 0.0, 1.0])
    values = 2 * x + y
    assert explained_share(values, x[:, None]) == pytest.approx(0.8, abs=0.01)
    assert explained_share(values, y[:, None]) == pytest.approx(0.2, abs=0.02)
    assert explained_share(values, np.column_stack([x, y])) == pytest.approx(1)
    assert explained_share(np.ones_like(x), x[:, None]) == 0
    assert explained_share(values[:3], x[:3, None]) == 0  # too few to tell
