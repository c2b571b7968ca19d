"""Checks of a first call: what is listed is accepted, and a refusal is cured by one call. Part of `testing`."""

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any

from kie_ai_mcp._flow.refusal import Search
from kie_ai_mcp._models.checking import check
from kie_ai_mcp._providers.tools import BoundTool
from kie_ai_mcp.errors import InvalidArgument
from kie_ai_mcp.specs import Submission
from kie_ai_mcp.testing._calls import Calls, answer, call_text
from kie_ai_mcp.testing._checks import Breach
from kie_ai_mcp.testing._load import Loaded, others

CURED = 0.97  # the share of refusals that one call must cure
MISLED = 0.03  # the share that may name a way out which refuses
MOST = 60  # refusals that are looked at, spread evenly over all
WAY = re.compile(r"\b(\w+)=(?:'([^']*)'|([0-9]+)|(true|false))")


def refusals_are_cured(tool: BoundTool, calls: Calls, loaded: Loaded) -> Iterator[Breach]:
    """Nearly every refusal has a call near by that works, and what its words tell to give is accepted."""
    refused = calls.refused[:: max(1, len(calls.refused) // MOST)]

    async def attempt(tried: BoundTool, arguments: Mapping[str, Any]) -> InvalidArgument | None:
        return fault(tried, arguments, loaded)

    uncured, misled = [], []
    for arguments, error in refused:
        working = asyncio.run(Search(attempt, tool, arguments).run(error))
        own = error.instead
        other = None if own is None else {**others(loaded.name).tools, **loaded.tools}.get(str(own.get("tool")))
        if working is None and (own is None or other is None or fault(other, own.get("arguments", {}), loaded)):
            uncured.append((arguments, error))
        if any(fault(tool, {**arguments, **way}, loaded) for way in _ways(tool, error)):
            misled.append((arguments, error))
    if len(uncured) > (1 - CURED) * len(refused):
        cure = "Take more arguments, or give the error `instead`: a whole call that works."
        yield _breach(tool, f"{len(uncured)} of {len(refused)} refusals are cured by no call", cure, uncured)
    if len(misled) > MISLED * len(refused):
        cure = "Name only models and values that take the whole call."
        yield _breach(tool, f"{len(misled)} of {len(refused)} refusals name a way out that refuses", cure, misled)


def arguments_are_accepted(tool: BoundTool, calls: Calls) -> Iterator[Breach]:
    """Each listed argument is accepted in some call, or its description says that it is refused."""
    if not calls.built:  # which is a breach of its own
        return
    accepted = {name for arguments, _ in calls.built for name in arguments}
    for name, schema in tool.arguments.listed["properties"].items():
        is_plain = schema.get("type") not in {"array", "object"}  # others need more than a schema to make sense
        if (
            is_plain
            and name not in accepted
            and "refused" not in f"{schema.get('description', '')} {tool.description}".lower()
        ):
            cure = 'Accept it, or say so where it stands: Annotated[..., Field(description="refused")].'
            yield Breach(f"tool {tool.name}", f"no call with {name} is accepted", cure)


def fault(tool: BoundTool, arguments: Mapping[str, Any], loaded: Loaded) -> InvalidArgument | None:
    """Return why a call would be refused before anything is sent; None where it would be sent."""
    try:
        _, checked = tool.check(arguments, saves=True)
    except InvalidArgument as exc:
        return exc
    request = answer(tool, deepcopy(checked))
    if isinstance(request, Submission) and not request.checked:
        model = next((each for each in loaded.models if getattr(each, "id", None) == request.model), None)
        sent: Any = request.body.get("input") if model is not None and model.wrapped else request.body
        faults = check(model, sent).faults if model is not None else ()
        return InvalidArgument.joined(faults) if faults else None
    return request if isinstance(request, InvalidArgument) else None


def _ways(tool: BoundTool, error: InvalidArgument) -> list[dict[str, Any]]:
    """Return what a refusal says to give, each as arguments: ``model='3.0'``."""
    texts = (found.groups() for found in WAY.finditer(error.message) if found[1] in tool.arguments.names)
    return [
        {name: text if text is not None else int(number) if number else word == "true"}
        for name, text, number, word in texts
    ]


def _breach(tool: BoundTool, what: str, cure: str, seen: Sequence[tuple[Mapping[str, Any], InvalidArgument]]) -> Breach:
    arguments, error = seen[0]
    return Breach(f"tool {tool.name}", what, cure, f"{call_text(tool, arguments)}: {error.message}")
