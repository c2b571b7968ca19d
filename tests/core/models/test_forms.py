"""Forms: how each model writes a tool's arguments, and which of them is chosen."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from kie_ai_mcp import Choice, Family, Form, InvalidArgument, Media, Model, Price, PriceLine, Rule


def model(
    model_id: str, credits: float, fields: Mapping[str, Any], *rules: Rule, required: tuple[str, ...] = ()
) -> Model:
    schema = {"type": "object", "properties": dict(fields), "required": list(required), "additionalProperties": False}
    return Model(model_id, model_id, "video", "text-to-video", schema, rules=rules, price=Price((PriceLine(credits),)))


TEXT = {"type": "string"}
LENGTH = {"type": "string", "enum": ["5", "10"], "default": "5"}
PLAIN = model("plain", 10, {"prompt": {**TEXT, "maxLength": 20}, "duration": LENGTH}, required=("prompt", "duration"))
FRAMES = model("frames", 20, {"prompt": TEXT, "first": TEXT, "last": TEXT, "mode": {**TEXT, "enum": ["std", "4K"]}})
FREE = model(
    "free",
    30,
    {
        "prompt": TEXT,
        "seconds": {"type": "integer", "minimum": 3, "maximum": 15},
        "image_urls": {"type": "array", "items": TEXT, "maxItems": 2},
        "strength": {"type": "number", "minimum": 0.1, "maximum": 1},
        "aspect_ratio": TEXT,
    },
    Rule("limit", ("strength",), step=0.1),
    Rule("only_with", ("aspect_ratio",), when={"image_urls": None}, soft=True),
)
FORMS = (
    Form("plain", "1", implied={"sound": (False,)}, reasons={"seed": "Made 1 draws by lot"}),
    Form("frames", "2", {"imageUrls": ("first", "last"), "resolution": "mode"}, {"resolution": {"720p": "std"}}),
    Form(
        "free",
        "3",
        {"duration": "seconds", "imageUrl": "image_urls", "last": "image_urls", "only": ("image_urls",)},
        appended={"style": "Style: {}."},
    ),
)


class Made(Family):
    models = {each.id: each for each in (PLAIN, FRAMES, FREE)}  # noqa: RUF012  in place of a data file


def choose(named: str | None = None, instead: Mapping[str, Any] | None = None, **asked: Any) -> Choice:
    return Made("tests", "Made").choose(FORMS, {"prompt": "a fox", **asked}, named, instead=instead)


def refusal(named: str | None = None, instead: Mapping[str, Any] | None = None, **asked: Any) -> InvalidArgument:
    with pytest.raises(InvalidArgument) as found:
        choose(named, instead, **asked)
    return found.value


@pytest.mark.parametrize(
    ("asked", "chosen", "sent"),
    [
        ({}, "plain", {"duration": "5"}),
        ({"duration": 10}, "plain", {"duration": "10"}),
        ({"sound": False}, "plain", {"duration": "5"}),
        ({"duration": 7}, "free", {"seconds": 7}),
        ({"resolution": "720p"}, "frames", {"mode": "std"}),
        ({"resolution": "auto"}, "frames", {}),
        ({"imageUrls": ["a", "b"]}, "frames", {"first": "a", "last": "b"}),
        ({"imageUrl": "a"}, "free", {"image_urls": ["a"]}),
        ({"imageUrl": "a", "last": "b"}, "free", {"image_urls": ["a", "b"]}),
        ({"only": ["a"]}, "free", {"image_urls": ["a"]}),
        ({"prompt": "a fox in deep winter snow"}, "frames", {"prompt": "a fox in deep winter snow"}),
    ],
)
def test_cheapest_form_that_takes_the_whole_call_is_chosen(
    asked: dict[str, Any], chosen: str, sent: dict[str, Any]
) -> None:
    choice = choose(**asked)

    assert choice.model.id == chosen
    assert choice.input == {"prompt": "a fox", **sent}
    assert any("was chosen" in note for note in choice.notes)


def test_named_form_is_used_though_it_costs_more_and_nothing_is_said_of_it() -> None:
    assert choose("3").model.id == choose("free").model.id == "free"
    assert choose("3").notes == ()


def test_preferred_form_is_used_where_it_takes_the_call_whatever_it_costs() -> None:
    family = Made("tests", "Made")

    assert family.choose(FORMS, {"prompt": "a fox"}, preferred=FORMS[2:]).model.id == "free"
    assert family.choose(FORMS, {"duration": 5, "prompt": "a fox", "sound": False}, preferred=FORMS[2:]).model is PLAIN


def test_faults_that_the_tool_finds_are_told_with_those_of_the_form() -> None:
    own = [InvalidArgument("shots", 9, "at most 5")]
    with pytest.raises(InvalidArgument) as found:
        Made("tests", "Made").choose(FORMS, {"prompt": "a fox", "duration": 99}, faults=own)
    assert [fault.field for fault in found.value.faults] == ["shots", "duration"]
    with pytest.raises(InvalidArgument, match="at most 5"):
        Made("tests", "Made").choose(FORMS, {"prompt": "a fox"}, "1", faults=own)


def test_items_beyond_the_one_field_for_each_are_refused() -> None:
    assert "at most 1, 2 were given" in refusal("3", only=["a", "b"]).message


def test_number_between_two_steps_is_rounded_and_said() -> None:
    choice = choose(strength=0.37)

    assert choice.input["strength"] == 0.4
    assert "strength 0.37 was rounded to 0.4" in choice.notes[-1]


def test_argument_that_a_model_understands_as_words_is_appended_and_said() -> None:
    choice = choose(style="noir")

    assert choice.input["prompt"] == "a fox\nStyle: noir."
    assert choice.notes[-1] == "Made 3 has no style: 'Style: noir.' was appended to the prompt."


def test_choice_that_is_left_to_the_service_is_said() -> None:
    assert choose(resolution="Auto").notes[-1] == "resolution Auto was left out: the service chooses."


def test_model_without_a_known_price_is_not_called_the_cheapest() -> None:
    class Unpriced(Family):
        models = {"plain": replace(PLAIN, price=None), "frames": FRAMES, "free": FREE}  # noqa: RUF012

    choice = Unpriced("tests", "Made").choose(FORMS[:1] * 2 + FORMS[1:], {"prompt": "a", "duration": 5, "sound": False})
    assert choice.notes == ("Made 1 was chosen: the first model that takes the whole call.",)


def test_form_that_ignores_part_of_a_call_says_so() -> None:
    notes = choose("3", imageUrl="a", aspect_ratio="16:9").notes

    assert notes == ("The service ignores aspect_ratio: only without imageUrl.",)


def test_argument_that_was_left_out_is_named_as_the_tool_names_it() -> None:
    rule = Rule("only_with", ("aspect_ratio",), when={"image_urls": "*"})
    family = Made("tests", "Made")
    family.models = {"free": replace(FREE, rules=(rule,))}
    with pytest.raises(InvalidArgument, match="only with pictureUrls; leave out shape"):
        family.choose(
            [Form("free", fields={"shape": "aspect_ratio", "pictureUrls": "image_urls"})],
            {"pictureUrls": None, "prompt": "a fox", "shape": "16:9"},
        )


def test_every_fault_of_a_named_form_is_told_in_the_words_of_the_tool() -> None:
    error = refusal("2", duration=5, resolution="1080p", imageUrls=["a", "b", "c"])

    assert [fault.field for fault in error.faults] == ["duration", "resolution", "imageUrls"]
    assert "Made 2 has no such setting" in error.message
    assert "Made 2 takes '720p'" in error.message
    assert "at most 2, 3 were given" in error.message


OTHER = {"tool": "draw_fox", "arguments": {"prompt": "a fox"}}


def test_refusal_of_a_named_form_names_those_that_take_the_whole_call() -> None:
    error = refusal("1", OTHER, duration=7)

    assert "The whole call is taken by model='3'." in error.message
    assert error.instead == OTHER
    with pytest.raises(InvalidArgument, match="is taken by taskType='3'"):
        Made("tests", "Made").choose(FORMS, {"prompt": "a fox", "duration": 7}, "1", by="taskType")


def test_name_of_no_form_is_refused_with_those_that_there_are() -> None:
    assert "use one of '1', '2'" in refusal("7").message


def test_what_no_form_takes_is_told_of_the_one_that_comes_nearest() -> None:
    error = refusal(duration=99)

    assert error.field == "duration"
    assert "is taken by" not in error.message
    assert error.instead is None


def test_call_of_another_tool_is_told_where_no_form_takes_this_one() -> None:
    error = refusal(None, OTHER, duration=99)

    assert error.instead == OTHER
    assert error.message.endswith("draw_fox can do it.")


def test_what_is_missing_is_named_as_the_tool_names_it() -> None:
    class Needs(Family):
        models = {"last": model("last", 1, {"last_frame": TEXT}, required=("last_frame",))}  # noqa: RUF012  as above

    with pytest.raises(InvalidArgument, match="lastFrame: Made 4 needs it; give text") as found:
        Needs("tests", "Made").choose((Form("last", "4"),), {"lastFrame": None})
    assert found.value.field == "lastFrame"


def test_form_that_has_a_field_for_everything_comes_nearest() -> None:
    error = refusal(duration=7, strength=2)

    assert [fault.field for fault in error.faults] == ["strength"]
    assert "at most 1" in error.message


def test_number_that_a_model_takes_as_text_is_told_as_a_number() -> None:
    assert "use one of 5, 10" in refusal("1", duration=7).message


def test_price_by_the_seconds_of_a_file_is_compared_for_a_usual_length() -> None:
    def by_sound(model_id: str, credits: float) -> Model:
        fields = model(model_id, 1, {"audio_url": TEXT, "duration": TEXT})
        media = {"audio_url": Media("audio", most_s=None if model_id == "cheap" else 60)}
        return replace(fields, media=media, price=Price((PriceLine(credits, per="~audio_url"),)))

    class Sounds(Family):
        models = {each.id: each for each in (by_sound("dear", 27), by_sound("cheap", 3))}  # noqa: RUF012  as above

    choice = Sounds("tests", "Made").choose((Form("dear"), Form("cheap")), {"audio_url": "https://me.example/a.mp3"})
    assert choice.notes == ("cheap was chosen: the cheapest model that takes the whole call.",)


def test_form_says_why_it_lacks_a_setting() -> None:
    assert refusal("1", seed=7).message == "seed: 7 is not accepted: Made 1 draws by lot; leave it out."


def test_own_address_is_asked_in_camel_case_and_the_market_is_its_other_form() -> None:
    choice = choose(strength=0.4, imageUrl="a", aspect_ratio="16:9")

    sent = choice.own("acme/free", "acme", "https://me.example", model="f", names={"aspect_ratio": "aspect_ratio"})

    fields = {"imageUrls": ["a"], "strength": 0.4, "aspect_ratio": "16:9", "callBackUrl": "https://me.example"}
    assert sent.body == {"prompt": "a fox", **fields}
    assert (sent.path, sent.model, sent.estimated_credits, sent.notes) == ("acme/free", "f", 30, choice.notes)
    assert sent.otherwise == choice.submission("acme", "https://me.example")
