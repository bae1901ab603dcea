"""Every command and snippet in the README and the docs is run, page by page, in an empty folder."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, RUN, Block, Visit, blocks_of
from tests.docs.warm import warm_hetserve


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


BLOCKS = {page: blocks_of(page) for page in PAGES}
CUT = [page for page, blocks in BLOCKS.items() if any(block.can_be_whole for block in blocks)]
NOT_RUN = [(page, block) for page, blocks in BLOCKS.items() for block in blocks if block.not_run]


@pytest.fixture(autouse=True)
def in_an_empty_folder(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / ".cache"))


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with warm_hetserve(tmp_path_factory.mktemp("warm")) as commands:
        yield commands


def read(page: Path, visit: Visit) -> int:
    """Run the blocks of a page; how many there were."""
    visit.read(blocks_of(page))
    return visit.n_run


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_page_runs(page: Path, warm: Path, record_property: pytest.RecordProperty) -> None:
    n_run = read(page, Visit(commands=warm))
    record_property("blocks run", n_run)
    n_there = sum(block.kind in RUN for block in BLOCKS[page])
    assert n_run == n_there - sum(block.not_run != "" for block in BLOCKS[page])
    assert n_run > 0 or n_there == 0, "of a page with commands, some are run"


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("page", CUT, ids=name_of)
def test_page_runs_whole(page: Path) -> None:
    assert read(page, Visit(whole=True)) > 0


@pytest.mark.parametrize(
    ("page", "block"), NOT_RUN, ids=lambda value: name_of(value) if isinstance(value, Path) else ""
)
def test_what_is_not_run_says_why(page: Path, block: Block) -> None:
    pytest.skip(f"not run: {name_of(page)}: {block.not_run}")


def test_nothing_is_hidden_from_the_tests() -> None:
    """A fence in another language is no command in disguise."""
    hidden = [
        f"{name_of(page)}: {language}"
        for page in PAGES
        for language in re.findall(r"^ *```+ *([\w-]+)", page.read_text(encoding="utf-8"), flags=re.M)
        if language in {"sh", "shell", "shell-session", "zsh", "py", "pycon"}
    ]
    assert hidden == []


def test_links_lead_somewhere() -> None:
    broken = [
        f"{name_of(page)}: {link}"
        for page in PAGES
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))
        if not (page.parent / link).exists()
    ]
    assert broken == []
