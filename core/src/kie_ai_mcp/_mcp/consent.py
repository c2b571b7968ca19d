"""Consent over the protocol: where a paid call needs a person's yes, the client is asked to put the question to them.

The newest revision answers the call with the question, and the client repeats the call with the answer; earlier ones
send the question while the call waits. A client that can do neither gets the refusal, which names another way.
"""

import json
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

import anyio
import mcp_types as types
from mcp.shared.exceptions import MCPError
from pydantic import ValidationError

from kie_ai_mcp._app.app import App
from kie_ai_mcp._app.patience import patience_of
from kie_ai_mcp._app.tools import Answer
from kie_ai_mcp._flow.consent import ConsentNeeded, Purchase, agreed
from kie_ai_mcp._mcp.content import Context, has_handshake
from kie_ai_mcp._record.consents import FORM_S
from kie_ai_mcp.errors import InvalidArgument, KieError

QUESTION, FIELD, HOST = "consent", "buy", "host"
FORM: dict[str, Any] = {
    "type": "object",
    "properties": {FIELD: {"type": "boolean", "title": "Buy it", "default": False}},
    "required": [FIELD],
}
# What a client does in place of an answer: an error, what is none, or it leaves.
UNANSWERED = (MCPError, ValidationError, anyio.ClosedResourceError, anyio.BrokenResourceError, anyio.EndOfStream)

Call = Callable[..., Awaitable[Answer]]


async def with_consent(
    app: App, ctx: Context, params: types.CallToolRequestParams, call: Call
) -> Answer | types.InputRequiredResult:
    """Return the answer of a `call`, or the question that it waits for; raise InvalidArgument for an unknown tool.

    `call` raises ConsentNeeded where a person is needed and it `asks`; else that is one of its answers.
    """
    is_new = not has_handshake(ctx)
    asks = _can_ask(ctx, is_new=is_new)
    try:
        given = _given(params) if is_new and params.input_responses and app.tool(params.name).charges else None
        if given is not None:
            number, secret, is_yes = given
            if is_yes is None:  # there may be another answer, which came from the command line
                await app.engine.record.consents.hide(number, secret)
                return await call()
            call = partial(call, agreed=await agreed(app.engine, number, HOST, is_yes=is_yes, secret=secret))
        try:
            return await call(asks=asks)
        except ConsentNeeded as exc:
            purchase = exc.purchase
        return await (_question(app, params, purchase) if is_new else _elicited(app, ctx, purchase, call))
    except InvalidArgument:  # an unknown tool: whatever else goes wrong in a call is its answer
        raise
    except KieError as exc:
        return await app.refused(params.name, exc)


def _can_ask(ctx: Context, *, is_new: bool) -> bool:
    """Return whether the client shows forms; one that declares `elicitation` and no mode of it does."""
    declared = ctx.session.client_capabilities
    elicitation = None if declared is None else declared.elicitation
    shows = elicitation is not None and (elicitation.form is not None or elicitation.url is None)
    return shows and (is_new or ctx.session.can_send_request)


async def _question(app: App, params: types.CallToolRequestParams, purchase: Purchase) -> types.InputRequiredResult:
    """Return the question as the answer of a call; only the same call with this answer's state can answer it."""
    token, number = secrets.token_urlsafe(16), purchase.question.id
    await app.engine.record.consents.show(number, _secret(token, params))
    form = types.ElicitRequestFormParams(message=app.clean(purchase.words()), requested_schema=FORM)
    requests: types.InputRequests = {QUESTION: types.ElicitRequest(params=form)}
    return types.InputRequiredResult(input_requests=requests, request_state=f"{number}.{token}")


def _given(params: types.CallToolRequestParams) -> tuple[int, str, bool | None] | None:
    """Return the question that a call brings a form of, its secret, and what the form says; None without one.

    An answer without the state of a question answers none.
    """
    result = (params.input_responses or {}).get(QUESTION)
    if params.request_state is None or not isinstance(result, types.ElicitResult):
        return None
    number, _, token = params.request_state.partition(".")
    asked = int(number) if number.isdecimal() and len(number) < 16 else 0
    return asked, _secret(token, params), _meant(result)


async def _elicited(app: App, ctx: Context, purchase: Purchase, call: Call) -> Answer:
    """Ask the client's person while a call waits; return what it answers after a yes, or where none came in time.

    Raise Declined after a no, and ConsentNeeded where the client answers by itself.
    """
    client, is_yes = ctx.session.client_params, None
    limit_s = app.settings.patience_s or patience_of(client.client_info.name if client else "")
    consents, secret, number = app.engine.record.consents, secrets.token_urlsafe(16), purchase.question.id
    await consents.show(number, secret)
    try:
        with suppress(*UNANSWERED), anyio.move_on_after(min(limit_s, FORM_S)):
            is_yes = _meant(await ctx.session.elicit_form(app.clean(purchase.words()), FORM, ctx.request_id))
    finally:
        if is_yes is None:
            with anyio.CancelScope(shield=True):
                await consents.hide(number, secret)
    if is_yes is None:
        return await call()  # the person may have answered at the command line meanwhile
    return await call(agreed=await agreed(app.engine, number, HOST, is_yes=is_yes, secret=secret))


def _meant(result: types.ElicitResult) -> bool | None:
    """Return what a person has answered; None for what is neither a yes nor a no, such as a form that was closed."""
    if result.action == "decline":
        return False
    value = (result.content or {}).get(FIELD) if result.action == "accept" else None
    return value if isinstance(value, bool) else None


def _secret(token: str, params: types.CallToolRequestParams) -> str:
    """Return what a question is bound to: a token that its client alone has, and the call that it was asked for."""
    return json.dumps([token, params.name, params.arguments or {}], sort_keys=True)
