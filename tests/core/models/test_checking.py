"""Checks of an input against its model: every fault at once, each with a cure, and no input that breaks the check."""

import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kie_ai_mcp import Model, Rule
from kie_ai_mcp._models.checking import Findings, check, fault_of_schema, why_unusable
from kie_ai_mcp._models.samples import usual_input
from kie_ai_mcp._models.wording import field_lines
from tests.core.models.examples import A, B, C, model
from tests.helpers import LIMIT_S

FOX = model(required=("prompt",))
FULL = {
    "prompt": "a fox",
    "duration": 4,
    "resolution": "4k",
    "sound": True,
    "strength": 0.1 * 3,
    "image_urls": [A, "~/fox.png", "kie:task_1"],
    "video_url": "oss://bucket/clip.mp4",
    "shots": [{"text": "run", "image_url": "C:\\fox.png"}],
}


def faults(*rules: Rule, seconds: dict[str, float] | None = None, **sent: Any) -> list[str]:
    return [fault.message for fault in check(model(*rules), sent, seconds or {}).faults]


def test_local_path_is_no_address_where_no_file_is_declared() -> None:
    plain = replace(FOX, media={})
    found = check(plain, {"prompt": "a fox", "image_urls": [A, "~/fox.png"], "video_url": "/tmp/clip.mp4"})
    assert {fault.field for fault in found.faults} == {"image_urls[1]", "video_url"}
    assert check(plain, {"prompt": "/tmp/clip.mp4", "image_urls": [A]}) == Findings()


# The schema ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sent", [{"prompt": "a fox"}, FULL, {"prompt": "a fox", "video_url": "", "image_urls": []}])
def test_input_that_the_schema_allows_has_no_fault(sent: dict[str, Any]) -> None:
    assert check(FOX, sent) == Findings()


@pytest.mark.parametrize(
    ("name", "value", "cure"),
    [
        ("resolution", "4K", "use one of '720p', '1080p', '4k'; the nearest is '4k'"),
        ("resolution", 4, "use one of '720p', '1080p', '4k'; the nearest is '4k'"),
        ("duration", 7, "use one of -1, 4..6, 10; the nearest is 6"),
        ("duration", "5", "use one of -1, 4..6, 10; the nearest is 5"),
        ("duration", 1, "use one of -1, 4..6, 10; the nearest is 4"),
        ("n", 9, "at most 8"),
        ("n", 0, "at least 1"),
        ("n", "2", "give a whole number (2)"),
        ("n", 2.5, "give a whole number"),
        ("n", True, "give a whole number"),
        ("n", None, "give a whole number, or leave it out"),
        ("fade_seconds", "2 min", "give a number of seconds (120)"),
        ("sound", "TRUE", "give true or false (true)"),
        ("sound", 1, "give true or false"),
        ("prompt", 12345, "give a text ('12345')"),
        ("prompt", "ab", "at least 3 characters, 2 were given"),
        ("prompt", "", "it can't be empty"),
        ("prompt", "a" * 31, "at most 30 characters, 31 were given"),
        ("strength", 0.33, "a multiple of 0.1 (0.3 or 0.4)"),
        ("strength", 1.1, "at most 1"),
        ("image_urls", A, f'give a list (["{A}"])'),
        ("image_urls", [A] * 5, "at most 4 items, 5 were given"),
        ("page_url", "example.com", "give a whole address that starts with http:// or https://"),
        ("code", "x1", "write it as the pattern ^[A-Z]+$"),
        ("code", " ", "it can't be empty"),
        ("tags", ["a", "a"], "no item may occur twice"),
        ("size", {}, "use one of 'S', 'L'"),
        ("either", [], "give any"),
    ],
)
def test_wrong_value_is_refused_with_a_cure(name: str, value: Any, cure: str) -> None:
    fox = model(
        page_url={"type": "string", "format": "uri"},
        code={"type": "string", "pattern": "^[A-Z]+$"},
        fade_seconds={"type": "number"},
        tags={"type": "array", "items": {"type": "string"}, "uniqueItems": True},
        either={"anyOf": [{"type": "string"}, {"type": "integer"}]},
    )
    (fault,) = check(fox, {name: value}).faults
    assert (fault.field, fault.value, fault.allowed) == (name, value, cure)
    assert fault.message.startswith(f"{name}: ")
    assert cure in fault.message


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (
            {"prompt": "a fox", "shots": [{"txt": "run", "text": "run"}]},
            "shots[0].txt: fox/1 has no such field (given 'run'); did you mean 'text'? "
            "Known fields: text, image_url, start, end.",
        ),
        (
            {"prompt": "a fox", "shots": [{"text": "run"}, {"start": 1}]},
            "shots[1].text: this required field is missing; give text <=20.",
        ),
        ({}, "prompt: this required field is missing; give text 3..30."),
        (
            {"prompt": "a fox", "video_url": "ftp://a/b.mp4"},
            "video_url: 'ftp://a/b.mp4' is not accepted: give an http:// or https:// address of the video, "
            "or a path of a local file.",
        ),
        (
            {"prompt": "a fox", "image_urls": [A, ""]},
            "image_urls[1]: '' is not accepted: give an http:// or https:// address of the image, "
            "or a path of a local file.",
        ),
        (
            {"prompt": "a fox", "shots": [{"text": "run", "image_url": "oss://a/b"}]},
            "shots[0].image_url: 'oss://a/b' is not accepted: give an http:// or https:// address of the image, "
            "or a path of a local file.",
        ),
    ],
)
def test_fault_is_named_at_any_depth(sent: dict[str, Any], message: str) -> None:
    assert [fault.message for fault in check(FOX, sent).faults] == [message]


def test_unknown_field_without_a_likeness_is_to_be_left_out() -> None:
    (message,) = faults(zzz=1)
    assert message.startswith("zzz: fox/1 has no such field (given 1); leave it out. Known fields: prompt, duration,")


def test_all_faults_are_found_at_once() -> None:
    rule = Rule("only_with", ("sound",), when={"resolution": "720p"})
    sent = {"promt": "a fox", "duration": 3, "resolution": "1080p", "sound": True, "n": 99, "image_urls": ["ftp://a"]}
    found = check(model(rule, required=("prompt",)), sent)
    places = ["prompt", "promt", "duration", "n", "image_urls[0]", "sound"]
    assert sorted(fault.field for fault in found.faults) == sorted(places)


# Rules ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "sent", "message"),
    [
        (
            Rule("not_both", ("video_url", ("image_urls", "ids"))),
            {"video_url": C, "ids": ["x"], "image_urls": [A]},
            f"video_url: '{C}' is not accepted: not together with image_urls and ids; "
            "leave out image_urls and ids, or leave out video_url.",
        ),
        (
            Rule("exactly_one", (("ids", "n"), "video_url")),
            {"ids": ["x"], "video_url": C},
            'ids: ["x"] is not accepted: not together with video_url; '
            "leave out video_url and give n, or leave out ids.",
        ),
        (
            Rule("exactly_one", (("ids", "n"), "video_url")),
            {"ids": ["x"]},
            "n: this field is required with ids; give n.",
        ),
        (
            Rule("exactly_one", (("ids", "n"), "video_url")),
            {},
            "ids: one of several fields is required; give ids and n, or give video_url.",
        ),
        (
            Rule("at_least_one", ("ids", "size"), when={"sound": True}),
            {"sound": True},
            "ids: one of several fields is required with sound true; give ids, or give size: 'S' or 'L'.",
        ),
        (
            Rule("needs", ("video_url",), when={"image_urls": "*"}),
            {"image_urls": [A], "video_url": ""},
            "video_url: this field is required with image_urls; give video_url, or leave out image_urls.",
        ),
        (
            Rule("only_with", ("resolution",), when={"size": {"not": ["S"]}}, values=("4k",)),
            {"resolution": "4k", "size": "S"},
            "resolution: '4k' is not accepted: only with size not S; use '720p' or '1080p', or leave out resolution.",
        ),
        (
            Rule("only_with", ("ids", "n"), when=({"size": "*"}, {"sound": True})),
            {"n": 2},
            "n: 2 is not accepted: only with size or with sound true; leave out n.",
        ),
        (
            Rule("limit", ("n",), when={"size": [None, "S"]}, max=4),
            {"n": 5},
            "n: 5 is not accepted: at most 4 with size S or left out.",
        ),
        (
            Rule("limit", ("#ids + 2 #shots",), max=3),
            {"ids": ["x", "y"], "shots": [{"text": "a"}]},
            'ids: ["x", "y"] is not accepted: length of ids + 2 x length of shots is 4, must be at most 3.',
        ),
        (
            Rule("limit", ("#ids",), when={"size": "S"}, min=1, max=2),
            {"size": "S"},
            "ids: length of ids is 0, must be at least 1 and at most 2 with size S.",
        ),
        (
            Rule("limit", ("end - start",), each="shots", above=0, max=10),
            {"shots": [{"text": "a", "end": 0.3, "start": 0.3}, {"text": "b", "end": 10.3, "start": 0.3}]},
            "shots[0].end: 0.3 is not accepted: end - start is 0, must be more than 0 and at most 10.",
        ),
        (
            Rule("limit", ("shots[].end",), max=7),
            {"shots": [{"text": "a", "end": 7}, {"text": "b", "end": 7.5}]},
            "shots[1].end: 7.5 is not accepted: at most 7.",
        ),
        *(
            (
                Rule("limit", (term,), max=14),
                {"shots": [{"text": "a", "end": 7}, {"text": "b", "end": 7.5}]},
                f"shots[0].end: 7 is not accepted: {words} is {total}, must be at most 14.",
            )
            for term, words, total in (
                ("shots[].end + 0 #shots", "shots[].end + 0 x length of shots", "14.5"),
                ("2 shots[].end", "2 x shots[].end", "29"),
            )
        ),
        (
            Rule("limit", ("shots[].end",), step=0.1),
            {"shots": [{"text": "a", "end": 0.1 * 3}, {"text": "b", "end": 0.35}]},
            "shots[1].end: 0.35 is not accepted: in steps of 0.1 (as 0.3 or 0.4).",
        ),
        (
            Rule("limit", ("duration + ~video_url",), max=10),
            {"video_url": C},
            f"video_url: '{C}' is not accepted: it lasts 7.5 s, "
            "duration + seconds of video_url is 12.5, must be at most 10.",
        ),
        (
            Rule("limit", ("duration + ~video_url",), max=12),
            {"video_url": C, "duration": 6},
            "duration: 6 is not accepted: video_url lasts 7.5 s, so duration must be at most 4.5; use 4.",
        ),
        (
            Rule("limit", ("~video_url - n",), above=0),
            {"video_url": C, "n": 8},
            "n: 8 is not accepted: video_url lasts 7.5 s, so n must be less than 7.5; use 7, or leave out n.",
        ),
        (
            Rule("limit", ("strength - ~video_url",), min=-7, when={"sound": True}),
            {"video_url": C, "strength": 0.2, "sound": True},
            "strength: 0.2 is not accepted: video_url lasts 7.5 s, so strength must be at least 0.5 with sound true; "
            "use 0.5, or leave out strength, or use sound: false.",
        ),
        (
            Rule("limit", ("~video_url - strength",), min=8),
            {"video_url": C, "strength": 0.2},
            "strength: 0.2 is not accepted: video_url lasts 7.5 s, so strength must be at most -0.5; "
            "leave out strength.",
        ),
        (
            Rule("limit", ("~video_url",), max=5, when={"size": "S"}),
            {"video_url": C, "size": "S"},
            f"video_url: '{C}' is not accepted: it lasts 7.5 s, must be at most 5 with size S; use size: 'L'.",
        ),
        (
            Rule("refers", ("shots[].text",), to="ids[]"),
            {"ids": ["x"], "shots": [{"text": "x"}, {"text": "y"}]},
            "shots[1].text: 'y' is not accepted: use one of 'x', as of ids[].",
        ),
        (
            Rule("unique", ("shots[].text",)),
            {"shots": [{"text": "x"}, {"text": "x"}]},
            "shots[1].text: 'x' is not accepted: it occurs twice; give each another one.",
        ),
    ],
)
def test_broken_rule_is_refused_with_a_cure(rule: Rule, sent: dict[str, Any], message: str) -> None:
    assert faults(rule, seconds={C: 7.5}, **sent) == [message]


@pytest.mark.parametrize(
    ("rule", "sent"),
    [
        (Rule("not_both", ("video_url", "ids")), {"video_url": C, "ids": []}),
        (Rule("exactly_one", (("ids", "n"), "video_url")), {"ids": ["x"], "n": 1, "video_url": None}),
        (Rule("needs", ("video_url",), when={"resolution": "720p"}), {}),  # 720p is the default, and not sent
        (Rule("only_with", ("ids",), when={"resolution": "4k"}), {"ids": []}),
        (Rule("limit", ("n",), max=4), {}),
        (Rule("limit", ("n",), max=4), {"n": 4}),
        (Rule("limit", ("end - start",), each="shots", max=8), {"shots": [{"text": "a"}]}),  # both by default
        (Rule("limit", ("duration + ~video_url",), max=10), {"video_url": A}),  # not measured
        (Rule("limit", ("(megapixels)",), max=10), {}),
        (Rule("refers", ("shots[].text",), to="ids[]"), {"ids": ["x"]}),
        (Rule("unique", ("shots[].image_url",)), {"shots": [{"text": "x"}, {"text": "x"}]}),
    ],
)
def test_rule_is_kept_where_it_does_not_speak(rule: Rule, sent: dict[str, Any]) -> None:
    optional = {name: value for name, value in sent.items() if value is not None}
    assert faults(rule, seconds={C: 7.5}, **optional) == []


def test_required_field_is_not_to_be_left_out() -> None:
    rules = Rule("only_with", ("size",), when={"sound": True}), Rule("not_both", ("size", "ids"))
    found = check(model(*rules, required=("size",)), {"size": "S", "ids": ["x"], "sound": False})
    assert [fault.allowed for fault in found.faults] == ["only with sound true", "not together with ids; leave out ids"]


def test_missing_field_is_one_fault_though_schema_and_rule_want_it() -> None:
    found = check(model(Rule("needs", ("prompt",)), required=("prompt",)), {})
    assert [fault.field for fault in found.faults] == ["prompt"]


def test_field_of_an_item_is_cured_there() -> None:
    rule = Rule("needs", ("image_url",), each="shots", when={"sound": True})
    assert faults(rule, sound=True, shots=[{"text": "a", "image_url": A}, {"text": "b"}]) == [
        "shots[1].image_url: this field is required with sound true; give image_url."
    ]


def test_cure_of_a_missing_field_that_another_rule_forbids_is_to_leave_out_its_cause() -> None:
    rules = Rule("needs", ("video_url",), when={"image_urls": "*"}), Rule("not_both", ("video_url", "ids"))
    assert faults(*rules, image_urls=[A], ids=["x"]) == [
        "video_url: this field is required with image_urls; leave out image_urls."
    ]


def test_cure_that_breaks_another_rule_mends_that_one_as_well() -> None:
    rules = Rule("needs", ("video_url",)), Rule("not_both", ("video_url", "ids"))
    assert faults(*rules, ids=["x"]) == ["video_url: this field is required; give video_url and leave out ids."]


def test_cure_that_does_not_work_is_not_named() -> None:
    rules = Rule("needs", ("video_url",)), Rule("only_with", ("video_url",), when={"n": 7})
    assert faults(*rules) == ["video_url: this field is required."]


def test_cures_of_one_call_hold_together() -> None:
    rules = (
        Rule("at_least_one", ("ids", "video_url")),
        Rule("needs", ("resolution",), when={"ids": None}),
        Rule("only_with", ("resolution",), when={"ids": None}),
    )
    assert faults(*rules) == [
        "ids: one of several fields is required; give ids.",
        "resolution: this field is required without ids; what mends the field above mends this one, too.",
    ]


def test_option_of_the_call_inside_the_input_is_to_be_given_beside_it() -> None:
    (fault,) = check(model(), {"max_credits": 1}).faults
    assert "give it beside input" in fault.message


@pytest.mark.parametrize("text", ["", " ", "\u200b"])
def test_required_text_that_says_nothing_is_refused(text: str) -> None:
    found = check(model(required=("prompt", "shots")), {"prompt": text, "shots": [{"text": text}]})
    assert {fault.field for fault in found.faults} == {"prompt", "shots[0].text"}


def test_field_whose_schema_allows_anything_may_be_empty_and_nested() -> None:
    anything: Any = True
    assert check(model(required=("free",), free=anything), {"free": {"text": ""}}) == Findings()
    assert check(model(required=("free",), free={}), {"free": [""]}) == Findings()


def test_cure_breaks_no_other_rule() -> None:
    rules = (
        Rule("only_with", ("resolution",), when={"size": {"not": ["S"]}}, values=("4k",)),
        Rule("only_with", ("resolution",), when={"size": None}, values=("1080p",)),
        Rule("needs", ("resolution",), when={"size": "S"}),
    )
    assert faults(*rules, resolution="4k", size="S") == [
        "resolution: '4k' is not accepted: only with size not S; use '720p'."
    ]


@pytest.mark.parametrize(
    ("rule", "note"),
    [
        (
            Rule("only_with", ("resolution",), when={"image_urls": None}, soft=True),
            "The service ignores resolution: only without image_urls.",
        ),
        (
            Rule("limit", ("#image_urls",), max=1, soft=True),
            "The service ignores some of image_urls: length of image_urls is 2, must be at most 1.",
        ),
    ],
)
def test_field_that_the_service_ignores_is_sent_with_a_note(rule: Rule, note: str) -> None:
    assert check(model(rule), {"image_urls": [A, B], "resolution": "4k"}) == Findings(notes=(note,))


# Any input -----------------------------------------------------------------------------------------------------------

RULES = (
    Rule("not_both", ("video_url", ("image_urls", "ids"))),
    Rule("exactly_one", (("ids", "n"), "size")),
    Rule("at_least_one", ("ids", "prompt")),
    Rule("needs", ("video_url",), when={"image_urls": "*", "#ids": {"not": [1]}}),
    Rule("only_with", ("resolution",), when=({"size": None}, {"n": [1, 2]}), values=("4k",)),
    Rule("limit", ("#ids + 2 #shots - n", "strength", "shots[].end"), min=1, max=3, step=0.1),
    Rule("limit", ("end - start", "#text"), each="shots", above=0),
    Rule("refers", ("shots[].text",), to="ids[]"),
    Rule("unique", ("shots[].text", "ids[]")),
)
NAMES = st.sampled_from(["prompt", "n", "ids", "shots", "size", "image_urls", "video_url", "strength", "text", "end"])
NUMBERS = st.integers() | st.floats() | st.sampled_from([10**400, 10**250, -1e308, 5e-324])
LEAVES = st.none() | st.booleans() | NUMBERS | st.text(max_size=5)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(NAMES | st.text(max_size=3), VALUES, max_size=6) | VALUES)
def test_no_input_breaks_the_check(sent: Any) -> None:
    found = check(model(*RULES), sent)
    for fault in found.faults:
        assert fault.message.startswith(f"{fault.field}: ")
        assert fault.message.encode()


def deep(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("value", [deep(51), deep(900), float("nan"), {"a": float("-inf")}, [10**5000], [-(10**700)]])
@pytest.mark.parametrize("name", ["prompt", "n", "ids", "unknown"])
def test_value_that_no_service_reads_is_refused_by_its_name(name: str, value: Any) -> None:
    assert faults(Rule("unique", ("ids[]",)), **{name: value, "size": "?"}) == [
        f"{name}: give plain JSON: finite numbers, nested at most 50 times.",
        "size: '?' is not accepted: use one of 'S', 'L'.",
    ]


@pytest.mark.parametrize("sent", [None, [], "text", 5, [("prompt", "a fox")]])
def test_input_that_is_no_object_is_refused(sent: Any) -> None:
    (fault,) = check(FOX, sent).faults
    assert (fault.field, fault.allowed) == ("input", "give an object of fields and values")


FIELD_TYPED_TEXT = {"properties": {"size": {"type": "text"}}}


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "object"}, ""),
        ({"type": "text"}, "its type is 'text', not string, "),
        (5, "5 is"),
        (FIELD_TYPED_TEXT, "size: its type is 'text'"),
        ({"pattern": "("}, "'(' is not"),
    ],
)
def test_schema_of_a_service_is_judged(schema: Any, words: str) -> None:
    assert fault_of_schema(schema).startswith(words)
    assert bool(fault_of_schema(schema)) == bool(words)


def test_checks_load_the_schema_library_only_when_asked() -> None:
    code = "import sys, kie_ai_mcp._models.checking; print('jsonschema' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=LIMIT_S, check=True)
    assert done.stdout.strip() == "False"


def test_model_that_takes_anything_of_a_field_is_checked_by_the_rest() -> None:
    fox = Model("fox/2", "Fox", "image", "edit", {"type": "object", "properties": {"any": True}, "required": ["any"]})
    assert check(fox, {"any": [1]}) == Findings()
    assert [fault.field for fault in check(fox, {}).faults] == ["any"]


ODD = {
    "no fields": {"type": "object"},
    "no type of an item": {"type": "array"},
    "more items than there is memory for": {"type": "array", "minItems": 10**12},
    "more characters than there is memory for": {"type": "string", "minLength": 10**12, "maxLength": 2.0},
    "a repetition without end": {"type": "string", "pattern": "^[a-z]{400000000}$"},
    "limits that are floats": {"type": "array", "minItems": 2.0, "items": {"type": "string", "minLength": 2.0}},
    "no values": {"enum": []},
    "values of every type": {"enum": [None, 1.5, "x", [1], {"a": 1}]},
    "a limit of great size": {"minimum": 1e200, "multipleOf": 1e-200},
    "nothing": {"not": {}},
    "items of which none may be": {"prefixItems": [False, {"properties": {"a": False}, "required": ["a"]}]},
    "required fields that it does not name": {"type": "object", "required": ["b", "c[].d"]},
    "names that nothing fits": {"propertyNames": False},
    "either": {"oneOf": [True, True]},
}
"""Schemas of one field that are valid, and that nobody would write."""


@pytest.mark.parametrize("name", ODD)
def test_check_by_any_valid_schema_ends_with_findings(name: str) -> None:
    schema = {"properties": {"odd": ODD[name]}, "required": ["odd"], "additionalProperties": False}
    assert why_unusable(schema) == ""
    rules = (Rule("needs", ("odd",)), Rule("not_both", ("odd", "other")))
    strange = replace(FOX, input=schema, rules=rules, media={})
    for value in (None, "", "abc", 5, 1.7e270, True, [], [1, {"b": 1}], {}, {"x": 1}):
        check(strange, {"odd": value, "other": 1})
    assert "odd" in {fault.field for fault in check(strange, {}).faults}
    assert set(usual_input(strange)) == {"odd"}
    assert len(field_lines(strange)) == 1
