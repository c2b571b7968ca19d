"""The files of a new provider's package, made from the templates beside this module."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from string import Template
from subprocess import list2cmdline
from typing import Literal

import tomlkit

from kie_ai_mcp import InvalidArgument, KieError
from kie_ai_mcp.hookspecs import PROJECT

PREFIX = "kie-ai-mcp-"
GIT_LIMIT_S = 5.0

Sort = Literal["tool", "models", "gateway", "models_gateway"]
"""What a package holds: a tool or models as data, for Kie.ai's market or for another service."""

# Where each template of `templates` goes.
COMMON = {"pyproject.toml": "pyproject.toml", "gitignore": ".gitignore", "py.typed": "src/$package/py.typed"}
FILES: Mapping[Sort, Mapping[str, str]] = {
    "tool": {"README.md": "README.md", "module.py": "src/$package/__init__.py", "test.py": "tests/test_$word.py"},
    "models": {
        "models_README.md": "README.md",
        "models_module.py": "src/$package/__init__.py",
        "models.json": "src/$package/models.json",
        "models_test.py": "tests/test_$word.py",
    },
    "models_gateway": {
        "models_gateway_README.md": "README.md",
        "models_gateway_module.py": "src/$package/__init__.py",
        "models.json": "src/$package/models.json",
        "models_gateway_test.py": "tests/test_$word.py",
    },
    "gateway": {
        "gateway_README.md": "README.md",
        "gateway_module.py": "src/$package/__init__.py",
        "gateway_conftest.py": "tests/conftest.py",
        "gateway_service.py": "tests/service.py",
        "gateway_test.py": "tests/test_$word.py",
    },
}
WORKFLOWS = {"tests.yml": ".github/workflows/tests.yml", "publish.yml": ".github/workflows/publish.yml"}


@dataclass(frozen=True)
class Author:
    """Who writes a package; empty text where that is not known."""

    name: str = ""
    email: str = ""

    @classmethod
    def from_git(cls) -> "Author":
        """Return the author that the configuration of git names."""
        return cls(_git("user.name"), _git("user.email"))


@dataclass(frozen=True)
class Package:
    """A new provider's package.

    Args:
        name: The provider's name.
        sort: What the package holds.
        license_id: Its licence as an SPDX expression.
        author: Who writes it.
        repository: Where its source will be; "" where that is not known.
        workflows: Whether it has GitHub Actions that test and publish it.
    """

    name: str
    sort: Sort = "tool"
    license_id: str = "MIT"
    author: Author = field(default_factory=Author)
    repository: str = ""
    workflows: bool = False

    @property
    def module(self) -> str:
        """The name of its Python package."""
        return f"{PROJECT}_{self.name.replace('-', '_')}"

    @property
    def licence_text(self) -> str | None:
        """The text of its licence; None for a licence whose text is not among the templates."""
        source = files("kie_ai_mcp_authors") / "templates" / "licenses" / f"{self.license_id}.txt"
        if not source.is_file():
            return None
        holder = self.author.name or f"the authors of {PREFIX}{self.name}"
        year = datetime.now(UTC).year
        return Template(source.read_text(encoding="utf-8")).safe_substitute(year=year, holder=holder)

    def texts(self) -> dict[Path, str]:
        """Return the content of every file, by its path in the package."""
        values = self._values()
        values |= {part: _template(f"{part}.md").substitute(values) for part in ("work", "publish")}
        sources = {**COMMON, **FILES[self.sort], **(WORKFLOWS if self.workflows else {})}
        texts = {
            Path(Template(path).substitute(values)): _template(source).substitute(values).rstrip("\n") + "\n"
            for source, path in sources.items()
        }
        texts[Path("src", self.module, "py.typed")] = ""
        return texts if self.licence_text is None else {**texts, Path("LICENSE"): self.licence_text}

    def write(self, folder: Path) -> list[Path]:
        """Write it into a folder that does not exist yet; return the files, relative to the folder.

        Raises:
            InvalidArgument: The folder exists.
            KieError: It can't be written.
        """
        texts = self.texts()
        try:
            folder.mkdir(parents=True)
            for path, text in texts.items():
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_text(text, encoding="utf-8", newline="\n")
        except FileExistsError:
            raise InvalidArgument("--output", str(folder), "it exists already, and nothing is overwritten") from None
        except OSError as exc:
            raise KieError(f"{folder} can't be written: {exc.strerror}.", next_step="Choose another --output.") from exc
        return list(texts)

    def next_steps(self, folder: Path) -> str:
        """Return what the author does next, in words."""
        edit = {
            "tool": f"put your model's id and arguments into src/{self.module}/__init__.py.",
            "models": f"put your models into src/{self.module}/models.json.",
            "models_gateway": f"put your models into src/{self.module}/models.json, and its address into __init__.py.",
            "gateway": f"make src/{self.module}/__init__.py and tests/service.py do what your service does.",
        }
        written = str(folder)
        lines = ["Try it:", f"  cd {list2cmdline([written]) if os.name == 'nt' else shlex.quote(written)}"]
        if not {"VIRTUAL_ENV", "CONDA_PREFIX"} & os.environ.keys():
            activate = r".venv\Scripts\activate" if os.name == "nt" else ". .venv/bin/activate"
            lines += ["  python -m venv .venv", f"  {activate}"]
        lines += [f'  {_installer()} install --editable ".[dev]"', "  python -m pytest"]
        lines += ["or, with uv: uv run pytest", f"Then {edit[self.sort]}"]
        if self.licence_text is None:
            lines += [
                f"Put the text of the licence {self.license_id} into LICENSE (https://spdx.org/licenses/ has it),",
                'and license-files = ["LICENSE"] below license into pyproject.toml.',
            ]
        return "\n".join(lines)

    def _values(self) -> dict[str, str]:
        """Return what the templates are filled with."""
        word = self.name.replace("-", "_")
        return {
            "name": self.name,
            "word": word,
            "title": self.name.replace("-", " ").title(),
            "distribution": f"{PREFIX}{self.name}",
            "package": self.module,
            "variable": f"KIE_AI_PROVIDER_{word.upper()}",
            "today": datetime.now(UTC).date().isoformat(),
            "about": self._about(),
            "urls": self._urls(),
        }

    def _about(self) -> str:
        """Return the lines of pyproject.toml about licence and author."""
        lines = [f"license = {_toml(self.license_id)}"]
        if self.licence_text is not None:
            lines.append('license-files = ["LICENSE"]')
        known = {"name": self.author.name, "email": self.author.email}
        if entries := [f"{key} = {_toml(value)}" for key, value in known.items() if value]:
            lines.append(f"authors = [{{ {', '.join(entries)} }}]")
        return "".join(f"{line}\n" for line in lines)

    def _urls(self) -> str:
        """Return the table of pyproject.toml that names web pages; nothing where none is known."""
        if not self.repository:
            return ""
        issues = f"Issues = {_toml(f'{self.repository}/issues')}\n" if "//github.com/" in self.repository else ""
        return f"\n[project.urls]\nRepository = {_toml(self.repository)}\n{issues}"


def _installer() -> str:
    """Return what installs into the active environment: uv, where it has made it without pip."""
    active = os.environ.get("VIRTUAL_ENV")
    scripts = Path(active, "Scripts" if os.name == "nt" else "bin") if active else None
    return "python -m pip" if scripts is None or any(scripts.glob("pip*")) else "uv pip"


def _template(source: str) -> Template:
    return Template((files("kie_ai_mcp_authors") / "templates" / f"{source}.template").read_text(encoding="utf-8"))


def _toml(text: str) -> str:
    return tomlkit.string(text).as_string()


def _git(key: str) -> str:
    """Return one line of git's configuration; "" where git is missing or knows none."""
    git = shutil.which("git")
    if git is None:
        return ""
    try:
        done = subprocess.run(  # noqa: S603  git's own path, and a key of ours
            [git, "config", "--get", key], capture_output=True, encoding="utf-8", timeout=GIT_LIMIT_S, check=False
        )
    except (OSError, subprocess.SubprocessError, UnicodeError):
        return ""
    line = done.stdout.strip()
    return line if line.isprintable() else ""
