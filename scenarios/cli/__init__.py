"""The command line `hetserve`: a file for each group of commands, loaded when one of them is called."""

from scenarios.cli.group import main

__all__ = ["main"]
