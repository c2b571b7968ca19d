"""Requests and refusals of the Suno tools."""

from typing import Any

import pytest

from kie_ai_mcp import InvalidArgument, Submission
from kie_ai_mcp_suno import tools
from kie_ai_mcp_suno.stems import STEMS
from tests.service.facts import official, schema_of

SONG, PICTURE, CLIP = "https://example.com/a.mp3", "https://example.com/a.png", "https://example.com/a.mp4"


def checked(sent: Submission) -> Submission:
    official(str(sent.model)).validate(sent.body["input"])
    return sent


def music(prompt: str = "a song about rain", **arguments: Any) -> Submission:
    return checked(tools.generate_music(prompt, **arguments))


def test_idea_is_all_that_a_song_needs() -> None:
    sent = music()

    assert sent.body == {
        "model": "ai-music-api/generate",
        "input": {"custom_mode": False, "instrumental": False, "model": "V6", "prompt": "a song about rain"},
    }
    assert sent.notes == ()


def test_song_for_pictures_and_a_clip_takes_a_style_and_a_title() -> None:
    more: dict[str, Any] = {"style": "folk", "title": "Rain", "image_urls": [PICTURE], "video_url": CLIP}
    sent = music(instrumental=True, **more)

    assert sent.body["input"] == {
        "custom_mode": False,
        "instrumental": True,
        "model": "V6",
        "prompt": "a song about rain",
        "style": "folk",
        "title": "Rain",
        "image_urls": [PICTURE],
        "video_urls": [CLIP],
    }


def test_lyrics_are_sung_as_they_are_in_the_style_of_the_prompt() -> None:
    sent = music("slow folk with a cello, in the rain of a long night", lyrics="[Verse]\nDrops", vocal_gender="f")

    assert sent.body["input"] == {
        "custom_mode": True,
        "instrumental": False,
        "model": "V6",
        "lyrics": "[Verse]\nDrops",
        "style": "slow folk with a cello, in the rain of a long night",
        "title": "slow folk with a cello, in the rain of",
        "vocal_gender": "f",
    }
    assert sent.notes == (
        "The prompt was sent as the style.",
        "The title 'slow folk with a cello, in the rain of' was taken from the prompt.",
    )


def test_style_of_its_own_leaves_the_prompt_what_it_is() -> None:
    sent = music(lyrics="Drops", style="folk", title="Rain", duration=60)

    given = {name: sent.body["input"][name] for name in ("prompt", "style", "title", "duration")}
    assert given == {"prompt": "a song about rain", "style": "folk", "title": "Rain", "duration": 60}
    assert sent.notes == ()


def test_instrumental_may_have_a_length() -> None:
    sent = music("rain on tin", instrumental=True, duration=300)

    assert sent.body["input"] == {
        "custom_mode": True,
        "instrumental": True,
        "model": "V6",
        "style": "rain on tin",
        "title": "rain on tin",
        "duration": 300,
    }


def test_all_that_excludes_each_other_is_told_at_once() -> None:
    with pytest.raises(InvalidArgument) as refusal:
        tools.generate_music("rain", lyrics="la", instrumental=True, image_urls=[PICTURE])

    assert [fault.field for fault in refusal.value.faults] == ["lyrics", "image_urls"]


def test_singer_of_words_that_suno_writes_is_asked_for_in_the_prompt() -> None:
    sent = music(vocal_gender="m")

    assert sent.body["input"]["prompt"] == "a song about rain Sung by a man."
    assert "vocal_gender" not in sent.body["input"]
    assert sent.notes == ("vocal_gender was added to the prompt, since Suno writes the words.",)


LONG = {"prompt": "p" * 1_001}


@pytest.mark.parametrize(
    ("arguments", "field", "words", "cures"),
    [
        (
            {"duration": 60},
            "duration",
            "generate_lyrics",
            [{"duration": None}, {"lyrics": "la"}, {"instrumental": True}],
        ),
        ({"duration": 60, "vocal_gender": "f"}, "duration", "give lyrics", [{"duration": None}, {"lyrics": "la"}]),
        ({"duration": 60, "video_url": CLIP}, "duration", "leave it out.", [{"duration": None}]),
        (
            {"lyrics": "la", "image_urls": [PICTURE]},
            "image_urls",
            "leave out lyrics, or image_urls",
            [{"lyrics": None}, {"image_urls": None}],
        ),
        (
            {"lyrics": "la", "duration": 60, "image_urls": [PICTURE], "video_url": CLIP},
            "image_urls",
            "leave out lyrics and duration, or image_urls and video_url",
            [{"lyrics": None, "duration": None}, {"image_urls": None, "video_url": None}],
        ),
        ({"instrumental": True, "lyrics": "la"}, "lyrics", "leave out lyrics", [{"lyrics": None}]),
        (
            {"instrumental": True, "lyrics": "la", "vocal_gender": "m", "duration": 60},
            "lyrics",
            "leave out lyrics and vocal_gender",
            [{"lyrics": None, "vocal_gender": None}],
        ),
        ({**LONG, "lyrics": "la"}, "prompt", "1000 characters; give style", [{"style": "folk"}]),
        ({"prompt": "p" * 2_990, "vocal_gender": "f"}, "prompt", "at most 2983 characters", [{"prompt": "p" * 2_983}]),
    ],
)
def test_what_excludes_each_other_is_refused_with_cures_that_work(
    arguments: dict[str, Any], field: str, words: str, cures: list[dict[str, Any]]
) -> None:
    with pytest.raises(InvalidArgument) as error:
        music(**arguments)

    assert error.value.field == field
    assert words in str(error.value)
    for cure in cures:
        music(**{**arguments, **cure})


def test_song_is_made_longer_from_a_moment_on() -> None:
    sent = checked(tools.extend_music(SONG, continue_at=61.5, lyrics="More drops", style="folk"))

    assert sent.body == {
        "model": "ai-music-api/upload-and-extend-audio",
        "input": {"upload_url": SONG, "model": "V6", "continue_at": 61.5, "lyrics": "More drops", "style": "folk"},
    }
    assert checked(tools.extend_music(SONG)).body["input"] == {"upload_url": SONG, "model": "V6"}


def test_song_is_remade_in_another_style() -> None:
    sent = checked(tools.cover_music(SONG, style="bossa nova", vocal_gender="f"))

    assert sent.body == {
        "model": "ai-music-api/upload-and-cover-audio",
        "input": {"upload_url": SONG, "instrumental": False, "model": "V6", "style": "bossa nova", "vocal_gender": "f"},
    }


@pytest.mark.parametrize("tool", [tools.extend_music, tools.cover_music])
def test_words_of_an_instrumental_are_refused(tool: Any) -> None:
    with pytest.raises(InvalidArgument, match="an instrumental has no voice; leave out lyrics"):
        tool(SONG, lyrics="la", instrumental=True)


@pytest.mark.parametrize(
    ("stems", "body"),
    [
        (None, {"type": "separate_vocal"}),
        ("Vocals", {"type": "separate_vocal"}),
        ("all", {"type": "split_stem"}),
        ("bass", {"type": "split_stem_advanced", "stem_name": "Bass"}),
        (" hi-hat ", {"type": "split_stem_advanced", "stem_name": "Hi-Hat"}),
        ("808", {"type": "split_stem_advanced", "stem_name": "808"}),
    ],
)
def test_song_is_split_as_asked(stems: str | None, body: dict[str, str]) -> None:
    assert checked(tools.separate_music(SONG, stems)).body["input"] == {"audio_url": SONG, **body}


def test_unknown_stem_is_refused_with_the_nearest_names() -> None:
    with pytest.raises(InvalidArgument, match="such as Drum Kit"):
        tools.separate_music(SONG, "drums kit")
    with pytest.raises(InvalidArgument, match="vocals, all, or the name of one, such as Lead Vocal"):
        tools.separate_music(SONG, "zzz")


def test_stems_are_those_of_the_service() -> None:
    assert schema_of("ai-music-api/separate-vocals")["properties"]["stem_name"]["enum"] == [
        name for name in schema_of("ai-music-api/separate-vocals")["properties"]["stem_name"]["enum"] if name in STEMS
    ]
    assert len(STEMS) == 98


def test_lyrics_are_written_about_something() -> None:
    sent = checked(tools.generate_lyrics("rain"))
    assert sent.body == {"model": "ai-music-api/generate-lyrics", "input": {"prompt": "rain"}}


def test_sound_may_have_a_tempo_and_begin_where_it_ends() -> None:
    sent = checked(tools.generate_sound("rain", loop=True, tempo=90))

    assert sent.body == {
        "model": "ai-music-api/sounds",
        "input": {"prompt": "rain", "model": "V6", "sound_loop": True, "sound_tempo": 90},
    }
