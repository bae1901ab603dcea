"""What service times rest on, said beside the names of GPU types."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

_MARKS = {"partly_estimated": "~", "extrapolated": "*"}
_WORDS = {
    "partly_estimated": "~ service times partly estimated",
    "extrapolated": "* service times extrapolated from the datasheet",
}


def marked(gpu: str, basis: Mapping[str, str]) -> str:
    """The name of a GPU type; with a mark unless its service times are fitted or measured.

    >>> marked("L40", {"L40": "extrapolated"}), marked("L40S", {"L40S": "fitted"})
    ('L40*', 'L40S')
    """
    return gpu + _MARKS.get(basis.get(gpu, ""), "")


def legend(gpus: Iterable[str], basis: Mapping[str, str]) -> str:
    """What the marks of these GPU types mean, to follow a title; empty without any.

    >>> legend(["L40", "L40S"], {"L40": "extrapolated", "L40S": "fitted"})
    ' (* service times extrapolated from the datasheet)'
    """
    found = {basis.get(gpu, "") for gpu in gpus}
    words = [text for kind, text in _WORDS.items() if kind in found]
    return f" ({', '.join(words)})" if words else ""
