"""Folders as Windows and macOS treat them; what only those systems could prove is played by their names here."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from kie_ai_mcp import Submission
from kie_ai_mcp._providers.tools import BoundTool
from kie_ai_mcp._settings import folders, settings
from kie_ai_mcp._settings.folders import cure_of_access, is_below, is_unusable_on_windows
from kie_ai_mcp._settings.load import load_settings
from kie_ai_mcp.errors import ConfigError, InvalidArgument

APP = "kie-ai-mcp-server"
DEVICES = ["CON", "nul", "Aux.txt", "com1", "LPT9.tar.gz", "COM¹", "prn .x", "CONIN$"]
NAMES_WITH_ENDS = ["album.", "album ", "a. ."]


def make_picture(prompt: str) -> Submission:
    """Make a picture."""
    return Submission.market("m", {"prompt": prompt}, api_type="a")


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The home folder of a user on Windows."""
    monkeypatch.setattr(settings, "sys", SimpleNamespace(platform="win32"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "AppData" / "Local"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


# Windows -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DEVICES + NAMES_WITH_ENDS)
def test_name_that_windows_takes_for_another_is_no_subfolder(name: str) -> None:
    assert is_unusable_on_windows(name)
    tool = BoundTool.bind(make_picture, provider="acme", kind="image")
    for subfolder in (name, f"trip/{name}", f"{name}/trip"):
        with pytest.raises(InvalidArgument, match=r"subfolder: .* is not accepted"):
            tool.check({"prompt": "a", "subfolder": subfolder}, saves=True)


@pytest.mark.parametrize(
    "name", ["console", "nullable", "auxiliary.d", "com", "com10", "lpt", "a.con", "my album", "v1.2"]
)
def test_name_that_only_resembles_a_device_is_a_subfolder(name: str) -> None:
    assert not is_unusable_on_windows(name)
    options, _ = BoundTool.bind(make_picture, provider="acme", kind="image").check(
        {"prompt": "a", "subfolder": name}, saves=True
    )
    assert options.subfolder == name


@pytest.mark.parametrize("name", ["NUL", "out."])
def test_output_folder_of_a_device_name_is_refused_on_windows_alone(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ = {"KIE_AI_OUTPUT_DIR": str(tmp_path / name / "kie")}
    assert load_settings(environ).output_dir == tmp_path / name / "kie"
    monkeypatch.setattr(settings, "sys", SimpleNamespace(platform="win32"))
    with pytest.raises(ConfigError, match=f"Windows takes '{name}' for no folder's name"):
        load_settings(environ)


def test_new_database_on_windows_lies_outside_appdata(windows: Path) -> None:
    assert load_settings({}).database == windows / f".{APP}" / "tasks.db"
    assert load_settings({"KIE_AI_DB_PATH": str(windows / "mine.db")}).database == windows / "mine.db"


def test_earlier_database_on_windows_is_found_by_packaged_programs_and_by_others(windows: Path) -> None:
    local = windows / "AppData" / "Local"
    for folder in (local / APP, local / "Packages" / "Claude_x" / "LocalCache" / "Local" / APP, windows / f".{APP}"):
        folder.mkdir(parents=True)
        (folder / "tasks.db").touch()
        assert load_settings({}).database == folder / "tasks.db"


# macOS ---------------------------------------------------------------------------------------------------------------


def test_file_below_a_folder_is_known_however_the_name_is_spelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "Pictures" / "trip").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    # A link stands for a second spelling: one folder by two names, of which none is resolved to the other.
    (tmp_path / "pictures").symlink_to(tmp_path / "Pictures")
    monkeypatch.setattr(Path, "resolve", lambda self, strict=False: self)

    assert is_below(tmp_path / "pictures" / "trip" / "a.png", tmp_path / "Pictures")
    assert is_below(tmp_path / "Pictures" / "a.png", tmp_path / "pictures")
    assert not is_below(tmp_path / "pictures" / "a.png", tmp_path / "Pictures" / "trip")
    assert not is_below(tmp_path / "other" / "a.png", tmp_path / "Pictures")
    assert not is_below(tmp_path / "other" / "a.png", tmp_path / "nowhere")


@pytest.mark.parametrize("place", ["Desktop", "Documents/kie", "Downloads/a/b.png"])
def test_cure_names_the_privacy_setting_of_macos_for_folders_that_it_protects(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cure_of_access(tmp_path / place, "Choose another.") == "Choose another."
    monkeypatch.setattr(folders, "sys", SimpleNamespace(platform="darwin"))
    cure = cure_of_access(tmp_path / place, "Choose another.")
    assert cure.startswith("Choose another. macOS protects this folder")
    assert "Privacy & Security > Files and Folders" in cure
    assert cure_of_access(tmp_path / "Pictures", "Choose another.") == "Choose another."
