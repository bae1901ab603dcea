from __future__ import annotations

from tests.cli.conftest import hetserve

__all__ = ["hetserve"]
