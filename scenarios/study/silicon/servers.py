"""With which settings the measured servers ran.

The file has none. Runs of InferenceX are started by scripts (github.com/SemiAnalysisAI/InferenceX, benchmarks/, read as
they were when the runs were made; perf-changelog.yaml there says what changed when):

- Llama-3.1-70B (`70b_fp8_*`, `70b_fp4_*`): `--kv-cache-dtype fp8`, `--max-num-batched-tokens 8192`, `--max-num-seqs` of
  the concurrency on Hopper, of 512 on B200, `--async-scheduling`.
- gpt-oss-120b (`gptoss_fp4_*`): the same, but the KV cache in FP8 on B200 alone.
- MiniMax-M2.5 on H100 (`minimaxm2.5_fp8_h100`): `--max-num-seqs 256`. On H200, and on B200 with vLLM 0.17, the test of
  the script, `EP_SIZE -ge 1`, turned on `--enable-expert-parallel` whatever the label says, with
  `--gpu-memory-utilization 0.95`. On B200 and B300 since April 2026: `--kv-cache-dtype fp8`, and
  `--max-num-batched-tokens` of twice the prompt.
- Kimi-K2.5 (`kimik2.5_*`): `--max-num-seqs` of the concurrency, and never `--enable-expert-parallel`: labels with
  `moe_ep_size` 4 are of the same runs. INT4: `--gpu-memory-utilization 0.95`. NVFP4 on B200 since 20 April 2026: as
  MiniMax.

All set `--no-enable-prefix-caching`, or send random prompts that have nothing in common. Of NVIDIA's own runs no
settings are known: they are vLLM's defaults.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sim import ReplicaSpec

_SINCE_APRIL = "2026-04-20"  # changelog of Kimi-K2.5 in NVFP4 on B200: pull request 1047


@dataclass(frozen=True, slots=True)
class Server:
    """Settings of a server; None: vLLM's default.

    Attributes:
        kv: Number format of the KV cache, `fp8`; None: that of the checkpoint.
        gpu_memory_utilization: Share of a GPU's memory that it uses.
        max_batched_tokens: Token budget of an iteration.
        max_seqs: Most requests running at once.
        expert_parallel: Whether experts are dealt out whole; None: as the row says.
        schedules_ahead: `--async-scheduling`; None: as this version of the engine does.
    """

    kv: str | None = None
    gpu_memory_utilization: float = 0.9
    max_batched_tokens: int | None = None
    max_seqs: int | None = None
    expert_parallel: bool | None = None
    schedules_ahead: bool | None = None

    def applied_to(self, replica: ReplicaSpec) -> ReplicaSpec:
        """The replica with these settings; experts stay as they are where vLLM would refuse to have them otherwise."""
        model, (stage,) = replica.model, replica.stages
        if self.kv == "fp8":
            model = replace(model, precision=model.precision.with_kv("fp8"))
        if self.expert_parallel is not None and model.moe is not None:
            other = replace(stage, expert_parallel=self.expert_parallel and stage.n_gpus > 1)
            stage = other if other.why_not(model) is None else stage
        limits = replace(
            replica.limits,
            gpu_memory_utilization=self.gpu_memory_utilization,
            max_batched_tokens=self.max_batched_tokens,
            max_seqs=self.max_seqs,
        )
        return replace(replica, model=model, stages=(stage,), limits=limits)


DEFAULTS = Server()


def server_of(
    model: str, precision: str, gpu: str, version: str, measured: str, prompt_tokens: int, concurrency: int
) -> Server:
    """Settings of a run of InferenceX.

    Args:
        model: What the model is called here.
        precision: The checkpoint's.
        gpu: GPU type of the catalog.
        version: Of vLLM, major and minor.
        measured: Date of the run, as in `2026-04-20`; empty where the file has none.
        prompt_tokens: Longest prompt.
        concurrency: Clients.
    """
    is_blackwell = gpu in ("B200-SXM", "B300-SXM")
    early = Server(max_batched_tokens=8192, max_seqs=512 if is_blackwell else concurrency, schedules_ahead=True)
    tuned = Server(kv="fp8", max_batched_tokens=2 * prompt_tokens)
    if model == "Llama-3.1-70B":
        return replace(early, kv="fp8")
    if model == "gpt-oss-120b":
        return replace(early, kv="fp8" if is_blackwell else None)
    if model == "MiniMax-M2.5" and gpu == "H100-SXM":
        return Server(max_seqs=256)
    if model == "MiniMax-M2.5" and (not is_blackwell or version == "0.17"):
        return Server(gpu_memory_utilization=0.95, expert_parallel=True)
    if model == "MiniMax-M2.5":
        return tuned
    if model == "Kimi-K2.5" and precision == "int4":
        return Server(gpu_memory_utilization=0.95, max_seqs=concurrency, expert_parallel=False)
    if model == "Kimi-K2.5" and gpu == "B200-SXM" and measured >= _SINCE_APRIL:
        return replace(tuned, max_seqs=concurrency, expert_parallel=False)
    if model == "Kimi-K2.5":
        return Server(max_seqs=concurrency, expert_parallel=False)
    return DEFAULTS
