"""Tool arguments: from a function's signature to its schema, and the wording of every refusal."""

import functools
import json
from collections.abc import Callable
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from kie_ai_mcp import (
    AspectRatio,
    CallbackUrl,
    FrameRate,
    ImageUrl,
    ImageUrls,
    InvalidArgument,
    Media,
    NegativePrompt,
    Prompt,
    Query,
    Submission,
    Tool,
    VideoUrl,
)
from kie_ai_mcp._providers.arguments import Arguments, without_words
from kie_ai_mcp._providers.tools import DESCRIPTION_LIMIT, NAME_LIMIT, BoundTool, CallOptions, describe
from kie_ai_mcp.errors import PluginError
from tests.helpers import PICTURE


def generate_fox(
    prompt: Annotated[Prompt, Field(max_length=5000)],
    image_urls: Annotated[ImageUrls, Field(max_length=5)] | None = None,
    last_frame: ImageUrl | None = None,
    aspect_ratio: AspectRatio = "1:1",
    negative_prompt: NegativePrompt | None = None,
    frame_rate: FrameRate | None = None,
    strength: Annotated[float, Field(ge=0, le=1)] | None = None,
    options: dict[str, Any] | None = None,
    callBackUrl: CallbackUrl | None = None,
) -> Submission:
    """Make a picture
    of a fox.

    strength: how much of a fox.
    """
    return Submission("foxes", {"prompt": prompt}, "fox")


ARGUMENTS = Arguments(generate_fox)


def refusal(given: dict[str, Any]) -> InvalidArgument:
    with pytest.raises(InvalidArgument) as error:
        ARGUMENTS.check(given)
    return error.value


def bind(fn: Callable[..., Any]) -> BoundTool:
    return BoundTool.bind(fn, provider="fox", kind="image")


# Defaults ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("annotation", "default", "takes"),
    [
        (Literal["square", "wide"], "squar", "use one of 'square' or 'wide' (did you mean 'square'?)"),
        (Literal["square", "wide"], "", "use one of 'square' or 'wide'"),
        (Literal[5, 10] | None, 7, "use one of 5 or 10"),
        (Annotated[int, Field(ge=1, le=4)], 0, "give at least 1"),
        (Annotated[Prompt, Field(max_length=5)], "a long one", "at most 5 characters, 10 were given"),
        (int, "5", "write 5"),
        (int, True, "write 1"),
        (bool, "yes", "write True"),
        (list[Literal["a", "b"]], ["c"], "use one of 'a' or 'b'"),
        (ImageUrl, "fox.png", "give an http:// or https:// address"),
        (Literal["square", "wide"], "wide", None),
        (Literal["square", "wide"] | None, None, None),
        (float, 5, None),
        (Prompt, "", None),
        (ImageUrls, [], None),
        (ImageUrl, PICTURE, None),
        (Annotated[int, Field(ge=0)], 0, None),
        (bool, False, None),
    ],
)
def test_default_that_a_call_could_not_give_is_found(annotation: Any, default: Any, takes: str | None) -> None:
    def generate(size: Any = default) -> Submission:
        raise NotImplementedError

    wrong = Arguments(generate, hints={"size": annotation}).wrong_default()

    said = f"its argument size has the default {json.dumps(default) if isinstance(default, list) else repr(default)}"
    assert wrong == (f"{said}, which it does not take: {takes}" if takes else "")


# The schema ----------------------------------------------------------------------------------------------------------


def test_schema_is_the_signature_and_nothing_that_a_model_does_not_need() -> None:
    assert ARGUMENTS.schema == {
        "type": "object",
        "additionalProperties": False,
        "required": ["prompt"],
        "properties": {
            "prompt": {"type": "string", "minLength": 1, "maxLength": 5000},
            "image_urls": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 5},
            "last_frame": {"type": "string"},
            "aspect_ratio": {
                "type": "string",
                "enum": ["1:1", "9:16", "16:9", "3:4", "4:3", "3:2", "2:3", "5:4", "4:5", "21:9", "auto"],
                "default": "1:1",
            },
            "negative_prompt": {"type": "string", "maxLength": 5000},
            "frame_rate": {"type": "integer", "enum": [12, 15, 24, 25, 30, 48, 50, 60]},
            "strength": {"type": "number", "minimum": 0, "maximum": 1},
            "options": {"type": "object"},
            "callBackUrl": {"type": "string"},
        },
    }


def test_limits_that_no_request_comes_near_are_checked_but_not_listed() -> None:
    def generate_owl(prompt: Prompt, image_urls: ImageUrls, minLength: int = 1) -> Submission:
        """Make an owl."""
        return Submission("owls", {}, "owl")

    arguments = Arguments(generate_owl)
    assert arguments.listed["properties"] == {
        "prompt": {"type": "string"},
        "image_urls": {"type": "array", "items": {"type": "string"}},
        "minLength": {"type": "integer", "default": 1},
    }
    assert ARGUMENTS.listed["properties"]["prompt"] == {"type": "string", "maxLength": 5000}
    for name, value in (("prompt", ""), ("prompt", "x" * 20_001), ("image_urls", [])):
        with pytest.raises(InvalidArgument):
            arguments.check({"prompt": "an owl", "image_urls": [PICTURE], name: value})


def test_deprecated_argument_is_understood_but_not_listed() -> None:
    def tool(prompt: str, speed: Annotated[int, Field(deprecated=True)] | None = None) -> Submission:
        raise NotImplementedError

    arguments = Arguments(tool)
    assert arguments.listed["properties"].keys() == {"prompt"}
    assert arguments.check({"prompt": "a fox", "speed": 3}) == {"prompt": "a fox", "speed": 3}


def test_tools_that_share_an_annotation_keep_defaults_of_their_own() -> None:
    def generate_owl(aspect_ratio: AspectRatio = "16:9") -> Submission:
        """Make an owl."""
        return Submission("owls", {}, "owl")

    schemas = [Arguments(fn).schema["properties"]["aspect_ratio"] for fn in (generate_fox, generate_owl, generate_fox)]
    assert [schema["default"] for schema in schemas] == ["1:1", "16:9", "1:1"]


def test_words_are_hidden_wherever_the_schema_has_free_text() -> None:
    schema = {
        "properties": {
            "text": {"type": "string", "pattern": "\\S"},
            "size": {"enum": ["S", "L"]},
            "free": True,
            "parts": {"type": "array", "items": {"properties": {"words": {}, "image": {}, "voice_id": {}}}},
        }
    }
    part = {"words": "secret", "image": PICTURE, "voice_id": "v1", "seconds": 5}
    given = {"text": "secret", "size": "S", "free": {"any": ["secret"]}, "parts": [part], "other": "secret"}
    assert without_words(given, schema, {"parts[].image"}, "-") == {
        "text": "-",
        "size": "S",
        "free": {"any": ["-"]},
        "parts": [part | {"words": "-"}],
        "other": "-",
    }


def test_argument_called_title_keeps_its_name() -> None:
    def generate_book(title: str, default: int = 3) -> Submission:
        """Make a book."""
        return Submission("books", {}, "book")

    assert Arguments(generate_book).schema["properties"] == {
        "title": {"type": "string"},
        "default": {"type": "integer", "default": 3},
    }


def test_tool_without_arguments_has_an_empty_object_as_its_schema() -> None:
    def get_fox() -> Query:
        """Look."""
        return Query("fox", {}, lambda answer: answer.data)

    assert Arguments(get_fox).schema == {"type": "object", "additionalProperties": False, "properties": {}}


def test_description_is_one_line_for_each_block_of_the_docstring() -> None:
    assert describe(generate_fox) == "Make a picture of a fox.\nstrength: how much of a fox."


def test_bound_tool_says_of_itself_what_the_function_says() -> None:
    tool = bind(generate_fox)

    assert (tool.name, tool.title, tool.provider, tool.kind, tool.paid) == (
        "generate_fox",
        "Generate fox",
        "fox",
        "image",
        True,
    )
    assert BoundTool.bind(Tool(generate_fox, title="A fox"), provider="fox", kind="video").title == "A fox"


@pytest.mark.parametrize("usual", [(3, 2), (0, 5), (1, float("inf")), (float("nan"), 2), 5, ("1", "2"), (1, 2, 3)])
def test_usual_time_that_is_no_least_and_most_seconds_is_refused(usual: Any) -> None:
    with pytest.raises(PluginError, match=r"generate_fox: usual_s is .*, not the least and the most seconds"):
        BoundTool.bind(Tool(generate_fox, usual_s=usual), provider="fox", kind="video")


def test_reading_tool_is_not_paid() -> None:
    def get_fox(task_id: str) -> Query:
        """Look."""
        return Query("fox", {}, lambda answer: answer.data)

    assert not bind(get_fox).paid


# What is refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "prompt: this required argument is missing."),
        ({"prompt": ""}, "prompt: '' is not accepted: it can't be empty."),
        ({"prompt": " \n "}, "prompt: ' \\n ' is not accepted: it can't be empty."),
        ({"prompt": "\u200b\u2060"}, "prompt: '\\u200b\\u2060' is not accepted: it can't be empty."),
        ({"prompt": None}, "prompt: None is not accepted: input should be a valid string."),
        ({"prompt": ["a"]}, 'prompt: ["a"] is not accepted: input should be a valid string.'),
        (
            {"prompt": "x" * 5001},
            f"prompt: {'x' * 78!r:.79}… is not accepted: at most 5000 characters, 5001 were given.",
        ),
        (
            {"prompt": "a", "aspect_ratio": "16:10"},
            "aspect_ratio: '16:10' is not accepted: use one of '1:1', '9:16', '16:9', '3:4', '4:3', '3:2', '2:3', "
            "'5:4', '4:5', '21:9' or 'auto'.",
        ),
        (
            {"prompt": "a", "frame_rate": 23},
            "frame_rate: 23 is not accepted: use one of 12, 15, 24, 25, 30, 48, 50 or 60.",
        ),
        ({"prompt": "a", "strength": 1.5}, "strength: 1.5 is not accepted: give at most 1."),
        (
            {"prompt": "a", "image_urls": [PICTURE, 7]},
            "image_urls[1]: 7 is not accepted: input should be a valid string.",
        ),
        (
            {"prompt": "a", "image_urls": {"a": PICTURE}},
            f'image_urls: {{"a": "{PICTURE}"}} is not accepted: input should be a valid list.',
        ),
        (
            {"prompt": "a", "callBackUrl": "me.example"},
            "callBackUrl: 'me.example' is not accepted: give a whole address that starts with http:// or https://.",
        ),
    ],
)
def test_refused_argument_is_named_with_value_and_what_is_allowed(given: dict[str, Any], message: str) -> None:
    assert str(refusal(given)) == message


def test_sixth_picture_is_refused_with_both_numbers() -> None:
    error = refusal({"prompt": "a", "image_urls": [PICTURE] * 6})

    assert error.field == "image_urls"
    assert str(error).endswith("is not accepted: at most 5 items, 6 were given.")


@pytest.mark.parametrize(
    "address",
    [
        "ftp://example.com/a.png",
        "javascript:alert(1)",
        "s3://bucket/a.png",
        "http:/example.com/a.png",
        "https://",
        "https:///a.png",
        "https://:443/a.png",
        "https://?a.png",
        "https://example.com:port/a.png",
        "https://[::1/a.png",
        "https://example.com/a b.png",
        "https://example.com/\na.png",
        "https://example.com/\x00.png",
        " https://example.com/a.png",
    ],
)
def test_media_that_is_neither_web_address_nor_path_is_refused_wherever_it_stands(address: str) -> None:
    for given, field in (
        ({"image_urls": [PICTURE, address]}, "image_urls[1]"),
        ({"last_frame": address}, "last_frame"),
    ):
        error = refusal({"prompt": "a", **given})

        assert error.field == field
        assert error.value == address
        assert error.allowed.startswith("give an http:// or https:// address of the image")


@pytest.mark.parametrize("address", ["https://", "https://:443/done", "https://me.example/a b", "ftp://me.example"])
def test_callback_to_no_address_is_refused(address: str) -> None:
    error = refusal({"prompt": "a", "callBackUrl": address})

    assert (error.field, error.value) == ("callBackUrl", address)
    assert "starts with http:// or https://" in error.allowed


@pytest.mark.parametrize("address", [PICTURE, "http://example.com", "HTTPS://Example.com/ä.png?x=1#y", "https://a/b"])
def test_web_addresses_are_taken_as_they_are(address: str) -> None:
    assert ARGUMENTS.check({"prompt": "a", "last_frame": address, "image_urls": [address]})["last_frame"] == address


def test_media_marks_are_found_at_any_depth() -> None:
    def generate_fox(
        one: VideoUrl,
        some: Annotated[list[Annotated[str, Media("audio")]] | None, Field(max_length=2)] = None,
        parts: Annotated[list[dict[str, Any]], Media("image", at="[].urls[]"), Media("audio", at="[].sound")] = (),  # type: ignore[assignment]
    ) -> Submission:
        """Make a fox."""
        return Submission("foxes", {}, "fox")

    assert {name: media.kind for name, media in Arguments(generate_fox).media.items()} == {
        "one": "video",
        "some": "audio",
        "parts[].urls[]": "image",
        "parts[].sound": "audio",
    }


@pytest.mark.parametrize(
    ("name", "meant"),
    [("aspctRatio", "aspect_ratio"), ("promt", "prompt"), ("image_uls", "image_urls"), ("calbackUrl", "callBackUrl")],
)
def test_unknown_argument_is_refused_with_the_nearest_name_and_all_there_are(name: str, meant: str) -> None:
    error = refusal({"prompt": "a", name: "16:9"})

    assert str(error) == (
        f"{name}: generate_fox has no such argument (given '16:9'); did you mean {meant!r}? Known arguments: "
        "prompt, image_urls, last_frame, aspect_ratio, negative_prompt, frame_rate, strength, options, callBackUrl."
    )


def test_unknown_argument_that_resembles_none_is_not_guessed_at() -> None:
    error = refusal({"prompt": "a", "zzz": 1})

    assert "did you mean" not in str(error)
    assert "(given 1). Known arguments: prompt, " in str(error)


@pytest.mark.parametrize(("name", "meant"), [("idempotencyKey", "idempotency_key"), ("sub_folder", "subfolder")])
def test_misspelt_argument_of_the_servers_own_is_refused_with_its_name(name: str, meant: str) -> None:
    def generate_fox(prompt: Prompt) -> Submission:
        """Make a fox."""
        return Submission("foxes", {}, "fox")

    with pytest.raises(InvalidArgument, match=f"did you mean '{meant}'") as error:
        bind(generate_fox).arguments.check({"prompt": "a", name: "x"})
    assert str(error.value).endswith("Known arguments: prompt, idempotency_key, subfolder, max_credits.")


def test_unknown_argument_of_a_tool_that_takes_none_is_refused() -> None:
    def get_credits() -> Query:
        """Look."""
        return Query("credits", {}, lambda answer: answer.data)

    with pytest.raises(InvalidArgument, match="Known arguments: none"):
        Arguments(get_credits).check({"refresh": True})


def test_several_problems_are_reported_at_once() -> None:
    error = refusal({"aspect_ratio": "16:10", "image_urls": [PICTURE] * 6, "promt": "a"})

    for part in ("prompt: this required argument is missing", "'16:10'", "6 were given", "did you mean 'prompt'?"):
        assert part in str(error)


def test_refused_value_is_never_repeated_at_length() -> None:
    given = {"prompt": "x" * 100_000, "image_urls": [PICTURE * 1000] * 6, "aspect_ratio": "y" * 100_000}

    assert len(str(refusal(given))) < 1_000


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", float("nan"), float("inf"), True, False])
def test_number_that_is_none_is_refused(value: object) -> None:
    def generate_fox(strength: float) -> Submission:
        """Make a fox."""
        return Submission("foxes", {}, "fox")

    with pytest.raises(InvalidArgument, match="strength: "):
        Arguments(generate_fox).check({"strength": value})


def test_text_that_no_request_can_carry_is_refused() -> None:
    assert refusal({"prompt": "\ud800"}).field == "prompt"


# What is accepted ----------------------------------------------------------------------------------------------------


def test_prompt_is_stripped_and_defaults_are_left_to_the_function() -> None:
    assert ARGUMENTS.check({"prompt": " a fox\n"}) == {"prompt": "a fox"}


@pytest.mark.parametrize(
    "name", ["image_urls", "last_frame", "negative_prompt", "frame_rate", "options", "callBackUrl"]
)
def test_null_for_an_optional_argument_is_the_same_as_leaving_it_out(name: str) -> None:
    assert ARGUMENTS.check({"prompt": "a", name: None}).get(name) is None


# What hosts send besides ----------------------------------------------------------------------------------------------

NOTHINGS: tuple[Any, ...] = (None, "", " ", [], {}, "null", "None", "undefined")
OPTIONAL = ("image_urls", "last_frame", "negative_prompt", "frame_rate", "strength", "options", "callBackUrl")


@pytest.mark.parametrize("nothing", NOTHINGS, ids=repr)
def test_optional_argument_that_says_nothing_is_left_out(nothing: object) -> None:
    assert ARGUMENTS.check({"prompt": "a", **dict.fromkeys(OPTIONAL, nothing)}) == {"prompt": "a"}


@pytest.mark.parametrize("nothing", [[""], [None], ["null"], "[]", "{}", '[""]'], ids=repr)
def test_optional_list_that_holds_nothing_is_left_out(nothing: object) -> None:
    assert ARGUMENTS.check({"prompt": "a", "image_urls": nothing}) == {"prompt": "a"}


@pytest.mark.parametrize("nothing", ["", " ", None, [], {}, "null"], ids=repr)
def test_argument_with_a_default_of_its_own_gets_that_default(nothing: object) -> None:
    assert ARGUMENTS.check({"prompt": "a", "aspect_ratio": nothing}) == {"prompt": "a"}


@pytest.mark.parametrize("nothing", ["", " ", None, [], {}], ids=repr)
def test_required_argument_that_says_nothing_is_refused(nothing: object) -> None:
    assert refusal({"prompt": nothing}).field == "prompt"


def test_empty_addresses_in_a_list_are_left_out() -> None:
    assert ARGUMENTS.check({"prompt": "a", "image_urls": ["", PICTURE, None, " "]})["image_urls"] == [PICTURE]


def test_required_list_of_empty_addresses_is_refused() -> None:
    def edit_fox(image_urls: ImageUrls) -> Submission:
        """Edit a fox."""
        return NOTHING

    with pytest.raises(InvalidArgument, match=r"image_urls: \[\] is not accepted: at least 1 items"):
        Arguments(edit_fox).check({"image_urls": ["", None]})


def test_empty_value_that_the_signature_allows_stays() -> None:
    def name_fox(
        ending: Literal["", "null", "-fox"] = "-fox",
        suffix: str = "-fox",
        parts: tuple[str, ...] = ("red", "fox"),
        lines: list[str] | None = None,
        options: dict[str, Any] | None = None,
    ) -> Submission:
        """Name a fox."""
        return NOTHING

    arguments = Arguments(name_fox)
    assert arguments.check({"ending": "", "suffix": "", "parts": []}) == {"ending": "", "suffix": "", "parts": ()}
    assert arguments.check({"ending": "null", "suffix": "null"}) == {"ending": "null"}
    assert arguments.check({"lines": ["one", "", "three"]}) == {"lines": ["one", "", "three"]}
    assert arguments.check({"options": {"a": "", "b": [], "c": None}}) == {"options": {"a": "", "b": [], "c": None}}


def test_zero_and_no_are_values() -> None:
    def shrink_fox(times: int | None = None, gently: bool | None = None) -> Submission:
        """Shrink a fox."""
        return NOTHING

    assert Arguments(shrink_fox).check({"times": 0, "gently": False}) == {"times": 0, "gently": False}


def test_server_s_own_arguments_may_say_nothing_as_well() -> None:
    said = {"prompt": "a", "idempotency_key": "", "subfolder": "null"}
    assert bind(generate_fox).check(said, saves=False) == (CallOptions(), {"prompt": "a"})


HOSTS: dict[str, Any] = {
    "toolCallId": "call_1",
    "sessionId": "s",
    "action": "sendMessage",
    "chatInput": "a fox",
    "tool": "x",
}
HOSTS |= {"task_progress": "- [ ] a", "wait_for_previous": True, "random_string": "x", "_meta": {"a": 1}}


@pytest.mark.parametrize("name", HOSTS)
def test_argument_that_a_host_adds_to_every_call_is_ignored(name: str) -> None:
    assert ARGUMENTS.check({"prompt": "a", name: HOSTS[name]}) == {"prompt": "a"}


def test_argument_of_a_host_s_name_is_the_tool_s_where_it_has_one() -> None:
    def settle_fox(action: Literal["keep", "free"]) -> Submission:
        """Settle a fox."""
        return NOTHING

    assert Arguments(settle_fox).check({"action": "keep", "sessionId": "s"}) == {"action": "keep"}
    with pytest.raises(InvalidArgument, match="use one of 'keep' or 'free'"):
        Arguments(settle_fox).check({"action": "sendMessage"})


@pytest.mark.parametrize("name", ["toolcallid", "session", "actions", "tools", "chat_input", "thread"])
def test_any_other_unknown_argument_is_refused(name: str) -> None:
    assert refusal({"prompt": "a", name: "x"}).field == name


@pytest.mark.parametrize("given", [None, {}])
def test_no_arguments_at_all_are_checked_like_empty_ones(given: dict[str, Any] | None) -> None:
    with pytest.raises(InvalidArgument, match="prompt: this required argument is missing"):
        ARGUMENTS.check(given)


def test_lists_and_objects_may_come_as_json_text() -> None:
    checked = ARGUMENTS.check(
        {"prompt": '["not", "decoded"]', "image_urls": json.dumps([PICTURE]), "options": ' {"a": 1}'}
    )

    assert checked == {"prompt": '["not", "decoded"]', "image_urls": [PICTURE], "options": {"a": 1}}


@pytest.mark.parametrize(("given", "taken"), [("24", 24), (24.0, 24), (24, 24)])
def test_number_may_come_as_text_also_where_few_are_allowed(given: object, taken: int) -> None:
    assert ARGUMENTS.check({"prompt": "a fox", "frame_rate": given})["frame_rate"] == taken


@pytest.mark.parametrize("given", ["26", "24.5", "many", "9" * 5000])
def test_text_that_is_no_allowed_number_is_refused_as_it_was_given(given: str) -> None:
    assert refusal({"prompt": "a fox", "frame_rate": given}).field == "frame_rate"


@pytest.mark.parametrize("text", ["[", '["a"', '{"a": 1}', f'"{PICTURE}"', "[1]", "[" * 100_000])
def test_json_text_that_holds_no_list_of_addresses_is_refused(text: str) -> None:
    assert refusal({"prompt": "a", "image_urls": text}).field in {"image_urls", "image_urls[0]"}


def test_media_inside_json_text_is_checked_like_any_other() -> None:
    assert refusal({"prompt": "a", "image_urls": '["ftp://example.com/a.png"]'}).field == "image_urls[0]"


# Functions that can't be tools ---------------------------------------------------------------------------------------


class Nested(BaseModel):
    """A value that no flat schema can hold."""

    inner: "int" = 0


NOTHING = Submission("x", {}, "x")


def untyped(prompt) -> Submission:  # type: ignore[no-untyped-def]  # noqa: ANN001
    """Say nothing of the type."""
    return NOTHING


def positional(prompt: str, /) -> Submission:
    """Take what can't be named."""
    return NOTHING


def starred(*prompts: str) -> Submission:
    """Take any number."""
    return NOTHING


def keywords(**options: str) -> Submission:
    """Take anything."""
    return NOTHING


def nested(options: Nested) -> Submission:
    """Take an object with a schema of its own."""
    return NOTHING


def unresolvable(prompt: "Promtp") -> Submission:  # type: ignore[name-defined]  # noqa: F821
    """Name a type that isn't there."""
    return NOTHING


def unschemable(prompt: Callable[[], str]) -> Submission:
    """Take what JSON doesn't know."""
    return NOTHING


def no_return(prompt: str):  # type: ignore[no-untyped-def]  # noqa: ANN201
    """Say nothing of what comes back."""


def other_return(prompt: str) -> dict[str, str]:
    """Return the wrong thing."""
    return {}


async def asynchronous(prompt: str) -> Submission:
    """Want to do the call itself."""
    return NOTHING


def silent(prompt: str) -> Submission:
    return NOTHING


def talkative(prompt: str) -> Submission:
    return NOTHING


talkative.__doc__ = "x" * (DESCRIPTION_LIMIT + 1)


def generate_Fox(prompt: str) -> Submission:  # noqa: N802  the name is what is refused
    """Make a fox."""
    return Submission("x", {"prompt": prompt}, "fox")


def generate_füchslein(prompt: str) -> Submission:  # noqa: PLC2401  the name is what is refused
    """Make a fox."""
    return Submission("x", {"prompt": prompt}, "fox")


def a_name_of_forty_one_characters_is_too_long(prompt: str) -> Submission:
    """Have a long name."""
    return NOTHING


@pytest.mark.parametrize(
    ("fn", "reason"),
    [
        (untyped, "untyped: parameter prompt has no type."),
        (positional, "positional: parameter prompt: str can't be given by name."),
        (starred, "starred: parameter *prompts: str can't be given by name."),
        (keywords, "keywords: parameter **options: str can't be given by name."),
        (nested, "nested: the signature must give a flat object schema."),
        (unresolvable, "unresolvable: its annotations can't be read: name 'Promtp' is not defined"),
        (unschemable, "unschemable: the signature can't be made a schema: "),
        (no_return, "no_return: the return annotation must be Submission or Query, not None."),
        (other_return, "other_return: the return annotation must be Submission or Query, not dict[str, str]."),
        (asynchronous, "asynchronous: a tool function is not async; core makes the call it describes."),
        (silent, f"silent: a tool needs a docstring of at most {DESCRIPTION_LIMIT} characters."),
        (talkative, f"talkative: a tool needs a docstring of at most {DESCRIPTION_LIMIT} characters."),
        (
            a_name_of_forty_one_characters_is_too_long,
            f"a tool needs a name of a-z, 0-9 and _, at most {NAME_LIMIT} of them.",
        ),
        (lambda prompt: prompt, f"'<lambda>': a tool needs a name of a-z, 0-9 and _, at most {NAME_LIMIT} of them."),
        (generate_Fox, "'generate_Fox': a tool needs a name of a-z, 0-9 and _"),
        (generate_füchslein, "'generate_füchslein': a tool needs a name of a-z, 0-9 and _"),
        (functools.partial(generate_fox, "a"), f"a tool needs a name of a-z, 0-9 and _, at most {NAME_LIMIT} of them."),
    ],
)
def test_function_that_can_not_be_a_tool_is_refused_with_the_reason(fn: Callable[..., Any], reason: str) -> None:
    with pytest.raises(PluginError) as error:
        bind(fn)

    assert reason in error.value.message


def test_fixed_choice_is_its_only_value() -> None:
    def generate_fox(model: Literal["fox-1"] = "fox-1") -> Submission:
        """Make a fox."""
        return Submission("foxes", {}, "fox")

    assert Arguments(generate_fox).check({"model": "fox-1"}) == {"model": "fox-1"}
    with pytest.raises(InvalidArgument, match="use one of 'fox-1'"):
        Arguments(generate_fox).check({"model": "fox-2"})


@pytest.mark.parametrize(
    ("media", "takes", "refuses"),
    [
        (Media("link"), "https://example.com/page", "/home/fox.html"),
        (Media("link"), "http://example.com", "data:text/plain,fox"),
        (Media("image", schemes=("asset",)), "asset://asset-1", "oss://bucket/fox.png"),
        (Media(("image", "video"), schemes=("oss",)), "OSS://bucket/fox.png?a=1", "oss://"),
        (Media("file"), "/home/fox.pdf", "ftp://example.com/fox.pdf"),
    ],
)
def test_media_argument_takes_the_forms_of_address_of_its_marker(media: Media, takes: str, refuses: str) -> None:
    def read_fox(urls: Annotated[list[str], media], url: Annotated[str, media] | None = None) -> Submission:
        """Read."""
        return Submission("foxes", {"urls": urls, "url": url}, "fox")

    arguments = Arguments(read_fox, hints={"urls": Annotated[list[str], media], "url": Annotated[str, media]})
    assert arguments.check({"urls": [takes], "url": takes}) == {"urls": [takes], "url": takes}
    with pytest.raises(InvalidArgument) as error:
        arguments.check({"urls": [takes, refuses], "url": refuses})
    assert [fault.field for fault in error.value.faults] == ["urls[1]", "url"]
    assert ("or a path of a local file" in str(error.value)) is (media.kinds != ("link",))
