"""What a router may know of a request's length: its `kind`, a number, and what that says of its workload type."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from traces.trace import Trace
    from traces.workload import WorkloadMix

LENGTH_PREDICTORS = ("oracle", "prompt_only")


class Kinds(NamedTuple):
    """The kind of each request, and for each kind the probability of each workload type."""

    of_request: list[int]
    type_probabilities: list[list[float]]


def predict_kinds(name: str, trace: Trace, mix: WorkloadMix) -> Kinds:
    """Predict the workload types of a trace's requests (of all its models; the router asks only for its own).

    Args:
        name: One of `LENGTH_PREDICTORS`. `oracle` knows the true output length, as arXiv:2502.00722 assumes;
            `prompt_only` knows the prompt length, and how output lengths are distributed in the mix for prompts of
            that size.
        trace: The requests.
        mix: The mix that the deployment was planned for.
    """
    grid = mix.grid
    types = grid.classify(trace).to_list()
    if name == "oracle":
        identity = [[float(i == j) for j in range(grid.n_types)] for i in range(grid.n_types)]
        return Kinds(types, identity)
    n_outputs = len(grid.output_tokens)
    conditional = [list(mix.conditional(bucket)) for bucket in range(len(grid.prompt_tokens))]
    return Kinds([t // n_outputs for t in types], conditional)
