"""Calls of a provider's functions while serving: requests, status routes, outcomes, readings of answers.

Each call runs isolated with a time limit, its value is checked against the contract, and whatever it raises becomes
one of this project's errors. The error depends on what the call is for: before a request is sent, nothing can have
been charged; a status can be read again; the answer to a paid request can not, so its charge is unknown.
"""

import logging
import math
import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from typing import Any, TypeVar
from urllib.parse import urljoin

from kie_ai_mcp._providers.contract import judge, judge_made
from kie_ai_mcp._providers.guard import place_in, place_of, run_isolated, summarize
from kie_ai_mcp._providers.installed import DEFAULTS, SHARED
from kie_ai_mcp._providers.loader import Plugins, place_of_hook
from kie_ai_mcp._providers.tools import BoundTool, CallOptions
from kie_ai_mcp._settings.installation import PREVIEW, install_command
from kie_ai_mcp.errors import (
    InvalidArgument,
    KieError,
    PluginError,
    ReadFailed,
    Refused,
    Unknown,
    guess,
    one_line,
    shorten,
)
from kie_ai_mcp.specs import FORMAT, KIE, Accepted, Answer, Gateway, Outcome, Query, StatusRoute, Submission, Task

log = logging.getLogger(__name__)

T = TypeVar("T")
Request = TypeVar("Request", Submission, Query)

Read = Callable[[Answer], Any]

REPORT = "Report it to the plugin's author."

STATE = re.compile(
    "stat(e|us)|stage|phase|flag|progress", re.IGNORECASE
)  # in names of fields that say how a task stands

# Codes that concern the key, the account or the whole service, never one task; no provider reads them.
ACCOUNT_CODES = (401, 402, 429, 430, 433, 455)


def where_to_look(logs_page: str) -> str:
    """Return what to do about a request whose charge is unknown."""
    return f"It may have been accepted and charged: look for it at {logs_page}."


@dataclass(frozen=True)
class Asking:
    """Calls of the functions of the loaded providers, each isolated, and checks of what they return."""

    plugins: Plugins

    async def prepare(
        self, tool: BoundTool, arguments: Mapping[str, Any], *, saves: bool
    ) -> tuple[CallOptions, dict[str, Any], Submission]:
        """Return the server's own arguments of a paid call, the provider's, and the request that it makes of them."""
        options, checked = tool.check(arguments, saves=saves)
        request = await self.submission(tool, checked)
        notes = (*tool.arguments.understood(arguments).notes, *request.notes, *_conversion(request, saves=saves))
        return options, checked, replace(request, notes=notes) if notes != request.notes else request

    async def submission(self, tool: BoundTool, arguments: Mapping[str, Any]) -> Submission:
        """Return the paid `request` of a tool; a read that the service charges for is sent like any other."""
        if tool.paid:
            return await self.request(tool, arguments, Submission)
        read = await self.request(tool, arguments, Query)
        same = {name: getattr(read, name) for name in ("read", "gateway", "estimated_credits")}
        return Submission(read.path, read.params, tool.name, **same)

    async def request(self, tool: BoundTool, arguments: Mapping[str, Any], kind: type[Request]) -> Request:
        """Return the request that a tool makes of its checked arguments, which stay as they are.

        Raise InvalidArgument where the provider refuses them, PluginError where it fails: nothing was sent.
        """
        who = f"{tool.name} of the provider {tool.provider}"
        cure = f"Nothing was sent. Report it to the author of {tool.provider}; another tool may serve meanwhile."
        services = {KIE, *self.plugins.gateways}
        written = {name: str(arguments[name]) for name in tool.arguments.task_ids if name in arguments}
        named = {name: text.partition(":") for name, text in written.items() if text.partition(":")[0] in services}
        arguments = {**arguments, **{name: task_id for name, (_, _, task_id) in named.items()}}
        try:
            request, wrong = await run_isolated(who, lambda: _judged(tool.fn(**deepcopy(dict(arguments))), kind))
        except PluginError as exc:
            raise PluginError(exc.message, next_step=cure) from exc
        if wrong is None and request.gateway not in services:
            wrong = f"its gateway {request.gateway!r} is registered by no provider{guess(request.gateway, services)}"
        if wrong is not None:
            raise PluginError(f"{who} returned what can't be sent: {wrong}{place_in(tool.fn)}.", next_step=cure)
        for name, (gateway, _, _) in named.items():
            if gateway != request.gateway:
                allowed = f"it is a task of {gateway}, and this call goes to {request.gateway}"
                raise InvalidArgument(name, written[name], allowed)
        return request  # type: ignore[no-any-return]  # it was judged to be of this kind

    async def route(self, task: Task) -> StatusRoute:
        """Return where a task's status is read; raise ReadFailed as `route_of`."""
        return await self._free_read("kie_route_status", task, partial(route_of, self.plugins, task))

    async def outcome(self, task: Task, payload: Mapping[str, Any]) -> Outcome | StatusRoute:
        """Return what a status answer means, or the route to read next; the provider gets a copy of the answer."""
        work = partial(outcome_of, self.plugins, task, deepcopy(payload))
        outcome = await self._free_read("kie_normalize_result", task, work)
        if isinstance(outcome, Outcome) and outcome.status in {"pending", "processing"}:
            # A word that the provider does not know is processing, too: nobody else would see it.
            said = {name: value for name, value in payload.items() if STATE.search(name)}
            log.debug("task %s is taken for %s, since its service says %s", task.task_id, outcome.status, shorten(said))
        return outcome

    async def _free_read(self, hook: str, task: Task, work: Callable[[], T]) -> T:
        # What the defaults alone answer is code of ours, which needs no thread of its own.
        is_ours = not self.plugins.hook(hook, _owner(self.plugins, task)).get_hookimpls()
        return work() if is_ours else await free_read(task.provider, work)

    async def meaning(self, provider: str, read: Read, answer: Answer) -> Outcome | None:
        """Return what `read` makes of an answer to a query or of a second status route; raise ReadFailed."""
        if answer.code in ACCOUNT_CODES:
            return None
        outcome, wrong = await free_read(provider, lambda: _judged(read(answer), Outcome, optional=True))
        if wrong:
            raise ReadFailed(f"The provider {provider} made of the answer what can't be used: {wrong}{place_in(read)}.")
        return outcome  # type: ignore[no-any-return]  # it was judged to be one

    async def made(self, who: str, read: Read, answer: Answer, *, logs_page: str) -> Accepted | Outcome | None:
        """Return the task or outcome that `read` sees in a paid request's answer; None where it is read as usual.

        Messages begin with `who` it is ("The accept of the gateway tide").

        Raise Refused where `read` says so of a code other than 200, Unknown where it fails: the charge is unknown then,
        and the user must look for the request at `logs_page`. What it says of an account's codes counts only where it
        sees a task.
        """

        def work() -> tuple[Any, str | None]:
            value = read(answer)
            return Accepted(value) if isinstance(value, str) else value, judge_made(value)

        look = where_to_look(logs_page)
        try:
            result, wrong = await run_isolated(who, work)
        except KieError as exc:
            if answer.code in ACCOUNT_CODES:
                return None
            if isinstance(exc, Refused) and answer.code != 200:
                raise
            raise Unknown(f"The service's answer could not be read. {exc.message}", next_step=look) from exc
        if answer.code in ACCOUNT_CODES and (wrong is not None or getattr(result, "status", "") == "failed"):
            return None
        if wrong is not None:
            raise Unknown(f"{who} misread the service's answer: {wrong}{place_in(read)}.", next_step=look)
        return result  # type: ignore[no-any-return]  # it was judged to be one of these


async def balance_of(gateway: Gateway, answer: Answer) -> float:
    """Return the number that a gateway reads as an account's balance; raise ReadFailed where there is none."""
    assert gateway.balance is not None  # noqa: S101  the caller looked
    read = gateway.balance.read
    value: object = await free_read(gateway.name, lambda: read(answer))
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ReadFailed(f"{gateway.title} names no balance.")
    return float(value)


async def answer_of(gateway: Gateway, status: int, body: Any) -> Answer:
    """Return the answer that a gateway's own `read` sees in an HTTP status and a decoded body.

    Raise PluginError where it fails, or returns what can't be used; what the service did is then not known.
    """
    read, who = gateway.read, f"The function read of the gateway {gateway.name}"
    assert read is not None  # noqa: S101  the caller reads Kie.ai's envelope itself
    try:
        answer, wrong = await run_isolated(who, lambda: _judged(read(status, body), Answer))
    except PluginError:
        raise
    except KieError as exc:
        raise PluginError(f"{who} failed: {summarize(exc)}.") from exc
    if wrong is not None:
        raise PluginError(f"{who} returned what can't be used: {wrong}{place_in(read)}.")
    return replace(answer, message=one_line(answer.message))  # type: ignore[no-any-return]  # it was judged to be one


def route_of(plugins: Plugins, task: Task) -> StatusRoute:
    """Return where a task's status is read; raise ReadFailed where its provider is not enabled or its hook fails."""
    return _hook(plugins, "kie_route_status", task, StatusRoute)  # type: ignore[no-any-return]  # it was judged


def outcome_of(plugins: Plugins, task: Task, payload: Mapping[str, Any]) -> Outcome | StatusRoute:
    """Return what a status answer means, or the route to read next; raise ReadFailed as `route_of`."""
    outcome: Outcome | StatusRoute = _hook(plugins, "kie_normalize_result", task, Outcome, StatusRoute, payload=payload)
    return outcome


def with_whole_addresses(outcome: Outcome, base_url: str) -> Outcome:
    """Return an outcome whose addresses that begin with / are completed with that of the service."""
    urls = tuple(urljoin(base_url, url) if url.startswith("/") else url for url in outcome.urls)
    return outcome if urls == outcome.urls else replace(outcome, urls=urls)


def _conversion(request: Submission, *, saves: bool) -> tuple[str, ...]:
    """Return what is to be said of `convert_to`; raise InvalidArgument where it can't be honoured."""
    if (form := request.convert_to) is None:
        return ()
    cures = [] if saves else ["set KIE_AI_OUTPUT_DIR"]
    if not find_spec("PIL"):
        cures.append(f"run {install_command(PREVIEW)}")
    if cures:
        why = "the service chooses it itself, and only a saved picture can be converted here"
        raise InvalidArgument(FORMAT, form, f"{why}; {' and '.join(cures)}, and restart, or leave it out")
    return (f"The service chooses the format of its pictures itself: they are converted to {form} when saved.",)


def _hook(plugins: Plugins, hook: str, task: Task, *expected: type, **more: Any) -> Any:
    """Call a hook of the task's owner and, where that returns None, of the defaults."""
    owner = _owner(plugins, task)
    plugin = plugins.plugins.get(owner)
    if owner not in SHARED and (plugin is None or plugin.state != "enabled"):
        state = f"{plugin.state} ({plugin.reason.rstrip('.')})" if plugin else "not installed"
        raise ReadFailed(
            f"The provider {owner}, which the task belongs to, is {state}.",
            next_step=f"{plugins.way_back(owner)} The task itself goes on, and is read once the server is restarted.",
            can_retry=False,
        )
    for name in (DEFAULTS,) if owner in SHARED else (owner, DEFAULTS):
        try:
            value = plugins.hook(hook, name)(task=task, **more)
        except KeyboardInterrupt:
            raise
        except BaseException as exc:  # a plugin's code may raise anything
            reason = f"The provider {name} failed in {hook}: {summarize(exc)}{place_of(exc)}."
            log.debug("%s", reason, exc_info=exc)
            raise ReadFailed(reason) from exc
        if value is None:
            continue
        if wrong := judge(value, *expected):
            place = place_of_hook(plugins.hook(hook, name))
            if not isinstance(value, expected):
                raise ReadFailed(f"The provider {name} returned {wrong} (or None) from {hook}{place}.")
            raise ReadFailed(f"What the provider {name} returned from {hook} can't be used: {wrong}{place}.")
        return value
    raise ReadFailed(f"No provider answers {hook} for a task of {owner}.")


def _owner(plugins: Plugins, task: Task) -> str:
    """Return the provider that reads a task: that of its service, else of its family."""
    return task.provider if task.gateway == KIE else plugins.owner_of_gateway(task.gateway)


async def free_read(provider: str, work: Callable[[], T]) -> T:
    """Run a provider's function that concerns a free read; whatever goes wrong is a failed read."""
    try:
        return await run_isolated(f"The provider {provider or KIE}", work)
    except ReadFailed:
        raise
    except KieError as exc:
        is_broken = isinstance(exc, PluginError) and exc.__cause__ is not None
        raise ReadFailed(exc.message, next_step=REPORT if is_broken else "Ask again later.") from exc


def _judged(value: Any, *expected: type, optional: bool = False) -> tuple[Any, str | None]:
    # Called in the isolated thread, where the value is made: looking at a plugin's value may run the plugin's code.
    return value, None if optional and value is None else judge(value, *expected)
