"""Planners that misbehave, as another distribution would bring them: `install` puts one on the path."""

from __future__ import annotations

from pathlib import Path

CODE = """\
import os
import time

from pydantic import BaseModel

from planners.rivals.greedy import GreedyPlanner


class Options(BaseModel):
    once: str | None = None


class Bad(GreedyPlanner):
    Options = Options

    def __init__(self, options=None):
        super().__init__()
        self.once = None if options is None else options.once

    def plan(self, problem):
        if self.once is not None:
            if os.path.exists(self.once):
                return super().plan(problem)
            open(self.once, "w").close()
        self.misbehave()


class Raises(Bad):
    name = "raises"

    def misbehave(self):
        raise ZeroDivisionError("no GPU at all")


class Dies(Bad):
    name = "dies"

    def misbehave(self):
        os._exit(1)


class Sleeps(Bad):
    name = "sleeps"

    def misbehave(self):
        time.sleep(600)
"""


def install(folder: Path) -> Path:
    """A folder to put on the path: with planners that raise, take their process along, or sleep for ten minutes."""
    (folder / "badplanners.py").write_text(CODE)
    info = folder / "badplanners-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: badplanners\nVersion: 1.0\n")
    points = "".join(f"{name} = badplanners:{name.title()}\n" for name in ("raises", "dies", "sleeps"))
    (info / "entry_points.txt").write_text(f"[hetserve.planners]\n{points}")
    return folder
