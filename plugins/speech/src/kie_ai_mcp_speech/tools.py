"""Tools of speech: text read aloud by one voice or several, and the voice taken out of a recording."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from kie_ai_mcp import AudioUrl, InvalidArgument, Media, Prompt, Submission
from kie_ai_mcp_speech.voices import EXAMPLES, GEMINI, USUAL_OF_ELEVENLABS, is_elevenlabs

SPEECH = "speech"
ISOLATION = "voice-isolation"

GEMINI_MODELS = {"gemini-lite": "google/gemini-3-8-flash-lite-tts", "gemini": "google/gemini-3-8-flash-tts"}
TURBO, MULTILINGUAL = "elevenlabs/text-to-speech-turbo-2-5", "elevenlabs/text-to-speech-multilingual-v2"
DIALOGUE = "elevenlabs/text-to-dialogue-v3"
OF_MARKET = {market: name for name, market in GEMINI_MODELS.items()}
OF_MARKET |= {TURBO: "elevenlabs", DIALOGUE: "elevenlabs", MULTILINGUAL: "elevenlabs-multilingual"}
TURN_CHARS, ELEVENLABS_CHARS = 10_000, 5_000
FAILED = "Tasks of ElevenLabs failed at Kie.ai from 2026-09-22 to at least 10-05, without a charge"

Voices = Annotated[dict[str, str], Field(min_length=1, examples=[{"Ann": "Kore", "Ben": "Puck"}])]
Name = Annotated[
    Literal["gemini-lite", "gemini", "elevenlabs", "elevenlabs-multilingual"],
    BeforeValidator(lambda value: OF_MARKET.get(value, value) if isinstance(value, str) else value),
]


def generate_speech(
    text: Prompt,
    voice: Annotated[str, Field(examples=EXAMPLES[:2])] | None = None,
    style: Annotated[Prompt, Field(max_length=1000)] | None = None,
    voices: Voices | None = None,
    model: Name | None = None,
) -> Submission:
    """Read text aloud by one voice, or a dialogue by several; makes WAV.

    Lines of a dialogue begin with a name of voices ("Ann: ..."). style: how it is said, with gemini. Voices are
    Gemini's, or ids of ElevenLabs, which makes MP3 and often fails now.
    """
    if voice and voices:
        raise InvalidArgument("voice", voice, "voices names one for each speaker; give only one of the two")
    turns = [*_turns(text, voices)] if voices else [("", text)]
    speakers = {name: voices[name] for name in dict.fromkeys(name for name, _ in turns)} if voices else {"": voice}
    theirs = any(map(is_elevenlabs, filter(None, speakers.values())))
    name = model or ("elevenlabs" if theirs else "gemini-lite")
    notes = [] if model else [f"{name} was chosen: the cheapest model that takes the whole call."]
    if name in GEMINI_MODELS:
        model_id, body = GEMINI_MODELS[name], _of_gemini(turns, speakers, style)
    else:
        if style:
            other = "" if theirs else ", or use model='gemini'"
            raise InvalidArgument("style", style, f"ElevenLabs takes none; leave it out{other}")
        model_id, body = _of_elevenlabs(name, turns, speakers)
        notes.append(f"{FAILED}; where this one fails, too, use model 'gemini' and one of its voices.")
    return Submission.market(model_id, body, api_type=SPEECH, notes=tuple(notes))


def isolate_voice(
    audio_url: Annotated[AudioUrl, Media("audio", most_mb=10, formats=("mp3", "wav", "aac", "m4a", "ogg"))],
) -> Submission:
    """Take the noise out of a voice recording (address or local path); for a song use separate_music."""
    return Submission.market(
        "elevenlabs/audio-isolation",
        {"audio_url": audio_url},
        api_type=ISOLATION,
        notes=(f"{FAILED}; where this one fails, too, separate_music takes a voice out.",),
    )


def _turns(text: str, voices: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the turns of a dialogue, each a name and its words; lines without a name go on with the one before."""
    names, lines, speaker = [f"{name}:" for name in voices], list[str](), ""
    for line in text.splitlines():
        begun = next((name for name in names if line.lstrip().startswith(name)), None)
        if begun is None:
            lines.append(line)
            continue
        if words := "\n".join(lines).strip():
            yield _turn(speaker, words, names)
        speaker, lines = begun[:-1], [line.lstrip().removeprefix(begun).strip()]
    if words := "\n".join(lines).strip():
        yield _turn(speaker, words, names)


def _turn(speaker: str, words: str, names: list[str]) -> tuple[str, str]:
    if not speaker:
        raise InvalidArgument("text", words, f"with voices it begins with a speaker, one of {' '.join(names)}")
    return speaker, words


def _of_gemini(turns: list[tuple[str, str]], speakers: Mapping[str, str | None], style: str | None) -> dict[str, Any]:
    numbers = {name: f"Speaker {number}" for number, name in enumerate(speakers, start=1)}
    wrong = [voice for voice in speakers.values() if voice and not _is_gemini(voice)]
    if wrong:
        # Where a way of saying it is asked for, or one of the voices is Gemini's, ElevenLabs refuses in turn.
        other = "" if style or len(wrong) < len(speakers) else ", or model='elevenlabs'"
        reason = f"Gemini has no such voice; use {', '.join(EXAMPLES)} or another of its names{other}"
        raise InvalidArgument("voice" if "" in speakers else "voices", ", ".join(wrong), reason)
    chosen = {name: voice and voice.strip().capitalize() for name, voice in speakers.items()}
    return {
        "speakers": [
            {"speaker_id": numbers[name], **({"voice_name": voice} if voice else {})} for name, voice in chosen.items()
        ],
        "dialogue_turns": [
            {"speaker_id": numbers[name], "text": part, **({"style": style} if style else {})}
            for name, words in turns
            for part in _parts(words)
        ],
    }


def _is_gemini(voice: str) -> bool:
    return voice.strip().capitalize() in GEMINI


def _parts(words: str) -> Iterator[str]:
    """Yield a text in parts that one turn takes, cut behind a line, else a sentence, else a word."""
    while len(words) > TURN_CHARS:
        begin = words[:TURN_CHARS]
        end = next((at + len(mark) for mark in ("\n", ". ", " ") if (at := begin.rfind(mark)) > 0), TURN_CHARS)
        yield begin[:end].strip()
        words = words[end:].strip()
    yield words


def _of_elevenlabs(
    name: str, turns: list[tuple[str, str]], speakers: Mapping[str, str | None]
) -> tuple[str, dict[str, Any]]:
    if gemini := [voice for voice in speakers.values() if voice and _is_gemini(voice)]:
        other = ", or use model='gemini'" if len(gemini) == len(speakers) else ""
        reason = f"Gemini has this voice, not ElevenLabs; give an id of ElevenLabs{other}"
        raise InvalidArgument("voice" if "" in speakers else "voices", ", ".join(gemini), reason)
    length = sum(len(words) for _, words in turns)
    if length > ELEVENLABS_CHARS:
        reason = (
            f"ElevenLabs takes {ELEVENLABS_CHARS:,} characters, not {length:,}; shorten it, or use model='gemini' and"
        )
        reason += f" voices such as {EXAMPLES[0]}"
        raise InvalidArgument("text", turns[0][1], reason)
    if "" not in speakers:
        if name != "elevenlabs":
            raise InvalidArgument("voices", dict(speakers), f"{name} has one voice; use model='elevenlabs'")
        return DIALOGUE, {"dialogue": [{"text": words, "voice": speakers[who]} for who, words in turns]}
    voice = speakers[""]
    if name == "elevenlabs":
        return TURBO, {"text": turns[0][1], "voice": voice}
    return MULTILINGUAL, {"text": turns[0][1], "voice": voice or USUAL_OF_ELEVENLABS}
