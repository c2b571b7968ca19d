"""Prompts and completions as the protocol writes them."""

from typing import Any

import mcp_types as types

from kie_ai_mcp._app.app import App
from kie_ai_mcp._app.completions import of_address, of_prompt
from kie_ai_mcp._app.prompts import Prompt
from kie_ai_mcp._mcp.content import Context, answered
from kie_ai_mcp._mcp.icons import icons


def prompt_handlers(app: App) -> dict[str, Any]:
    """Return the handlers of prompts and completions, by their names as arguments of the SDK's server."""

    async def list_prompts(_ctx: Context, _page: types.PaginatedRequestParams | None) -> types.ListPromptsResult:
        return types.ListPromptsResult(
            prompts=[_prompt(prompt) for prompt in await answered(app, app.prompts.listed())]
        )

    async def get_prompt(_ctx: Context, params: types.GetPromptRequestParams) -> types.GetPromptResult:
        text = app.clean(await answered(app, app.prompts.text(params.name, params.arguments or {})))
        message = types.PromptMessage(role="user", content=types.TextContent(type="text", text=text))
        prompt = await app.prompts.find(params.name)
        return types.GetPromptResult(description=prompt.description, messages=[message])

    async def complete(_ctx: Context, params: types.CompleteRequestParams) -> types.CompleteResult:
        ref, argument, others = params.ref, params.argument, (params.context and params.context.arguments) or {}
        if isinstance(ref, types.PromptReference):
            completion = await answered(app, of_prompt(app, ref.name, argument.name, argument.value, others))
        else:
            completion = await answered(app, of_address(app, ref.uri, argument.name, argument.value, others))
        values = [app.clean(value) for value in completion.values]
        return types.CompleteResult(
            completion=types.Completion(values=values, total=completion.total, has_more=completion.has_more)
        )

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
        icons=icons(prompt.icon),
    )
