"""Models over stdio: found, described, priced and run, with refusals that name everything and limits that hold."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from mcp import Client
from PIL import Image

from kie_ai_mcp._models.catalogue import Catalogue
from kie_ai_mcp._models.tools import RUN
from kie_ai_mcp._providers.loader import Plugins
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp.models import Model
from kie_ai_mcp.testing import breaking_input
from kie_ai_mcp_sandbox.server import Sandbox
from tests.helpers import data, text

if TYPE_CHECKING:
    from tests.conftest import ServeIn

pytestmark = pytest.mark.anyio

CREATE = "/api/v1/jobs/createTask"
Models = dict[str, Model]


@pytest.fixture(scope="module")
def registered() -> Models:
    """Every model that the installed providers register, by id."""
    settings = Settings.model_validate({})
    return {name: entry.model for name, entry in Catalogue(Plugins(settings), settings).entries.items()}


@pytest.fixture(scope="module")
def shared_settings() -> dict[str, str]:
    """Settings of the shared server: more requests in a window than there are models."""
    return {"KIE_AI_RATE_LIMIT": "100000"}


@pytest.fixture
def sandbox(fresh_service: Sandbox) -> Sandbox:
    """The service of the shared server."""
    return fresh_service


def bought(sandbox: Sandbox) -> list[dict[str, Any]]:
    """The bodies of the paid requests that arrived, without where the service posts the result."""
    bodies = [seen.body for seen in sandbox.requests if seen.path == CREATE]
    return [{name: value for name, value in body.items() if name != "callBackUrl"} for body in bodies]


async def run(client: Client, model: str, sent: dict[str, Any], **options: Any) -> dict[str, Any]:
    return data(await client.call_tool("run_model", {"model": model, "input": sent, **options}))


async def test_model_is_run_with_its_input_as_given(client: Client, sandbox: Sandbox, prompt: str) -> None:
    sent = {"prompt": prompt, "aspect_ratio": "16:9", "nsfw_checker": False}
    answer = await run(client, "z-image", sent)
    assert (answer["status"], answer["tool"], answer["model"]) == ("pending", "run_model", "z-image")
    assert answer["estimated_credits"] == 0.8
    assert bought(sandbox) == [{"model": "z-image", "input": sent}]
    (task,) = data(await client.call_tool("wait_for_tasks", {"task_ids": [answer["task_id"]]}))["tasks"]
    assert (task["status"], task["model"], len(task["result_urls"])) == ("completed", "z-image", 1)


async def test_refusal_names_every_fault_and_sends_nothing(client: Client, sandbox: Sandbox) -> None:
    wrong = {"promt": "a fox", "aspect_ratio": "16:10"}
    answer = await run(client, "z-image", wrong)
    assert (answer["status"], answer["charged"]) == ("refused", "no")
    for words in ("prompt", "promt", "16:10", "16:9"):
        assert words in answer["error"]
    assert bought(sandbox) == []


async def test_unknown_model_names_the_nearest(client: Client, sandbox: Sandbox) -> None:
    answer = await run(client, "z-imag", {"prompt": "a fox"})
    assert "z-image" in answer["error"]
    assert bought(sandbox) == []


async def test_nothing_is_sent_above_max_credits(client: Client, sandbox: Sandbox, prompt: str) -> None:
    refused = await run(client, "z-image", {"prompt": prompt, "aspect_ratio": "1:1"}, max_credits=0.5)
    assert (refused["status"], refused["charged"]) == ("refused", "no")
    tool = await client.call_tool("generate_nano_banana", {"prompt": prompt, "max_credits": 1})
    assert data(tool)["status"] == "refused"
    assert bought(sandbox) == []
    sent = await run(client, "z-image", {"prompt": prompt, "aspect_ratio": "1:1"}, max_credits=0.8)
    assert sent["status"] == "pending"


async def test_tool_is_run_by_its_name(client: Client, sandbox: Sandbox, prompt: str) -> None:
    answer = await run(client, "generate_nano_banana", {"prompt": prompt})
    assert (answer["status"], answer["tool"]) == ("pending", "generate_nano_banana")
    assert len(bought(sandbox)) == 1


async def test_local_file_inside_an_object_is_uploaded(serve_in: "ServeIn", tmp_path: Path, sandbox: Sandbox) -> None:
    for number in (1, 2):
        Image.new("RGB", (400, 400), "teal").save(tmp_path / f"{number}.png")
    files = [str(tmp_path / f"{number}.png") for number in (1, 2)]
    sent = {
        "prompt": "@cup on a table",
        "duration": "5",
        "mode": "std",
        "aspect_ratio": "1:1",
        "multi_shots": False,
        "sound": False,
        "image_urls": files[:1],
        "kling_elements": [{"name": "cup", "description": "a cup", "element_input_urls": files}],
    }
    upload = {"KIE_AI_UPLOAD_ROOTS": str(tmp_path), "KIE_AI_UPLOAD_URL": sandbox.upload_url}
    async with serve_in(tmp_path, sandbox, **upload) as client:
        answer = await run(client, "kling-3.0/video", sent)
        assert answer["status"] == "pending", answer.get("error")
    (body,) = bought(sandbox)
    addresses = body["input"]["kling_elements"][0]["element_input_urls"]
    assert [address.startswith("http") for address in addresses] == [True, True]


async def test_local_file_inside_an_argument_of_a_tool_is_uploaded(
    serve_in: "ServeIn", tmp_path: Path, sandbox: Sandbox
) -> None:
    Image.new("RGB", (400, 400), "teal").save(tmp_path / "1.png")
    cup = {"name": "cup", "description": "a cup", "element_input_urls": [str(tmp_path / "1.png")]}
    upload = {"KIE_AI_UPLOAD_ROOTS": str(tmp_path), "KIE_AI_UPLOAD_URL": sandbox.upload_url}
    async with serve_in(tmp_path, sandbox, **upload) as client:
        answer = data(await client.call_tool("generate_kling_video", {"prompt": "a @cup", "elements": [cup]}))
        assert (answer["status"], answer["estimated_credits"]) == ("pending", 70), answer.get("error")
    (body,) = bought(sandbox)
    assert body["model"] == "kling-3.0-omni/text-to-video"
    assert body["input"]["elements"][0]["element_input_urls"][0].startswith("http")


async def test_estimate_says_price_and_faults_and_sends_nothing_paid(client: Client, sandbox: Sandbox) -> None:
    right = {"prompt": "a fox", "aspect_ratio": "1:1"}
    cost = data(await client.call_tool("estimate_cost", {"name": "z-image", "arguments": right}))
    assert {"valid": True, "model": "z-image", "credits": 0.8, "dollars": 0.004}.items() <= cost.items()
    tool = data(await client.call_tool("estimate_cost", {"name": "generate_nano_banana", "arguments": {"prompt": "x"}}))
    assert {"valid": True, "credits": 4, "dollars": 0.02, "at_most": False}.items() <= tool.items()
    wrong = data(await client.call_tool("estimate_cost", {"name": "z-image", "arguments": {"prompt": 1, "x": 2}}))
    assert not wrong["valid"]
    assert len(wrong["errors"]) >= 2
    free = data(await client.call_tool("estimate_cost", {"name": "get_credits", "arguments": {}}))
    assert free["credits"] == 0
    typo = data(await client.call_tool("estimate_cost", {"name": "get_task_status", "arguments": {"wrong": "x"}}))
    assert not typo["valid"]
    song = {"model": "ai-music-api/sounds", "input": {"prompt": "rain", "model": "V5"}}
    assert data(await client.call_tool("estimate_cost", {"name": "run_model", "arguments": song}))["credits"] == 2.5
    text = {"name": "run_model", "arguments": {"model": "z-image", "input": "a fox"}}
    assert not data(await client.call_tool("estimate_cost", text))["valid"]
    assert bought(sandbox) == []


async def test_refused_call_holds_one_that_works_as_it_stands(client: Client, sandbox: Sandbox) -> None:
    clip, picture = "https://example.com/a.mp4", "https://example.com/a.png"
    calls: list[tuple[str, dict[str, Any]]] = [
        ("generate_veo3_video", {"prompt": "a fox", "duration": 7, "model": "veo3", "imageUrls": [picture] * 3}),
        ("generate_kling_video", {"prompt": "a fox", "model": "2.6", "duration": 7, "negative_prompt": "fog"}),
        ("generate_runway_aleph_video", {"prompt": "a fox"}),
        ("generate_nano_banana", {"prompt": "a fox", "colour": "red", "resolution": "8K"}),
        ("generate_midjourney_video", {"prompt": "a fox", "imageUrls": [picture] * 2, "motion": "wild"}),
        ("generate_kling_omni_video", {"prompt": "a fox", "videoUrl": clip, "duration": 40}),
        ("run_model", {"model": "z-image", "input": {"prompt": 1, "aspect_ratio": "5:1", "x": 2}}),
    ]
    for number, (name, arguments) in enumerate(calls, start=1):
        refused = await client.call_tool(name, arguments)
        assert refused.is_error
        instead = data(refused)["instead"]
        assert f"Instead: {json.dumps(instead)}" in text(refused)
        assert (
            data(await client.call_tool("estimate_cost", {"name": name, "arguments": arguments}))["instead"] == instead
        )
        accepted = await client.call_tool(instead["tool"], instead["arguments"])
        assert not accepted.is_error, (instead, text(accepted))
        assert len(sandbox.ledger) == number


@pytest.mark.parametrize(
    ("name", "arguments", "kept"),
    [
        ("generate_kling_video", {"duration": 7, "model": "2.6", "max_credits": 99}, {"max_credits": 99}),
        ("generate_kling_video", {"duration": 7, "model": "2.6", "maxCredits": 99}, {"max_credits": 99}),
        (
            "generate_runway_aleph_video",
            {"max_credits": 50, "subfolder": "sea"},
            {"max_credits": 50, "subfolder": "sea"},
        ),
        ("run_model", {"max_credits": 3, "idempotency_key": "k"}, {"max_credits": 3, "idempotency_key": "k"}),
    ],
)
async def test_call_in_place_of_a_refused_one_keeps_ceiling_key_and_folder(
    name: str, arguments: dict[str, Any], kept: dict[str, Any], client: Client
) -> None:
    given = (
        {"prompt": "a fox"} if name != RUN else {"model": "z-image", "input": {"prompt": "a", "aspect_ratio": "5:1"}}
    )
    instead = data(await client.call_tool(name, {**given, **arguments}))["instead"]
    assert kept.items() <= instead["arguments"].items()


@pytest.mark.parametrize(
    "arguments",
    [
        {"max_credits": "auto"},
        {"max_credit": 1},
        {"max_credits": 10, "model": "2.6", "duration": 7},
        {"reference_images": ["https://example.com/a.png"]},
    ],
)
async def test_no_call_is_named_that_gives_up_a_ceiling_or_pictures(
    arguments: dict[str, Any], client: Client, sandbox: Sandbox
) -> None:
    refused = await client.call_tool("generate_kling_video", {"prompt": "a fox", **arguments})
    assert refused.is_error
    assert "instead" not in data(refused)
    assert bought(sandbox) == []


async def test_model_is_found_and_described(client: Client) -> None:
    found = await client.call_tool("find_models", {"words": "Hailuo"})
    (first, *_) = text(found).splitlines()
    assert first.startswith("hailuo/")
    assert {"name", "makes", "kind", "task", "price", "tool", "availability"} == data(found)["models"][0].keys()
    described = data(await client.call_tool("describe_model", {"model": "bytedance/seedance-2-5"}))
    assert described["name"] == "bytedance/seedance-2-5"
    assert any(line.startswith("duration") for line in described["fields"])
    assert any("last_frame_url" in rule and "first_frame_url" in rule for rule in described["rules"])
    assert any("28" in line for line in described["price"])


async def test_compact_listing_is_enough_to_run_everything(
    serve_in: "ServeIn", tmp_path: Path, sandbox: Sandbox
) -> None:
    async with serve_in(tmp_path, sandbox, KIE_AI_COMPACT="true") as client:
        listed = {tool.name for tool in (await client.list_tools()).tools}
        assert {"find_models", "describe_model", "estimate_cost", "run_model", "get_credits"} <= listed
        assert not any(name.startswith("generate_") for name in listed)
        assert (await run(client, "generate_nano_banana", {"prompt": "A fox in short"}))["status"] == "pending"


async def test_pinned_model_is_a_tool_of_its_own(serve_in: "ServeIn", tmp_path: Path, sandbox: Sandbox) -> None:
    async with serve_in(tmp_path, sandbox, KIE_AI_PINNED_MODELS="z-image,grok-imagine/text-to-image") as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert "prompt" in tools["z_image"].input_schema["properties"]
        assert "grok_imagine_text_to_image" in tools
        sent = {"prompt": "A pinned fox", "aspect_ratio": "1:1"}
        answer = data(await client.call_tool("z_image", sent))
        assert (answer["status"], answer["model"]) == ("pending", "z-image")
        cost = data(await client.call_tool("estimate_cost", {"name": "z_image", "arguments": sent}))
        assert (cost["valid"], cost["credits"]) == (True, 0.8)
    assert bought(sandbox) == [{"model": "z-image", "input": sent}]


# Rules ---------------------------------------------------------------------------------------------------------------


async def test_rule_of_each_kind_is_kept_before_anything_is_sent(
    client: Client, sandbox: Sandbox, registered: Models
) -> None:
    # One model for each: a refusal also looks at the service's own schema, of which it gives one a second.
    rules = ((name, rule) for name, model in registered.items() for rule in model.rules if "~" not in str(rule))
    by_kind = {(rule.kind, rule.soft): (name, rule) for name, rule in rules}
    soft = 0
    for name, rule in by_kind.values():
        broken = breaking_input(registered[name], rule)
        answer = await run(client, name, broken.input, idempotency_key=f"{name} breaks {rule.kind}")
        soft += rule.soft
        assert answer["status"] == ("pending" if rule.soft else "refused"), (name, rule, answer.get("error"))
        assert answer["notes"] if rule.soft else answer["error"], (name, rule)
    assert len(bought(sandbox)) == soft > 0


# The service's own catalogue -----------------------------------------------------------------------------------------


async def test_model_that_is_newer_than_the_data_is_run_by_its_own_schema(
    serve_in: "ServeIn", tmp_path: Path, sandbox: Sandbox
) -> None:
    sandbox.drift("new-model:z-image", "maker/picture-9")
    async with serve_in(tmp_path, sandbox) as client:
        described = data(await client.call_tool("describe_model", {"model": "maker/picture-9"}))
        assert described["source"] == "live"
        sent = {"prompt": "a fox", "aspect_ratio": "1:1"}
        refused = await run(client, "maker/picture-9", {**sent, "colour": "red"})
        assert "colour" in refused["error"]
        answer = await run(client, "maker/picture-9", sent)
        assert answer["status"] == "pending", answer.get("error")
        assert any("newer" in note for note in answer["notes"])
    assert [body["input"] for body in bought(sandbox)] == [sent]


async def test_field_that_the_data_does_not_know_is_sent_where_the_service_has_it(
    serve_in: "ServeIn", tmp_path: Path, sandbox: Sandbox
) -> None:
    sandbox.drift("field:mood", "z-image")
    sent = {"prompt": "a fox", "aspect_ratio": "1:1", "mood": "calm"}
    async with serve_in(tmp_path, sandbox) as client:
        answer = await run(client, "z-image", sent)
        assert answer["status"] == "pending", answer.get("error")
        assert any("own schema" in note for note in answer["notes"])
        refused = await run(client, "z-image", {**sent, "moood": "calm"})
        assert "moood" in refused["error"]
        assert "own schema of" in refused["error"]
    assert [body["input"] for body in bought(sandbox)] == [sent]


async def test_input_that_the_data_allows_is_sent_without_asking_the_catalogue(
    serve_in: "ServeIn", tmp_path: Path, sandbox: Sandbox
) -> None:
    sandbox.play("http:503@models")
    async with serve_in(tmp_path, sandbox) as client:
        assert (await run(client, "z-image", {"prompt": "a fox", "aspect_ratio": "1:1"}))["status"] == "pending"
    assert not any("/models" in seen.path for seen in sandbox.requests)


async def test_estimate_says_what_the_limits_would_refuse(
    serve_in: "ServeIn", tmp_path: Path, sandbox: Sandbox
) -> None:
    limits = {"KIE_AI_MAX_CREDITS_PER_DAY": "10", "KIE_AI_ASSUMED_CREDITS": "50"}
    async with serve_in(tmp_path, sandbox, **limits) as client:
        unknown = {
            "name": "omnihuman-1-5/human-identification",
            "arguments": {"image_url": "https://example.com/a.png"},
        }
        cost = data(await client.call_tool("estimate_cost", unknown))
        assert (cost["valid"], cost["credits"]) == (True, "unknown")
        assert "would be refused" in cost["next_step"]
        dear = {"name": "nano-banana-2", "arguments": {"prompt": "a fox", "resolution": "4K"}}
        assert "limit is 10" in data(await client.call_tool("estimate_cost", dear))["next_step"]
