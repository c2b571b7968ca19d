"""Masking: no secret remains in a text or a JSON value, and nothing else changes."""

import json
from typing import Any

import pytest

from kie_ai_mcp._settings.load import mask_environment
from kie_ai_mcp._settings.secrets import DEEPEST, Mask
from kie_ai_mcp._settings.settings import Settings

KEY = "kie/secret+0123456789"
AWKWARD = 'nine"\\tails-of-a-cat'


def test_mask_takes_the_key_out_of_text_and_out_of_addresses() -> None:
    settings = Settings.model_validate({"api_key": f" {KEY} "})

    masked = settings.mask.text(f"Bearer {KEY}; https://proxy.example/?key=kie%2Fsecret%2B0123456789&x=1")

    assert masked == "Bearer [key]; https://proxy.example/?key=[key]&x=1"


@pytest.mark.parametrize("api_key", [None, "", " "])
def test_mask_without_a_key_changes_nothing(api_key: str | None) -> None:
    assert Settings.model_validate({"api_key": api_key}).mask.text("as it is") == "as it is"


def test_secret_inside_another_one_leaves_nothing_of_the_longer() -> None:
    assert Mask(["secret", "a-secret-key"]).text("a-secret-key and secret") == "[key] and [key]"


def test_extended_mask_knows_both_secrets_and_the_first_one_only_its_own() -> None:
    first = Mask(["first-key"])

    assert first.extended("second-key").text("first-key, second-key") == "[key], [key]"
    assert first.text("first-key, second-key") == "[key], second-key"


FOLDERS = {"/srv/out": "[output_dir]", "/srv": "[data]", "C:\\kie out": "[C]", "/root": "[home]"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("in /srv/out/a b.png: no space", "in [output_dir]/a b.png: no space"),
        ("'/srv/tasks.db', KIE=/srv:/root", "'[data]/tasks.db', KIE=[data]:[home]"),
        ("file:///srv/out/1.png (/root)", "file://[output_dir]/1.png ([home])"),
        ("{'path': 'C:\\\\kie out\\\\1.png'} C:\\kie out\\2.png", "{'path': '[C]\\\\1.png'} [C]\\2.png"),
        ("/srv/outer", "[data]/outer"),
        ("/srv2, /data/srv, ./srv, ~/srv, /root-cause", "/srv2, /data/srv, ./srv, ~/srv, /root-cause"),
        ("https://a.example/srv/out/1.png?p=/srv", "https://a.example/srv/out/1.png?p=/srv"),
        ("kie://files/1/srv data:image/png;base64,A+/srv/out+", "kie://files/1/srv data:image/png;base64,A+/srv/out+"),
    ],
)
def test_folders_are_hidden_and_addresses_stay(text: str, shown: str) -> None:
    mask = Mask(["first-key"]).hiding(FOLDERS).extended("second-key")
    assert mask.text(f"{text} second-key") == f"{shown} [key]"
    assert mask.json({text: [text]}) == {shown: [shown]}


def test_secret_too_short_to_be_one_is_left_alone() -> None:
    assert Mask(["", "a", "short"]).text("a short text") == "a short text"


def test_environment_is_masked_before_there_are_settings() -> None:
    mask = mask_environment({"KIE_AI_API_KEY": f" {KEY} ", "KIE_AI_HTTP_TOKEN": "a-token-of-the-tests"})

    assert mask.text(f"{KEY}, a-token-of-the-tests") == "[key], [key]"


@pytest.mark.parametrize("secret", [KEY, AWKWARD, "schlüssel-ä", "n-secret"])
@pytest.mark.parametrize("spell", [str, lambda text: json.dumps(text)[1:-1], lambda text: text.replace("/", "\\/")])
def test_secret_is_masked_in_every_string_of_a_json_value(secret: str, spell: Any) -> None:
    text = f"before\n{spell(secret)}\nafter"

    masked = Mask([secret]).json({"text": text, "list": [1, None, True, [text]], text: {"deep": text}})

    clean = "before\n[key]\nafter"
    assert masked == {"text": clean, "list": [1, None, True, [clean]], clean: {"deep": clean}}


@pytest.mark.parametrize(
    "value", [{}, [], "text", 1.5, None, {"a": ["b", {"c": "\ud800 \\u0041 ä"}]}, ["kie/", "secret+0123456789"]]
)
def test_json_value_without_a_secret_is_returned_as_it_is(value: Any) -> None:
    assert Mask([KEY]).json(value) is value


@pytest.mark.parametrize("text", ["", KEY])
@pytest.mark.parametrize("wrap", [lambda value: [value], lambda value: {"a": value}])
def test_value_nested_deeper_than_any_answer_is_refused(wrap: Any, text: str) -> None:
    value: Any = text
    for _ in range(DEEPEST):
        value = wrap(value)

    assert KEY not in json.dumps(Mask([KEY]).json(value))
    with pytest.raises(ValueError, match=f"more than {DEEPEST} times"):
        Mask([KEY]).json(wrap(value))
    assert Mask([KEY]).json(wrap(value), deepest=DEEPEST + 1)


def test_wide_value_is_not_taken_for_a_deep_one() -> None:
    value: list[Any] = [[{}] for _ in range(DEEPEST)]

    assert Mask([KEY]).json(value) == value


def test_value_too_deep_to_be_written_is_refused() -> None:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]

    with pytest.raises(ValueError, match=f"more than {DEEPEST} times"):
        Mask([KEY]).json(value)
