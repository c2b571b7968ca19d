"""A frame of a clip as a picture; PyAV and Pillow, an optional extra, are imported when one is wanted."""

from typing import TYPE_CHECKING, Any, BinaryIO

from kie_ai_mcp._media.files import Format
from kie_ai_mcp.errors import MediaError

if TYPE_CHECKING:
    from PIL import Image

MOST_PIXELS = 80_000_000
"""Pictures with more are not decoded: a small file can stand for gigabytes."""

DEMUXERS = {"mp4": "mp4", "mov": "mov", "webm": "matroska"}


def frame_of(file: BinaryIO, form: Format) -> "Image.Image":
    """Return a frame from the first third of a clip: the very first is often black.

    Raises:
        ImportError: A library is not installed.
        MediaError: There is nothing to see, or it can't be decoded.
    """
    import av  # noqa: PLC0415  an optional extra, and heavy
    from PIL import Image  # noqa: PLC0415  what PyAV's pictures are made of

    try:
        # The demuxer is named, so that nothing is read as a playlist which leads to other files.
        with av.open(file, mode="r", format=DEMUXERS[form.extension]) as clip:
            if not clip.streams.video:
                raise MediaError("The clip has no picture.", next_step="Open the link.")
            stream = clip.streams.video[0]
            if stream.width * stream.height > MOST_PIXELS:
                raise MediaError(f"It has {stream.width} x {stream.height} pixels, too many to draw down.")
            if clip.duration:
                clip.seek(clip.duration // 3)
            frame: Any = next(clip.decode(stream), None)  # PyAV says of some of its versions' methods nothing
            if frame is not None:
                picture: Image.Image = frame.to_image()
                return picture
    except av.FFmpegError as exc:
        raise MediaError("The clip could not be decoded.", next_step="Open the link.") from exc
    raise MediaError("The clip has no frame that can be decoded.", next_step="Open the link.")
