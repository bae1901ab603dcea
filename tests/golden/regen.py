"""Rewrite the golden files: `python -m tests.golden.regen`. Review the diff, and say in the commit why it moved."""

from __future__ import annotations

from pathlib import Path

from planners.milp import FAMILIES, formulate
from tests.planning import two_models

LP_FOLDER = Path(__file__).parent / "lp"


def write_family(family: str, path: Path) -> None:
    """Write one family of the MILP, and nothing else but the objective, for a tiny problem of two models."""
    families = dict.fromkeys(["pace", family])
    formulate(two_models(), scale=0.01, families=families).lp.writeLP(str(path))


def main() -> None:
    """Rewrite all."""
    LP_FOLDER.mkdir(exist_ok=True)
    for old in LP_FOLDER.glob("*.lp"):
        old.unlink()
    for family in FAMILIES:
        write_family(family, LP_FOLDER / f"{family}.lp")


if __name__ == "__main__":
    main()
