"""What stands beside the files: what was planned, what to run, how to see whether it keeps the promise."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from scenarios.export.deploy.fleet import Fleet, Group
from scenarios.export.deploy.http_route import TYPE_HEADER
from scenarios.export.deploy.routing import ModelRoute, whole_weights
from scenarios.export.deploy.target import Target
from scenarios.export.deploy.workload import LASTS_S, Benchmark, model_benchmark, replica_benchmark
from scenarios.runs.serving import ServedSlo

README = "README.md"
ROUTING = "routing.json"
PLAN = "plan.json"


def routing_file(fleet: Fleet) -> str:
    """The whole table of who serves what, for programs."""
    models = {route.model: _routing(fleet, route) for route in fleet.routes}
    return json.dumps({"scenario": fleet.planned.serving.scenario, "models": models}, indent=2) + "\n"


def _routing(fleet: Fleet, route: ModelRoute) -> dict[str, Any]:
    slugs = [group.slug for group in fleet.groups_of(route)]
    types = fleet.planned.serving.types.get(route.model)
    return {
        "promised_rps": route.promised_rps,
        "replicas": {slug: fleet.groups[i].replica.count for slug, i in zip(slugs, route.replicas, strict=True)},
        "share": dict(zip(slugs, route.shares, strict=True)),
        "weight": dict(zip(slugs, whole_weights(route.shares), strict=True)),
        "lengths": None if types is None else types.model_dump(),
        "types": [
            {
                "type": kind.name,
                "share_of_requests": kind.share,
                "mean_prompt_tokens": kind.prompt_tokens,
                "mean_output_tokens": kind.output_tokens,
                "shed_share": kind.shed_share,
                "share": dict(zip(slugs, kind.shares, strict=True)),
                "weight": dict(zip(slugs, whole_weights(kind.shares), strict=True)),
            }
            for kind in route.types
        ],
    }


def readme_file(fleet: Fleet, target: str, tool: Target, benchmarks: Sequence[Benchmark]) -> str:
    """The README of an exported plan."""
    plan, serving = fleet.planned.plan, fleet.planned.serving
    lines = [
        f"# {serving.scenario}, as planned by {plan['planner']}",
        "",
        f"Written by `hetserve export --to {target}`. The fleet costs {plan['usd_per_h']:,.2f} $/h at the plan's",
        "prices.",
        "",
        *_promises(fleet),
        "",
        f"It takes {_gpus(plan['gpus'])}, in these groups:",
        "",
        "| group | model | replicas | GPUs of each | context tokens | requests at once | batched tokens | KV blocks |",
        "| --- | --- | --: | --- | --: | --: | --: | --: |",
        *map(_row, fleet.groups),
        "",
    ]
    notes = (*fleet.notes, *tool.notes(fleet))
    if notes:
        lines += ["## Before you begin", "", *(f"- {note}." for note in notes), ""]
    lines += ["## Run", "", *tool.steps(fleet), ""]
    lines += ["## Routing", "", *_routing_words(fleet, tool), ""]
    lines += _benchmark_words(fleet, tool, benchmarks)
    lines += ["## Checked", "", f"Such files are checked by hetserve's tests: {tool.checked}."]
    lines.append(f"Not validated: {tool.not_checked}.")
    return "\n".join(lines) + "\n"


def benchmarks_of(fleet: Fleet) -> list[Benchmark]:
    """Benchmarks of each model, and of a replica of each group."""
    whole = [model_benchmark(fleet, route) for route in fleet.routes]
    single = [replica_benchmark(fleet, group, route) for route in fleet.routes for group in fleet.groups_of(route)]
    return [one for one in (*whole, *single) if one is not None]


def _promises(fleet: Fleet) -> list[str]:
    lines = []
    for route in fleet.routes:
        if route.promised_rps is None:
            continue
        wishes = _slo_words(fleet.planned.serving.slo[route.model])
        lines.append(f"- {route.model}: {route.promised_rps:.4g} requests/s promised{wishes}.")
    return lines or ["The plan promises no rate."]


def _gpus(gpus: dict[str, int]) -> str:
    return ", ".join(f"{n} x {name}" for name, n in gpus.items())


def _slo_words(slo: ServedSlo) -> str:
    limits = {"TTFT": slo.ttft_s, "TPOT": slo.tpot_s, "E2E": slo.e2e_s}
    told = [f"{name} within {limit_s:g} s" for name, limit_s in limits.items() if limit_s is not None]
    return f", {100 * slo.attainment:g} % of them with {', '.join(told)}" if told else ""


def _row(group: Group) -> str:
    replica = group.replica
    gpus = " + ".join(map(str, group.nodes))
    limits = (replica.max_context_tokens, replica.max_seqs, replica.max_batched_tokens, replica.kv_blocks)
    numbers = " | ".join(f"{number:,}" for number in limits)
    return f"| `{group.slug}` | {replica.model} | {replica.count} | {gpus} | {numbers} |"


def _routing_words(fleet: Fleet, tool: Target) -> list[str]:
    lines = [
        f"`{ROUTING}` has the whole table: for each model and workload type the share of each group; within a group",
        "replicas divide it evenly. A type pPROMPT_oOUTPUT is a class of lengths: a prompt counts as the shortest of",
        "the `prompt_tokens`, and as the next longer one for each of the `prompt_borders` that it reaches; so do",
        "answers. Nobody knows an answer's length beforehand: where whoever asks can tell the type, let it say so; the",
        "other requests go by the model's weights.",
    ]
    if tool.header is None:
        lines.append("The gateway is asked for the model MODEL, or for MODEL/TYPE where the type is known.")
    else:
        lines.append(
            f"The gateway knows the model by the header `{tool.header}`, which body-based routing sets or whoever"
        )
        lines.append(f"asks, and the type by `{TYPE_HEADER}`.")
    shed = [(route.model, kind) for route in fleet.routes for kind in route.types if kind.shed_share > 0]
    if shed:
        told = ", ".join(f"{100 * kind.shed_share:.3g} % of {model} {kind.name}" for model, kind in shed)
        lines.append(f"The plan means to turn away {told}; the gateway does not do so by itself.")
    return lines


def _benchmark_words(fleet: Fleet, tool: Target, benchmarks: Sequence[Benchmark]) -> list[str]:
    if not benchmarks:
        return []
    slo = fleet.planned.serving.slo
    models = {route.model for route in fleet.routes}
    lines = [
        "## Does it keep the promise?",
        "",
        "`workload-*.csv` are requests with the planned mix of workload types, each of the mean lengths of its type.",
        f"The commands send them for about {LASTS_S:.0f} s, at random times. Send each file once before, to warm up.",
        "",
        "The whole of a model, through the gateway: `request_goodput` of the result is to be at least the promised",
        "rate times the share that is to be in time.",
        "",
    ]
    single = []
    for one in benchmarks:
        is_whole = not any(one.name == group.slug for group in fleet.groups)
        if is_whole and one.model in models:
            lines += ["```bash", one.command(tool.gateway, slo[one.model], tool.header), "```", ""]
        else:
            single.append(one)
    if single:
        lines += [
            "One replica of each group with its part of the requests, past the gateway, beside the simulation of them:",
            "",
        ]
    for one in single:
        lines += ["```bash", one.command("http://REPLICA:8000", slo[one.model])]
        if one.server:
            lines.append(f"hetserve validate-run {one.result}")
        else:
            lines.append(f"hetserve validate-run {one.result} --scenario SERVER.yaml  # which describes this replica")
        lines += ["```", ""]
    return lines
