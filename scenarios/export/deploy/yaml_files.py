"""YAML as the tools read it: some read version 1.1, in which more words than in 1.2 are no strings."""

from __future__ import annotations

import re
from collections.abc import Iterable
from io import StringIO
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import SafeRepresenter

_NO_STRING_IN_1_1 = re.compile(r"(?i:y|n|yes|no|on|off)|[\d:]+|[-+]?\d[\d_.]*e\d+")


class _Representer(SafeRepresenter):
    """Lines of text as they are, and no anchors."""

    def ignore_aliases(self, _: Any) -> bool:
        return True

    def text(self, text: str) -> ScalarNode:
        """A string: in quotes where any version would take it for something else."""
        style = "|" if "\n" in text else "'" if _NO_STRING_IN_1_1.fullmatch(text) else None
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Representer.add_representer(str, _Representer.text)


def yaml_file(comment: Iterable[str], *documents: Any) -> str:
    """A file of documents, with a comment before them."""
    head = "".join(f"# {line}".rstrip() + "\n" for line in comment)
    return head + "---\n".join(map(_dump, documents))


def _dump(data: Any) -> str:
    yaml = YAML(typ="safe", pure=True)
    yaml.Representer = _Representer
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.width = 4096
    stream = StringIO()
    yaml.dump(data, stream)
    return stream.getvalue()
