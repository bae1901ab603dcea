"""What columns of a file may be ours, by their names: for messages only, nothing is read by a guess."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from traces.errors import Remedy

_PARTS = {
    "arrival_s": ("arriv", "time", "when", "date", "created", "sent", "start"),
    "prompt_tokens": ("prompt", "input", "context", "n_in", "tokens_in"),
    "output_tokens": ("output", "completion", "generated", "response", "n_out", "tokens_out"),
}


def name_columns(wanted: Iterable[str], names: Collection[str]) -> Remedy:
    """How to name columns: those of the file that may be meant, or `...`."""
    return Remedy("columns", columns={ours: _likely(ours, names) for ours in wanted})


def _likely(ours: str, names: Collection[str]) -> str:
    for part in _PARTS[ours]:
        for name in names:
            if part in name.lower():
                return name
    return "..."
