"""Damaged texts and JSON: seeded, so that each mutant has a number by which it can be made again."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

NASTY: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1.5,
    1e308,
    10**12,
    10**30,
    float("nan"),
    float("inf"),
    "",
    " ",
    "x",
    "14:00",
    "1970-01-01T00:00:00Z",
    "[/bold]",
    "\x00",
    "é\u202e",
    [],
    {},
    [[]],
    {"a": {}},
)
WORDS = (
    *("null", "true", "-1", "0", "1e999", ".nan", "~", "NaN", "999999999999", "14:00", "010", "0x"),
    *("[", "]", "{", "}", ": ", "- ", "#", "&a ", "*a", "!!int ", "'", '"', "%", "@", ",", ",,", ";"),
    *("\t", "\x07", "é", "\n", "\n\n"),
)


def damaged_text(text: str, number: int) -> str:
    """A text with one to three small damages."""
    rng = random.Random(number)
    for _ in range(rng.randint(1, 3)):
        lines = text.split("\n")
        line, place = rng.randrange(len(lines)), rng.randrange(len(text) + 1)
        match rng.randrange(7):
            case 0:
                del lines[line]
                text = "\n".join(lines)
            case 1:
                lines.insert(rng.randrange(len(lines) + 1), lines[line])
                text = "\n".join(lines)
            case 2:
                text = text[:place] + rng.choice(WORDS) + text[place:]
            case 3:
                text = text[:place] + text[place + rng.randint(1, 8) :]
            case 4:
                text = text[:place]
            case 5:
                lines[line] = " " * rng.randint(0, 6) + lines[line].lstrip()
                text = "\n".join(lines)
            case 6:
                words = lines[line].split(" ")
                words[rng.randrange(len(words))] = rng.choice(WORDS)
                lines[line] = " ".join(words)
                text = "\n".join(lines)
    return text


def damaged_json(data: Any, number: int) -> str:
    """JSON with one or two values replaced, keys left out, or items repeated."""
    rng = random.Random(number)
    data = copy.deepcopy(data)
    for _ in range(rng.randint(1, 2)):
        places = list(_places(data))
        if not places:
            break
        holder, key = rng.choice(places)
        match rng.randrange(4):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, list):
                holder.append(copy.deepcopy(holder[key]))
            case _:
                holder[key] = copy.deepcopy(rng.choice(NASTY))
    return json.dumps(data)


def _places(data: Any) -> Any:
    """All places in some data: what holds a value, and its key or position."""
    pairs = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in list(pairs):
        yield data, key
        yield from _places(value)
