"""The error of this package, and the "did you mean" that every package uses in its messages."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Remedy:
    """An option of a reader that would help.

    >>> str(Remedy("time_unit", "ms")), str(Remedy("columns", columns={"arrival_s": "sent"}))
    ('time_unit: ms', 'columns: {arrival_s: sent}')
    >>> str(Remedy("column", columns={"arrival_s": "sent"}))
    'arrival_s: sent'

    Attributes:
        option: Name of the option.
        value: Its value, as in YAML; empty for columns.
        columns: For `columns`: our name of a column -> the file's, or `...` where it is not known. Of an option
            `column`, that one pair is all that is said.
    """

    option: str
    value: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        pairs = ", ".join(f"{ours}: {theirs}" for ours, theirs in self.columns.items())
        if self.option == "column":
            return pairs
        return f"{self.option}: {self.value or f'{{{pairs}}}'}"


class TraceError(ValueError):
    """An expected mistake in a trace or its description; the message says where, what and what is allowed.

    Attributes:
        remedies: Options that the message names, each in the words of `str(remedy)`.
    """

    def __init__(self, message: str = "", remedies: Iterable[Remedy] = ()) -> None:
        super().__init__(message)
        self.remedies = tuple(remedies)

    def said(self, spell: Callable[[Remedy], str]) -> str:
        """The message with its remedies in other words, such as those of a command line."""
        message = str(self)
        for remedy in self.remedies:
            message = message.replace(str(remedy), spell(remedy))
        return message


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
