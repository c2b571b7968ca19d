"""Results of Suno's tasks: read as the market gives them, and stems named by the files that hold them."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from kie_ai_mcp import Outcome
from kie_ai_mcp.readings import market_outcome
from kie_ai_mcp_suno.stems import STEMS

PARTS = {"vocal", "vocals", "instrumental", "accompaniment", "drums", "keyboard", "strings", "brass", "fx"}
# The longest name first, so that backing vocals are no vocals.
_NAMES = sorted({*PARTS, *map(str.lower, STEMS)}, key=len, reverse=True)
NAME = re.compile(rf"(?<![a-z])({'|'.join(map(re.escape, _NAMES))})(?![a-z])")


def outcome_of_stems(payload: Mapping[str, Any]) -> Outcome:
    """Return the outcome that a status answer's ``data`` reports, its stems with their names where these are known."""
    outcome = market_outcome(payload)
    names = tuple(map(name_in, outcome.urls))
    return outcome if outcome.labels or len(set(names)) < 2 else replace(outcome, labels=names)


def name_in(url: str) -> str:
    """Return the stem that the name of a file tells; an empty text where it tells none."""
    file = PurePosixPath(unquote(urlsplit(url).path)).stem
    words = re.sub(r"[_\W]+", " ", re.sub("(?<=[a-z])(?=[A-Z])", " ", file)).lower()
    found = NAME.findall(words)
    return found[-1] if found else ""
