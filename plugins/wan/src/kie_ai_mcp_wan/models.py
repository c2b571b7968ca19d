"""Forms of the Wan models: one for each combination of media."""

from collections.abc import Iterator, Mapping
from typing import Any

from kie_ai_mcp import Family, Form

FAMILY = Family("kie_ai_mcp_wan", "Wan")

HD: Mapping[str, Any] = {"resolution": "720p"}  # where none is asked for: every model makes it
FIVE: Mapping[str, Any] = {**HD, "duration": "5"}
FLASH: Mapping[str, Any] = {**HD, "audio": False}
FRAME, PICTURE = {"first_frame_url": "image_url"}, {"first_frame_url": "image_urls"}
CLIPS = {"reference_video_urls": "video_urls"}
SOUND = {"sound": "audio"}
OF_SPEECH = {**FRAME, "duration": "num_frames"}
FRAMES = {seconds: 16 * seconds for seconds in range(3, 8)}
OF_REFERENCES = {
    "reference_image_urls": "reference_image",
    "reference_video_urls": "reference_video",
    "first_frame_url": "first_frame",
    "audio_url": "reference_voice",
}


def _newest(name: str, of_references: bool) -> Form:
    """Return a form of Wan 3.0, which ignores a sound without references."""
    audio = "reference_audio_urls" if of_references else ""
    lacks = {"audio_url": f"Wan {name} takes a sound only with references"}
    model_id = f"wan/{name.replace('.', '-').replace('-prime', '')}-video{'-prime' * name.endswith('prime')}"
    return Form(model_id, name, {**SOUND, "audio_url": audio}, always={"resolution": "720P"}, reasons=lacks)


def video_forms(*, of_references: bool) -> Iterator[Form]:
    """Yield every form that makes a clip, with references or without."""
    yield Form("wan/2-5-text-to-video", "2.5", always=FIVE)
    yield Form("wan/2-5-image-to-video", "2.5", FRAME, always=FIVE)
    yield Form("wan/2-6-text-to-video", "2.6", always=HD)
    yield Form("wan/2-6-image-to-video", "2.6", PICTURE, always=HD)
    yield Form("wan/2-6-video-to-video", "2.6", CLIPS, always=HD)
    yield Form("wan/2-7-text-to-video", "2.7", {"aspect_ratio": "ratio"}, always=HD)
    yield Form("wan/2-7-image-to-video", "2.7", {"audio_url": "driving_audio_url"}, always=HD)
    yield Form("wan/2-7-r2v", "2.7", OF_REFERENCES, always=HD)
    yield _newest("3.0", of_references)
    yield Form("wan/2-2-a14b-text-to-video-turbo", "2.2", always=HD)
    yield Form("wan/2-2-a14b-image-to-video-turbo", "2.2", FRAME, always=HD)
    yield Form("wan/2-2-a14b-speech-to-video-turbo", "2.2", OF_SPEECH, {"duration": FRAMES}, always=HD)
    yield _newest("3.0-prime", of_references)
    yield Form("wan/2-6-flash-image-to-video", "2.6-flash", {**PICTURE, **SOUND}, always=FLASH)
    yield Form("wan/2-6-flash-video-to-video", "2.6-flash", {**CLIPS, **SOUND}, always=FLASH)


SERIES = "series (n above 4)"
OF_IMAGES = {"image_urls": "input_urls", SERIES: "enable_sequential"}
IMAGES = (Form("wan/2-7-image", "2.7", OF_IMAGES), Form("wan/2-7-image-pro", "2.7-pro", OF_IMAGES))
NAMES = {form.id: form.name for form in (*video_forms(of_references=False), *IMAGES)}
"""The names by the service's ids, which answers and lists of models show."""
