"""The error of this package, and the "did you mean" that every package uses in its messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TraceError(ValueError):
    """An expected mistake in a trace or its description; the message says where, what and what is allowed."""


_MOST_LISTED = 30  # names, in an error message


def nearest(name: str, known: Iterable[str]) -> str:
    """Say what `name` may have been meant to be.

    Args:
        name: The name that was not found.
        known: The names that exist.

    Returns:
        A fragment to append to an error message; "" if nothing is known.

    Examples:
        >>> nearest("poison", ["poisson", "gamma"])
        "did you mean 'poisson'? known: gamma, poisson"
        >>> nearest("zipf", ["poisson", "gamma"])
        'known: gamma, poisson'
        >>> nearest("A100", ["A40", "A6000", "A100-SXM-80GB"])
        "did you mean 'A100-SXM-80GB'? known: A100-SXM-80GB, A40, A6000"
    """
    names = sorted(set(known))
    if not names:
        return ""
    more = f", ... ({len(names)} in all)" if len(names) > _MOST_LISTED else ""
    listed = f"known: {', '.join(names[:_MOST_LISTED])}{more}"
    lowered = {candidate.lower(): candidate for candidate in names}
    begun = [one for one in lowered if name and one.startswith(name.lower())]
    close = begun or difflib.get_close_matches(name.lower(), lowered, n=1)
    return f"did you mean {lowered[close[0]]!r}? {listed}" if close else listed
