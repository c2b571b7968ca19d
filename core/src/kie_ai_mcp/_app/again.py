"""Calls that make a request on record anew, with changes or without."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from kie_ai_mcp._models.tools import RUN
from kie_ai_mcp._providers.arguments import NOTHING_USUAL
from kie_ai_mcp._providers.tools import BoundTool
from kie_ai_mcp._providers.understanding import AUTO
from kie_ai_mcp._record.tables import SubmissionRecord
from kie_ai_mcp._settings.settings import NOT_STORED
from kie_ai_mcp.specs import KIE

UNSTORED = rf"{re.escape(NOT_STORED)}|\\u2026 \(\d+ characters\)"  # what stands for texts that are not on record


def model_of(request: SubmissionRecord) -> str | None:
    """Return the name of the model that a request was made of, where it was made by none of the providers' tools."""
    prefix = "" if request.gateway == KIE else f"{request.gateway}:"
    return f"{prefix}{request.model or ''}" if request.tool == RUN else None


def call_again(
    request: SubmissionRecord,
    tool: BoundTool | None,
    changes: Mapping[str, Any] = NOTHING_USUAL,
    left_out: Iterable[str] = (),
    *,
    saves: bool = False,
) -> tuple[str, dict[str, Any], list[str]]:
    """Return the tool and the arguments that make a request anew, and which of them are not on record as a whole.

    `tool` is the provider's that it was made with, if it was. What it saved below a folder is saved there again where
    the server `saves` results.
    """
    values = {name: value for name, value in request.arguments.items() if name not in set(left_out)} | dict(changes)
    # A default that the user has set since is none of that request's.
    if tool and (since := tool.usual.keys() - request.arguments.keys() - changes.keys()):
        known = tool.input_schema["properties"]
        values |= {name: AUTO for name in since if known.get(name, {}).keys() & {"enum", "minimum"}}
    unstored = [name for name, value in values.items() if re.search(UNSTORED, json.dumps(value))]
    options = {"subfolder": request.subfolder} if request.subfolder and saves else {}
    if (model := model_of(request)) is not None:
        return RUN, {"model": model, "input": values} | options, unstored
    return request.tool, options | values, unstored
