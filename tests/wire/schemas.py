"""The protocol's schemas: what each message has to be in each revision that has one."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft7Validator, Draft202012Validator
from jsonschema.exceptions import best_match

Message = dict[str, Any]

SCHEMAS = Path(__file__).parents[1] / "protocol"

REQUESTS = {
    "initialize": "InitializeRequest",
    "notifications/initialized": "InitializedNotification",
    "server/discover": "DiscoverRequest",
    "tools/list": "ListToolsRequest",
    "tools/call": "CallToolRequest",
    "resources/list": "ListResourcesRequest",
    "resources/templates/list": "ListResourceTemplatesRequest",
    "resources/read": "ReadResourceRequest",
    "prompts/list": "ListPromptsRequest",
    "prompts/get": "GetPromptRequest",
    "completion/complete": "CompleteRequest",
}
RESULTS = {
    "initialize": "InitializeResult",
    "server/discover": "DiscoverResult",
    "tools/list": "ListToolsResult",
    "tools/call": "CallToolResult",
    "resources/list": "ListResourcesResult",
    "resources/templates/list": "ListResourceTemplatesResult",
    "resources/read": "ReadResourceResult",
    "prompts/list": "ListPromptsResult",
    "prompts/get": "GetPromptResult",
    "completion/complete": "CompleteResult",
}
NOTIFICATIONS = {
    "notifications/progress": "ProgressNotification",
    "notifications/resources/list_changed": "ResourceListChangedNotification",
}


def check(revision: str, value: Message, *definitions: str) -> None:
    for definition in definitions:
        error = best_match(validator(revision, definition).iter_errors(value))
        assert error is None, f"{definition} of {revision}: {error.message} in {json.dumps(value)[:500]}"


@cache
def validator(revision: str, definition: str) -> Draft7Validator | Draft202012Validator:
    schema = json.loads((SCHEMAS / f"{revision}.json").read_text("utf-8"))
    if "definitions" in schema:
        return Draft7Validator({**schema, "$ref": f"#/definitions/{definition}"})
    return Draft202012Validator({**schema, "$ref": f"#/$defs/{definition}"})
