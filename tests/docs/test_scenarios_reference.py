from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from scenarios.file import schema

PAGE = (Path(__file__).parents[2] / "docs/reference/scenarios.md").read_text()


def test_every_field_is_described() -> None:
    parts = [
        part
        for name, part in vars(schema).items()
        if isinstance(part, type) and issubclass(part, BaseModel) and part is not BaseModel and not name.startswith("_")
    ]
    missing = [part.__name__ for part in parts if part.__name__ not in PAGE]
    missing += [
        f"{p.__name__}.{field}"
        for p in parts
        for field in (info.alias or name for name, info in p.model_fields.items())
        if f"`{field}" not in PAGE and field != "kind"
    ]
    assert missing == []
