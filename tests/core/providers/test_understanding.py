"""Arguments as people and models write them, read as the tool's own."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import WithJsonSchema

from kie_ai_mcp import ImageUrl, ImageUrls, InvalidArgument, Prompt, Submission
from kie_ai_mcp._providers.arguments import Arguments
from kie_ai_mcp._providers.understanding import seconds_in

PICTURE, OTHER = "https://example.com/a.png", "https://example.com/b.png"


Shot = Annotated[
    dict[str, Any],
    WithJsonSchema({"type": "object", "properties": {"prompt": {"type": "string"}, "duration": {"type": "integer"}}}),
]


def make(
    prompt: Prompt,
    imageUrls: ImageUrls | None = None,
    mask_url: ImageUrl | None = None,
    aspectRatio: Literal["16:9", "9:16", "1:1"] | None = None,
    resolution: Literal["720p", "1080p", "4K"] | None = None,
    duration: Literal[4, 6, 8] | None = None,
    sound: bool | None = None,
    output_format: Literal["png", "jpeg"] | None = None,
) -> Submission:
    """Make a clip."""
    raise NotImplementedError


ARGUMENTS = Arguments(make)


def sing(
    duration: float | None = None,
    parts: list[Shot] | None = None,
    song_length: Literal["90", "120"] | None = None,
    seconds: int | None = None,
) -> Submission:
    """Sing."""
    raise NotImplementedError


LENGTHS = Arguments(sing)


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ({"aspect_ratio": "16:9"}, {"aspectRatio": "16:9"}),
        ({"ratio": "16x9"}, {"aspectRatio": "16:9"}),
        ({"size": "portrait"}, {"aspectRatio": "9:16"}),
        ({"image_urls": [PICTURE]}, {"imageUrls": [PICTURE]}),
        ({"imageUrl": PICTURE}, {"imageUrls": [PICTURE]}),
        ({"first_frame_url": PICTURE}, {"imageUrls": [PICTURE]}),
        ({"first_frame": PICTURE, "end_image": OTHER}, {"imageUrls": [PICTURE, OTHER]}),
        ({"images": f"{PICTURE}, {OTHER}"}, {"imageUrls": [PICTURE, OTHER]}),
        ({"imageUrls": None, "image": PICTURE}, {"imageUrls": [PICTURE]}),
        ({"imageUrls": "null", "image": PICTURE}, {"imageUrls": [PICTURE]}),
        ({"size": "1920x1080"}, {"aspectRatio": "16:9"}),
        ({"audio": "true"}, {"sound": True}),
        ({"images": [PICTURE, PICTURE]}, {"imageUrls": [PICTURE, PICTURE]}),
        ({"mask": [PICTURE]}, {"mask_url": PICTURE}),
        ({"quality": "4k"}, {"resolution": "4K"}),
        ({"resolution": "1080P"}, {"resolution": "1080p"}),
        ({"resolution": 720}, {"resolution": "720p"}),
        ({"resolution": "full HD"}, {"resolution": "1080p"}),
        ({"seconds": "6"}, {"duration": 6}),
        ({"duration": "8s"}, {"duration": 8}),
        ({"duration": "0:08"}, {"duration": 8}),
        ({"image_size": "4K"}, {"resolution": "4K"}),
        ({"image_size": "16:9"}, {"aspectRatio": "16:9"}),
        ({"audio": True}, {"sound": True}),
        ({"format": "JPG"}, {"output_format": "jpeg"}),
        ({"aspectRatio": "Auto", "resolution": "auto", "duration": "auto"}, {}),
    ],
)
def test_other_names_and_spellings_are_understood(given: dict[str, Any], read: dict[str, Any]) -> None:
    assert ARGUMENTS.check({"prompt": "a fox", **given}) == {"prompt": "a fox", **read}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("8s", 8),
        ("1.5 seconds", 1.5),
        ("30-second", 30),
        ("2 minutes", 120),
        ("2 min", 120),
        ("2-minute", 120),
        ("2:00", 120),
        ("1:02:03", 3723),
        ("1.5 min", 90),
        ("1 min 30 s", 90),
        ("1m30s", 90),
        ("1 minute and 30 seconds", 90),
        ("-5 s", -5),
    ],
)
def test_length_in_words_or_on_a_clock_is_seconds(text: str, seconds: float) -> None:
    given = {"duration": text, "parts": [{"prompt": "a", "duration": text}]}
    assert LENGTHS.check(given) == {"duration": seconds, "parts": [{"prompt": "a", "duration": seconds}]}
    assert (f"duration {text!r} was read as {seconds}." in LENGTHS.understood(given).notes) == (seconds > 30)


def test_length_in_words_is_read_as_a_choice_that_is_text() -> None:
    assert LENGTHS.check({"song_length": "2 minutes", "seconds": "1 min"}) == {"song_length": "120", "seconds": 60}


@pytest.mark.parametrize("text", ["", "soon", "2", "16:90", "2 km", "m", "s", "5 min of it", "2:0", "one minute"])
def test_no_length_is_read_from_other_words(text: str) -> None:
    assert seconds_in(text) is None


def test_refused_length_is_asked_for_in_seconds() -> None:
    with pytest.raises(InvalidArgument, match=r"'soon' is not accepted: give a whole number of seconds\."):
        LENGTHS.check({"seconds": "soon"})


def test_what_was_left_out_or_read_as_another_is_said() -> None:
    read = ARGUMENTS.understood({"prompt": "a fox", "ratio": "auto", "resolution": "hd", "image": PICTURE})
    assert read.notes == (
        "aspectRatio 'auto' was left out.",
        "resolution 'hd' was read as '720p'.",
        "image was read as imageUrls.",
    )
    assert read.left_out == {"aspectRatio"}
    frames = ARGUMENTS.understood({"prompt": "a fox", "first_frame": PICTURE, "last_frame": OTHER})
    assert frames.notes == ("first_frame and last_frame were read as imageUrls.",)
    assert ARGUMENTS.understood({"prompt": "a fox", "aspect_ratio": "16:9", "image_url": PICTURE}).notes == ()


@pytest.mark.parametrize("around", ["{}\n", "{}  ", "\n {}\t", "\u3000{}"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("prompt", value) for value in ("a fox", "8 s of İzmir", "auto", "HD")],
        *[(name, value) for name in ("aspectRatio", "resolution") for value in ("16:9", "720p", "720P", "hd", "auto")],
    ],
)
def test_note_names_two_readings_that_differ_in_more_than_blanks(name: str, value: str, around: str) -> None:
    text = around.format(value)
    read = ARGUMENTS.understood({"prompt": "a fox", name: text})
    for note in read.notes:
        assert note in {f"{name} {text!r} was read as {read.arguments.get(name)!r}.", f"{name} 'auto' was left out."}
        assert read.arguments.get(name, "").strip().lower() != value.lower()
    assert bool(read.notes) == (name != "prompt" and value in {"auto", "hd"} and (name, value) != ("aspectRatio", "hd"))


@pytest.mark.parametrize(
    "given",
    [
        {"aspectRatio": "16:9", "aspect_ratio": "9:16"},  # which of the two is meant is not known
        {"sound": "loud"},
        {"audio": "https://example.com/a.mp3"},
        {"imageUrls": [PICTURE], "image": PICTURE},  # it is given already, and no other picture is meant
        {"reference_images": [PICTURE]},  # they are no frames
        {"colour": "red"},
        {"resolution": "8 s"},
        {"resolution": "8K"},
    ],
)
def test_what_is_not_understood_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        ARGUMENTS.check({"prompt": "a fox", **given})


def test_required_choice_is_not_left_to_the_service() -> None:
    def fix(size: Literal["1:1", "3:2"]) -> Submission:
        """Fix."""
        raise NotImplementedError

    with pytest.raises(InvalidArgument, match="auto"):
        Arguments(fix).check({"size": "auto"})


def test_choices_among_numbers_are_listed_as_bounds_with_words() -> None:
    assert ARGUMENTS.listed["properties"]["duration"] == {
        "type": "integer",
        "minimum": 4,
        "maximum": 8,
        "description": "4, 6 or 8",
    }
    with pytest.raises(InvalidArgument, match="use one of 4, 6 or 8"):
        ARGUMENTS.check({"prompt": "a fox", "duration": 5})


def test_list_is_read_as_the_argument_that_takes_several() -> None:
    def follow(first_frame_url: ImageUrl | None = None, reference_image_urls: ImageUrls | None = None) -> Submission:
        """Follow."""
        raise NotImplementedError

    arguments = Arguments(follow)
    assert arguments.check({"images": [PICTURE, PICTURE]}) == {"reference_image_urls": [PICTURE, PICTURE]}
    assert arguments.check({"image": PICTURE}) == {"first_frame_url": PICTURE}


def test_own_argument_wins_over_another_name() -> None:
    def draw(size: Annotated[str, "plain"] = "", resolution: str = "") -> Submission:
        """Draw."""
        raise NotImplementedError

    assert Arguments(draw).check({"size": "a", "quality": "b"}) == {"size": "a", "resolution": "b"}


def test_numbers_as_text_are_read_also_inside_a_list_of_objects() -> None:
    def cut(shots: list[Shot], continue_at: float | None = None, n: int | None = None) -> Submission:
        """Cut."""
        raise NotImplementedError

    arguments = Arguments(cut)
    assert arguments.check({"shots": [{"prompt": "a", "duration": "5"}], "continue_at": "1.5 s"}) == {
        "shots": [{"prompt": "a", "duration": 5}],
        "continue_at": 1.5,
    }
    with pytest.raises(InvalidArgument, match="n: '2s'"):  # it is no length
        arguments.check({"shots": [], "n": "2s"})
