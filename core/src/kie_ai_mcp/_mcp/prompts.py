"""Prompts and completions as the protocol writes them."""

from collections.abc import Awaitable
from typing import Any, TypeVar

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError

from kie_ai_mcp._app.app import App
from kie_ai_mcp._app.completions import of_address, of_prompt
from kie_ai_mcp._app.prompts import Prompt
from kie_ai_mcp._mcp.icons import icons
from kie_ai_mcp.errors import InvalidArgument, KieError

ICONS = {"product_picture": "picture", "short_clip": "clip", "talking_avatar": "face"}
Context = ServerRequestContext[Any]
T = TypeVar("T")


def prompt_handlers(app: App) -> dict[str, Any]:
    """Return the handlers of prompts and completions, by their names as arguments of the SDK's server."""

    async def list_prompts(_ctx: Context, _page: types.PaginatedRequestParams | None) -> types.ListPromptsResult:
        return types.ListPromptsResult(
            prompts=[_prompt(prompt) for prompt in await _checked(app, app.prompts.listed())]
        )

    async def get_prompt(_ctx: Context, params: types.GetPromptRequestParams) -> types.GetPromptResult:
        text = app.clean(await _checked(app, app.prompts.text(params.name, params.arguments or {})))
        message = types.PromptMessage(role="user", content=types.TextContent(type="text", text=text))
        prompt = await app.prompts.find(params.name)
        return types.GetPromptResult(description=prompt.description, messages=[message])

    async def complete(_ctx: Context, params: types.CompleteRequestParams) -> types.CompleteResult:
        ref, argument, others = params.ref, params.argument, (params.context and params.context.arguments) or {}
        if isinstance(ref, types.PromptReference):
            found = await _checked(app, of_prompt(app, ref.name, argument.name, argument.value, others))
        else:
            found = await _checked(app, of_address(app, ref.uri, argument.name, argument.value, others))
        return types.CompleteResult(completion=types.Completion(**vars(found)))

    return {"on_list_prompts": list_prompts, "on_get_prompt": get_prompt, "on_completion": complete}


def _prompt(prompt: Prompt) -> types.Prompt:
    arguments = [
        types.PromptArgument(name=each.name, description=each.description, required=each.required)
        for each in prompt.arguments
    ]
    return types.Prompt(
        name=prompt.name,
        title=prompt.title,
        description=prompt.description,
        arguments=arguments,
        icons=icons(ICONS[prompt.name]),
    )


async def _checked(app: App, asked: Awaitable[T]) -> T:
    """Return what was asked for, or raise an error of the protocol."""
    try:
        return await asked
    except KieError as exc:
        code = types.INVALID_PARAMS if isinstance(exc, InvalidArgument) else types.INTERNAL_ERROR
        raise MCPError(code, app.clean(str(exc))) from None
