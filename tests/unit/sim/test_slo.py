from __future__ import annotations

import polars as pl

from sim import SLO


def test_models_may_have_limits_of_their_own() -> None:
    frame = pl.DataFrame(
        {
            "model": ["small", "small", "large", "large"],
            "arrival_s": [0.0] * 4,
            "first_token_s": [1.0, 3.0, 3.0, 6.0],
            "finish_s": [2.0, 4.0, 4.0, 7.0],
            "output_tokens": [2] * 4,
            "status": ["completed"] * 4,
        }
    )
    slo = SLO(ttft_s=2.0, by_model=(("large", SLO(ttft_s=5.0)),))
    assert frame.select(slo.is_met()).to_series().to_list() == [True, False, True, False]
    assert slo.of_model("large") == SLO(ttft_s=5.0)
    assert slo.of_model("small") == SLO(ttft_s=2.0)
    free = SLO(ttft_s=2.0, by_model=(("large", SLO()),))
    assert frame.select(free.is_met()).to_series().to_list() == [True, False, True, True]
    assert SLO(by_model=(("large", SLO()),)).asks_for_nothing
    assert not free.asks_for_nothing
