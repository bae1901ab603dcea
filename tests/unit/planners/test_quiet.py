from __future__ import annotations

import os

import pytest

from planners.quiet import no_output


def test_what_is_written_below_python_is_dropped(capfd: pytest.CaptureFixture[str]) -> None:
    os.write(1, b"before ")
    with no_output():
        os.write(1, b"inside ")
    with pytest.raises(ZeroDivisionError), no_output():
        1 / 0  # noqa: B018
    os.write(1, b"after")
    assert capfd.readouterr().out == "before after"
