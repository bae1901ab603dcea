"""The pages that are made from the code: nothing that users can call is missing from them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import hetserve

DOCS = Path(__file__).parents[2] / "docs"
API = (DOCS / "reference/api.md").read_text(encoding="utf-8")


def test_every_name_of_the_front_door_is_on_the_page() -> None:
    described = re.search(r"automodule:: hetserve\n +:members: (.*)", API)
    assert described is not None
    linked = re.findall(r"\{py:\w+\}`~\w+\.(\w+)`", API)
    assert sorted([*described[1].split(", "), *linked]) == sorted(hetserve.__all__)


@pytest.mark.parametrize("package", ["planners", "sim", "traces"])
def test_every_export_of_a_package_is_on_the_page(package: str) -> None:
    assert f".. automodule:: {package}\n   :members:\n" in API


def test_all_commands_are_on_the_page() -> None:
    page = (DOCS / "reference/commands.md").read_text(encoding="utf-8")
    assert ".. click:: scenarios.cli:main\n   :prog: hetserve\n   :nested: full" in page


def test_each_folder_of_pages_is_in_the_table_of_contents() -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    folders = {page.parent.name for page in DOCS.glob("*/*.md") if page.parent.name != "_build"}
    assert sorted(re.findall(r"^(\w+)/\*$", index, flags=re.M)) == sorted(folders)
