"""Shell completion, as the how-to page has it: click answers when a variable asks it to."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from scenarios.cli import main


def ask(instruction: str, *words: str) -> str:
    """What a shell gets to hear while somebody types the last of the words."""
    asked = {
        "_HETSERVE_COMPLETE": instruction,
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    result = CliRunner().invoke(main, [], prog_name="hetserve", env=asked)
    assert result.exit_code == 0
    return result.stdout


@pytest.mark.parametrize("shell", ["bash", "fish", "zsh"])
def test_a_script_is_printed(shell: str) -> None:
    script = ask(f"{shell}_source")
    assert "_HETSERVE_COMPLETE" in script
    assert "hetserve" in script


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (("hetserve", "pl"), ["plan", "plot"]),
        (("hetserve", "list", "g"), ["gpus"]),
        (("hetserve", "traces", ""), ["get", "list"]),
        (("hetserve", "plan", "--write"), ["--write-lp"]),
    ],
)
def test_commands_and_options_are_completed(words: tuple[str, ...], completed: list[str]) -> None:
    answers = [line.partition(",")[2] for line in ask("bash_complete", *words).splitlines()]
    assert answers == completed
