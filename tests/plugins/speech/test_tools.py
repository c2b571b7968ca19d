"""Requests and refusals of the speech tools, and the model that they choose."""

from typing import Any

import pytest

from kie_ai_mcp import InvalidArgument, Submission
from kie_ai_mcp_speech.tools import FAILED, TURN_CHARS, generate_speech, isolate_voice
from kie_ai_mcp_speech.voices import GEMINI
from tests.service.facts import official, schema_of

LITE, FLASH = "google/gemini-3-8-flash-lite-tts", "google/gemini-3-8-flash-tts"
ID = "TX3LPaxmHKxFdv7VOQHJ"
OTHER_ID = "N2lVS1w4EtoT3dr4eOWO"
CHOSEN = "{} was chosen: the cheapest model that takes the whole call."
WORDS = "Ann: Good morning.\nHow are you?\n\n Ben: Fine: thanks.\nAnn: Good."
NAMES = {"Ann": "Kore", "Ben": "puck"}


def speech(text: str = "Good morning.", **arguments: Any) -> Submission:
    sent = generate_speech(text, **arguments)
    official(str(sent.model)).validate(sent.body["input"])
    return sent


def test_text_is_read_aloud_by_the_cheapest_model() -> None:
    sent = speech()

    assert sent.body == {
        "model": LITE,
        "input": {
            "speakers": [{"speaker_id": "Speaker 1"}],
            "dialogue_turns": [{"speaker_id": "Speaker 1", "text": "Good morning."}],
        },
    }
    assert sent.notes == (CHOSEN.format("gemini-lite"),)


def test_voice_and_way_of_saying_it_are_sent() -> None:
    sent = speech(voice="ZEPHYR", style="a whisper", model="gemini")

    assert (sent.model, sent.notes) == (FLASH, ())
    assert sent.body["input"] == {
        "speakers": [{"speaker_id": "Speaker 1", "voice_name": "Zephyr"}],
        "dialogue_turns": [{"speaker_id": "Speaker 1", "text": "Good morning.", "style": "a whisper"}],
    }


def test_dialogue_is_spoken_in_turns_by_the_voices_of_its_speakers() -> None:
    assert speech(WORDS, voices={"Nobody": "Fola", **NAMES}).body["input"] == {
        "speakers": [
            {"speaker_id": "Speaker 1", "voice_name": "Kore"},
            {"speaker_id": "Speaker 2", "voice_name": "Puck"},
        ],
        "dialogue_turns": [
            {"speaker_id": "Speaker 1", "text": "Good morning.\nHow are you?"},
            {"speaker_id": "Speaker 2", "text": "Fine: thanks."},
            {"speaker_id": "Speaker 1", "text": "Good."},
        ],
    }


@pytest.mark.parametrize("mark", ["\n", ". ", " ", "-"])
def test_long_text_is_read_in_parts_that_lose_nothing(mark: str) -> None:
    text = mark.join(["word" * 25] * 190)

    turns = [turn["text"] for turn in speech(text).body["input"]["dialogue_turns"]]

    assert len(turns) == 2
    assert max(map(len, turns)) <= TURN_CHARS
    assert "".join(turns).replace(mark.strip() or "\n", "").replace(" ", "") == text.replace(mark, "")


@pytest.mark.parametrize(
    ("arguments", "model", "body"),
    [
        ({"voice": ID}, "elevenlabs/text-to-speech-turbo-2-5", {"text": "Good morning.", "voice": ID}),
        ({"model": "elevenlabs"}, "elevenlabs/text-to-speech-turbo-2-5", {"text": "Good morning."}),
        (
            {"model": "elevenlabs-multilingual"},
            "elevenlabs/text-to-speech-multilingual-v2",
            {"text": "Good morning.", "voice": "EkK5I93UQWFDigLMpZcX"},
        ),
        (
            {"text": WORDS, "voices": {"Ann": ID, "Ben": OTHER_ID}},
            "elevenlabs/text-to-dialogue-v3",
            {
                "dialogue": [
                    {"text": "Good morning.\nHow are you?", "voice": ID},
                    {"text": "Fine: thanks.", "voice": OTHER_ID},
                    {"text": "Good.", "voice": ID},
                ]
            },
        ),
    ],
)
def test_voice_or_model_of_elevenlabs_is_bought_there_with_a_warning(
    arguments: dict[str, Any], model: str, body: dict[str, Any]
) -> None:
    sent = speech(**arguments)

    assert (sent.model, sent.body["input"]) == (model, body)
    assert FAILED in sent.notes[-1]


@pytest.mark.parametrize(
    ("arguments", "field", "words", "cure"),
    [
        ({"voice": "Kore", "voices": NAMES, "text": WORDS}, "voice", "only one of the two", {"voice": None}),
        ({"voice": "Rachel"}, "voice", "use Kore, Puck", {"voice": "Kore"}),
        ({"voice": "Rachel"}, "voice", "or model='elevenlabs'", {"model": "elevenlabs"}),
        ({"voices": {"Ann": "Rachel"}, "text": WORDS}, "voices", "model='elevenlabs'", {"model": "elevenlabs"}),
        ({"voice": "Kore", "model": "elevenlabs"}, "voice", "model='gemini'", {"model": "gemini"}),
        ({"voices": NAMES, "text": WORDS, "model": "elevenlabs"}, "voices", "model='gemini'", {"model": "gemini"}),
        ({"voice": "Rachel", "style": "loud"}, "voice", "another of its names.", {"voice": "Kore"}),
        ({"voices": {"Ann": "Kore", "Ben": "Rachel"}, "text": WORDS}, "voices", "of its names.", {"voices": NAMES}),
        (
            {"voices": {"Ann": "Kore", "Ben": ID}, "text": WORDS},
            "voices",
            "give an id of ElevenLabs.",
            {"voices": {"Ann": ID, "Ben": ID}},
        ),
        ({"voice": ID, "style": "loud"}, "style", "takes none; leave it out.", {"style": None}),
        ({"model": "elevenlabs", "style": "loud"}, "style", "or use model='gemini'", {"model": "gemini"}),
        ({"voice": ID, "text": "x" * 5_001}, "text", "voices such as Kore", {"voice": "Kore"}),
        ({"text": "Hello.\nAnn: Hi.", "voices": NAMES}, "text", "one of Ann: Ben:", {"text": "Ann: Hello."}),
        (
            {"text": WORDS, "voices": {"Ann": ID, "Ben": ID}, "model": "elevenlabs-multilingual"},
            "voices",
            "use model='elevenlabs'",
            {"model": "elevenlabs"},
        ),
    ],
)
def test_what_no_model_takes_is_refused_with_a_cure_that_works(
    arguments: dict[str, Any], field: str, words: str, cure: dict[str, Any]
) -> None:
    with pytest.raises(InvalidArgument) as error:
        speech(**arguments)

    assert error.value.field == field
    assert words in str(error.value)
    speech(**{**arguments, **cure})


def test_voices_are_those_of_the_service() -> None:
    for model in (LITE, FLASH):
        listed = schema_of(model)["properties"]["speakers"]["items"]["properties"]["voice_name"]["enum"]
        assert set(listed) == GEMINI


def test_voice_is_taken_out_of_its_noise_with_a_warning() -> None:
    sent = isolate_voice("https://example.com/a.mp3")

    official("elevenlabs/audio-isolation").validate(sent.body["input"])
    assert sent.body == {"model": "elevenlabs/audio-isolation", "input": {"audio_url": "https://example.com/a.mp3"}}
    assert sent.notes == (f"{FAILED}; where this one fails, too, separate_music takes a voice out.",)
