"""Requests and refusals of the talking tools, and the model that they choose."""

from typing import Any

import pytest

from kie_ai_mcp import InvalidArgument, Submission
from kie_ai_mcp_talking.tools import SPEAKS, generate_talking_video, lip_sync_video
from tests.service.facts import official

FACE, CLIP = "https://example.com/a.png", "https://example.com/a.mp4"
MP3, WAV = "https://example.com/a.mp3", "https://example.com/a.WAV?x=1"
CHOSEN = "{} was chosen: the cheapest model that takes the whole call."


def talk(audio_url: str = MP3, **arguments: Any) -> Submission:
    sent = generate_talking_video(FACE, audio_url, **arguments)
    official(str(sent.model)).validate(sent.body["input"])
    return sent


def sync(**arguments: Any) -> dict[str, Any]:
    sent = lip_sync_video(CLIP, MP3, **arguments)
    official(str(sent.model)).validate(sent.body["input"])
    return dict(sent.body["input"])


def test_photo_talks_by_the_cheapest_model() -> None:
    sent = talk()

    assert sent.body == {
        "model": "infinitalk/from-audio",
        "input": {"image_url": FACE, "audio_url": MP3, "prompt": SPEAKS},
    }
    assert sent.notes == (CHOSEN.format("infinitalk"), f"The service wants a prompt; {SPEAKS!r} was sent.")


def test_what_is_said_of_the_scene_is_sent_in_its_place() -> None:
    sent = talk(prompt="She smiles", resolution="720p")

    assert sent.body["input"]["prompt"] == "She smiles"
    assert sent.body["input"]["resolution"] == "720p"
    assert sent.notes == (CHOSEN.format("infinitalk"),)


@pytest.mark.parametrize(
    ("audio_url", "arguments", "size"),
    [(MP3, {"resolution": "1080p"}, "1080"), (WAV, {}, None), (WAV, {"resolution": "720p"}, "720")],
)
def test_what_infinitalk_does_not_take_is_made_by_omnihuman(
    audio_url: str, arguments: dict[str, Any], size: str | None
) -> None:
    sent = talk(audio_url, **arguments)

    assert sent.model == "omnihuman-1-5"
    assert sent.body["input"] == {
        "image_url": FACE,
        "audio_url": audio_url,
        **({"output_resolution": size} if size else {}),
    }
    assert sent.notes == (CHOSEN.format("omnihuman"),)


@pytest.mark.parametrize(
    ("arguments", "field", "words", "cure"),
    [
        (
            {"audio_url": WAV, "model": "infinitalk"},
            "audio_url",
            "The whole call is taken by model='omnihuman'",
            {"model": "omnihuman"},
        ),
        ({"audio_url": WAV, "resolution": "480p"}, "audio_url", "takes .MP3, AAC", {"audio_url": MP3}),
        ({"audio_url": WAV, "prompt": "p" * 301}, "audio_url", "takes .MP3, AAC", {"audio_url": MP3}),
        ({"resolution": "1080p", "prompt": "p" * 301}, "prompt", "300 characters", {"prompt": "p" * 300}),
        ({"resolution": "480p", "model": "omnihuman"}, "resolution", "model='infinitalk'", {"model": "infinitalk"}),
        ({"prompt": "p" * 301, "model": "omnihuman"}, "prompt", "300 characters", {"prompt": "p" * 300}),
    ],
)
def test_what_no_model_takes_is_refused_with_a_cure_that_works(
    arguments: dict[str, Any], field: str, words: str, cure: dict[str, Any]
) -> None:
    with pytest.raises(InvalidArgument, match=words) as error:
        talk(**arguments)

    assert error.value.field == field
    talk(**{**arguments, **cure})


def test_named_model_is_bought_without_a_word() -> None:
    assert talk(model="omnihuman").notes == ()
    assert talk(model="infinitalk", prompt="She smiles").notes == ()


def test_lips_follow_a_sound_in_the_mode_that_is_needed() -> None:
    assert sync() == {"mode": "lite", "video_url": CLIP, "audio_url": MP3}
    assert sync(separate_vocal=True)["separate_vocal"] is True
    assert sync(open_scenedet=True)["mode"] == "basic"
    assert sync(mode="basic", open_scenedet=False)["open_scenedet"] is False


def test_cuts_are_not_looked_for_in_mode_lite() -> None:
    with pytest.raises(InvalidArgument, match="use mode='basic'") as error:
        sync(mode="lite", open_scenedet=True)

    assert error.value.field == "open_scenedet"
    assert sync(mode="basic", open_scenedet=True)["mode"] == "basic"
