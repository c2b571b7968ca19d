"""The command ``new-provider``: the package of a new provider, written from templates.

The package passes its own tests, type checks and lint as it is written.
"""

import re
from collections.abc import Container, Mapping
from datetime import UTC, datetime
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path
from string import Template

import click

from kie_ai_mcp import InvalidArgument, KieError
from kie_ai_mcp.hookspecs import PROJECT

PREFIX = "kie-ai-mcp-"
PATTERN = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
LONGEST = 24
"""How long a name may be: ``generate_NAME_image`` must be a tool name of at most 40 characters."""

SERVICE = "kie"
"""The name that the record and saved files give to the service itself."""

# Where each template of `templates` goes.
COMMON = {"pyproject.toml": "pyproject.toml", "gitignore": ".gitignore", "py.typed": "src/$package/py.typed"}
FILES = COMMON | {"README.md": "README.md", "module.py": "src/$package/__init__.py", "test.py": "tests/test_$word.py"}
MODEL_FILES = COMMON | {
    "models_README.md": "README.md",
    "models_module.py": "src/$package/__init__.py",
    "models.json": "src/$package/models.json",
    "models_test.py": "tests/test_$word.py",
}


def _at_home(_ctx: click.Context, _param: click.Parameter, path: Path | None) -> Path | None:
    """Return a path with ~ filled in.

    Raises:
        click.BadParameter: No user of that name has a home folder.
    """
    try:
        return path and path.expanduser()
    except RuntimeError:
        assert path is not None  # noqa: S101  only ~ raises this
        raise click.BadParameter(f"no home folder is known for {path.parts[0]}; give an absolute path") from None


@click.command("new-provider")
@click.argument("name")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    callback=_at_home,
    help="The folder to write; it must not exist.  [default: ./kie-ai-mcp-NAME]",
)
@click.option("--models", is_flag=True, help="Write a package of nothing but models, as data, of a service of its own.")
def new_provider(name: str, output: Path | None, models: bool) -> None:
    """Write the package of a new provider: a module with one tool, its tests and a README."""
    check_name(name, taken={entry.name for entry in entry_points(group=PROJECT)})
    folder = output or Path(f"{PREFIX}{name}")
    for path in write_provider(name, folder, MODEL_FILES if models else FILES):
        click.echo(folder / path)
    click.echo(next_steps(name, folder, models=models))


def check_name(name: str, taken: Container[str] = ()) -> None:
    """Check that a provider can have this name.

    Raises:
        InvalidArgument: It can't; the message gives the nearest name that can be.
    """
    near = _nearest(name)
    if near in taken or near == SERVICE:
        near = f"my-{near}"[:LONGEST].rstrip("-")
    if not PATTERN.fullmatch(name) or len(name) > LONGEST or f"{name}-".startswith(PREFIX):
        rule = (
            f"use at most {LONGEST} small letters and digits, in words joined by dashes, without {PREFIX} before them"
        )
        raise InvalidArgument("NAME", name, f"{rule}; for example {near}")
    if name == SERVICE:
        raise InvalidArgument("NAME", name, f"it stands for the service itself; for example {near}")
    if name in taken:
        raise InvalidArgument("NAME", name, f"a provider of that name is installed already; for example {near}")


def write_provider(name: str, folder: Path, templates: Mapping[str, str] = FILES) -> list[Path]:
    """Write the package of a new provider into a folder that does not exist yet.

    Args:
        name: The provider's name.
        folder: Where it is written.
        templates: Which templates, and where each goes.

    Returns:
        The files, relative to the folder.

    Raises:
        InvalidArgument: The folder exists.
        KieError: It can't be written.
    """
    word = name.replace("-", "_")
    values = {
        "name": name,
        "word": word,
        "title": name.replace("-", " ").title(),
        "distribution": f"{PREFIX}{name}",
        "package": f"{PROJECT}_{word}",
        "variable": f"KIE_AI_PROVIDER_{word.upper()}",
        "today": datetime.now(UTC).date().isoformat(),
    }
    texts = {
        Path(Template(path).substitute(values)): Template(_template(source)).substitute(values)
        for source, path in templates.items()
    }
    try:
        folder.mkdir(parents=True)
        for path, text in texts.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
    except FileExistsError:
        raise InvalidArgument("--output", str(folder), "it exists already, and nothing is overwritten") from None
    except OSError as exc:
        raise KieError(f"{folder} can't be written: {exc.strerror}.", next_step="Choose another --output.") from exc
    return list(texts)


def next_steps(name: str, folder: Path, *, models: bool = False) -> str:
    """Return what the author does next, in words."""
    package = f"src/{PROJECT}_{name.replace('-', '_')}"
    edit = f"Then put your model's id and arguments into {package}/__init__.py."
    if models:
        edit = f"Then put your models into {package}/models.json, and the service's address into {package}/__init__.py."
    return "\n".join(
        [
            "Try it:",
            f"  cd {folder}",
            "  python -m pip install --editable . --group dev",
            "  python -m pytest",
            edit,
            f"The server has the {'models' if models else 'tool'} at its next start; "
            "`kie-ai-mcp-server providers` lists the provider.",
        ]
    )


def _template(source: str) -> str:
    return (files("kie_ai_mcp_authors") / "templates" / f"{source}.template").read_text(encoding="utf-8")


def _nearest(name: str) -> str:
    """Return a name that is accepted, made of the words of one that is not."""
    split = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()
    words = re.findall(r"[a-z0-9]+", split)
    near = "-".join(words).removeprefix(PREFIX).removeprefix("kie-ai-mcp")
    if near[:1].isdigit():
        near = f"my-{near}"
    return near[:LONGEST].rstrip("-") or "my-provider"
