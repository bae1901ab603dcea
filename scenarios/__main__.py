"""`python -m scenarios` is the command `hetserve`."""

from scenarios.cli import main

main(prog_name="hetserve")
