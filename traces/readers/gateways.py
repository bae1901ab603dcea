"""Logs of gateways and of observability: LiteLLM, OpenAI-style usage, OpenTelemetry GenAI spans, langfuse."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import polars as pl

from traces.errors import TraceError
from traces.readers.files import PathLike, Table, beginning, open_csv, open_jsonl, read_json, read_json_lines
from traces.readers.reading import Layout, Reading
from traces.readers.table import make_trace
from traces.trace import Trace


def read_litellm(path: PathLike, **options: Any) -> Trace:
    """Read LiteLLM's spend logs or its standard logging payloads; CSV, JSON lines or a JSON array.

    Schema: github.com/BerriAI/litellm, litellm/proxy/schema.prisma, model LiteLLM_SpendLogs, and
    docs.litellm.ai/docs/proxy/logging_spec: `startTime` (a date-time, or Unix s), `prompt_tokens`,
    `completion_tokens`, `model`, `model_group` (the name that was asked for; used where every row has one), `status`.
    Requests with the status failure or no answer are left out and counted, unless `drop_failed` is false.

    Raises:
        TraceError: The file cannot be read, or does not hold valid requests.
    """
    table = _open_any(path)
    columns = {"arrival_s": "startTime", "prompt_tokens": "prompt_tokens", "output_tokens": "completion_tokens"}
    columns |= {"model": "model"} if "model" in table.schema else {}
    columns |= {"error": "status"} if "status" in table.schema else {}
    if "model_group" in table.schema:
        groups = table.collect(table.scan.select("model_group"))["model_group"].fill_null("")
        columns["model"] = "model_group" if (groups != "").all() else columns.get("model", "model_group")
    return make_trace(table, Layout("litellm", columns, drops_failed=True), Reading.of(path, options))


def read_openai_usage(path: PathLike, **options: Any) -> Trace:
    """Read completions as OpenAI's API answers them, one JSON object a line.

    Schema: github.com/openai/openai-python, src/openai/types/chat/chat_completion.py and completion_usage.py:
    `created` (Unix s), `model`, `usage.prompt_tokens`, `usage.completion_tokens`. `created` is the whole second in
    which the completion began: arrivals share seconds. Completions without usage have failed: left out and counted,
    unless `drop_failed` is false.

    Raises:
        TraceError: The file cannot be read, or does not hold valid requests.
    """
    columns = {
        "arrival_s": "created",
        "model": "model",
        "prompt_tokens": "usage.prompt_tokens",
        "output_tokens": "usage.completion_tokens",
    }
    layout = Layout("openai_usage", columns, time_unit="s", drops_failed=True)
    return make_trace(_open_any(path), layout, Reading.of(path, options))


def read_langfuse(path: PathLike, **options: Any) -> Trace:
    """Read an export of langfuse's observations; CSV, JSON lines or a JSON array.

    Schema: langfuse.com/docs/api-and-data-platform/features/blob-storage-export-fields (`start_time`, `type`,
    `provided_model_name`, `usage_details` with `input` and `output`, `level`), the API's observations (the same in
    camel case), and the CSV export (`startTime`, `model`, `promptTokens`, `completionTokens`). Times without a zone are
    UTC, as that page says. Observations that are not of the type GENERATION are no requests: left out and counted.
    Those of the level ERROR, or without an answer, have failed: left out and counted, unless `drop_failed` is false.

    Raises:
        TraceError: The file cannot be read, or does not hold valid requests.
    """
    table = _open_any(path)
    wanted = {
        "arrival_s": ("startTime", "start_time"),
        "prompt_tokens": ("promptTokens", "usageDetails.input", "usage_details.input", "usage.input"),
        "output_tokens": ("completionTokens", "usageDetails.output", "usage_details.output", "usage.output"),
        "model": ("model", "providedModelName", "provided_model_name"),
    }
    columns = {ours: _first_known(table, theirs) for ours, theirs in wanted.items()}
    if "level" in table.schema:
        is_error = pl.when(pl.col("level") == "ERROR").then(pl.lit("ERROR")).alias("failed")
        table = replace(table, scan=table.scan.with_columns(is_error), schema={**table.schema, "failed": pl.String()})
        columns["error"] = "failed"
    is_request = pl.col("type") == "GENERATION" if "type" in table.schema else None
    others = "observations that are no generations"
    layout = Layout("langfuse", columns, drops_failed=True, is_request=is_request, others=others)
    return make_trace(table, layout, Reading.of(path, {"time_zone": "UTC", **options}))


def read_otel_genai(path: PathLike, **options: Any) -> Trace:
    """Read OpenTelemetry spans of generative AI: OTLP in JSON, a document or, as collectors write files, one a line.

    Schema: github.com/open-telemetry/semantic-conventions, docs/gen-ai/gen-ai-spans.md, in the encoding of
    opentelemetry.io/docs/specs/otlp: `resourceSpans[].scopeSpans[].spans[]` with `startTimeUnixNano` and attributes
    `gen_ai.usage.input_tokens`, `gen_ai.usage.output_tokens`, `gen_ai.request.model`, `gen_ai.conversation.id` and
    `error.type`. Spans without `gen_ai.usage.input_tokens`, and those of agents that hold others
    (`gen_ai.operation.name` invoke_agent), are no requests: left out and counted. Those with `error.type` or no output
    have failed: left out and counted, unless `drop_failed` is false.

    Raises:
        TraceError: The file cannot be read, or does not hold valid requests.
    """
    records, n_others = [], 0
    for span in _spans(path):
        attributes = _attributes(path, span)
        is_agent = attributes.get("gen_ai.operation.name") in ("invoke_agent", "create_agent")
        if "gen_ai.usage.input_tokens" not in attributes or is_agent:
            n_others += 1
            continue
        model = attributes.get("gen_ai.request.model") or attributes.get("gen_ai.response.model")
        records.append(
            {
                "startTimeUnixNano": str(span.get("startTimeUnixNano", "")),
                "input_tokens": attributes.get("gen_ai.usage.input_tokens"),
                "output_tokens": attributes.get("gen_ai.usage.output_tokens"),
                "model": model,
                "conversation": attributes.get("gen_ai.conversation.id"),
                "error": attributes.get("error.type") or "",
            }
        )
    columns = {"arrival_s": "startTimeUnixNano", "prompt_tokens": "input_tokens", "output_tokens": "output_tokens"}
    for ours, theirs in {"model": "model", "session_id": "conversation", "error": "error"}.items():
        columns |= {ours: theirs} if any(record[theirs] for record in records) else {}
    notes = (f"left out: {n_others} spans that are no requests to a model",) if n_others else ()
    layout = Layout("otel_genai", columns, time_unit="ns", drops_failed=True, notes=notes)
    return make_trace(Table.from_records(path, records), layout, Reading.of(path, options))


def _open_any(path: PathLike) -> Table:
    """Open a CSV file, JSON lines or a JSON array, by its first character."""
    start = beginning(path).lstrip()[:1]
    if start == "[":
        records = read_json(path)
        bad = next((row for row, record in enumerate(records) if not isinstance(record, dict)), None)
        if bad is not None:
            msg = f"{path}: row {bad}: {str(records[bad])[:60]!r} is not a JSON object"
            raise TraceError(msg)
        return Table.from_records(path, records)
    return open_jsonl(path) if start == "{" else open_csv(path)


def _first_known(table: Table, names: tuple[str, ...]) -> str:
    return next((name for name in names if table.column(name) is not None), names[0])


def _spans(path: PathLike) -> Iterator[Any]:
    """All spans of a file; only the shape is checked here."""
    if beginning(path).lstrip().partition("\n")[0].strip() in ("{", "["):
        document = read_json(path)
        exports = enumerate(document if isinstance(document, list) else [document])
    else:
        exports = read_json_lines(path)  # type: ignore[assignment]
    for row, export in exports:
        try:
            for resource in export["resourceSpans"]:
                for scope in resource.get("scopeSpans") or []:
                    yield from scope.get("spans") or []
        except (KeyError, TypeError, AttributeError):
            msg = f"{path}: row {row}: is no export of spans: needs resourceSpans, scopeSpans and spans"
            raise TraceError(msg) from None


def _attributes(path: PathLike, span: object) -> dict[str, Any]:
    """Attributes of a span: a list of keys, each with a value under the name of its type."""
    listed = span.get("attributes") or [] if isinstance(span, dict) else None
    if not isinstance(listed, list):
        msg = f"{path}: {str(span)[:60]!r} is no span with a list of attributes"
        raise TraceError(msg)
    found = {}
    for attribute in listed:
        value = attribute.get("value") if isinstance(attribute, dict) else None
        if not isinstance(value, dict):
            msg = f"{path}: {str(attribute)[:60]!r} is no attribute with a key and a typed value"
            raise TraceError(msg)
        found[str(attribute.get("key"))] = next(iter(value.values()), None)
    return found
