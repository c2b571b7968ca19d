"""Consent over the protocol: where a paid call needs a person's yes, the client is asked to put the question to them.

The newest revision answers the call with the question, and the client repeats the call with the answer; earlier ones
send the question while the call waits. A client that can do neither gets the refusal, which names another way.
"""

import json
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import anyio
import mcp_types as types

from kie_ai_mcp._app.app import App
from kie_ai_mcp._app.patience import patience_of
from kie_ai_mcp._app.tools import Answer
from kie_ai_mcp._flow.consent import Asked, ConsentNeeded, answer
from kie_ai_mcp._flow.report import Report
from kie_ai_mcp._mcp.content import Context, has_handshake
from kie_ai_mcp._record.consents import FORM_S
from kie_ai_mcp.errors import KieError

QUESTION, FIELD, HOST = "consent", "buy", "host"
FORM: dict[str, Any] = {
    "type": "object",
    "properties": {FIELD: {"type": "boolean", "title": "Buy it", "default": False}},
    "required": [FIELD],
}


async def with_consent(
    app: App, ctx: Context, params: types.CallToolRequestParams, call: Callable[..., Awaitable[Answer]]
) -> Answer | types.InputRequiredResult:
    """Return the answer of a `call`, or the question that it waits for.

    `call` raises ConsentNeeded where a person is needed and it `asks`; else that is one of its answers.
    """
    is_new = not has_handshake(ctx)
    try:
        bought = await _answered(app, params) if is_new else None
        if bought is None:
            try:
                return await call(asks=_can_ask(ctx, is_new=is_new))
            except ConsentNeeded as exc:
                needed = exc
            # The same answer may have come twice at once, and have bought it for the other call.
            bought = await (_answered(app, params) if is_new else _elicited(app, ctx, needed))
        if bought is not None:
            return await app.told(bought)
        return await (_question(app, params, needed.asked) if is_new else call())
    except KieError as exc:
        return await app.refused(params.name, exc)


def _can_ask(ctx: Context, *, is_new: bool) -> bool:
    """Return whether the client shows forms; one that declares `elicitation` and no mode of it does."""
    declared = ctx.session.client_capabilities
    elicitation = None if declared is None else declared.elicitation
    shows = elicitation is not None and (elicitation.form is not None or elicitation.url is None)
    return shows and (is_new or ctx.session.can_send_request)


async def _question(app: App, params: types.CallToolRequestParams, asked: Asked) -> types.InputRequiredResult:
    """Return the question as the answer of a call; only the same call with this answer's state can answer it."""
    token = secrets.token_urlsafe(16)
    number = await app.engine.record.consents.show(asked.question.id, _secret(token, params))
    form = types.ElicitRequestFormParams(message=app.clean(asked.words()), requested_schema=FORM)
    requests: types.InputRequests = {QUESTION: types.ElicitRequest(params=form)}
    return types.InputRequiredResult(input_requests=requests, request_state=f"{number}.{token}")


async def _answered(app: App, params: types.CallToolRequestParams) -> Report | None:
    """Take the answer that a call brings along, if any; return what it has bought before. Raise KieError as `answer`.

    An answer without the state of a question answers none.
    """
    result = (params.input_responses or {}).get(QUESTION)
    if params.request_state is None or not isinstance(result, types.ElicitResult):
        return None
    number, _, token = params.request_state.partition(".")
    asked = int(number) if number.isdecimal() and len(number) < 16 else 0
    return await answer(app.engine, asked, HOST, is_yes=_is_yes(result), secret=_secret(token, params))


async def _elicited(app: App, ctx: Context, needed: ConsentNeeded) -> Report | None:
    """Ask the client's person while the call waits; return None after a yes, or what was bought with it meanwhile.

    Raise Declined after a no, and ConsentNeeded where the client fails, answers by itself or lets the time pass.
    """
    client, result = ctx.session.client_params, None
    limit_s = app.settings.patience_s or patience_of(client.client_info.name if client else "")
    consents, secret, asked = app.engine.record.consents, secrets.token_urlsafe(16), needed.asked
    number = await consents.show(asked.question.id, secret)
    # Whatever a client does in place of an answer is none.
    with suppress(Exception), anyio.move_on_after(min(limit_s, FORM_S)):
        result = await ctx.session.elicit_form(app.clean(asked.words()), FORM, ctx.request_id)
    if result is None:
        await consents.hide(number)
        raise ConsentNeeded(replace(asked, question=replace(asked.question, id=number)))
    return await answer(app.engine, number, HOST, is_yes=_is_yes(result), secret=secret)


def _is_yes(result: types.ElicitResult) -> bool:
    return result.action == "accept" and (result.content or {}).get(FIELD) is True


def _secret(token: str, params: types.CallToolRequestParams) -> str:
    """Return what a question is bound to: a token that its client alone has, and the call that it was asked for."""
    return json.dumps([token, params.name, params.arguments or {}], sort_keys=True)
