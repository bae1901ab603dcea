"""Names that DNS allows, which Kubernetes and Docker Compose ask for."""

from __future__ import annotations

import re
from collections.abc import Iterable


def dns_name(text: str, longest: int = 50) -> str:
    """A name of lower-case letters, digits and dashes that begins with a letter.

    >>> dns_name("Llama-3-70B on H100-SXM tp2"), dns_name("70B"), dns_name("é")
    ('llama-3-70b-on-h100-sxm-tp2', 'm-70b', 'm')
    """
    words = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    name = words if words[:1].isalpha() else f"m-{words}"
    return name[:longest].rstrip("-")


def unique_names(texts: Iterable[str], longest: int) -> list[str]:
    """A name for each text; those that would be the same get numbers.

    >>> unique_names(["a b", "a-b", "A B"], 10)
    ['a-b', 'a-b-2', 'a-b-3']
    """
    names: list[str] = []
    for text in texts:
        name, number = dns_name(text, longest), 1
        while name in names:
            number += 1
            end = f"-{number}"
            name = dns_name(text, longest - len(end)) + end
        names.append(name)
    return names
