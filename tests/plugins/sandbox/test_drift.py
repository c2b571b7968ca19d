"""What changes at the sandbox when it is told to drift."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from kie_ai_mcp_sandbox import command
from kie_ai_mcp_sandbox.drift import KINDS, Drift, parse_drift, usages
from kie_ai_mcp_sandbox.server import Sandbox

NANO = "nano-banana-2"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(key="key-of-the-tests", catalogue_pause_s=0, hold=True) as sandbox:
        yield sandbox


def read(client: httpx.Client, path: str) -> Any:
    answer = client.get(path).json()
    assert answer["code"] == 200, answer
    return answer["data"]


def schema(client: httpx.Client, model: str = NANO) -> Any:
    document = read(client, f"models/{model}/schema")["openapi"]
    ((_, methods),) = document["paths"].items()
    return methods["post"]["requestBody"]["content"]["application/json"]["schema"]["properties"]["input"]


def listed(client: httpx.Client) -> dict[str, Any]:
    return {item["model"]: item for item in read(client, "models")["models"]}


def buy(client: httpx.Client, model: str = NANO, path: str = "jobs/createTask", **arguments: Any) -> Any:
    body = {"model": model, "input": {"prompt": "a fox", **arguments}}
    return client.post(path, json=body).json()


def test_new_model_is_listed_described_and_sold(sandbox: Sandbox, client: httpx.Client) -> None:
    sandbox.drift("new-model", "acme/paint-9")
    sandbox.drift(f"new-model:{NANO}@acme/text-to-video")
    assert listed(client).keys() >= {"acme/paint-9", "acme/text-to-video"}
    assert schema(client, "acme/paint-9")["required"] == ["prompt"]
    assert schema(client, "acme/text-to-video") == schema(client)
    assert buy(client, "acme/paint-9")["code"] == buy(client, "acme/text-to-video")["code"] == 200
    assert [accepted.credits for accepted in sandbox.ledger] == [10, 8]


def test_chat_model_is_listed_and_not_sold_at_create_task(sandbox: Sandbox, client: httpx.Client) -> None:
    sandbox.drift("new-chat-model@acme/chat")
    assert "acme/chat" in listed(client)
    (path,) = read(client, "models/acme/chat/schema")["openapi"]["paths"]
    assert not path.endswith("createTask")
    assert buy(client, "acme/chat")["code"] == 422


def test_gone_model_is_neither_listed_nor_described_nor_sold(sandbox: Sandbox, client: httpx.Client) -> None:
    sandbox.drift("model-gone", NANO)
    assert NANO not in listed(client)
    assert client.get(f"models/{NANO}/schema").json()["code"] == 404
    assert (buy(client)["code"], sandbox.ledger) == (422, [])
    sandbox.drift("new-model", NANO)
    assert buy(client)["code"] == 200


def test_field_is_gained_and_taken(sandbox: Sandbox, client: httpx.Client) -> None:
    before = schema(client)
    sandbox.drift("field:mood", NANO, schema={"type": "string", "enum": ["calm", "wild"]})
    after = schema(client)
    assert after["properties"].pop("mood") == {"type": "string", "enum": ["calm", "wild"]}
    assert after == before
    assert buy(client, mood="calm")["code"] == 200
    assert sandbox.ledger[0].body["input"]["mood"] == "calm"


def test_field_that_becomes_required_is_asked_for(sandbox: Sandbox, client: httpx.Client) -> None:
    sandbox.drift("required:mood", NANO)
    assert schema(client)["required"] == ["prompt", "mood"]
    refused = buy(client)
    assert (refused["code"], refused["msg"], sandbox.ledger) == (422, "mood is required", [])
    assert buy(client, mood="calm")["code"] == 200


def test_enum_grows(sandbox: Sandbox, client: httpx.Client) -> None:
    sandbox.drift("field:size", NANO, schema={"type": "integer", "enum": [1, 2]})
    sandbox.drift(f"enum:size=8@{NANO}")
    assert schema(client)["properties"]["size"]["enum"] == [1, 2, 8]
    with pytest.raises(ValueError, match="no field 'prompt' with an enum"):
        sandbox.drift("enum:prompt=x", NANO)


def test_price_changes_in_words_and_in_what_is_charged(sandbox: Sandbox, client: httpx.Client) -> None:
    sandbox.drift("price:16", NANO)
    assert read(client, f"models/{NANO}/price")["pricingDesc"] == "16 credits ($0.08)."
    assert listed(client)[NANO]["pricingDesc"] == "16 credits ($0.08)."
    buy(client)
    assert (sandbox.ledger[0].credits, sandbox.credits) == (16, 10_000 - 16)


def test_more_is_charged_than_the_list_says(sandbox: Sandbox, client: httpx.Client) -> None:
    before = read(client, f"models/{NANO}/price")
    sandbox.drift("charge:110", "nano-*")
    made = buy(client)["data"]["taskId"]
    sandbox.finish(made)
    assert read(client, f"jobs/recordInfo?taskId={made}")["creditsConsumed"] == pytest.approx(8.8)
    assert read(client, f"models/{NANO}/price") == before


def test_success_rate_falls_for_the_last_hour(sandbox: Sandbox, client: httpx.Client) -> None:
    sandbox.drift("success-rate:60", NANO)
    points = read(client, f"models/{NANO}/success-rate")["points"]
    assert [point["successRate"] for point in points[-7:]] == [97] + [60] * 6
    assert (points[-1]["errorRate"], points[-1]["isNormal"]) == (40, False)


def test_running_task_has_a_state_that_nobody_has_seen(sandbox: Sandbox, client: httpx.Client) -> None:
    made = buy(client)["data"]["taskId"]
    sandbox.drift("state:archiving", NANO)
    assert read(client, f"jobs/recordInfo?taskId={made}")["state"] == "archiving"
    sandbox.finish(made)
    assert read(client, f"jobs/recordInfo?taskId={made}")["state"] == "success"


def test_task_fails_with_a_code_that_nobody_has_seen(sandbox: Sandbox, client: httpx.Client) -> None:
    sandbox.drift("fail-code:599", NANO)
    made = buy(client)["data"]["taskId"]
    sandbox.finish(made, fail="out of luck")
    record = read(client, f"jobs/recordInfo?taskId={made}")
    assert (record["state"], record["failCode"], record["failMsg"]) == ("fail", "599", "out of luck")
    assert sandbox.credits == 10_000


@pytest.mark.parametrize(
    ("gone", "other"), [("jobs/createTask", "playground/createTask"), ("veo/generate", "jobs/createTask")]
)
def test_create_address_is_gone_and_the_next_one_is_served(
    sandbox: Sandbox, client: httpx.Client, gone: str, other: str
) -> None:
    assert client.post(gone, json={"model": "x"}).status_code == 200
    sandbox.drift("address-gone", gone)
    for headers in ({}, {"Authorization": ""}):
        assert client.post(gone, json={"model": NANO}, headers=headers).status_code == 404
    assert buy(client, path=other)["code"] == 200
    assert [accepted.path for accepted in sandbox.ledger] == [other]


def test_later_drift_counts_and_a_reset_ends_them(sandbox: Sandbox, client: httpx.Client) -> None:
    before = listed(client)
    for drift in ("charge:200", "charge:50", "price:4", "required:mood", "model-gone"):
        sandbox.drift(drift, NANO)
        if drift == "price:4":
            buy(client)
    assert sandbox.ledger[0].credits == 2
    sandbox.reset()
    assert listed(client) == before
    assert buy(client)["code"] == 200
    assert sandbox.ledger[0].credits == 8


def test_other_process_can_be_told_to_drift(sandbox: Sandbox, client: httpx.Client) -> None:
    control = f"{sandbox.upload_url}/_sandbox/drift"
    assert client.post(control, json={"drift": "price:3", "where": NANO}).json() == {"ok": True}
    assert read(client, f"models/{NANO}/price")["pricingDesc"] == "3 credits ($0.015)."
    refused = client.post(control, json={"drift": "price:3@nobody"})
    assert (refused.status_code, "no model 'nobody'" in refused.json()["error"]) == (400, True)


def test_command_takes_drifts() -> None:
    result = CliRunner().invoke(command.sandbox, ["--drift", "price:3@nobody"])
    assert (result.exit_code, "there is no model 'nobody'" in result.output) == (2, True)


@pytest.mark.parametrize(
    ("text", "where", "drift"),
    [
        ("model-gone@google/imagen4", None, Drift("model-gone", "google/imagen4")),
        ("price:1.5", NANO, Drift("price", NANO, "1.5")),
        ("enum:resolution=8K@nano-*", None, Drift("enum", "nano-*", "resolution=8K")),
        ("new-model@a/b", None, Drift("new-model", "a/b")),
    ],
)
def test_drift_is_read(text: str, where: str | None, drift: Drift) -> None:
    assert parse_drift(text, where) == drift


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nonsense@x", "there is no drift 'nonsense'; there are: new-model[:MODEL]@MODEL, "),
        ("model-gone", "needs what it is about; write model-gone@MODEL"),
        ("model-gone:x@y", "takes no value, 'x' was given"),
        ("price@x", "needs a value; write price:CREDITS@MODEL"),
        ("price:-1@x", "needs a number from 0, '-1' was given"),
        ("charge:nan@x", "needs a number from 0"),
        ("enum:resolution@x", "needs a field and its new value"),
    ],
)
def test_drift_that_is_none_is_explained(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse_drift(text)
    assert says in str(caught.value)


@pytest.mark.parametrize("text", ["model-gone@nobody", "charge:10@nobody-*", "new-model:nobody@x", "state:x@nobody"])
def test_drift_of_a_model_that_is_not_there_is_an_error(sandbox: Sandbox, text: str) -> None:
    with pytest.raises(ValueError, match="there is no model 'nobody"):
        sandbox.drift(text)


def test_readme_names_every_drift_as_the_table_does() -> None:
    readme = (Path(__file__).parents[3] / "plugins" / "sandbox" / "README.md").read_text(encoding="utf-8")
    for usage, kind in zip(usages(), KINDS.values(), strict=True):
        assert f"| `{usage}` | {kind.says} |" in readme
