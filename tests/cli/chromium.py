"""A browser without a network, for tests of the page."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome")


@dataclass(frozen=True)
class Opened:
    """A page as the browser shows it: its document, and what it wrote to the console."""

    html: str
    console: list[str]


def open_page(path: Path, fragment: str = "") -> Opened:
    """Open a page; without a browser the test is skipped, or fails where CI says that there must be one."""
    browser = next(filter(None, map(shutil.which, _NAMES)), None)
    if browser is None:
        if os.environ.get("CI") == "true":
            pytest.fail("there is no Chromium; on Debian: apt-get install chromium")
        pytest.skip("there is no Chromium to open the report with")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        done = subprocess.run(
            [
                browser,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--host-resolver-rules=MAP * ~NOTFOUND",
                "--window-size=1400,900",
                "--virtual-time-budget=30000",
                "--enable-logging=stderr",
                f"--user-data-dir={home}/profile",
                "--dump-dom",
                f"{path.resolve().as_uri()}#{fragment}",
            ],
            capture_output=True,
            text=True,
            timeout=200,
            env=os.environ | {"HOME": home},
            check=True,
        )
    return Opened(done.stdout, re.findall(r"CONSOLE[^\n]*", done.stderr))
