"""Prompts and their completions: they lead to tools that the settings leave, and to no other."""

import json
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from kie_ai_mcp._app.app import App
from kie_ai_mcp._app.completions import of_prompt
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp.errors import InvalidArgument

pytestmark = pytest.mark.anyio

REQUIRED = {"product_picture": "product", "short_clip": "idea", "talking_avatar": "words"}
CALLS = re.compile(r"Call (\w+)")


@contextmanager
def app_of(folder: Path, **settings: Any) -> Iterator[App]:
    app = App.open(Settings.model_validate({"db_path": folder / "tasks.db", **settings}))
    with closing(app.engine.record):
        yield app


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """Everything that is installed, as it comes."""
    with app_of(tmp_path_factory.mktemp("prompts")) as app:
        yield app


async def refusal(app: App, name: str, **arguments: str) -> str:
    with pytest.raises(InvalidArgument) as caught:
        await app.prompts.text(name, arguments)
    return str(caught.value)


async def named(app: App) -> list[str]:
    return [prompt.name for prompt in await app.prompts.listed()]


async def values(app: App, prompt: str, argument: str, text: str = "", **others: str) -> list[str]:
    return (await of_prompt(app, prompt, argument, text, others)).values


async def test_picture_is_priced_bought_once_awaited_and_shown(app: App) -> None:
    text = await app.prompts.text("product_picture", {"product": 'A "red" mug', "background": "marble"})
    priced, bought, awaited, shown = CALLS.findall(text)
    assert (priced, awaited, shown) == ("estimate_cost", "wait_for_tasks", "show_result")
    assert app.engine.plugins.tools[bought].paid
    assert json.dumps('A "red" mug') in text
    assert '"marble"' in text


async def test_picture_of_the_product_is_given_to_a_tool_that_edits(app: App) -> None:
    text = await app.prompts.text("product_picture", {"product": "A mug", "image": "/home/me/mug.png"})
    tool = app.engine.plugins.tools[CALLS.findall(text)[1]]
    (field,) = (name for name in tool.arguments.schema["required"] if name != "prompt")
    assert tool.arguments.media[field].kinds == ("image",)
    assert f'"{field}": ["/home/me/mug.png"]' in text


async def test_clip_is_upright_and_about_as_long_as_wanted(app: App) -> None:
    arguments = {"idea": "A fox runs", "seconds": "7", "model": "generate_veo3_video"}
    text = await app.prompts.text("short_clip", arguments)
    assert '{"prompt": "<your prompt>", "aspectRatio": "9:16", "duration": ' in text
    assert re.search(r'"duration": [68]}', text)
    assert "Call generate_veo3_video ONCE" in text


async def test_model_may_be_described_by_words(app: App) -> None:
    assert "Call generate_kling_video ONCE" in await app.prompts.text("short_clip", {"idea": "A fox", "model": "kling"})


async def test_avatar_speaks_before_it_is_filmed_by_what_takes_such_sound_cheaply(app: App) -> None:
    arguments = {"words": "Hello there", "voice": "Puck", "picture": "https://example.com/me.png"}
    text = await app.prompts.text("talking_avatar", arguments)
    assert text.index('Call generate_speech ONCE with {"text": "Hello there", "voice": "Puck"}') < text.index(
        '"audioUrl": "kie://files/<task_id>/1"'
    )


async def test_avatar_with_a_recording_buys_no_speech_and_asks_for_a_picture_first(app: App) -> None:
    text = await app.prompts.text("talking_avatar", {"words": "Hello", "voice": "/home/me/hello.mp3"})
    assert "generate_speech" not in text
    assert "Call generate_talking_video ONCE" in text
    assert '"audio_url": "/home/me/hello.mp3"' in text
    assert text.index("Ask me for a portrait") < text.index("ONCE")
    unpaid, _, paid = (await app.prompts.text("talking_avatar", {"words": "Hello"})).partition("ONCE")
    assert "Ask me for a portrait" in unpaid
    assert "kie://files/<task_id>/1" in paid


async def test_arguments_left_empty_are_as_left_out(app: App) -> None:
    empty = {"product": "A mug", "style": "", "image": " ", "background": ""}
    assert await app.prompts.text("product_picture", empty) == await app.prompts.text(
        "product_picture", {"product": "A mug"}
    )


async def test_wrong_arguments_are_refused_with_what_is_right(app: App) -> None:
    assert "product_picture" in await refusal(app, "product_pictures", product="A mug")
    assert "product: '' is not accepted: product_picture needs it" in await refusal(app, "product_picture", product=" ")
    assert "product, style, image, background" in await refusal(app, "product_picture", product="A mug", styel="flat")
    assert "whole number" in await refusal(app, "short_clip", idea="A fox", seconds="soon")
    assert "Leave it out" in await refusal(app, "short_clip", idea="A fox", model="edit_nano_banana")


@pytest.mark.parametrize(
    ("settings", "prompts"),
    [
        ({"enabled_providers": ("nano-banana",)}, ["product_picture"]),
        ({"enabled_providers": ("market",)}, ["product_picture", "short_clip", "talking_avatar"]),
        ({"enabled_providers": ("talking",)}, ["talking_avatar"]),
        ({"enabled_providers": ("dalle3",)}, []),
        ({"kinds": ("image",)}, ["product_picture"]),
        ({"kinds": ("audio",)}, []),
        ({"compact": True}, ["product_picture", "short_clip", "talking_avatar"]),
        ({"compact": True, "disabled_tools": ("run_model",)}, []),
    ],
)
async def test_prompt_is_listed_where_a_tool_can_serve_it(
    settings: dict[str, Any], prompts: list[str], tmp_path: Path
) -> None:
    with app_of(tmp_path, **settings) as app:
        assert await named(app) == prompts
        for name, argument in REQUIRED.items():
            if name not in prompts:
                assert "the settings leave out every tool" in await refusal(app, name, **{argument: "A mug"})
                continue
            text = await app.prompts.text(name, {argument: "A mug"})
            assert {*CALLS.findall(text), *re.findall(r"\bfind_models\b", text)} <= {tool.name for tool in app.listed}


async def test_compact_server_calls_the_tool_through_run_model(tmp_path: Path) -> None:
    with app_of(tmp_path, compact=True, enabled_providers=("nano-banana",)) as app:
        text = await app.prompts.text("product_picture", {"product": "A mug"})
    assert 'Call run_model ONCE with model "generate_nano_banana" and input {"prompt": "<your prompt>"}' in text


async def test_steps_without_a_tool_are_left_out(tmp_path: Path) -> None:
    off = ("estimate_cost", "find_models", "show_result", "wait_for_tasks")
    with app_of(tmp_path, disabled_tools=off, enabled_providers=("nano-banana",)) as app:
        text = await app.prompts.text("product_picture", {"product": "A mug"})
    assert CALLS.findall(text) == ["generate_nano_banana"]


async def test_usual_values_are_suggested_by_their_beginning_and_words(app: App) -> None:
    assert await values(app, "product_picture", "style", "FL") == ["flat lay"]
    assert await values(app, "product_picture", "background", "table") == ["wooden table"]
    assert await values(app, "talking_avatar", "voice", "pu") == ["Puck"]
    assert await values(app, "short_clip", "seconds", "1") == ["10", "15"]
    assert await values(app, "short_clip", "seconds", "!") == []


async def test_free_text_has_no_suggestions(app: App) -> None:
    free = {"product_picture": ("product", "image"), "short_clip": ("idea",), "talking_avatar": ("words", "picture")}
    for prompt, arguments in free.items():
        assert [await values(app, prompt, argument, "a") for argument in arguments] == [[]] * len(arguments)


async def test_models_are_suggested_that_make_videos_of_words(app: App) -> None:
    assert {"generate_veo3_video", "generate_kling_video"} <= {*await values(app, "short_clip", "model", "gen")}
    assert (await values(app, "short_clip", "model", "generate_veo"))[0] == "generate_veo3_video"
    assert await values(app, "short_clip", "model", "kling") != []
    everything = await of_prompt(app, "short_clip", "model", "", {})
    assert (everything.total, everything.has_more) == (len(everything.values), False)
    assert not {"edit_nano_banana", "extend_veo3_video", "generate_midjourney_video"} & {*everything.values}


async def test_lengths_are_those_of_the_model_that_was_chosen(app: App) -> None:
    assert await values(app, "short_clip", "seconds", "", model="generate_veo3_video") == ["4", "6", "8"]


async def test_argument_that_a_prompt_has_not_is_refused(app: App) -> None:
    with pytest.raises(InvalidArgument, match="short_clip takes idea, seconds, model"):
        await of_prompt(app, "short_clip", "size", "", {})
