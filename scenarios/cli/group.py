"""The command `hetserve`. Data go to stdout, progress and errors to stderr.

Exit codes: 0 done, 1 a bug, 2 wrong usage or input, 3 no feasible plan, 4 the gate of `diff` is
broken, 5 some runs of a batch failed, 130 interrupted.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from scenarios.cli.errors import Interrupted, InvalidInput, is_expected

COMMANDS = {
    "accuracy": (
        "scenarios.cli.measurements.accuracy:accuracy",
        "Say how far the simulator is from all that it was ever compared with.",
    ),
    "batch": (
        "scenarios.cli.batch:batch",
        "Run all scenarios of a file with all planners and seeds, and say what became of them.",
    ),
    "calibrate": (
        "scenarios.cli.measurements.calibrate:calibrate_",
        "Fit a few physical parameters to a part of what was measured, and say how far off the rest is.",
    ),
    "capacity": (
        "scenarios.cli.look:capacity",
        "Say how far the capacities that planners reckon with are from the simulator's.",
    ),
    "compare": (
        "scenarios.cli.compare:compare",
        "Compare planners: run a scenario with all of them, or read finished runs from directories.",
    ),
    "demo": ("scenarios.cli.run:demo", "Compare four planners on one question: which GPUs for Llama-3-70B at 30 $/h?"),
    "diff": ("scenarios.cli.diff:diff", "Say what changed from BASE to NEW, and fail if it is too much."),
    "doctor": (
        "scenarios.cli.doctor:doctor",
        "Check the installation: versions, the solver, and packages of other distributions that stand in the way.",
    ),
    "explain": (
        "scenarios.cli.explain:explain",
        "Say why a plan is as it is: what limits it, what more is worth, why not another configuration.",
    ),
    "export": (
        "scenarios.cli.export:export",
        "Write a plan as what a tool that serves models reads, or a run as a trace.",
    ),
    "frontier": (
        "scenarios.cli.frontier:frontier",
        "Say what each planner gets for different budgets, without a simulation.",
    ),
    "list": ("scenarios.cli.files:list_", "List what can be named in a scenario."),
    "max-rate": (
        "scenarios.cli.max_rate:max_rate",
        "Say how much load a fleet carries within the SLO: the largest multiple of the requests, or number of users.",
    ),
    "model": (
        "scenarios.cli.model:model",
        "Say what is understood of a model: parameters, weights, KV cache, experts, parallelism.",
    ),
    "new": (
        "scenarios.cli.files:new",
        "Write a scenario to DIR, ready to run and to be changed, named after its folder.",
    ),
    "offers": ("scenarios.cli.offers:offers", "Read price lists as what a market offers."),
    "plan": (
        "scenarios.cli.run:plan",
        "Say what to rent and which requests to send where, and check it in a short simulation.",
    ),
    "plot": (
        "scenarios.cli.plot:plot",
        "Draw a run over time: GPUs, requests, SLO attainment and money, with the drops of what can be rented.",
    ),
    "profile": ("scenarios.cli.measurements.profile:profile", "Fit the service-time model to measured iterations."),
    "report": (
        "scenarios.cli.report:report",
        "Write one HTML file about the finished runs in DIR: to be sent, opened without a network, and printed.",
    ),
    "run": ("scenarios.cli.run:run", "Plan with one planner and simulate its fleet."),
    "schema": ("scenarios.cli.files:schema", "Print the JSON schema of scenario files, for editors."),
    "show": (
        "scenarios.cli.look:show",
        "Print all metrics of the finished runs in DIR; on a market that moves, also what its drops did to them.",
    ),
    "traces": ("scenarios.cli.traces:traces", "Fetch public traces, and list those that there are."),
    "validate": (
        "scenarios.cli.files:validate",
        "Check scenario files, with all their scenarios; all problems are reported at once.",
    ),
    "validate-run": (
        "scenarios.cli.measurements.validate_run:validate_run",
        "Replay what was measured on a server, and print simulated against real.",
    ),
}
"""Where each command is, and how its help begins: `hetserve --help` imports none of them."""


class Hetserve(click.Group):
    """Imports a command when it is called, and turns expected errors into messages.

    A user's mistake never ends in a traceback.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A command by its name."""
        if cmd_name not in COMMANDS:
            return None
        place, _ = COMMANDS[cmd_name]
        module, _, function = place.partition(":")
        command: click.Command = getattr(import_module(module), function)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands in the help, as click does for those that it has."""
        longest = max(map(len, COMMANDS))
        width = formatter.width - 6 - longest
        rows = [
            (name, click.Command(name, help=COMMANDS[name][1]).get_short_help_str(width))
            for name in self.list_commands(ctx)
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def invoke(self, ctx: click.Context) -> Any:
        """Call a command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            command = self.get_command(ctx, ctx.invoked_subcommand or "")
            can_resume = command is not None and any(option.name == "resume" for option in command.params)
            kept = ": finished runs are kept, and the same command with --resume makes the others"
            msg = f"Interrupted{kept if can_resume else ''}."
            raise Interrupted(msg) from None
        except Exception as error:
            if is_expected(error):
                raise InvalidInput(str(error)) from error
            raise


@click.group(cls=Hetserve, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="hetserve")
def main() -> None:
    """Which GPUs to rent for language models, how to deploy them, and which requests to send where.

    Planners choose a fleet within a budget; a simulation serves your requests on it, iteration by iteration.

    Start with: hetserve demo
    """
