"""YAML as the tools read it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from scenarios.file.yaml_lines import dump


def yaml_file(comment: Iterable[str], *documents: Any) -> str:
    """A file of documents, with a comment before them."""
    head = "".join(f"# {line}".rstrip() + "\n" for line in comment)
    return head + "---\n".join(dump(document, width=4096) for document in documents)
