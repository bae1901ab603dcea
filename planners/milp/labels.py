"""Names as LP files take them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

_LENGTH = 40  # two of them and a prefix stay below the 100 characters that PuLP allows


def labels_of(names: Sequence[str]) -> tuple[str, ...]:
    """The names as an LP file takes them: short, of letters, digits and underscores, numbered if two are alike."""
    labels = [re.sub(r"\W+", "_", name, flags=re.ASCII)[:_LENGTH] for name in names]
    times = Counter(labels)
    return tuple(label if times[label] == 1 else f"{label}_no{n}" for n, label in enumerate(labels, start=1))
