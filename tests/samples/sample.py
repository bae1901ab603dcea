"""A small file with what it holds."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from traces import AllAtOnce

TWO = [(0.0, 10, 5, "default"), (2.5, 20, 6, "default")]
LENGTHS = {"arrivals": AllAtOnce()}


@dataclass(frozen=True)
class Sample:
    """A file and what it holds: arrival (s), prompt and output tokens, model of each request."""

    name: str
    data: bytes
    rows: list[tuple[float, int, int, str]]
    notes: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    is_recognised: bool = True

    def write(self, folder: Path) -> Path:
        path = folder / self.name
        path.write_bytes(self.data)
        return path


def lines(*records: dict[str, Any]) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in records).encode()
