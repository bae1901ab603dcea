from __future__ import annotations

import math

import pytest
from scipy.stats import ttest_1samp, ttest_ind

from scenarios.study.intervals import half_width, welch_half_width


def test_student_s_t_by_hand() -> None:
    """1, 2, 4: mean 7/3, s = 1.5275; t(0.975, 2) = 4.3027 of the tables."""
    assert half_width([1.0, 2.0, 4.0]) == pytest.approx(4.3027 * 1.52753 / math.sqrt(3), rel=1e-4)


@pytest.mark.parametrize("shift", [0.0, 1e6])
def test_both_agree_with_scipy_s_tests(shift: float) -> None:
    one = [shift + value for value in (3.0, 1.0, 4.0, 1.5, 5.0)]
    other = [shift + value for value in (9.0, 2.0, 6.0)]
    single = ttest_1samp(one, 0.0).confidence_interval(0.95)
    assert half_width(one) == pytest.approx((single.high - single.low) / 2)
    double = ttest_ind(one, other, equal_var=False).confidence_interval(0.95)
    assert welch_half_width(one, other) == pytest.approx((double.high - double.low) / 2)
    assert welch_half_width(one, other) == welch_half_width(other, one)


def test_what_does_not_vary_has_no_width() -> None:
    assert half_width([2.0, 2.0]) == 0
    assert welch_half_width([2.0, 2.0], [5.0, 5.0, 5.0]) == 0
