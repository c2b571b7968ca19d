"""The result files that are heard: short tones, as MP3 and as WAV."""

import array
import io
import math
import struct
import wave
from functools import cache
from importlib.resources import files

SECONDS = 1.0
RATE = 8_000


@cache
def _tone() -> bytes:
    return (files("kie_ai_mcp_sandbox") / "data" / "tone.mp3").read_bytes()


def mp3(title: str, label: str) -> bytes:
    """A tone of one second; title and label stand in its ID3 tag, so no two tasks have the same file."""
    frames = _frame(b"TIT2", title) + _frame(b"TCOM", label)
    return b"ID3\x03\x00\x00" + _seven_bits(len(frames)) + frames + _tone()


def _frame(name: bytes, text: str) -> bytes:
    content = b"\x01" + text.encode("utf-16")
    return name + struct.pack(">IH", len(content), 0) + content


def _seven_bits(number: int) -> bytes:
    return bytes(number >> shift & 0x7F for shift in (21, 14, 7, 0))


@cache
def _wave() -> bytes:
    samples = array.array(
        "h", (round(12_000 * math.sin(math.tau * 440 * n / RATE)) for n in range(int(RATE * SECONDS)))
    )
    if struct.pack("=h", 1) != struct.pack("<h", 1):
        samples.byteswap()
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setparams((1, 2, RATE, len(samples), "NONE", ""))
        sound.writeframes(samples.tobytes())
    return file.getvalue()


def wav(label: str) -> bytes:
    """A tone of one second; the label stands in a chunk at its end, so no two tasks have the same file."""
    text = label.encode() + b"\0"
    text += b"\0" * (len(text) % 2)
    info = b"INFO" + b"ICMT" + struct.pack("<I", len(text)) + text
    whole = _wave() + b"LIST" + struct.pack("<I", len(info)) + info
    return whole[:4] + struct.pack("<I", len(whole) - 8) + whole[8:]


def seconds_of(content: bytes) -> float | None:
    """Return how long a clip or a sound is; None where that can't be told."""
    try:
        import av  # noqa: PLC0415  core's extra `preview` brings it
    except ImportError:
        return None
    try:
        with av.open(io.BytesIO(content), "r") as media:
            return None if media.duration is None else media.duration / av.time_base
    except av.error.FFmpegError:
        return None
