"""Requests as those that were planned for, and the commands that send them and compare what comes of it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import NamedTuple

from scenarios.export.deploy.fleet import Fleet, Group
from scenarios.export.deploy.names import dns_name
from scenarios.export.deploy.routing import ModelRoute, whole_weights
from scenarios.runs.serving import ServedReplica, ServedSlo, Serving
from sim.catalog.read import Catalog

LASTS_S = 120.0
"""A benchmark sends requests for about so long."""

FEWEST, MOST = 100, 2000
"""Requests of a benchmark."""

_BLOCK_TOKENS = 16  # of the KV blocks that validate-run counts
_HEADER = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type"
_MODEL = "GPT-4"  # the only one that vllm bench serve reads of BurstGPT's two


class Benchmark(NamedTuple):
    """A benchmark of a model, or of one of its replicas.

    Attributes:
        name: Of its files.
        model: The model.
        checkpoint: Of its tokeniser.
        rate_rps: Requests/s.
        lengths: Prompt and output tokens of each request.
        server: What `validate-run` needs to know; empty if its options cannot say it.
    """

    name: str
    model: str
    checkpoint: str
    rate_rps: float
    lengths: tuple[tuple[int, int], ...]
    server: dict[str, str]

    @property
    def dataset(self) -> str:
        """File of its requests."""
        return f"workload-{self.name}.csv"

    @property
    def result(self) -> str:
        """File of what was measured."""
        return f"result-{self.name}.json"

    def csv(self) -> str:
        """Its requests, in the form of BurstGPT, which `vllm bench serve` reads."""
        rows = (f"{i},{_MODEL},{p},{o},{p + o},API log" for i, (p, o) in enumerate(self.lengths))
        return "\n".join((_HEADER, *rows)) + "\n"

    def command(self, base_url: str, slo: ServedSlo, model_header: str | None = None) -> str:
        """The command that sends the requests to a server or gateway, which may want the model in a header."""
        goals = {"ttft": slo.ttft_s, "tpot": slo.tpot_s, "e2el": slo.e2e_s}
        goodput = [f"{name}:{1000 * limit_s:g}" for name, limit_s in goals.items() if limit_s is not None]
        lines = [
            "vllm bench serve --backend openai --endpoint /v1/completions",
            f"--base-url {base_url}",
            f"--model {shlex.quote(self.model)} --tokenizer {shlex.quote(self.checkpoint)}",
            f"--dataset-name burstgpt --dataset-path {self.dataset} --num-prompts {len(self.lengths)}",
            f"--request-rate {self.rate_rps:.4g} --ignore-eos --seed 0",
            *([] if model_header is None else [f"--header {model_header}={shlex.quote(self.model)}"]),
            *([f"--goodput {' '.join(goodput)}"] if goodput else []),
            f"--save-result --save-detailed --result-filename {self.result}",
        ]
        if self.server:
            lines.append("--metadata " + " ".join(f"{name}={value}" for name, value in self.server.items()))
        return " \\\n  ".join(lines)


def model_benchmark(fleet: Fleet, route: ModelRoute) -> Benchmark | None:
    """A benchmark of all replicas of a model; None where the plan promises nothing or knows no lengths."""
    group = fleet.groups_of(route)[0]
    shares = [kind.share * (1 - kind.shed_share) for kind in route.types]
    return _benchmark(dns_name(route.model), group, route, shares, route.promised_rps or 0.0, {})


def replica_benchmark(fleet: Fleet, group: Group, route: ModelRoute) -> Benchmark | None:
    """A benchmark of one replica with its part of the requests; None as with `model_benchmark`."""
    place = route.replicas.index(fleet.groups.index(group))
    shares = [kind.share * (1 - kind.shed_share) * kind.shares[place] for kind in route.types]
    rate_rps = (route.promised_rps or 0.0) * route.shares[place] / group.replica.count
    return _benchmark(group.slug, group, route, shares, rate_rps, server_of(group.replica, fleet.planned.serving))


def _benchmark(
    name: str, group: Group, route: ModelRoute, shares: Sequence[float], rate_rps: float, server: dict[str, str]
) -> Benchmark | None:
    if rate_rps <= 0 or sum(shares) <= 0:
        return None
    n = round(min(MOST, max(FEWEST, LASTS_S * rate_rps)))
    counts = whole_weights(shares, n)
    lengths = [
        (max(1, round(kind.prompt_tokens)), max(1, round(kind.output_tokens)))
        for kind, count in zip(route.types, counts, strict=True)
        for _ in range(count)
    ]
    return Benchmark(name, group.replica.model, group.checkpoint, rate_rps, tuple(lengths), server)


def server_of(replica: ServedReplica, serving: Serving) -> dict[str, str]:
    """A server in the words of `hetserve validate-run`; empty if it has none for it.

    It knows one-stage replicas of the catalog's models, in the formats of their checkpoints, on the catalog's GPUs.
    """
    catalog, stage = Catalog.default(), replica.stages[0]
    is_known = replica.model in catalog.models and stage.gpu_type in catalog.gpus
    is_plain = len(replica.stages) == replica.dp == 1 and replica.formats == replica.checkpoint_formats
    if not (is_known and is_plain and serving.engine == "vllm"):
        return {}
    return {
        "engine": serving.engine,
        "version": serving.engine_version,
        "model": replica.model,
        "gpu": stage.gpu_type,
        "tp": str(stage.tp),
        "kv_blocks": str(replica.kv_blocks * replica.block_tokens // _BLOCK_TOKENS),
        "max_batched_tokens": str(replica.max_batched_tokens),
        "max_seqs": str(replica.max_seqs),
        "prefix_caching": str(serving.prefix_caching).lower(),
        "reserve_whole_prompt": str(replica.reserve_whole_prompt).lower(),
    }
