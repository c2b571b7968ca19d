"""The application: one answer for every tool, whoever calls it, without any protocol."""

import math
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from kie_ai_mcp._app import app as app_module
from kie_ai_mcp._app.app import App
from kie_ai_mcp._app.own_tools import NAMES
from kie_ai_mcp._app.patience import PATIENCE_S, USUAL_PATIENCE_S, patience_of
from kie_ai_mcp._app.tools import Answer, Call, Tool
from kie_ai_mcp._flow.report import Report
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp.errors import InvalidArgument

pytestmark = pytest.mark.anyio

KEY = "a-secret-key-of-tests"


async def say(_message: str, _share: float | None) -> None:
    """Drop progress."""


@pytest.fixture
async def app(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[App]:
    """A running application of one provider; further settings come as the fixture's parameter."""
    values = {"db_path": tmp_path / "tasks.db", "enabled_providers": ("nano-banana",), "api_key": KEY}
    opened = App.open(Settings.model_validate({**values, **getattr(request, "param", {})}))
    async with opened.engine.running():
        yield opened


def echo(name: str, answer: Any) -> Tool:
    async def run(_arguments: Any, call: Call) -> Answer:
        if isinstance(answer, Exception):
            raise answer
        return Answer(f"{call.patience_s:g} {call.most_s:g}", answer)

    return Tool(name, name, name, {}, {"type": "object"}, True, True, False, run)


def use(app: App, monkeypatch: pytest.MonkeyPatch, tool: Tool) -> None:
    monkeypatch.setitem(app._own_tools, tool.name, tool)


async def test_unknown_tool_is_refused_with_the_nearest_name(app: App) -> None:
    with pytest.raises(InvalidArgument, match="get_credits"):
        await app.call("get_credit", {})


async def test_error_is_an_answer_with_words_and_data(app: App) -> None:
    answer = await app.call("generate_nano_banana", {"promt": "a fox"})
    assert answer.is_error
    assert answer.data is not None
    assert answer.data["status"] == "refused"
    assert "promt" in answer.text
    assert await app.engine.record.submissions.unsettled() == []


async def test_crash_of_a_tool_is_an_answer_that_does_not_show_it(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    use(app, monkeypatch, echo("broken", RuntimeError(KEY)))
    answer = await app.call("broken", {})
    assert answer.is_error
    assert KEY not in answer.text
    assert "failed inside broken" in answer.text


async def test_answer_never_holds_the_key_nor_half_a_character(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    use(app, monkeypatch, echo("leak", {"told": [f"{KEY} \ud800"], KEY: 1}))
    answer = await app.call("leak", {})
    assert answer.data == {"told": ["[key] ?"], "[key]": 1}


@pytest.mark.parametrize(
    ("app", "client", "expected"),
    [
        ({}, "Claude Code", "900 900"),
        ({}, "an editor", "45 4"),
        ({}, None, "45 inf"),
        ({"patience_s": 7}, "Claude Code", "7 7"),
    ],
    indirect=["app"],
)
async def test_wait_lasts_as_long_as_the_client_waits(
    app: App, client: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(app, monkeypatch, echo("wait", {}))
    assert (await app.call("wait", {}, say, client)).text == expected


@pytest.mark.parametrize("app", [{"wait_s": 600, "patience_s": 3}], indirect=True)
async def test_own_wait_of_a_tool_does_not_outlast_the_client(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    async def submit(*_: object, **__: object) -> Report:
        return Report(status="pending", task_id="t-1", next_step="Wait.")

    async def wait_for(_engine: object, _ids: object, timeout_s: float, _say: object) -> list[Report]:
        waited.append(timeout_s)
        return [Report(status="completed", next_step="")]

    monkeypatch.setattr(app_module, "submit", submit)
    monkeypatch.setattr(app_module, "wait_for", wait_for)
    for client in ("Claude Code", None):
        await app.call("generate_nano_banana", {"prompt": "a fox"}, say, client)
    assert waited == pytest.approx([3, 600], abs=0.5)


@pytest.mark.parametrize(("word", "seconds"), PATIENCE_S)
async def test_patience_is_known_by_a_word_of_the_name(word: str, seconds: float) -> None:
    assert patience_of(f"The {word.upper()} app") == seconds
    assert patience_of("") == USUAL_PATIENCE_S < math.inf


async def test_waits_of_an_unknown_client_lengthen_while_it_stays(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    now, limits = [0.0], list[float]()

    async def run(_arguments: Any, call: Call) -> Answer:
        limits.append(call.most_s)
        now[0] += call.most_s
        return Answer("", {})

    monkeypatch.setattr(anyio, "current_time", lambda: now[0])
    use(app, monkeypatch, replace(echo("wait", {}), run=run))
    for _ in range(6):
        await app.call("wait", {}, say, "mcp")
    assert limits == [4, 8, 16, 32, 45, 45]
    await app.call("wait", {}, say, "another")
    await app.call("wait", {}, say, "mcp", session="another session")
    await app.call("wait", {}, say, "mcp", session=None)  # it wants progress
    assert limits[6:] == [4, 4, 45]


async def test_waits_of_a_client_that_gave_one_up_stay_shorter_than_that(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, limits, given_up = [0.0], list[float](), [False]

    async def run(_arguments: Any, call: Call) -> Answer:
        limits.append(call.most_s)
        now[0] += min(call.most_s, 7.5)
        if call.most_s > 7.5 and not given_up[0]:
            given_up[0] = True
            raise anyio.get_cancelled_exc_class()
        return Answer("", {})

    monkeypatch.setattr(anyio, "current_time", lambda: now[0])
    use(app, monkeypatch, replace(echo("wait", {}), run=run))
    await app.call("wait", {}, say, "mcp")
    with pytest.raises(anyio.get_cancelled_exc_class()):
        await app.call("wait", {}, say, "mcp")
    for _ in range(2):
        await app.call("wait", {}, say, "mcp")
    assert limits == [4, 8, 6, 6]


@pytest.mark.parametrize("app", [{"enabled_providers": ()}], indirect=True)
async def test_what_the_service_no_longer_has_is_listed_after_everything_else(app: App) -> None:
    plugins = app.engine.plugins
    states = {name: plugins.provider_of(tool.provider).availability for name, tool in plugins.tools.items()}
    order = [states.get(tool.name, "current") for tool in app.listed]
    assert order == sorted(order, key=["current", "undocumented", "retired"].index)
    assert set(order) == {"current", "undocumented", "retired"}
    retired = [tool.description for tool in app.listed if states.get(tool.name, "current") != "current"]
    assert {words.split(" at Kie.ai")[0] for words in retired} == {"Retired", "Undocumented"}


LEFT_OUT: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "generate_luma_video": (
        {"availability": ("current",)},
        ("availability in the settings file", "retired", "generate_runway"),
    ),
    "generate_pika_video": (
        {"availability": ("current",)},
        ("availability in the settings file", "undocumented", "generate_kling"),
    ),
    "generate_flux_image": ({"kinds": ("video",)}, ("kinds in the settings file",)),
    "edit_flux_image": ({"disabled_tools": ("edit_flux_image",)}, ("disabled_tools in the settings file",)),
    "generate_wan_video": ({"enabled_tools": ("find_models",)}, ("enabled_tools in the settings file",)),
}


@pytest.mark.parametrize(
    ("app", "name"), [({"enabled_providers": (), **LEFT_OUT[name][0]}, name) for name in LEFT_OUT], indirect=["app"]
)
async def test_call_of_a_tool_that_a_setting_leaves_out_names_the_setting(app: App, name: str) -> None:
    words = LEFT_OUT[name][1]
    assert name not in {tool.name for tool in app.listed}
    with pytest.raises(InvalidArgument) as direct:
        await app.call(name, {"prompt": "a fox"})
    assert [word for word in words if word not in str(direct.value)] == []
    if "run_model" in app.names:
        answer = await app.call("run_model", {"model": name, "input": {"prompt": "a fox"}})
        assert [word for word in words if word not in answer.text] == []


async def test_own_tools_are_listed_last(app: App) -> None:
    names = [tool.name for tool in app.listed]
    assert names[-len(NAMES) :] == list(NAMES)
    assert names == list(app.names)


@pytest.mark.parametrize("app", [{"compact": True}], indirect=True)
async def test_compact_mode_calls_what_it_does_not_list(app: App) -> None:
    names = [tool.name for tool in app.listed]
    assert names[:4] == ["find_models", "describe_model", "estimate_cost", "run_model"]
    assert "generate_nano_banana" not in names
    found = await app.call("find_models", {"words": "banana"})
    assert found.data is not None
    assert "generate_nano_banana" in [entry["name"] for entry in found.data["models"]]
    refused = await app.call("run_model", {"model": "generate_nano_banana", "input": {}})
    assert refused.is_error
    assert "prompt" in refused.text
    itself = await app.call("run_model", {"model": "run_model", "input": {"model": "get_credits"}})
    assert "'run_model' is not accepted" in itself.text


@pytest.mark.parametrize("app", [{"disabled_tools": ("get_credits",)}], indirect=True)
async def test_disabled_tool_of_the_server_can_not_be_called(app: App) -> None:
    with pytest.raises(InvalidArgument, match="there is no such tool"):
        await app.call("get_credits", {})


async def test_earlier_tasks_are_looked_at_once_and_not_before_a_call(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds: list[object] = []

    async def catch_up(engine: object) -> None:
        rounds.append(engine)

    monkeypatch.setattr(app_module, "catch_up", catch_up)
    use(app, monkeypatch, echo("any", {}))
    await app.run("any", {}, Call())
    assert rounds == []
    for _ in range(3):
        await app.call("any", {})
    await anyio.wait_all_tasks_blocked()
    assert rounds == [app.engine]
