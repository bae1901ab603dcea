from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import scenarios.file.loaded
from scenarios.file.load import load
from scenarios.file.timeline import make_timeline
from scenarios.runs.series import run_rows

MARKET = "{kind: constant, notice_s: 30, boot_s: 60}"


def test_a_timeline_is_made_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sets = [
        "workload.chat.n_requests=20",
        f"cluster.availability={MARKET}",
        "planners=[homogeneous, {name: homogeneous, policy: replan}]",
        "seeds=[0, 1]",
    ]
    loaded = load("quickstart", sets=sets)
    made: Counter[str] = Counter()

    def counted(*arguments: Any) -> Any:
        made["timeline"] += 1
        return make_timeline(*arguments)

    monkeypatch.setattr(scenarios.file.loaded, "make_timeline", counted)
    rows = run_rows(loaded, tmp_path)
    assert [row.status for row in rows] == ["ok"] * 4
    assert made == {"timeline": 1}
