"""Whether a value that a provider returned keeps the contract: one judgement for the server and for the kit.

Nothing of a stranger's values is taken for granted, whatever its annotations say. Each function returns what is wrong
in words, or None.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, get_args

from kie_ai_mcp.errors import shorten
from kie_ai_mcp.specs import Accepted, Answer, Availability, Kind, Status, Submission


def wrong_in_request(request: Any) -> str | None:
    """Judge what a tool function asks for."""
    paid = isinstance(request, Submission)
    wrong = _first(
        (not is_address(request), f"its request has no address: {request.path!r}"),
        (not isinstance(request.gateway, str), f"its gateway is {request.gateway!r}, not a name"),
        (request.read is not None and not callable(request.read), f"its read is {request.read!r}, not a function"),
    )
    if paid and wrong is None:
        wrong = _first(
            (not isinstance(request.api_type, str) or not request.api_type, f"its api_type is {request.api_type!r}"),
            (not isinstance(request.model, str | None), f"its model is {shorten(request.model)}, not text"),
            (
                not is_number(request.estimated_credits, 0),
                f"its estimated_credits are {shorten(request.estimated_credits)}, not a number",
            ),
        )
    if wrong is None:
        try:
            json.dumps(request.body if paid else request.params, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as exc:
            wrong = f"its request is no JSON: {exc}"
    return wrong


def wrong_in_made(made: Any) -> str | None:
    """Judge what a provider reads in the answer to a paid request, beside an outcome or nothing."""
    task_id = made.task_id if isinstance(made, Accepted) else made
    if not isinstance(task_id, str) or not task_id:
        return f"a task id is {shorten(task_id)}, not text"
    if isinstance(made, Accepted) and not isinstance(made.status_address, str):
        return f"a status_address is {shorten(made.status_address)}, not text"
    return None


def wrong_in_route(route: Any) -> str | None:
    """Judge where a status is to be read."""
    if not is_address(route):
        return f"its route has no address: {route.path!r}"
    try:
        json.dumps(dict(route.params))
    except (TypeError, ValueError) as exc:
        return f"its parameters are no text or numbers: {exc}"
    return None


def wrong_in_outcome(outcome: Any) -> str | None:
    """Judge what a status is said to mean."""
    return _first(
        (outcome.status not in get_args(Status), f"status is {shorten(outcome.status)}"),
        (
            not isinstance(outcome.urls, tuple)
            or not all(isinstance(url, str) and url.startswith(("http://", "https://")) for url in outcome.urls),
            f"urls are {shorten(outcome.urls)}, not a tuple of web addresses",
        ),
        (not is_number(outcome.progress, 0, 1), f"progress is {outcome.progress!r}, not a share between 0 and 1"),
        (not is_number(outcome.credits), f"credits are {outcome.credits!r}, not a number"),
        (not isinstance(outcome.error, str | None), f"error is {shorten(outcome.error)}, not text"),
        (not isinstance(outcome.error_code, int | str | None), f"error_code is {shorten(outcome.error_code)}"),
        (not isinstance(outcome.model, str | None), f"model is {shorten(outcome.model)}, not text"),
        (
            outcome.finished_at is not None
            and (not isinstance(outcome.finished_at, datetime) or outcome.finished_at.tzinfo is None),
            f"finished_at is {outcome.finished_at!r}, not a time with a time zone",
        ),
        (
            outcome.keeps_s is None or not is_number(outcome.keeps_s, 1),
            f"keeps_s is {outcome.keeps_s!r}, not a number of seconds",
        ),
    )


def wrong_in_provider(provider: Any) -> str | None:
    """Judge what a provider says of itself."""
    texts = (provider.title, provider.homepage, provider.checked, provider.note, provider.nearest)
    settings = provider.settings
    return _first(
        (not _all_text(texts), f"one of {shorten(texts)} is not text"),
        (not _all_of(provider.kinds, get_args(Kind)), f"kinds are {provider.kinds!r}, not a tuple of {get_args(Kind)}"),
        (provider.availability not in get_args(Availability), f"availability is {provider.availability!r}"),
        (not _all_text(provider.api_types), f"api_types are {provider.api_types!r}, not a tuple of text"),
        (not _all_text(provider.models), f"models are {provider.models!r}, not a tuple of text"),
        (
            not isinstance(settings, Mapping) or not _all_text((*settings, *settings.values())),
            f"settings are {shorten(settings)}, not a mapping of names to their descriptions",
        ),
    )


def is_answer(answer: Any) -> bool:
    """Whether a gateway read an answer as one."""
    fields = (answer.code, answer.message) if isinstance(answer, Answer) else (None, None)
    return [isinstance(field, kind) for field, kind in zip(fields, (int, str), strict=True)] == [True, True]


def is_address(asked: Any) -> bool:
    """Whether a request has addresses below a service's own."""
    paths = (asked.path,) if isinstance(asked.path, str) else asked.path
    return (
        isinstance(paths, Sequence)
        and bool(paths)
        and all(isinstance(path, str) and path.strip("/ ") for path in paths)
    )


def is_number(value: object, least: float = -math.inf, most: float = math.inf) -> bool:
    """Whether a value is nothing, or a number within limits."""
    if value is None:
        return True
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return math.isfinite(value) and least <= value <= most


def _all_of(values: object, known: Iterable[str]) -> bool:
    return isinstance(values, tuple | list) and all(value in known for value in values)


def _all_text(values: object) -> bool:
    return isinstance(values, tuple | list) and all(isinstance(value, str) for value in values)


def _first(*judged: tuple[bool, str]) -> str | None:
    return next((what for is_wrong, what in judged if is_wrong), None)
