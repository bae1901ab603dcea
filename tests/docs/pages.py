"""The blocks of the documentation's pages, and how they are run: `python -m tests.docs.pages` counts them.

Blocks of `bash`, `console` and `python` are run in order. A block of `output` is what the commands before it print,
with `...` for what is left out. Comments in a page say what tests do otherwise:

- `<!-- small copy: OLD => NEW -->` from there on, for what takes long; slow tests run the page as it stands, and only
  then is its output compared.
- `<!-- small copy always, WHY: OLD => NEW -->` the same, in slow tests too.
- `<!-- not run: WHY -->` the next block is left out.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from sybil import Document, Example, Region, Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown.lexers import DirectiveInHTMLCommentLexer, FencedCodeBlockLexer
from sybil.region import Lexeme

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *(page for page in (ROOT / "docs").rglob("*.md") if "_build" not in page.parts),
    ]
)
RUN = ("bash", "console", "python")
ENVIRONMENT = Path(sys.executable).parent


@dataclass(frozen=True)
class Block:
    """A block of a page.

    Attributes:
        kind: `bash`, `console`, `python` or `output`.
        example: Where it stands, with its page's Python names.
        small: Pairs of what tests replace, and by what, each with whether they always do.
        not_run: Why it is not run; empty if it is.
    """

    kind: str
    example: Example
    small: tuple[tuple[str, str, bool], ...]
    not_run: str

    @property
    def source(self) -> str:
        """What stands in the block."""
        return str(self.example.parsed)

    @property
    def is_cut(self) -> bool:
        """Whether a test replaces something in it."""
        return any(old in self.source for old, _, _ in self.small)

    @property
    def can_be_whole(self) -> bool:
        """Whether something is replaced in it that slow tests leave as it is."""
        return any(old in self.source and not always for old, _, always in self.small)


def regions(document: Document) -> list[Region]:
    """Blocks and comments for tests, as sybil sees them."""
    found = []
    for region in FencedCodeBlockLexer("|".join((*RUN, "output")))(document):
        region.parsed = region.lexemes["source"]
        found.append(region)
    for region in DirectiveInHTMLCommentLexer("small copy always, [^:]+|small copy|not run")(document):
        region.parsed = region.lexemes["arguments"].strip()
        found.append(region)
    for region in found:
        region.evaluator = lambda _: None
    return found


def blocks_of(page: Path) -> list[Block]:
    """The blocks of a page, in order, with what the comments before them say.

    Raises:
        ValueError: A comment has no reason or nothing to replace, or replaces what is not there.
    """
    blocks: list[Block] = []
    small: list[tuple[str, str, bool]] = []
    not_run = ""
    for example in Sybil([regions]).parse(page).examples():
        lexemes = example.region.lexemes
        if "language" in lexemes:
            is_run = lexemes["language"] in RUN
            blocks.append(Block(lexemes["language"], example, tuple(small), not_run if is_run else ""))
            not_run = "" if is_run else not_run
        elif lexemes["directive"] == "not run":
            not_run = example.parsed
        else:
            old, arrow, new = example.parsed.partition(" => ")
            if not arrow or old not in example.document.text[example.region.end :]:
                msg = f"{page}:{example.line}: {example.parsed!r} replaces nothing"
                raise ValueError(msg)
            small.append((old, new, lexemes["directive"] != "small copy"))
    return blocks


@dataclass
class Visit:
    """A page that is read from top to bottom, in the current directory.

    Attributes:
        whole: Whether what has a small copy is run as it stands.
        commands: The folder of `hetserve`.
        n_run: Blocks run so far.
    """

    whole: bool = False
    commands: Path = ENVIRONMENT
    n_run: int = 0
    _printed: str = ""
    _is_cut: bool = False

    def read(self, blocks: list[Block]) -> None:
        """Run the blocks.

        Raises:
            AssertionError: A command fails, or prints something else than the page says.
        """
        for block in blocks:
            if block.kind == "output":
                if not self._is_cut:
                    compare(block, self._printed)
            elif not block.not_run:
                self._run(block)
                self.n_run += 1

    def _run(self, block: Block) -> None:
        source = block.source
        for old, new, always in block.small:
            if always or not self.whole:
                self._is_cut = self._is_cut or old in source
                source = source.replace(old, new)
        if block.kind == "python":
            lexeme = block.example.parsed
            block.example.parsed = Lexeme(source, lexeme.offset, lexeme.line_offset)
            PythonEvaluator()(block.example)
        else:
            script = without_prompts(source) if block.kind == "console" else source
            self._printed = run_in_bash(script, self.commands)


def without_prompts(console: str) -> str:
    """The commands of a `console` block: the lines after a prompt; their output stands in a block of its own."""
    lines = console.splitlines()
    assert all(line.startswith("$ ") for line in lines), f"each line of a console block begins with $:\n{console}"
    return "\n".join(line.removeprefix("$ ") for line in lines)


def run_in_bash(script: str, commands: Path = ENVIRONMENT) -> str:
    """Run a script with a `hetserve`, and this environment's `python`; what it prints to stdout and stderr."""
    path = os.pathsep.join([str(commands), str(ENVIRONMENT), os.environ["PATH"]])
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PATH": path, "HETSERVE_ROOT": str(ROOT)},
    )
    assert result.returncode == 0, f"{script}\nends with {result.returncode}:\n{result.stdout}"
    return result.stdout


def squeezed(text: str) -> list[str]:
    """The lines of a text that say something, without the blanks and rules that depend on a table's width."""
    lines = (re.sub(r"\s+", " ", line).strip() for line in text.splitlines())
    return [line for line in lines if line.strip("─ .")]


def compare(block: Block, printed: str) -> None:
    """Each line of a block of output was printed, in this order."""
    rest = iter(squeezed(printed))
    missing = [line for line in squeezed(block.source) if line not in rest]
    where = f"{block.example.path}:{block.example.line}"
    assert not missing, f"{where}: the page says {missing[0]!r}, but printed is:\n{printed}"


def main() -> None:
    """Print a line for each page, and the sum."""
    rows = []
    for page in PAGES:
        blocks = [block for block in blocks_of(page) if block.kind in RUN]
        n_cut = sum(block.is_cut for block in blocks)
        n_not_run = sum(bool(block.not_run) for block in blocks)
        n_lines = sum(len(squeezed(block.source)) for block in blocks if not block.not_run)
        rows.append((str(page.relative_to(ROOT)), len(blocks) - n_not_run, n_lines, n_cut, n_not_run))
    rows.append(("all", *(sum(column) for column in list(zip(*rows, strict=True))[1:])))
    print(f"{'page':50} {'run':>5} {'lines':>6} {'small':>6} {'not run':>8}")  # noqa: T201
    for name, *counts in rows:
        print(f"{name:50} {counts[0]:5} {counts[1]:6} {counts[2]:6} {counts[3]:8}")  # noqa: T201


if __name__ == "__main__":
    main()
