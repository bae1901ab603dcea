from __future__ import annotations

import subprocess
import sys

import click
import pytest

from scenarios.cli import main
from scenarios.cli.group import COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_the_table_of_commands_says_what_they_say_themselves(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert command.name == name
    first = (command.help or "").split("\n\n")[0]
    assert COMMANDS[name][1] == " ".join(first.split())


def test_the_list_of_commands_imports_none() -> None:
    program = """
import sys
from scenarios.cli import main
main(["--help"], standalone_mode=False)
print([name for name in sys.modules if name.startswith("scenarios.cli.")])
"""
    output = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert output.splitlines()[-1] == "['scenarios.cli.errors', 'scenarios.cli.group']"
