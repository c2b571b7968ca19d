"""Pictures of the documentation and the sandbox's clip: made anew, as long as there is what they need."""

import shutil
import subprocess
import sys
from pathlib import Path

import av
import pytest
from PIL import Image, ImageChops

from tests.gallery.conftest import BROWSERS
from tests.helpers import LIMIT_S

ROOT = Path(__file__).parents[2]
CLIP = ROOT / "plugins/sandbox/src/kie_ai_mcp_sandbox/data/clip.mp4"


@pytest.mark.skipif(not any(map(shutil.which, BROWSERS)), reason="no browser is installed")
def test_pictures_can_be_made_anew(tmp_path: Path) -> None:
    command = [sys.executable, "tools/pictures.py", "--output", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    for name in ("chat.webp", "gallery.webp"):
        with Image.open(tmp_path / name) as new, Image.open(ROOT / "docs/pictures" / name) as kept:
            assert new.size == kept.size
            colours = new.convert("RGB").resize((64, 64)).getcolors(4096)
            assert colours
            assert len(colours) > 500, "it shows nothing"


@pytest.mark.skipif("libx264" not in av.codecs_available, reason="no encoder of H.264 is installed")
def test_clip_of_the_sandbox_can_be_made_anew_in_another_folder(tmp_path: Path) -> None:
    before = CLIP.stat()
    command = [sys.executable, "tools/pictures.py", "clip", "--output", str(tmp_path / "new")]
    subprocess.run(command, cwd=ROOT, capture_output=True, timeout=LIMIT_S, check=True)
    assert CLIP.stat().st_mtime_ns == before.st_mtime_ns
    with av.open(str(tmp_path / "new/clip.mp4")) as new, av.open(str(CLIP)) as kept:
        for clip in (new, kept):
            (video,) = clip.streams.video
            shown = (video.codec_context.name, video.width, video.height, video.frames, clip.duration)
            assert shown == ("h264", 320, 180, 24, 2_000_000)
        frames = [next(clip.decode(video=0)) for clip in (new, kept)]
        first, other = (frame.to_image() for frame in frames)  # type: ignore[no-untyped-call]
    differences = ImageChops.difference(first, other).convert("L").resize((1, 1)).getpixel((0, 0))
    assert differences == 0, "it shows something else"
