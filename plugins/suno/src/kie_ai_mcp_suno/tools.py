"""Tools of Suno: songs, their continuations, covers and parts; lyrics; single sounds."""

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import Field

from kie_ai_mcp import AudioUrl, ImageUrls, InvalidArgument, Media, Prompt, Submission, VideoUrl
from kie_ai_mcp_suno.stems import STEMS

MUSIC, EXTEND, COVER, STEM = "suno-music", "suno-extend", "suno-cover", "suno-stems"
LYRICS, SOUND = "suno-lyrics", "suno-sound"
SEPARATES = "ai-music-api/separate-vocals"

STYLE_CHARS, TITLE_CHARS = 1_000, 80
NEWEST = "V6"
SINGERS = {"m": "a man", "f": "a woman"}
TYPES = {"vocals": "separate_vocal", "all": "split_stem"}
ONE_STEM = "split_stem_advanced"

Singer = Literal["m", "f"]
Idea = Annotated[Prompt, Field(max_length=3_000)]
Words = Annotated[Prompt, Field(max_length=5_000)]
Style = Annotated[Prompt, Field(max_length=STYLE_CHARS)]
Title = Annotated[Prompt, Field(max_length=TITLE_CHARS)]
Seconds = Annotated[int, Field(ge=10, le=360)]
Song = Annotated[AudioUrl, Media("audio", most_s=480)]


def generate_music(
    prompt: Idea,
    lyrics: Words | None = None,
    style: Style | None = None,
    title: Title | None = None,
    instrumental: bool | None = None,
    duration: Seconds | None = None,
    vocal_gender: Singer | None = None,
    image_urls: Annotated[
        ImageUrls, Field(max_length=5), Media("image", most_mb=10, formats=("jpg", "png", "webp", "bmp"))
    ]
    | None = None,
    video_url: Annotated[VideoUrl, Media("video", most_mb=100, most_s=241, formats=("mp4", "mov", "webm"))]
    | None = None,
) -> Submission:
    """Make music from an idea with Suno: a song or an instrumental, in two versions.

    lyrics: sung as they are, else Suno writes them. duration: with lyrics or instrumental. Pictures or a clip to fit
    (addresses or local paths): without both.
    """
    sung = {"lyrics": lyrics, "vocal_gender": vocal_gender, "instrumental": instrumental}
    _check_music({**sung, "duration": duration, "image_urls": image_urls, "video_url": video_url})
    notes: list[str] = []
    is_custom = bool(lyrics or duration)
    if vocal_gender and not is_custom:
        prompt = _with_singer(prompt, vocal_gender)
        notes.append("vocal_gender was added to the prompt, since Suno writes the words.")
    if is_custom and not style and len(prompt) > STYLE_CHARS:
        cure = f"with lyrics or duration it is the style, of at most {STYLE_CHARS} characters; give style as well"
        raise InvalidArgument("prompt", prompt, cure)
    if is_custom and not style:
        notes.append("The prompt was sent as the style.")
    if is_custom and not title:
        title = _title(prompt)
        notes.append(f"The title {title!r} was taken from the prompt.")
    body = {
        "custom_mode": is_custom,
        "instrumental": bool(instrumental),
        "model": NEWEST,
        "prompt": None if is_custom and not style else prompt,
        "lyrics": lyrics,
        "style": style or (prompt if is_custom else None),
        "title": title,
        "duration": duration,
        "vocal_gender": vocal_gender if is_custom else None,
        "image_urls": image_urls,
        "video_urls": [video_url] if video_url else None,
    }
    return _submission("generate", body, MUSIC, notes)


def extend_music(
    audio_url: Song,
    continue_at: Annotated[float, Field(gt=0)] | None = None,
    lyrics: Words | None = None,
    style: Style | None = None,
    instrumental: bool | None = None,
) -> Submission:
    """Make a song or track (address or local path, 8 minutes) longer with Suno, from the second continue_at on."""
    _refuse(_of_words({"lyrics": lyrics, "vocal_gender": None, "instrumental": instrumental}))
    body = {
        "upload_url": audio_url,
        "model": NEWEST,
        "continue_at": continue_at,
        "lyrics": lyrics,
        "style": style,
        "instrumental": instrumental,
    }
    return _submission("upload-and-extend-audio", body, EXTEND)


def cover_music(
    audio_url: Song,
    style: Style | None = None,
    lyrics: Words | None = None,
    instrumental: bool | None = None,
    vocal_gender: Singer | None = None,
) -> Submission:
    """Remake a song (address or local path, 8 minutes) in another style or with other lyrics, its tune kept."""
    _refuse(_of_words({"lyrics": lyrics, "vocal_gender": vocal_gender, "instrumental": instrumental}))
    body = {
        "upload_url": audio_url,
        "instrumental": bool(instrumental),
        "model": NEWEST,
        "style": style,
        "lyrics": lyrics,
        "vocal_gender": vocal_gender,
    }
    return _submission("upload-and-cover-audio", body, COVER)


def separate_music(
    audio_url: Annotated[AudioUrl, Media("audio", most_mb=20)],
    stems: Annotated[str, Field(examples=["vocals", "all", "Bass", "Drum Kit"])] | None = None,
) -> Submission:
    """Split a song (address or local path): remove the vocals, or get its stems.

    stems: vocals (voice and accompaniment, the default, 10 credits), all (50), or one instrument (20).
    """
    wanted = (stems or "vocals").strip()
    if kind := TYPES.get(wanted.lower()):
        return _submission("separate-vocals", {"type": kind, "audio_url": audio_url}, STEM)
    if (name := wanted.title()) not in STEMS:
        near = get_close_matches(name, STEMS, n=3, cutoff=0.5) or ["Lead Vocal", "Drum Kit", "Bass", "Guitar", "Piano"]
        raise InvalidArgument("stems", stems, f"use vocals, all, or the name of one, such as {', '.join(near)}")
    body = {"type": ONE_STEM, "audio_url": audio_url, "stem_name": name}
    return _submission("separate-vocals", body, STEM)


def generate_lyrics(prompt: Annotated[Prompt, Field(max_length=200)]) -> Submission:
    """Write song lyrics about something, as text in several versions; generate_music sings them."""
    return _submission("generate-lyrics", {"prompt": prompt}, LYRICS)


def generate_sound(
    prompt: Annotated[Prompt, Field(max_length=500)],
    loop: bool | None = None,
    tempo: Annotated[int, Field(ge=1, le=300)] | None = None,
) -> Submission:
    """Make a sound effect, beat or loop from words with Suno; tempo in beats a minute."""
    body = {"prompt": prompt, "model": NEWEST, "sound_loop": loop, "sound_tempo": tempo}
    return _submission("sounds", body, SOUND)


def _submission(operation: str, body: dict[str, Any], api_type: str, notes: list[str] | None = None) -> Submission:
    return Submission.market(f"ai-music-api/{operation}", body, api_type=api_type, notes=tuple(notes or ()))


def _check_music(given: Mapping[str, Any]) -> None:
    """Refuse arguments of a song that exclude each other."""
    media = [name for name in ("image_urls", "video_url") if given[name]]
    custom = [name for name in ("lyrics", "duration") if given[name]]
    faults = [*_of_words(given)]
    if given["duration"] and not given["lyrics"] and not given["instrumental"]:
        ways = ["leave it out", *([] if media else ["give lyrics (generate_lyrics writes them)"])]
        ways += [] if media or given["vocal_gender"] else ["make it instrumental"]
        reason = f"Suno decides how long a song is that it writes; {', or '.join(ways)}"
        faults.append(InvalidArgument("duration", given["duration"], reason))
    elif media and custom:
        ways = [" and ".join(names) for names in (custom, media)]
        reason = f"it is not looked at with {ways[0]}; leave out {', or '.join(ways)}"
        faults.append(InvalidArgument(media[0], given[media[0]], reason))
    _refuse(faults)


def _of_words(given: Mapping[str, Any]) -> Iterator[InvalidArgument]:
    """Yield what belongs to a voice in a piece without one."""
    sung = [name for name in ("lyrics", "vocal_gender") if given[name]]
    if given["instrumental"] and sung:
        yield InvalidArgument(sung[0], given[sung[0]], f"an instrumental has no voice; leave out {' and '.join(sung)}")


def _refuse(faults: Iterable[InvalidArgument]) -> None:
    if found := [*faults]:
        raise InvalidArgument.joined(found)


def _with_singer(prompt: str, vocal_gender: str) -> str:
    end = f" Sung by {SINGERS[vocal_gender]}."
    if len(prompt) + len(end) > 3_000:
        raise InvalidArgument("prompt", prompt, f"with vocal_gender at most {3_000 - len(end)} characters; shorten it")
    return prompt + end


def _title(prompt: str) -> str:
    """Return the first words of a prompt, as a title."""
    line = " ".join(prompt.split())
    brief = line[: TITLE_CHARS // 2]
    return line if line == brief else brief.rpartition(" ")[0] or brief
