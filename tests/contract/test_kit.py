"""The test kit `kie_ai_mcp.testing`: it reports each breach with place and cure, and passes correct providers."""

import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, StringConstraints

from kie_ai_mcp import CallbackUrl, ImageUrls, InvalidArgument, Prompt, Submission
from kie_ai_mcp.testing import (
    Draw,
    PlayedGateway,
    ServeProvider,
    argument_sets,
    breaking_input,
    calls_of,
    check_provider,
    smallest_input,
)
from kie_ai_mcp_authors.package import Package
from kie_ai_mcp_sandbox.server import Sandbox
from tests.helpers import LIMIT_S

HEAD = """
    import itertools, socket
    from datetime import datetime
    from typing import Annotated, Literal
    from pydantic import AfterValidator, Field
    from kie_ai_mcp import *
    from kie_ai_mcp import hookimpl
"""
TOOL = """
    def generate_broken_image(prompt: Prompt, size: Literal["small", "large"] = "small") -> Submission:
        "Make a picture."
        return Submission.market("broken/model", {"prompt": prompt, "size": size}, api_type="broken")

    @hookimpl
    def kie_register_tools():
        return [generate_broken_image]
"""


def module_of(*sources: str, name: str = "kie_ai_mcp_broken") -> ModuleType:
    """A module made of its source, as if somebody had written it into a file."""
    module = ModuleType(name)
    exec(compile("\n".join(map(dedent, sources)), name, "exec"), module.__dict__)
    return module


def tool(body: str, arguments: str = "prompt: Prompt", head: str = "") -> str:
    """The source of a provider whose one tool has this body."""
    return f"""{dedent(head)}
def generate_broken_image({arguments}) -> Submission:
    "Make a picture."
    {body}

@hookimpl
def kie_register_tools():
    return [generate_broken_image]
"""


SEND = 'return Submission.market("broken/model", {"prompt": prompt}, api_type="broken")'

BROKEN = {
    "misspelt hook": (
        "@hookimpl\ndef kie_register_tool():\n    return []",
        ["kie_register_tool: there is no such hook", "Did you mean kie_register_tools"],
    ),
    "hook without its mark": (
        "def kie_route_status(task):\n    return None",
        ["kie_route_status: it is not marked", "Put @hookimpl above it."],
    ),
    "module that is missing": (
        "@hookimpl\ndef kie_register_tools():\n    import tidal_library",
        ["Install tidal_library, and name what brings it among the dependencies"],
    ),
    "hook with another argument": (
        "@hookimpl\ndef kie_route_status(job):\n    return None",
        ["kie_route_status: it takes 'job', which it is not given", "Take what it is given: task."],
    ),
    "contract of another server": ("KIE_AI_MCP_CONTRACT = 2", ["it is built for contract 2"]),
    "tool without words": (
        "def generate_x(prompt: str) -> Submission: ...\n@hookimpl\ndef kie_register_tools():\n    return [generate_x]",
        ["generate_x: a tool needs a docstring"],
    ),
    "tool with too many words": (
        tool(SEND).replace("Make a picture.", "Make. " * 400),
        ["generate_broken_image: a tool needs a docstring of at most 2000 characters"],
    ),
    "tool of another provider": (
        tool(SEND).replace("generate_broken_image", "generate_flux_image"),
        ["tool generate_flux_image: the provider flux has a tool of that name", "Rename"],
    ),
    "null inside the schema": (
        tool(SEND, "prompt: str, seeds: list[int | None] = []"),
        ["tool generate_broken_image: schema.seeds.items.anyOf[1] allows null", "Leave an optional value out"],
    ),
    "schema that is none": (
        tool(SEND, 'prompt: Annotated[str, Field(json_schema_extra={"minLength": "long"})]'),
        ["its input schema is not valid"],
    ),
    "refusal that no call cures": (
        tool('raise InvalidArgument("prompt", prompt, "ask another service")'),
        ["refusals are cured by no call", "give the error `instead`"],
    ),
    "argument that is always refused": (
        tool(
            'if style is not None:\n        raise InvalidArgument("style", style, "leave it out")\n    ' + SEND,
            "prompt: str, style: str | None = None",
        ),
        ["no call with style is accepted", "Accept it, or say so where it stands"],
    ),
    "refusal that misleads": (
        tool(
            'if style == "b":\n        raise InvalidArgument("style", style, "use size=\'L\'")\n    ' + SEND,
            "prompt: str, style: Literal['a', 'b'] | None = None, size: Literal['S', 'L'] | None = None",
        ),
        ["refusals name a way out that refuses", "Name only models and values"],
    ),
    "validation beyond the schema": (
        tool(
            SEND,
            "prompt: Annotated[str, AfterValidator(short)]",
            'def short(text):\n    if len(text) > 20: raise ValueError("at most 20")\n    return text',
        ),
        ["its schema allows what its validation refuses", "generate_broken_image(prompt="],
    ),
    "tool that raises": (
        tool('{"small": 1}[size]; ' + SEND, 'prompt: Prompt, size: Literal["small", "large"] = "small"'),
        [
            "it raised KeyError('large') (kie_ai_mcp_broken, line 12); only InvalidArgument is an answer",
            'size="large")',
        ],
    ),
    "tool that changes its arguments": (
        tool('image_urls.append("https://x"); ' + SEND, "prompt: Prompt, image_urls: ImageUrls"),
        ["it changed its own arguments", "image_urls="],
    ),
    "tool with a memory": (
        tool('return Submission.market("m", {"n": next(count)}, api_type="broken")', head="count = itertools.count()"),
        ["it made another request of the same arguments", "Keep no state"],
    ),
    "tool that reaches out": (
        tool('socket.getaddrinfo("localhost", 80); ' + SEND),
        ["it reached out itself (socket.getaddrinfo", "core does all input and output"],
    ),
    "request that is no JSON": (
        tool('return Submission.market("m", {"at": {prompt}}, api_type="broken")'),
        ['body is {"', "not JSON: ", "generate_broken_image(prompt="],
    ),
    "other form of a request that is not declared": (
        tool('return Submission("a", {"prompt": prompt}, "other").or_market("m", api_type="broken")')
        + "\n@hookimpl\ndef kie_describe_provider():\n    return Provider('Broken', api_types=('other',))",
        ["its api_type 'broken' is not declared", "Add it to Provider.api_types"],
    ),
    "request without an address": (
        tool('return Submission("/", {"prompt": prompt}, "broken")'),
        ["path is '/', not an address below"],
    ),
    "no request": (
        tool("return {}"),
        ["breaks the contract in one way", "it returned dict; return a Submission or a Query"],
    ),
    "list that is none": (
        tool(SEND).replace("return [generate_broken_image]", "return generate_broken_image"),
        ["kie_register_tools returned function, not a list (kie_ai_mcp_broken, line "],
    ),
    "price that is no number": (
        tool(SEND.replace('api_type="broken"', 'api_type="broken", estimated_credits="four"')),
        ["estimated_credits are 'four', not a number of at least 0", "leave it out where the price is not known"],
    ),
    "status of the service's own": (
        "@hookimpl\ndef kie_normalize_result(payload):\n    return Outcome('running')",
        ["status is 'running'", "map the service's own in a table"],
    ),
    "outcome that is none": (
        "@hookimpl\ndef kie_normalize_result(payload):\n    return {'status': 'completed'}",
        [
            "broken returned a dict, not an Outcome or StatusRoute (or None) from kie_normalize_result (kie_",
            "Return an Outcome, a StatusRoute to read next, or None",
        ],
    ),
    "refusal of everything": (
        tool('raise InvalidArgument("prompt", prompt, "write better")'),
        ["argument sets builds a request (prompt: write better)"],
    ),
    "refusal that names no argument": (
        tool(
            'if size == "large": raise InvalidArgument("resolution", size, "no")\n    ' + SEND,
            'prompt: Prompt, size: Literal["small", "large"] = "small"',
        ),
        ["its refusal names 'resolution', which is none of its arguments", 'size="large")'],
    ),
    "api_type that is not declared": (
        tool(SEND) + "\n@hookimpl\ndef kie_describe_provider():\n    return Provider('Broken', api_types=('other',))",
        ["its api_type 'broken' is not declared", "Add it to Provider.api_types"],
    ),
    "api_type of another provider": (
        "@hookimpl\ndef kie_describe_provider():\n    return Provider('Broken', api_types=('flux-kontext-edit',))",
        ["api_type 'flux-kontext-edit' belongs to the provider flux"],
    ),
    "setting without words": (
        "@hookimpl\ndef kie_describe_provider():\n    return Provider('Broken', settings={'model': ' '})",
        ["the setting 'model' is not explained"],
    ),
    "day that is none": (
        "@hookimpl\ndef kie_describe_provider():\n    return Provider('Broken', checked='last summer')",
        ["checked is 'last summer'"],
    ),
    "commands that raise": (
        "@hookimpl\ndef kie_register_commands(commands):\n    commands.add(1)",
        ["kie_register_commands: it raised AttributeError"],
    ),
    "route that raises": (
        "@hookimpl\ndef kie_route_status(task):\n    return StatusRoute({'x': 'y'}[task.api_type], {})",
        ["kie_route_status: The provider broken failed in kie_route_status: KeyError", "Task(task_id='task-1'"],
    ),
    "route with a whole address": (
        "@hookimpl\ndef kie_route_status(task):\n"
        "    return StatusRoute(f'https://x.example/job?ref={task.task_id}', {})",
        ["kie_route_status: path is 'https://x.example/job?ref=task-1', a whole address", "Return the path below"],
    ),
    "second route with a whole address": (
        "@hookimpl\ndef kie_normalize_result(task, payload):\n"
        "    return StatusRoute(f'https://x.example/out/{task.task_id}', {})",
        ["kie_normalize_result: path is 'https://x.example/out/task-1', a whole address", "Return the path below"],
    ),
    "second reading that takes for granted": (
        "@hookimpl\ndef kie_normalize_result(task, payload):\n"
        "    return StatusRoute(f'out/{task.task_id}', {}, read=lambda answer: Outcome(answer.data['state']))",
        ["read of the StatusRoute to out/task-1 (kie_ai_mcp_broken, line ", "status is 'success'"],
    ),
    "route that forgets the task": (
        "@hookimpl\ndef kie_route_status(task):\n    return StatusRoute('broken/info', {})",
        ["its route does not name the task", "task.task_id"],
    ),
    "reading that takes for granted": (
        "@hookimpl\ndef kie_normalize_result(payload):\n"
        "    return Outcome('completed', (payload['url'],)) if payload.get('state') == 'success' else None",
        ["it does not take a possible answer", "KeyError: 'url'", "kie_ai_mcp.readings"],
    ),
    "reading that sees an end in everything": (
        "@hookimpl\ndef kie_normalize_result(payload):\n    return Outcome('failed', error='no')",
        ["it takes an answer that says nothing for failed"],
    ),
    "outcome that is malformed": (
        "@hookimpl\ndef kie_normalize_result(payload):\n"
        "    return Outcome('processing', progress=payload.get('progress'))",
        ["progress is ", "not a share between 0 and 1"],
    ),
    "failure without a reason": (
        "@hookimpl\ndef kie_normalize_result(payload):\n    return Outcome('failed')",
        ["it says failed and gives no reason"],
    ),
    "reading that changes the answer": (
        "@hookimpl\ndef kie_normalize_result(payload):\n    payload.clear()\n    return Outcome('processing')",
        ["it is not pure"],
    ),
    "argument of the server": (
        tool(SEND, "prompt: Prompt, idempotency_key: str = ''"),
        ["the argument idempotency_key is the server's own"],
    ),
    "request with a whole address": (
        tool('return Submission("https://x.example/create", {"prompt": prompt}, "broken")'),
        ["path is 'https://x.example/create', a whole address", "Give a path below the service's base URL."],
    ),
    "gateway that nobody registers": (
        tool('return Submission("m", {"prompt": prompt}, "broken", gateway="tide")'),
        ["its gateway 'tide' is not registered"],
    ),
    "gateway without an address or a key": (
        "@hookimpl\ndef kie_register_gateways():\n"
        "    return [Gateway('tide', 'Tide', 'tide.example', authorization='Key')]",
        ["gateway tide: base_url is 'tide.example'", "no header of its requests sends the key"],
    ),
    "gateway with a header that can't be sent": (
        "@hookimpl\ndef kie_register_gateways():\n"
        "    return [Gateway('tide', 'Tide', 'https://x', headers={'X-Key': 'key: {key}\\n'})]",
        ['returned a Gateway that can\'t be used: headers are {"X-Key": "key: {key}'],
    ),
    "gateway that takes a failure for a success": (
        "@hookimpl\ndef kie_register_gateways():\n"
        "    return [Gateway('tide', 'Tide', 'https://x', read=lambda status, body: Answer(200, '', body))]",
        ["gateway tide, read: it takes HTTP 401 for a success"],
    ),
    "gateway that takes for granted": (
        "@hookimpl\ndef kie_register_gateways():\n"
        "    return [Gateway('tide', 'Tide', 'https://x', accept=lambda answer: answer.data['id'])]",
        ["gateway tide, accept: it raised"],
    ),
    "gateway whose key nobody can set": (
        "@hookimpl\ndef kie_register_gateways():\n    return [Gateway('tide', 'Tide', 'https://x')]",
        [
            "gateway tide: it needs a key, and the provider declares no setting",
            "settings={'key'",
            "key_help does not tell the user what to set",
            "key_help='Set KIE_AI_PROVIDER_BROKEN_KEY to",
        ],
    ),
    "gateway whose balance takes for granted": (
        "@hookimpl\ndef kie_register_gateways():\n"
        "    return [Gateway('tide', 'Tide', 'https://x', balance=Balance('left', lambda answer: answer.data['x']))]",
        ["gateway tide, balance: it raised", "kie_ai_mcp.readings.number_in"],
    ),
    "gateway whose balance is text": (
        "@hookimpl\ndef kie_register_gateways():\n"
        "    return [Gateway('tide', 'Tide', 'https://x', balance=Balance('left', lambda answer: 'much'))]",
        ["gateway tide, balance: it returned 'much', not a finite number or None"],
    ),
    "own reading that takes for granted": (
        tool('return Submission("broken/create", {}, "broken", read=lambda answer: answer.data["id"])'),
        ["tool generate_broken_image, read of its Submission: it raised", "Answer(code="],
    ),
    "own reading that refuses what was accepted": (
        "from kie_ai_mcp.errors import Refused\n\ndef refuse(answer):\n    raise Refused('no')\n\n"
        + tool('return Submission("broken/create", {}, "broken", read=refuse)'),
        ["read of its Submission: it refuses with Refused('no')", "Answer(code=200"],
    ),
}


def models(**changes: Any) -> str:
    """The source of a provider with one model, of which an entry has these changes."""
    fields = {
        "prompt": {"type": "string", "maxLength": 50},
        "size": {"type": "string", "enum": ["S", "L"]},
        "image_urls": {"type": "array", "items": {"type": "string"}, "maxItems": 4},
    }
    entry = {"title": "Fox", "kind": "image", "task": "edit", "fields": fields, "required": ["prompt"], **changes}
    entry["fields"] = {**fields, **changes.get("fields", {})}
    entry.setdefault("media", {"image_urls[]": {"kind": "image"}})
    text = json.dumps({"fox/1": entry})
    return f"@hookimpl\ndef kie_register_models():\n    return read_models({text!r})"


def rule(kind: str, *names: str, **facts: Any) -> str:
    return models(rules=[{"kind": kind, "fields": names, **facts}])


BROKEN_MODELS = {
    "file that can't be read": (
        "@hookimpl\ndef kie_register_models():\n    return read_models('{')",
        ["kie_register_models: it raised PluginError", "is no JSON object: ", "docs/plugins/models.md"],
    ),
    "file that is not in the package": (
        "from importlib.resources import files\n@hookimpl\ndef kie_register_models():\n"
        "    return read_models(files('kie_ai_mcp').joinpath('modles.json'))",
        [
            "the data file of models kie_ai_mcp/modles.json is missing: it must lie in the package's own folder",
            "(kie_ai_mcp_broken, line ",
        ],
    ),
    "file that the hook opens itself": (
        "@hookimpl\ndef kie_register_models():\n    return read_models(open('/no/models.json').read())",
        ["FileNotFoundError: [Errno 2] No such file or directory: '/no/models.json' (kie_ai_mcp_broken, line "],
    ),
    "no models": (
        "@hookimpl\ndef kie_register_models():\n    return ['fox/1']",
        ["kie_register_models: it returned a str, not a Model or LiveCatalogue"],
    ),
    "model of an unknown service": (models(gateway="tide"), ["model fox/1: its gateway 'tide' is not registered"]),
    "model that comes twice": (
        models().replace("return read_models(", "return 2 * [*read_models(").replace("')", "')]"),
        ["model fox/1: it is registered twice"],
    ),
    "model of an unknown kind": (models(kind="smell"), ["model fox/1: kind is 'smell', not 'image'"]),
    "price below 0": (
        models(price={"lines": [{"credits": -1}]}),
        ["model fox/1: price.lines[0].credits are -1, not a finite number of at least 0"],
    ),
    "schema that is none": (
        models(fields={"size": {"type": "large"}}),
        ["its schema is not valid (draft 2020-12): size: its type is 'large', not string, "],
    ),
    "schema that is open": (
        models(fields={"look": {"type": "object", "properties": {}, "additionalProperties": True}}),
        ["input.look takes unknown fields"],
    ),
    "schema that branches": (
        models(fields={"size": {"oneOf": [{"type": "string"}, {"type": "number"}]}}),
        ["input.size branches (oneOf)", "say the rest in rules"],
    ),
    "file at no field": (
        models(media={"image_urls": {"kind": "image"}}),
        ["its media path 'image_urls' is no field of text", "Write [] for each item of a list."],
    ),
    "rule of no field": (
        rule("needs", "seed", when={"size": "*"}),
        ["its rule 'with size: needs seed' names 'seed', which is no field"],
    ),
    "rule that can't be read": (rule("limit", "#image_urls +", max=1), ["can't be read: '#image_urls +' is no term"]),
    "rule of no value": (
        rule("only_with", "size", values=["XL"], when={"image_urls": "*"}),
        ["tests size for 'XL', which it can't be"],
    ),
    "condition of no value": (
        rule("needs", "image_urls", when={"size": {"not": ["XL", None]}}),
        ["tests size for 'XL', which it can't be"],
    ),
    "rule that can't be broken": (
        rule("limit", "#image_urls", max=9),
        ["breaks this rule alone: length of image_urls at most 9", "Leave out a rule that can't be broken"],
    ),
    "rules that forbid everything": (
        models(
            rules=[
                {"kind": "needs", "fields": ["size"], "when": {"prompt": "*"}},
                {"kind": "only_with", "fields": ["size"], "when": {"prompt": None}},
            ]
        ),
        ["no input was found that its schema allows and that keeps its rules"],
    ),
    "pattern that nobody can guess": (
        models(fields={"code": {"type": "string", "pattern": "^(?=.*z)[a-z]{4}$"}}, required=["prompt", "code"]),
        ["no input was found", "give examples in the schema"],
    ),
    "price of no request": (
        models(price={"lines": [{"credits": 1, "when": {"image_urls": "*"}}]}),
        ["no line of its price holds for"],
    ),
    "price of no field": (
        models(price={"lines": [{"credits": 1, "per": "seconds"}]}),
        ["its price names 'seconds', which is no field", "a fact in brackets"],
    ),
    "model without an address": (models(path="/"), ["model fox/1: path is '/'"]),
}


@pytest.mark.parametrize(("source", "parts"), BROKEN_MODELS.values(), ids=BROKEN_MODELS)
def test_breach_of_a_model_is_found_and_reported(source: str, parts: list[str]) -> None:
    with pytest.raises(AssertionError) as caught:
        check_provider(module_of(HEAD, source))
    message = str(caught.value)
    assert [part for part in parts if part not in message] == [], message


def test_models_that_belong_together_pass() -> None:
    rules = [
        {"kind": "only_with", "fields": ["size"], "values": ["L"], "when": {"#image_urls": {"not": [1]}}},
        {"kind": "limit", "fields": ["#prompt"], "max": 30, "when": {"size": "S"}},
        {"kind": "at_least_one", "fields": ["size", "image_urls"], "soft": True},
    ]
    price = {"lines": [{"credits": 1, "when": {"size": "S"}}, {"credits": 2, "per": "(megapixels)"}]}
    code = {"type": "string", "pattern": "^(?=.*z)[a-z]{4}$", "examples": ["zest"]}
    media = {"image_urls[]": {"kind": "image"}}
    check_provider(module_of(HEAD, models(rules=rules, price=price, media=media, fields={"code": code})))


def test_default_that_a_rule_names_without_null_is_warned_of() -> None:
    fields = {"look": {"enum": ["plain", "warm"], "default": "plain"}}
    for values in ("plain", ["plain", "warm"]):
        rules = [{"kind": "only_with", "fields": ["size"], "values": ["L"], "when": {"look": values}}]
        with pytest.warns(UserWarning, match=r"fox/1: its rule .* does not hold where look is left out, though"):
            check_provider(module_of(HEAD, models(fields=fields, rules=rules)))


def test_address_that_is_no_file_is_warned_of() -> None:
    fields = {"last_frame_url": {"type": "string"}, "callbackUrl": {"type": "string"}}
    with pytest.warns(UserWarning, match="its field last_frame_url is an address, and no file: local") as warned:
        check_provider(module_of(HEAD, models(fields=fields)))
    assert len(warned) == 1


def test_options_without_a_price_are_warned_of() -> None:
    fields = {"sound": {"type": "boolean", "default": False}, "look": {"enum": ["plain", "warm"], "default": "plain"}}
    only = {"kind": "only_with", "fields": ["look"], "values": ["warm"], "when": {"size": ["S", None]}}
    lines = [{"credits": 1, "when": {"size": "S", "sound": False}}, {"credits": 2, "when": {"size": "L"}}]
    with pytest.warns(
        UserWarning, match="fox/1: its price has no line for size S, sound true, so that it is not known"
    ):
        check_provider(module_of(HEAD, models(fields=fields, price={"lines": lines})))
    lines = [{"credits": 1, "when": {"size": "S"}}, {"credits": 2, "when": {"size": "L", "look": "warm"}}]
    with pytest.warns(UserWarning, match="has no line for size L, so that"):
        check_provider(module_of(HEAD, models(fields=fields, price={"lines": lines}, rules=[only])))


def test_inputs_of_a_model_are_the_smallest_and_break_one_rule() -> None:
    code = {"type": "string", "pattern": "^Speaker [0-9]+$"}
    clip = {"type": "array", "items": {"type": "string", "format": "uri"}, "maxItems": 2}
    source = models(
        fields={"code": code, "clips": clip},
        required=["prompt", "code"],
        media={"clips[]": {"kind": "video", "most_s": 20}},
        rules=[
            {"kind": "exactly_one", "fields": ["image_urls", "clips"]},
            {"kind": "limit", "fields": ["~clips"], "max": 10, "when": {"size": "L"}},
        ],
    )
    (fox,) = module_of(HEAD, source).kie_register_models()
    smallest = smallest_input(fox).input
    assert (smallest["code"], {*smallest}) == ("Speaker 1", {"prompt", "code", "image_urls"})
    assert {*breaking_input(fox, fox.rules[0]).input} == {"prompt", "code"}
    sample = breaking_input(fox, fox.rules[1])
    assert sample.input["size"] == "L"
    assert sum(sample.seconds[clip] for clip in sample.input["clips"]) > 10


@pytest.mark.parametrize(("source", "parts"), BROKEN.values(), ids=BROKEN)
def test_breach_is_found_and_reported(source: str, parts: list[str]) -> None:
    with pytest.raises(AssertionError) as caught:
        check_provider(module_of(HEAD, source))
    message = str(caught.value)
    assert "breaks the contract" in message
    assert [part for part in parts if part not in message] == [], message


@pytest.mark.parametrize(
    ("source", "private"),
    [
        ("from kie_ai_mcp._record.record import Record", "kie_ai_mcp._record.record"),
        ("from kie_ai_mcp import _settings", "kie_ai_mcp._settings"),
        ("from kie_ai_mcp import _settings as mine", "kie_ai_mcp._settings"),
        ("from kie_ai_mcp._settings.settings import variable", "kie_ai_mcp._settings.settings"),
        ("import kie_ai_mcp._flow.submit", "kie_ai_mcp._flow.submit"),
        ("import json, kie_ai_mcp._flow.submit as mine", "kie_ai_mcp._flow.submit"),
    ],
)
@pytest.mark.parametrize("place", ["", "def later():\n    "], ids=["at the top", "inside a function"])
def test_import_of_a_private_module_is_found(source: str, private: str, place: str, tmp_path: Path) -> None:
    sources = [HEAD, TOOL, f"{place}{source}"]
    module = module_of(*sources)
    module.__file__ = str(tmp_path / "kie_ai_mcp_broken.py")
    Path(module.__file__).write_text("\n".join(map(dedent, sources)), encoding="utf-8")

    with pytest.raises(AssertionError, match=f"it imports {private}, a private module of the server"):
        check_provider(module)


def test_every_breach_is_reported_at_once() -> None:
    with pytest.raises(AssertionError, match="in 2 ways") as caught:
        check_provider(module_of(HEAD, tool("return None"), BROKEN["route that forgets the task"][0]))
    assert "it returned NoneType" in str(caught.value)
    assert "does not name the task" in str(caught.value)


DONE = {"state": "success", "resultJson": '{"resultUrls": ["https://x.example/1.png"]}'}


def test_module_that_keeps_the_contract_passes_without_being_installed() -> None:
    check_provider(module_of(HEAD, TOOL), payloads=[DONE])
    assert "kie_ai_mcp_broken" not in sys.modules


@pytest.mark.parametrize(
    "source",
    [
        "@hookimpl\ndef kie_normalize_result(payload):\n    return Outcome('completed', urls_in(payload.get('url')))",
        "@hookimpl\ndef kie_normalize_result(payload):\n    return Outcome('completed')",
        tool("return Submission('m', {}, 'broken', read=lambda answer: Outcome('completed'))"),
    ],
)
def test_given_payload_that_is_completed_without_a_result_is_found(source: str) -> None:
    reading = "from kie_ai_mcp.readings import urls_in"
    payload = {"id": "t-1", "output": [{"nested": {"place_of_file": "https://x.example/1.png"}}]}

    with pytest.raises(AssertionError, match="it says completed and finds no result"):
        check_provider(module_of(HEAD, reading, *([] if "generate" in source else [TOOL]), source), payloads=[payload])


def test_given_payload_with_a_relative_address_names_its_field() -> None:
    reading = (
        "from kie_ai_mcp.readings import urls_in\n"
        "@hookimpl\ndef kie_normalize_result(payload):\n"
        "    return Outcome('completed' if 'files' in payload else 'processing', urls_in(payload.get('files')NAMED))"
    )
    payload = {"files": [{"link_of_file": "/files/417.png"}]}
    with pytest.raises(AssertionError, match=r"finds no result.*names=\('link_of_file',\) reads '/files/417.png'"):
        check_provider(module_of(HEAD, TOOL, reading.replace("NAMED", "")), payloads=[payload])
    check_provider(module_of(HEAD, TOOL, reading.replace("NAMED", ", names=('link_of_file',)")), payloads=[payload])


def test_given_payload_is_read_as_it_is() -> None:
    reading = (
        "@hookimpl\ndef kie_normalize_result(payload):\n    return Outcome('processing', progress=payload.get('odd'))"
    )
    check_provider(module_of(HEAD, TOOL, reading))
    with pytest.raises(AssertionError, match="progress is 7"):
        check_provider(module_of(HEAD, TOOL, reading), payloads=[{"odd": 7}])


NAMES = ("beacon", "ember", "glow", "lamp", "lantern", "lantern2", "prism", *(f"tide{number}" for number in range(4)))


@pytest.mark.parametrize("name", NAMES)
def test_fault_of_a_field_is_found_whatever_the_name_with_its_cure(name: str) -> None:
    head = "from kie_ai_mcp.readings import number_in, text_in, urls_in\n"
    reading = (
        "@hookimpl\ndef kie_normalize_result(payload):\n"
        "    if payload.get('stage') == 'broken':\n"
        "        return Outcome('failed', error=payload.get('why') and text_in(payload['why']))\n"
        "    done = 'completed' if payload.get('stage') == 'ready' else 'processing'\n"
        "    return Outcome(done, urls_in(payload.get('href')), credits=number_in(payload.get('cost')))"
    )
    done = {"stage": "ready", "href": "https://x.example/1.png", "cost": 2}
    for payload, fault, cure in (
        (done, "credits are -1.0", "readings.amount_in"),
        ({"stage": "broken", "why": "no ink"}, "it says failed and gives no reason", "or 'the service gave no reason'"),
    ):
        module = module_of(HEAD, head, TOOL, reading, name=f"kie_ai_mcp_{name}")
        with pytest.raises(AssertionError, match=fault) as caught:
            check_provider(module, payloads=[payload])
        assert cure in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_package_of_a_gateway_keeps_the_contract_under_every_name(name: str) -> None:
    source = Package(name, "gateway").texts()[Path("src", f"kie_ai_mcp_{name}", "__init__.py")]
    done = {"id": "1", "state": "ready", "files": [{"href": "https://example.com/1.png"}], "cost_usd": 0.02}
    broken = {"id": "1", "state": "broken", "reason": "the brush broke", "cost_usd": 0}
    accepted = {"id": 1, "state": "queued"}
    check_provider(module_of(source, name=f"kie_ai_mcp_{name}"), payloads=[done, broken], accepted=[accepted])


ACCEPT = '    return text_in(object_in(answer.data).get("id"))\n\n\ndef left'
ELSEWHERE = ACCEPT.replace("answer.data)", 'object_in(answer.data).get("job"))')
JOB = {"job": {"id": 417}}
DRAWN = {"state": "ready", "files": [{"href": "https://example.com/1.png"}]}


@pytest.mark.parametrize(
    ("changed", "accepted", "fault"),
    [
        ({}, [], "gateway lantern, accept: it finds a task in none of the given answers"),
        ({ACCEPT: ELSEWHERE}, [], "Give check_provider the body of a real answer to a request: accepted=[{"),
        ({ACCEPT: ELSEWHERE.replace("text_in", "")}, [JOB], "gateway lantern, accept: it returned 417 (int), not the "),
        ({ACCEPT: ELSEWHERE.replace("text_in", "")}, [{"job": {"id": "a"}}], "accept: it returned "),
        ({"            accept=accepted,\n": ""}, [JOB], "accept: it is missing, and a given answer to a request has "),
        ({"            accept=accepted,\n": ""}, [], "accept: it is missing, and the usual reading finds a task in no"),
        ({}, [JOB], "gateway lantern, accept: it finds no task's id in a given answer to a request"),
        ({}, [{"id": "a"}, JOB], "accepted: no function finds a task in it"),
        ({}, [None], "gateway lantern, accept: it finds no task's id in a given answer to a request"),
        ({}, [""], "gateway lantern, accept: it finds no task's id in a given answer to a request"),
        ({}, [[]], "gateway lantern, accept: it finds no task's id in a given answer to a request"),
        ({"if 200 <= status < 300": "if False", "Answer(status, ": "Answer(500, "}, [{"id": 1}], "is read as code 500"),
    ],
)  # fmt: skip
def test_answer_to_a_request_in_which_no_task_is_found_is_a_breach(
    changed: dict[str, str], accepted: list[dict[str, Any]], fault: str
) -> None:
    source = Package("lantern", "gateway").texts()[Path("src", "kie_ai_mcp_lantern", "__init__.py")]
    for old, new in changed.items():
        assert old in source
        source = source.replace(old, new)
    with pytest.raises(AssertionError) as caught:
        check_provider(module_of(source, name="kie_ai_mcp_lantern"), payloads=[DRAWN], accepted=accepted, count=20)
    assert fault in str(caught.value)


def test_body_that_is_a_list_may_hold_the_task() -> None:
    source = Package("lantern", "gateway").texts()[Path("src", "kie_ai_mcp_lantern", "__init__.py")]
    module = module_of(source, name="kie_ai_mcp_lantern")
    check_provider(module, payloads=[DRAWN], accepted=[[{"id": 417}]], count=20)
    with pytest.raises(AssertionError, match=r"payloads\[1\] is \[\], not an object: give the `data` of an answer"):
        check_provider(module, payloads=[DRAWN, []])  # type: ignore[list-item]


def test_success_that_no_reading_knows_is_warned_of() -> None:
    reading = (
        "@hookimpl\ndef kie_normalize_result(payload):\n"
        "    status = {'COOLD': 'completed', 'CRACKED': 'failed'}.get(str(payload.get('state')), 'processing')\n"
        "    return Outcome(status, ('https://x.example/1.png',), error='it cracked')"
    )
    done = {"state": "COOLED", "href": "https://x.example/1.png"}
    payloads = [{"state": "CRACKED"}, done]
    with pytest.warns(UserWarning, match="none of 2 given payloads is read as completed, though one holds .*COOLED"):
        check_provider(module_of(HEAD, TOOL, reading), payloads=payloads)
    with warnings.catch_warnings(action="error"):
        check_provider(module_of(HEAD, TOOL, reading.replace("COOLD", "COOLED")), payloads=payloads)


def test_second_reading_that_finds_no_result_in_any_payload_is_a_breach() -> None:
    reading = (
        "from kie_ai_mcp.readings import object_in, urls_in\n"
        "def read(answer):\n"
        "    urls = urls_in(object_in(answer.data).get('files')NAMED)\n"
        "    return Outcome('completed', urls) if urls else None\n"
        "@hookimpl\ndef kie_normalize_result(task, payload):\n"
        "    done = payload.get('state') == 'ready'\n"
        "    return StatusRoute(f'out/{task.task_id}', {}, read=read) if done else Outcome('processing')"
    )
    ready: dict[str, Any] = {"state": "ready"}
    result: dict[str, Any] = {"files": [{"href": "/files/1.png"}]}
    named = reading.replace("NAMED", ", names=('href',)")
    for source, payloads in ((reading.replace("NAMED", ""), [ready, result]), (named, [ready])):
        with pytest.raises(AssertionError) as caught:
            check_provider(module_of(HEAD, TOOL, source), payloads=payloads)
        assert "read of the StatusRoute to out/task-1 (kie_ai_mcp_broken, line " in str(caught.value)
        assert f"it returned None for each of {len(payloads)} given payloads" in str(caught.value)
    check_provider(module_of(HEAD, TOOL, named), payloads=[ready, result])


@pytest.mark.parametrize(
    ("hook", "fault"),
    [
        ("kie_route_status", "kie_route_status: it is missing, so the tasks of lantern would be read at Kie.ai's own "),
        ("kie_normalize_result", "kie_normalize_result: none of 2 given payloads is read as completed or failed"),
    ],
)
def test_gateway_without_a_reading_of_its_own_is_found(hook: str, fault: str) -> None:
    source = Package("lantern", "gateway").texts()[Path("src", "kie_ai_mcp_lantern", "__init__.py")]
    without = source.replace(f"@hookimpl\ndef {hook}(", "def unused(")
    done = {"id": "1", "state": "ready", "files": [{"href": "https://example.com/1.png"}], "cost_usd": 0.02}
    broken = {"id": "1", "state": "broken", "reason": "the brush broke", "cost_usd": 0}
    with pytest.raises(AssertionError) as caught:
        check_provider(module_of(without, name="kie_ai_mcp_lantern"), payloads=[done, broken])
    assert fault in str(caught.value)


@pytest.mark.parametrize(
    ("flag", "shape"),
    [
        ("payload.get('expireFlag') == 1", {"state": "success", "videoInfo": {}, "expireFlag": 0}),
        ("payload.get('expireFlag') == 1", {"state": "success", "videoInfo": {}}),
        ("payload.get('successFlag') == 2", {"successFlag": 1}),
        ("payload.get('retryFlag') is True", {"retryFlag": False}),
        ("payload.get('stage') == 3", {"stage": 0}),
        ("payload.get('status') == 'GENERATE_FAILED'", {"status": "SUCCESS"}),
    ],
    ids=str,
)
def test_every_value_of_a_flag_is_sent(flag: str, shape: dict[str, Any]) -> None:
    reading = f"""
    @hookimpl
    def kie_normalize_result(payload):
        return Outcome('processing', keeps_s=-1 if {flag} else 60)
    """
    with pytest.raises(AssertionError, match=r"it does not take a possible answer: .* keeps_s is -1"):
        check_provider(module_of(HEAD, TOOL, reading), payloads=[shape])


def test_flags_are_sent_for_every_sort_of_task() -> None:
    reading = """
    @hookimpl
    def kie_describe_provider():
        return Provider('Broken', api_types=('one', 'two', 'three', 'broken'))

    @hookimpl
    def kie_normalize_result(task, payload):
        expired = task.api_type == 'three' and payload.get('expireFlag') == 1
        return Outcome('processing', keeps_s=-1 if expired else 60)
    """
    with pytest.raises(AssertionError, match=r"it does not take a possible answer: .* keeps_s is -1"):
        check_provider(module_of(HEAD, TOOL, reading), payloads=[{"state": "success", "expireFlag": 0}])


def test_settings_reach_the_provider_and_are_checked() -> None:
    description = (
        "@hookimpl\ndef kie_describe_provider():\n    return Provider('Broken', settings={'model': 'Its id.'})"
    )
    source = TOOL.replace("def kie_register_tools():", "def kie_register_tools(settings):\n        settings['model']")
    with pytest.raises(AssertionError, match="sets it aside: KeyError: 'model'"):
        check_provider(module_of(HEAD, source, description))
    check_provider(module_of(HEAD, source, description), settings={"model": "another"})
    with pytest.raises(AssertionError, match=r"has no setting 'modell'\. Did you mean model"):
        check_provider(module_of(HEAD, source, description), settings={"model": "another", "modell": 1})


def test_provider_that_is_not_installed_is_named_with_the_nearest() -> None:
    with pytest.raises(AssertionError, match=r"'veo' is installed here\. Did you mean veo3\?.*pip install"):
        check_provider("veo")


def test_distribution_without_an_entry_point_is_told_from_one_that_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "kie_ai_mcp_kettle-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: kie-ai-mcp-kettle\nVersion: 1\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("[kie_ai_mpc]\nkettle = kettle\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(AssertionError, match=r"kettle is installed here, .*: kie_ai_mpc\. Write kettle = \"MODULE\""):
        check_provider("kettle")


# Argument sets -------------------------------------------------------------------------------------------------------


def generate_sample_image(
    prompt: Prompt,
    size: Literal["small", "large"] = "small",
    count: Annotated[int, Field(gt=0, lt=5)] | None = None,
    strength: Annotated[float, Field(ge=0, le=1)] | None = None,
    tags: Annotated[set[Literal["a", "b", "c"]], Field(max_length=2)] | None = None,
    labels: dict[str, int] | None = None,
    until: datetime | None = None,
    image_urls: ImageUrls | None = None,
    webhook: CallbackUrl | None = None,
) -> Submission:
    """Make a picture."""
    if size == "large" and count == 4:
        raise InvalidArgument("count", count, "at most 3 large ones")
    return Submission("sample", {"prompt": prompt, "size": size}, "sample")


def test_argument_sets_are_different_repeatable_and_valid() -> None:
    sets = argument_sets(generate_sample_image)
    assert len(sets) >= 200
    assert sets == argument_sets(generate_sample_image)
    assert [known for number, known in enumerate(sets) if known in sets[:number]] == []
    assert list(sets[0]) == ["prompt"], "the required ones alone come first"
    assert set(sets[1]) == set(generate_sample_image.__annotations__) - {"return"}, "then all"


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("size", {"small", "large"}), ("count", {1, 2, 3, 4}), ("strength", {0.0, 1.0}), ("tags", {"a", "b", "c"})],
)
def test_argument_sets_reach_every_choice_and_both_ends(name: str, wanted: set[Any]) -> None:
    seen = [arguments[name] for arguments in argument_sets(generate_sample_image) if name in arguments]
    assert wanted <= {value for entry in seen for value in (entry if isinstance(entry, set) else {entry})}


def test_calls_tell_requests_from_refusals() -> None:
    calls = calls_of(generate_sample_image)
    assert calls.broken == {}
    assert calls.built
    assert {(arguments["size"], arguments["count"]) for arguments, _ in calls.refused} == {("large", 4)}


def test_pattern_is_filled_from_given_values_or_asked_for() -> None:
    def generate_coloured_image(colour: Annotated[str, StringConstraints(pattern="^#[0-9a-f]{6}$")]) -> Submission:
        """Make a picture."""
        return Submission("coloured", {"colour": colour}, "coloured")

    with pytest.raises(AssertionError, match=r"values=\{'colour': \[\.\.\.\]\}"):
        argument_sets(generate_coloured_image)
    sets = argument_sets(generate_coloured_image, values={"colour": ["#ffffff", "#000000"]})
    assert sorted(entry["colour"] for entry in sets) == ["#000000", "#ffffff"]


def test_draw_gives_addresses_where_they_are_wanted() -> None:
    draw = Draw(generate_sample_image)
    assert all(url.startswith("https://") for url in draw.argument("image_urls"))
    assert draw.argument("webhook").startswith("https://")


# Fixtures ------------------------------------------------------------------------------------------------------------


def test_fixtures_play_a_service_to_the_real_server(kie_server: ServeProvider, kie_gateway: PlayedGateway) -> None:
    kie_gateway.accept("flux/kontext/generate", task_id="f-1")
    kie_gateway.answer("flux/kontext/record-info", {"successFlag": 0})
    kie_gateway.answer(
        "flux/kontext/record-info", {"successFlag": 1, "response": {"resultImageUrl": "https://x/1.png"}}
    )
    with kie_server("flux", kie_gateway) as server:
        assert "generate_flux_image" in server.tools
        assert "generate_veo3_video" not in server.tools
        assert server.call("generate_flux_image", prompt="a harbour")["task_id"] == "f-1"
        assert server.call("get_task_status", task_id="f-1")["status"] == "processing"
        assert server.wait("f-1")["result_urls"] == ["https://x/1.png"]
    assert kie_gateway.sent[0]["prompt"] == "a harbour"
    assert kie_gateway.read[-1] == {"taskId": "f-1"}


def test_fixture_gives_a_whole_service(kie_server: ServeProvider, kie_sandbox: Sandbox) -> None:
    with kie_server("veo3", kie_sandbox) as server:
        task = server.call("generate_veo3_video", prompt="gulls over a harbour")
        kie_sandbox.finish(task["task_id"])
        assert server.wait(task["task_id"])["status"] == "completed"
    assert len(kie_sandbox.ledger) == 1


def test_server_takes_settings_of_the_provider_and_its_own(
    kie_server: ServeProvider, kie_gateway: PlayedGateway
) -> None:
    kie_gateway.accept("jobs/createTask", task_id="d-1")
    with kie_server("dalle3", kie_gateway, settings={"model": "openai/dall-e-4"}, log_level="debug") as server:
        server.call("generate_dalle3_image", prompt="a harbour")
    assert kie_gateway.sent[0]["model"] == "openai/dall-e-4"


def test_server_that_can_not_start_says_why(kie_server: ServeProvider) -> None:
    with (
        pytest.raises(AssertionError, match=r"did not start: .*no setting 'modell'"),
        kie_server("dalle3", settings={"modell": "x"}),
    ):
        pass
    with pytest.raises(AssertionError, match=r"No provider named 'dalle' is installed.*dalle3"), kie_server("dalle"):
        pass


def test_failure_inside_the_server_block_stays_what_it_was(kie_server: ServeProvider) -> None:
    with pytest.raises(ZeroDivisionError), kie_server("flux"):
        raise ZeroDivisionError


def test_unplanned_request_fails_the_test(pytester_like: Callable[[str], str]) -> None:
    printed = pytester_like(
        """
        def test_it(kie_server, kie_gateway):
            with kie_server("flux", kie_gateway) as server:
                server.call("generate_flux_image", prompt="a harbour")
        """
    )
    assert "1 passed, 1 error" in printed
    assert "/api/v1/flux/kontext/generate" in printed


def test_plugin_of_pytest_costs_little() -> None:
    heavy = ("mcp", "mcp_types", "pytest_httpserver", "kie_ai_mcp_sandbox", "jsonschema", "anyio", "kie_ai_mcp.testing")
    code = (
        "import sys, pytest; before = set(sys.modules); import kie_ai_mcp._pytest_fixtures;"
        f"print([name for name in {heavy!r} if name in set(sys.modules) - before])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=LIMIT_S, check=True)
    assert done.stdout.strip() == "[]"
