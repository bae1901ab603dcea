"""Settings and fixtures of all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Where nobody is there to look into it, a change fails for what it changes, not for what chance finds.
settings.register_profile("dev", max_examples=20, deadline=None, derandomize="CI" in os.environ)
settings.register_profile("ci", max_examples=200, deadline=None, derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


# The commands that tests start keep the bytecode of modules, as a user's do: hundreds of them compile nothing twice.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of the real traces; without it the test is skipped."""
    folder = os.environ.get("HETSERVE_DATA")
    if not folder:
        pytest.skip("not run: HETSERVE_DATA does not name the folder of the real traces")
    return Path(folder)
