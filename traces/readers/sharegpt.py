"""Conversations of ShareGPT."""

from __future__ import annotations

import math
from typing import Any

from traces.errors import Remedy, TraceError
from traces.readers.files import PathLike, Table, read_json
from traces.readers.reading import Layout, Reading
from traces.readers.table import make_trace
from traces.trace import Trace


def read_sharegpt(path: PathLike, *, chars_per_token: float | None = None, **options: Any) -> Trace:
    """Read a file of ShareGPT conversations (`ShareGPT_V3_unfiltered_cleaned_split.json`): texts, without times.

    Schema: an array of objects with `id` and `conversations`, an array of `from` (human, gpt) and `value`; as
    `ShareGPTDataset` of github.com/vllm-project/vllm, vllm/benchmarks/datasets.py, reads it. As there, the first two
    turns are prompt and answer, and conversations of fewer turns are left out, counted here.

    The file has texts and no token counts, and there is no tokenizer here: lengths are estimated as characters /
    `chars_per_token`, rounded up, which must be said. It also needs an arrival process.

    Args:
        path: The file.
        chars_per_token: Characters of a token; about 4 in English.
        options: See `Reading`.

    Raises:
        TraceError: The file cannot be read, an option is missing, or it does not hold conversations.
    """
    reading = Reading.of(path, options)
    conversations = read_json(path)
    if chars_per_token is None or not 0 < chars_per_token < math.inf:
        remedy = Remedy("chars_per_token", "4")
        msg = (
            f"{path}: holds texts, not token counts: for an estimate say how long a token is, in English about "
            f"{remedy}; not {chars_per_token!r}"
        )
        raise TraceError(msg, [remedy])
    if not isinstance(conversations, list):
        msg = f"{path}: holds {type(conversations).__name__}, must hold an array of conversations"
        raise TraceError(msg)
    records = []
    for row, entry in enumerate(conversations):
        texts = _first_turns(path, row, entry)
        if texts is not None:
            prompt, answer = (math.ceil(len(text) / chars_per_token) for text in texts)
            records.append({"prompt_tokens": prompt, "output_tokens": answer})
    n_short = len(conversations) - len(records)
    notes = [f"lengths are estimates: {chars_per_token:g} characters a token"]
    notes += [f"left out: {n_short} conversations without a prompt and an answer"] if n_short else []
    columns = {name: name for name in ("prompt_tokens", "output_tokens")}
    layout = Layout("sharegpt", columns, notes=tuple(notes))
    return make_trace(Table.from_records(path, records), layout, reading)


def _first_turns(path: PathLike, row: int, entry: object) -> tuple[str, str] | None:
    """Prompt and answer of a conversation; None if one is missing or empty."""
    turns = entry.get("conversations") if isinstance(entry, dict) else None
    if not isinstance(turns, list):
        msg = f"{path}: row {row}: has no array 'conversations'"
        raise TraceError(msg)
    texts: list[str] = []
    for turn in turns[:2]:
        text = turn.get("value") if isinstance(turn, dict) else None
        if not isinstance(text, str):
            msg = f"{path}: row {row}: a turn has no text 'value'"
            raise TraceError(msg)
        texts.append(text)
    return (texts[0], texts[1]) if len(texts) == 2 and all(texts) else None
