"""Search: everyday words lead to a right tool or model within the first three lines."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kie_ai_mcp._app.app import App
from kie_ai_mcp._app.tools import offers
from kie_ai_mcp._models.lengths import Wish, wish_in
from kie_ai_mcp._models.search import GENERAL, Offer, best, offer_of_tool
from kie_ai_mcp._providers.loader import Plugins
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp.specs import Provider

TOOLS = Plugins(Settings.model_validate({})).tools

REQUESTS = {
    "remove the background of this photo": ("remove_background", "recraft/remove-background"),
    "make this picture larger": ("upscale_image", "topaz/image-upscale", "recraft/crisp-upscale"),
    "upscale a video to 4k": ("upscale_video", "topaz/video-upscale"),
    "a song about the sea": ("generate_music", "ai-music-api/generate"),
    "read this text aloud": ("generate_speech",),
    "text to speech": ("generate_speech",),
    "a talking avatar": ("generate_talking_video", "generate_kling_avatar_video"),
    "make this photo talk with this sound": ("generate_talking_video", "generate_kling_avatar_video"),
    "lip sync a video": ("lip_sync_video", "volcengine/video-to-video-lip-sync"),
    "the cheapest draft of a picture": ("z-image", "nano-banana-2-1", "google/nano-banana"),
    "the cheapest draft": ("z-image", "generate_seedream_image"),
    "what would it cost": ("generate_nano_banana", "generate_seedream_image", "generate_gpt_image"),
    "four variants of a picture": ("generate_nano_banana", "generate_seedream_image", "generate_gpt_image"),
    "cheap video": ("generate_runway_gen3_video", "generate_seedance_video"),
    "Seedream": ("generate_seedream_image", "edit_seedream_image"),
    "Wan": ("generate_wan_video", "generate_wan_image"),
    "Hailuo": ("hailuo/02-text-to-video-pro", "hailuo/02-text-to-video-standard", "hailuo/2-3-image-to-video-pro"),
    "Grok": ("grok-imagine/text-to-image", "grok-imagine-image-2-0/text-to-image"),
    "Grok video": ("grok-imagine/text-to-video", "grok-imagine/image-to-video", "grok-imagine-video-1-5-preview"),
    "Seedance": ("generate_seedance_video",),
    "GPT image": ("generate_gpt_image", "generate_gpt4o_image"),
    "lyrics for a song": ("generate_lyrics",),
    "separate the vocals of a track": ("separate_music", "ai-music-api/separate-vocals"),
    "sound effect of rain": ("generate_sound", "ai-music-api/sounds"),
    "extend this video": ("veo/extend", "grok-imagine/extend", "extend_veo3_video", "extend_runway_video"),
    "Qwen": ("qwen3/text-to-image", "qwen/text-to-image", "qwen2-1/text-to-image", "qwen/image-edit"),
    "edit this picture": ("edit_nano_banana", "edit_seedream_image", "edit_gpt_image", "edit_flux_image"),
    "animate a photo": ("generate_kling_video", "generate_seedance_video", "generate_veo3_video", "generate_wan_video"),
    "clean the noise from a voice recording": ("isolate_voice", "elevenlabs/audio-isolation"),
    "Midjourney": ("generate_midjourney_image",),
    "make my portrait speak": ("generate_talking_video", "generate_kling_avatar_video"),
    "talking head from a photo and a voice recording": ("generate_talking_video", "generate_kling_avatar_video"),
    "voice over for a video": ("generate_speech",),
    "video with sound": ("generate_seedance_video", "generate_kling_video", "generate_veo3_video"),
    "best video": ("generate_veo3_video", "generate_kling_video", "generate_seedance_video"),
    "best image": ("generate_gpt_image", "generate_ideogram_image", "generate_flux_image", "generate_nano_banana"),
    "remove object from photo": ("edit_nano_banana", "edit_gpt_image", "edit_ideogram_image", "edit_seedream_image"),
    "watermark remove": ("edit_nano_banana", "edit_gpt_image", "edit_ideogram_image", "edit_seedream_image"),
    "inpaint": ("edit_ideogram_image",),
    "logo with text": ("generate_ideogram_image", "generate_gpt_image", "generate_nano_banana"),
    "upscale this": ("upscale_image", "upscale_video"),
    "remove background": ("remove_background",),
    "song": ("generate_music",),
    "sound effect": ("generate_sound",),
    "lip sync": ("lip_sync_video",),
    "4k video": ("upscale_video", "get_veo3_4k_video"),
    "cheapest video": ("generate_runway_gen3_video", "generate_seedance_video"),
    "extend a clip": ("extend_veo3_video", "extend_runway_video"),
    "restore an old photo": ("edit_nano_banana",),
    "face swap": ("edit_nano_banana",),
    "animate a picture": ("generate_runway_gen3_video", "generate_seedance_video"),
    "clean up audio": ("isolate_voice",),
    "background music": ("generate_music",),
    "make him dance": ("generate_kling_motion_video",),
    "draw a cat": ("generate_seedream_image",),
}
"""Words, and names of which one is right; a line also names the tool that does the same."""


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> App:
    app = App.open(Settings.model_validate({"db_path": tmp_path_factory.mktemp("search") / "tasks.db"}))
    app.engine.record.close()
    return app


@pytest.fixture(scope="module")
def everything(opened: App) -> list[Offer]:
    return list(offers(opened.engine))


@pytest.mark.parametrize("words", REQUESTS)
def test_everyday_words_find_the_right_thing_in_three_lines(everything: list[Offer], words: str) -> None:
    first = [name for offer in best(everything, words, None, None)[:3] for name in (offer.name, offer.tool)]
    assert set(REQUESTS[words]) & set(first), first


README = {
    "Make a picture of a lighthouse above a sea of clouds, 16:9.": "generate_seedream_image",
    "Remove the background of ~/Pictures/shoe.jpg and put it on a wooden table.": "remove_background",
    "Turn that into a clip of 5 seconds; the cheapest way, please. What will it cost?": "generate_runway_gen3_video",
    "Let the person in this photo say what I recorded in ~/Music/hello.mp3.": "generate_talking_video",
    "Write a cheerful song about Monday, 2 minutes, and show me the lyrics first.": "generate_music",
    "Which models make a clip larger and sharper, and for how much?": "upscale_video",
}
"""What the README proposes to ask for."""

SPEAKERS = {
    **dict.fromkeys(
        (
            "photo of a person says my recording",
            "make this photo say hello",
            "let this face speak with my voice",
            "let my grandmother's portrait say what I recorded",
            "my dog's photo should speak this recording",
            "the woman in the picture speaks my voice message",
            "make my avatar say this audio",
            "lip sync this photo to my recording",
            "let her say what is in hello.wav",
            "make the man in this picture sing my song",
            "a video in which the photo reads my recording",
            "clip of my face saying what I recorded",
            "animate this portrait so that it says my recording",
            "the character in this drawing talks",
            "make ~/Pictures/face.jpg speak ~/Music/song.wav",
            "turn my selfie into a singing video with this song",
            "cheapest way to let this portrait speak my recording",
            "voice recording plus portrait to video",
            "give this photo a voice",
            "bring this photo to life with my voice",
            "make someone in a picture lip-sync to a song",
        ),
        "generate_talking_video",
    ),
    "talking photo with Kling": "generate_kling_avatar_video",
    "make this clip say my recording": "lip_sync_video",
    "edit ~/Videos/me.mp4 so that I say what is in new.wav": "lip_sync_video",
    "read this story with the voice of a woman": "generate_speech",
    "a speech in the voice of an old man": "generate_speech",
    "speak this text": "generate_speech",
    "say these words out loud": "generate_speech",
    "a song that a girl sings with a sad voice": "generate_music",
    "cover this song with my voice": "cover_music",
    "remove the background of ~/Pictures/talking-head.png": "remove_background",
    "separate ~/Videos/song.mp3 into stems": "separate_music",
    "a poster that says SALE": "generate_seedream_image",
    "a photo of a sign that says open": "generate_seedream_image",
    "make a picture of a man talking on the phone": "generate_seedream_image",
    "a clip of a man who sings": "generate_veo3_video",
    "video of a woman talking": "generate_veo3_video",
    "clip with speech": "generate_veo3_video",
    "short film with spoken dialogue": "generate_veo3_video",
    "video that includes audio": "generate_seedance_video",
    "video of a band playing music": "generate_seedance_video",
    "picture with a speech bubble that says hello": "generate_seedream_image",
    "voice over for my slideshow of pictures": "generate_speech",
    "2 minutes of music": "generate_music",
}
"""Words for what is to speak, and words that sound like them."""

FIRST = {
    **README,
    **SPEAKERS,
    "music": "generate_music",
    "a song about rain": "generate_music",
    "text to speech": "generate_speech",
    "make this photo talk with this sound": "generate_talking_video",
    "stems of this track": "separate_music",
    "remove the vocals": "separate_music",
    "extend a song": "extend_music",
    "cover song": "cover_music",
    "sound effect": "generate_sound",
    "cheapest speech": "generate_speech",
    "inpaint": "edit_ideogram_image",
    "lip sync": "lip_sync_video",
    "four variants of a picture": "generate_seedream_image",
    "talking photo": "generate_talking_video",
    "make it bigger": "upscale_image",
    "music with lyrics": "generate_music",
    "speech from text": "generate_speech",
    "dub a video": "lip_sync_video",
    "podcast": "generate_speech",
    "upscale a video to 4k": "upscale_video",
}
"""Words of which one tool is meant."""


@pytest.mark.parametrize("words", FIRST)
def test_tool_that_does_just_what_is_asked_comes_first(opened: App, everything: list[Offer], words: str) -> None:
    wish, _ = wish_in(words)
    assert best(offers(opened.engine, wish) if wish else everything, words, None, None)[0].name == FIRST[words]


def test_readme_asks_for_what_the_search_is_tried_with() -> None:
    text = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8").partition("## Ask for something")[2]
    assert re.findall(r'^- "(.+)"$', text.partition("\n## ")[0], re.MULTILINE) == [*README]


@pytest.mark.parametrize(
    "words", ["cheapest clip with speech", "cheap video with sound", "cheapest 5 second video that has dialogue"]
)
def test_clip_with_sound_is_cheapest_at_its_price_with_sound(opened: App, words: str) -> None:
    found = best(offers(opened.engine, wish_in(words)[0]), words, None, None)
    assert "with sound" in found[0].line
    assert (found[0].name, found[0].credits) == ("generate_seedance_video", 35.0)
    assert {offer.kind for offer in found} == {"video"}
    assert all(offer.fits for offer in found[:5])
    assert "generate_runway_gen3_video" not in {offer.name for offer in found}


@pytest.mark.parametrize("words", ["cheapest silent clip", "cheapest video without sound", "cheapest video"])
def test_clip_for_which_no_sound_is_asked_has_its_price_without(opened: App, words: str) -> None:
    found = best(offers(opened.engine, wish_in(words)[0]), words, None, None)
    assert found[0].name == "generate_runway_gen3_video"
    assert "with sound" not in found[0].line


def test_lowest_price_with_sound_is_of_a_model_that_has_it(opened: App) -> None:
    prices = {offer.name: offer.price for offer in offers(opened.engine, Wish(sound=True))}
    assert prices["generate_kling_video"] == "usually 90 credits"
    assert prices["generate_veo3_video"] == "usually 60 credits, from 30"


def test_what_does_all_that_is_asked_comes_before_what_does_a_part(everything: list[Offer]) -> None:
    found = best(everything, "talking photo", None, None)
    assert [offer.name for offer in found[:2]] == ["generate_talking_video", "generate_kling_avatar_video"]
    assert {offer.kind for offer in found[:4]} == {"video"}


def test_of_equals_the_one_of_the_lower_rate_comes_first(everything: list[Offer]) -> None:
    found = [offer for offer in best(everything, "voice over", None, None) if "/1000" in offer.price]
    assert found[0].name == "generate_speech"
    assert found[1].name == "google/gemini-3-8-flash-lite-tts"


def test_what_can_not_have_a_wish_is_found_all_the_same(opened: App) -> None:
    asked = "upscale a video to 4k"
    assert best(offers(opened.engine, wish_in(asked)[0]), asked, None, None)[0].name == "upscale_video"


@pytest.mark.parametrize(
    "words",
    ["a 4k picture", "image", "4k image", "an image", "8k wallpaper", "a hires photo of a cat", "transparent logo"],
)
def test_makers_come_first_where_nothing_is_said_of_a_change(opened: App, words: str) -> None:
    found = best(offers(opened.engine, wish_in(words)[0]), words, None, None)
    assert [offer.name for offer in found[:3] if offer.needs or offer.kind != "image"] == []


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("upscale this picture to 4k", "upscale_image"),
        ("this picture in 4k", "upscale_image"),
        ("a larger picture", "upscale_image"),
        ("cut out a picture", "remove_background"),
        ("remix image", "remix_ideogram_image"),
        ("4k video", "generate_veo3_video"),
    ],
)
def test_what_changes_a_file_comes_first_where_words_speak_of_one(opened: App, words: str, name: str) -> None:
    assert best(offers(opened.engine, wish_in(words)[0]), words, None, None)[0].name == name


OWN_PICTURES = (
    "turn my photo into a cartoon",
    "cartoon of my dog",
    "black and white photo to colour",
    "put two pictures together",
    "combine two pictures",
    "merge photos",
    "extend the picture to the sides",
    "widen the picture",
    "turn this into a painting",
    "make the sky of my photo blue",
    "my photo as a watercolor",
    "turn my logo into a sticker",
)


@pytest.mark.parametrize("words", OWN_PICTURES)
def test_what_edits_comes_first_for_a_picture_that_people_have(everything: list[Offer], words: str) -> None:
    found = best(everything, words, None, None)
    assert [offer.name for offer in found[:3] if "image" not in offer.takes or offer.kind != "image"] == []
    assert "edit_nano_banana" in {offer.name for offer in found[:3]}
    assert {offer.kind for offer in found} == {"image"}


NEW_PICTURES = (
    "a cartoon of a dog",
    "logo for my bakery",
    "create my logo",
    "I want to draw a cat",
    "a picture from my words",
    "make a picture of a cat jumping into a pool",
    "a picture to hang on the wall",
    "picture of my dream house",
    "a picture of our galaxy",
    "a drawing of people sitting together",
    "logo to print on shirts",
    "icon to go into my app",
    "a spinning top photo",
)


@pytest.mark.parametrize("words", NEW_PICTURES)
def test_makers_come_first_for_a_picture_that_is_still_to_be_made(everything: list[Offer], words: str) -> None:
    assert {offer.name.partition("_")[0] for offer in best(everything, words, None, None)[:3]} == {"generate"}


@pytest.mark.parametrize("words", ["my logo spins", "a rotating logo"])
def test_picture_that_moves_is_a_clip(everything: list[Offer], words: str) -> None:
    assert {offer.kind for offer in best(everything, words, None, None)[:5]} == {"video"}


def test_at_most_eight_are_found_and_retired_ones_come_last(everything: list[Offer]) -> None:
    found = best(everything, "video", None, None)
    assert len(found) == 8
    retired = [offer.availability == "retired" for offer in best(everything, "luma video", None, None)]
    assert retired == sorted(retired)


def test_kind_and_task_narrow_the_search(everything: list[Offer]) -> None:
    assert {offer.kind for offer in best(everything, "ByteDance Seedance", "video", None)} == {"video"}
    assert {offer.task for offer in best(everything, "", None, "upscale")} == {"upscale"}


@pytest.mark.parametrize("words", ["xyzzy", "transcribe audio", "subtitles for a video"])
def test_words_that_nothing_has_find_nothing(everything: list[Offer], words: str) -> None:
    assert best(everything, words, None, None) == []


def test_maker_alone_finds_what_makes_from_words_or_pictures_first(everything: list[Offer]) -> None:
    assert {offer.task for offer in best(everything, "Grok", None, None)[:3]} <= GENERAL


@pytest.mark.parametrize(("words", "kind"), [("best image", "image"), ("best video", "video")])
def test_best_of_a_kind_makes_that_kind_of_words_alone(everything: list[Offer], words: str, kind: str) -> None:
    found = best(everything, words, None, None)[:3]
    assert {offer.kind for offer in found} == {kind}
    assert [offer.credits for offer in found] == sorted((offer.credits or 0 for offer in found), reverse=True)


def test_price_of_a_tool_is_that_of_its_default_call(everything: list[Offer]) -> None:
    by_name = {offer.name: offer for offer in everything}
    wan = by_name["generate_wan_image"]
    assert (wan.price, wan.credits) == ("usually 4.8 credits", 4.8)


def test_rates_of_different_units_are_not_compared() -> None:
    common = {"makes": "", "kind": "audio", "task": "speech", "tool": "read_aloud", "availability": "current"}
    prices = ("6 credits/1000000 tokens", "12 credits/1000 characters", "9 credits/1000 characters")
    models: list[Any] = [Offer(name, price=name, **common) for name in prices]  # type: ignore[arg-type]  # one dict
    tool = TOOLS["generate_speech"]
    priced = offer_of_tool(replace(tool, name="read_aloud"), Provider("Speech"), models, None)
    assert priced.price == "usually from 9 credits/1000 characters"


@pytest.mark.parametrize("words", ["", "cheapest", "the cheapest draft", "what would it cost", "price", "variants"])
def test_words_that_name_nothing_find_makers_of_pictures_and_clips(everything: list[Offer], words: str) -> None:
    found = best(everything, words, None, None)
    assert {offer.task.split("-")[-1] for offer in found} <= {"image", "video"}
    assert len(found) == 8
    assert best(everything, words, "audio", None)[0].task in {"music", "speech", "sound"}
    assert {offer.task for offer in best(everything, words, None, "upscale")} == {"upscale"}


def test_cheapest_comes_first_where_people_ask_for_it(everything: list[Offer]) -> None:
    credits = [offer.credits for offer in best(everything, "cheapest image", "image", None)]
    assert credits == sorted(credits, key=lambda value: value or 0)


def test_noise_of_a_recording_is_taken_out_by_what_isolates_a_voice(everything: list[Offer]) -> None:
    found = best(everything, "Which models remove noise from a voice recording", None, None)
    assert {offer.name for offer in found[:2]} == {"isolate_voice", "elevenlabs/audio-isolation"}


def test_prices_are_compared_at_the_length_and_resolution_that_are_asked_for(opened: App) -> None:
    asked = "What is the cheapest way to make a 10 second clip in 720p?"
    wish, _ = wish_in(asked)
    assert wish == Wish(10.0, "720p")
    found = best(offers(opened.engine, wish), asked, None, None)
    assert all(offer.settings == "10 s, 720p" and "($" in offer.line for offer in found), found
    credits = [offer.credits or 0.0 for offer in found]
    assert credits == sorted(credits)
    runway = next(offer for offer in found if offer.name == "generate_runway_gen3_video")
    assert "(usually 30 credits ($0.15) for 10 s, 720p)" in runway.line
    everything = offers(opened.engine, Wish(10.0))
    by_second = best(everything, "cheapest 10 second clip", None, None)[0]
    assert (by_second.settings, by_second.credits) == ("10 s, 480p", 24.0)
    assert not next(offer for offer in everything if offer.name == "veo-3-1").fits


@pytest.mark.parametrize(
    ("words", "wish"),
    [
        ("a 5s clip", Wish(5.0)),
        ("1 minute of music", Wish(60.0)),
        ("4K video", Wish(None, "4k")),
        ("8-second 1080p", Wish(8.0, "1080p")),
        ("kling 2.6", Wish()),
        ("10 minimal posters", Wish()),
        ("synth music of the 80s", Wish()),
        ("0.75 min", Wish(45.0)),
        ("1:30 min and 1,000 s", Wish()),
        ("5 s clip with speech", Wish(5.0, "", True)),
        ("a film in which people speak", Wish(sound=True)),
        ("a video without sound", Wish()),
        ("my video with sound", Wish()),
        ("dub a video with my voice", Wish()),
        ("voice over for a video", Wish()),
    ],
)
def test_length_resolution_and_sound_are_read_in_the_words_of_people(words: str, wish: Wish) -> None:
    assert wish_in(words)[0] == wish


def test_line_names_what_its_price_is_for(everything: list[Offer]) -> None:
    lines = {offer.name: offer.line for offer in everything}
    assert "(usually 60 credits ($0.30) for 8 s, 720p, from 30)" in lines["generate_veo3_video"]
    assert "(usually 12 credits ($0.06) for 5 s, 720p)" in lines["generate_runway_gen3_video"]
    assert "(usually 3 credits/s)" in lines["generate_talking_video"]


def test_tool_names_its_usual_price_and_the_lowest_of_its_models(everything: list[Offer]) -> None:
    prices = {offer.name: offer.price for offer in everything}
    assert prices["generate_veo3_video"] == "usually 60 credits, from 30"
    assert prices["generate_kling_video"] == "usually 42 credits, from 25"
    assert prices["edit_flux_image"] == "usually from 5 credits"
    assert prices["google/gemini-3-8-flash-lite-tts"] == "about 1.4 credits/1000 characters"
