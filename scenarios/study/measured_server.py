"""From what is known of a server that was measured to a scenario of it; what is not known is asked for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from scenarios.errors import RunError
from scenarios.file.load import load_text
from scenarios.file.loaded import LoadedScenario
from scenarios.file.yaml_lines import dump
from scenarios.inputs.settings import make_gpu_types, make_limits, make_models
from scenarios.measurements.measurement import Server
from sim import Deployment, ReplicaSpec
from sim.catalog.read import model_names
from traces.errors import nearest

SAID_BY = {
    "model": "--model Llama-3.1-8B",
    "gpu": "--gpu H100-SXM",
    "tp": "--tp 1",
    "engine": "--engine vllm:0.19",
    "version": "--engine vllm:0.19",
    "kv_blocks": "--kv-blocks 2588",
    "max_batched_tokens": "--max-batched-tokens 2048",
    "max_seqs": "--max-seqs 256",
    "prefix_caching": "--prefix-caching or --no-prefix-caching",
    "reserve_whole_prompt": "--reserve-whole-prompt or --no-reserve-whole-prompt",
}
"""Setting of a server -> how to say it, by an example."""

ALWAYS = ("model", "gpu", "tp", "engine", "version")
"""What has no default."""

LIMITS = ("kv_blocks", "max_batched_tokens", "max_seqs", "reserve_whole_prompt")

_VARIANTS = re.compile(r"-(Instruct|Chat|it|hf)\b.*$", re.IGNORECASE)


def server_scenario(server: Server, *, has_defaults: bool, sets: Sequence[str] = ()) -> LoadedScenario:
    """A scenario with that server as its only replica.

    Args:
        server: What is known of it.
        has_defaults: Whether limits that are not known are the engine's defaults.
        sets: Changes of the scenario, as `path=value`.

    Raises:
        RunError: Something is needed and not known.
        ScenarioError: Something is not allowed.
    """
    _ask_for_the_rest(server, has_defaults=has_defaults)
    name = model_name(str(server.model))
    engine = {"name": server.engine} | ({"version": server.version} if server.version else {})
    data = {
        "schema_version": 1,
        "name": "server",
        "cluster": {"gpus": {server.gpu: {"available": server.tp}}},
        "workload": {"all": {"kind": "azure_conv_like", "model": name, "n_requests": 10, "rate_rps": 1}},
        "planning": {"budget_usd_per_h": 1e6},
        "planners": ["homogeneous"],
        "sim": {"engine": engine, **settings_of(server)},
    }
    return load_text(dump(data), "the server", sets)


def settings_of(server: Server) -> dict[str, object]:
    """Those of a server's settings that are known and that a scenario has under `sim`."""
    limits = {name: getattr(server, name) for name in LIMITS if getattr(server, name) is not None}
    caching = {} if server.prefix_caching is None else {"prefix_caching": server.prefix_caching}
    return {"limits": limits, **caching}


def server_deployment(loaded: LoadedScenario, server: Server) -> Deployment:
    """The one replica of `server_scenario`.

    Raises:
        DeploymentError: The model does not fit.
    """
    model = make_models(loaded)[model_name(str(server.model))]
    gpu = make_gpu_types(loaded)[str(server.gpu)]
    return Deployment(((ReplicaSpec.uniform(model, gpu, tp=server.tp or 1, limits=make_limits(loaded)), 1),))


def _ask_for_the_rest(server: Server, *, has_defaults: bool) -> None:
    needed = ALWAYS if has_defaults else tuple(SAID_BY)
    if server.engine == "ideal":
        needed = tuple(name for name in needed if name != "version")
    missing = [name for name in needed if getattr(server, name) is None]
    if not missing:
        return
    lines = [f"  {name}: {SAID_BY[name]}" for name in missing if not (name == "version" and server.engine is None)]
    may_be_defaults = any(name not in ALWAYS for name in missing)
    how = ["  or all of it: --scenario FILE; or what the server's log says: --server-log FILE"]
    how += ["  limits that nobody has set are the engine's own: --defaults"] if may_be_defaults else []
    msg = "\n".join(["what was measured is not known well enough; say", *lines, *how])
    raise RunError(msg)


def model_name(stated: str, known: Iterable[str] | None = None) -> str:
    """The catalog's name of a model that others call by organisation and variant: sizes are those of its base.

    Raises:
        RunError: The catalog has none; with the nearest.

    >>> model_name("meta-llama/Llama-3.1-8B-Instruct"), model_name("/models/Meta-Llama-3-8B/"), model_name("Llama-3-8B")
    ('Llama-3.1-8B', 'Llama-3-8B', 'Llama-3-8B')
    """
    names = {name.lower(): name for name in (model_names() if known is None else known)}
    last = stated.rstrip("/").rpartition("/")[2]
    for candidate in (stated, last, _VARIANTS.sub("", last), _VARIANTS.sub("", last).removeprefix("Meta-")):
        if candidate.lower() in names:
            return names[candidate.lower()]
    msg = f"the catalog has no model {stated!r}: {nearest(last, names.values())}; one of your own: --scenario FILE"
    raise RunError(msg)
