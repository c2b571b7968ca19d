"""Pictures of the documentation: made anew from real answers, as long as there is a browser."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.gallery.conftest import BROWSERS

ROOT = Path(__file__).parents[2]


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
