"""Hooks: one test for each, named after it, for its answer and for None."""

from textwrap import dedent
from types import ModuleType

import click
import pytest

from kie_ai_mcp import Gateway, Outcome, Provider, StatusRoute, Submission, Task
from kie_ai_mcp._providers.asking import outcome_of, route_of
from kie_ai_mcp._providers.loader import register_commands
from kie_ai_mcp.errors import ReadFailed
from kie_ai_mcp.testing._load import Loaded, load

HEAD = "from kie_ai_mcp import *\nfrom kie_ai_mcp import hookimpl\n"
TASK = Task("t-1", "tidal-image", "tidal")


def loaded(source: str, **settings: str) -> Loaded:
    """A provider ``tidal`` that is made of its source, as the server loads it."""
    module = ModuleType("kie_ai_mcp_tidal")
    exec(compile(HEAD + dedent(source), "tidal", "exec"), module.__dict__)
    provider = load(module, settings or None)
    assert provider.plugin.reason == ""
    return provider


def test_hook_kie_register_tools() -> None:
    provider = loaded(
        """
        @hookimpl
        def kie_describe_provider():
            return Provider("Tidal", kinds=("video",), settings={"model": "Its id."})

        @hookimpl
        def kie_register_tools(settings):
            def generate_tidal_video(prompt: Prompt) -> Submission:
                "Make a clip."
                return Submission.market(settings["model"], {"prompt": prompt}, api_type="tidal")

            def get_tidal_sound(task_id: str) -> Query:
                "Get the sound of a clip."
                return Query("tidal/sound", {"taskId": task_id}, lambda answer: Outcome("processing"))

            return [generate_tidal_video, Tool(get_tidal_sound, kind="audio", title="Sound")]
        """,
        model="tidal/2",
    )
    clip, sound = provider.tools.values()
    assert (clip.name, clip.kind, clip.paid, clip.title) == (
        "generate_tidal_video",
        "video",
        True,
        "Generate tidal video",
    )
    assert (sound.name, sound.kind, sound.paid, sound.title) == ("get_tidal_sound", "audio", False, "Sound")
    made = clip.fn(prompt="a wave")
    assert isinstance(made, Submission)
    assert made.body["model"] == "tidal/2"
    assert provider.plugin.hooks == ("kie_describe_provider", "kie_register_tools")


def test_hook_kie_route_status() -> None:
    provider = loaded(
        """
        @hookimpl
        def kie_route_status(task):
            return StatusRoute("tidal/info", {"id": task.task_id}) if task.api_type == "tidal-image" else None
        """
    )
    assert route_of(provider.plugins, TASK) == StatusRoute("tidal/info", {"id": "t-1"})
    usual = route_of(provider.plugins, Task("t-2", "tidal-market", "tidal"))
    assert (usual.paths[0], usual.params) == ("jobs/recordInfo", {"taskId": "t-2"}), "None is the common route"
    with pytest.raises(ReadFailed, match="veo3"):
        route_of(provider.plugins, Task("t-3", "tidal-image", "veo3"))


def test_hook_kie_normalize_result() -> None:
    provider = loaded(
        """
        @hookimpl
        def kie_normalize_result(task, payload):
            if "elsewhere" in payload:
                return StatusRoute(payload["elsewhere"], {})
            return Outcome("completed", (payload["film"],)) if "film" in payload else None
        """
    )
    film, failed = {"film": "https://x/1.mp4"}, {"state": "fail", "failMsg": "no"}
    assert outcome_of(provider.plugins, TASK, film) == Outcome("completed", ("https://x/1.mp4",))
    assert outcome_of(provider.plugins, TASK, {"elsewhere": "tidal/film"}) == StatusRoute("tidal/film", {})
    common = Outcome("failed", error="no")
    assert outcome_of(provider.plugins, TASK, failed) == common, "None is the common reading"
    market = Task("t-2", "market", "kie")
    assert outcome_of(provider.plugins, market, film) == Outcome("processing"), "it is not asked of another's task"


def test_hook_kie_describe_provider() -> None:
    described = loaded(
        """
        @hookimpl
        def kie_describe_provider():
            return Provider("Tidal Wave", api_types=("tidal-image",), models=("tidal/",))
        """
    )
    assert described.plugin.provider == Provider("Tidal Wave", api_types=("tidal-image",), models=("tidal/",))
    assert described.plugins.owner_of_model("tidal/2") is described.plugin
    assert described.plugins.owner_of_api_type("tidal-image") is described.plugin
    silent = loaded("@hookimpl\ndef kie_describe_provider():\n    return None")
    assert silent.plugin.provider == Provider("Tidal"), "None is a description made of the name"


def test_hook_kie_register_gateways() -> None:
    provider = loaded(
        """
        @hookimpl
        def kie_register_gateways(settings):
            return [Gateway("tide", "Tide", "https://tide.example", key=settings.get("key"))]

        @hookimpl
        def kie_describe_provider():
            return Provider("Tidal", settings={"key": "The key of Tide."})

        @hookimpl
        def kie_route_status(task):
            return StatusRoute(task.status_address, {})
        """,
        key="secret",
    )
    assert provider.plugins.gateways == {"tide": Gateway("tide", "Tide", "https://tide.example", key="secret")}
    through_it = Task("t-1", "luma-video", "luma", gateway="tide", status_address="jobs/t-1")
    route = route_of(provider.plugins, through_it)
    assert route.paths == ("jobs/t-1",), "who registered the service is asked, whichever family the task belongs to"


def test_hook_kie_register_models() -> None:
    provider = loaded(
        """
        @hookimpl
        def kie_register_models(settings):
            entry = '{"tidal/1": {"title": "Tidal", "kind": "image", "task": "text-to-image", "fields": {}}}'
            return read_models(entry, gateway="tidal")
        """
    )
    (models,) = provider.plugins.hook("kie_register_models", "tidal")(settings={})
    assert [(model.id, model.gateway, model.price) for model in models] == [("tidal/1", "tidal", None)]


def test_hook_kie_register_commands(capsys: pytest.CaptureFixture[str]) -> None:
    provider = loaded(
        """
        @hookimpl
        def kie_register_commands(commands):
            print("asked")
            commands.command("tide")(lambda: None)
        """
    )
    assert capsys.readouterr().out == "", "serving doesn't ask for commands"
    group = click.Group("kie-ai-mcp-server")
    register_commands(provider.plugins, lambda _: group)
    assert list(group.commands) == ["tide"]
