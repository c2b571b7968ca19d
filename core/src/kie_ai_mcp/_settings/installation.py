"""Installation of this program: the tool that made it, what was added to it, and the command that adds more."""

import json
import os
import re
import shlex
import shutil
import sys
import sysconfig
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import Distribution, distributions
from importlib.util import find_spec
from pathlib import Path
from site import getsitepackages, getusersitepackages
from urllib.parse import unquote, urlsplit

from kie_ai_mcp._settings.settings import APP

CORE = "kie-ai-mcp-core"
PROVIDERS = "kie-ai-mcp-"  # begins the name of each distribution of a provider of this project
PREVIEW = f"{CORE}[preview]"  # the extra that decodes pictures, clips and sounds
NEEDED_HERE = ("keyring",) if sys.platform in {"darwin", "win32"} else ()  # extras that are no additions there
HOME = Path(__file__).parents[2]  # the folder of this program's packages
# A command of this program in a text: its name, with one of its commands after it, and uv where that starts it.
_COMMAND = re.compile(
    r"(?P<started>(?<![\w-])uvx?(?:\.exe)?'?(?: tool)?(?: run)?(?: --?[\w-]+(?:[ =](?:'[^'\n]*'|[^\s'`-]\S*))?)* )?"
    rf"(?<![\w/.\\-]){APP}(?= (?:(?:call|config|database|demo|doctor|estimate|gallery|install|models|new-provider|"
    r"plugin|providers|sandbox|serve|tasks|tools|uninstall|users)\b|(?:COMMAND )?--help\b))"
)
_REQUIREMENT = r"""(?m)^([\w.-]+) *(?:\[([^]]*)\])?[^;\n]*(?:;.*\bextra\s*==\s*["']([\w.-]+))?"""


def extra(name: str) -> str:
    """Return the requirement that brings what an extra of core needs."""
    return f"{CORE}[{name}]"


def install_command(*packages: str, update: bool = False) -> str:
    """Return the shell command that adds packages to this installation, or updates them in it."""
    return shell_words(_change(packages, update=update))


def change_words(install: Iterable[str] = (), remove: Iterable[str] = ()) -> list[str]:
    """Return the command, with absolute paths, that adds packages to this installation or removes them from it.

    Paths among the packages must be absolute. Of uvx, which installs nothing, it is the command that starts the server
    with what it would have.
    """
    words = _change([*install], {*map(normalized, remove)})
    match words[words.index("pip") :] if made_by() == "conda" else words:  # this process is in that environment
        case ["uv", "pip", verb, *rest]:
            return [_program("uv"), "pip", verb, "--python", sys.executable, *rest]
        case ["uv" | "pipx" as name, *rest]:
            return [_program(name), *rest]
        case ["pip", verb, *rest]:
            return [sys.executable, "-m", "pip", verb, *(["--yes"] if verb == "uninstall" else []), *rest]
    return words


def _change(install: Sequence[str], remove: Collection[str] = (), *, update: bool = False) -> list[str]:
    """Return the command of the tool that made this installation, as a person types it, which changes its packages."""
    way, beside = made_by(), [part for package in install for part in ("--with", package)]
    removed = sorted(remove)
    if way == "uvx":
        return ["uvx", *(["--refresh"] if update else beside), *_less(_uvx_arguments(), remove)]
    if way == "uv tool":
        own = _requirement(known[APP])[-1] if APP in (known := _installed()) else APP
        return ["uv", "tool", *(["upgrade", APP] if update else ["install", *beside, *_less(_added(), remove), own])]
    if way == "pipx" and update:
        return ["pipx", "upgrade", "--include-injected", APP]
    if way == "pipx":
        return ["pipx", "inject" if install else "uninject", APP, *(install or removed)]
    verb = ["install", *(["--upgrade"] if update else [])] if install else ["uninstall"]
    return [*_with_pip(way, verb), *(install or removed)]


def _with_pip(way: str, verb: Sequence[str]) -> list[str]:
    """Return the words of pip, or of uv in its place, before the packages."""
    if way == "pip --target":
        return [sys.executable, "-m", "pip", *verb, "--target", str(_target())]
    if way == "bundle":  # no shell has its environment, nor perhaps the uv that its host brings
        return [_uv(), "pip", *verb, "--python", sys.executable]
    if way == "conda" and os.environ.get("CONDA_PREFIX") != sys.prefix:
        found = next(filter(None, map(shutil.which, ("conda", "mamba", "micromamba"))), None)
        tool = os.environ.get("CONDA_EXE") or os.environ.get("MAMBA_EXE") or found
        return [*([tool, "run", "--prefix", sys.prefix] if tool else [sys.executable, "-m"]), "pip", *verb]
    return [*("pip" if way == "conda" else way).split(), *verb]


def _program(name: str) -> str:
    """Return where uv or pipx is; its name alone where that is not known."""
    return _uv() if name == "uv" else shutil.which(name) or name


def shell_words(command: Iterable[str]) -> str:
    """Return a command as one types it into a shell."""
    return " ".join(map(shlex.quote if os.name == "posix" else str, command))


def installed_names() -> dict[str, str]:
    """Return the version of each distribution that is installed beside this program, by its normalized name."""
    return {name: dist.version for name, dist in _installed().items()}


def is_needed(name: str) -> bool:
    """Return whether this program, or what it was installed as, needs a distribution."""
    known = _installed()
    return name in _needs(APP, known) | _needs(CORE, known)


def _less(arguments: Sequence[str], removed: Container[str]) -> list[str]:
    """Return arguments of uv without the requirements of some distributions."""
    kept: list[str] = []
    for option, package in zip(arguments[::2], arguments[1::2], strict=False):
        named = re.match(r"[\w.-]+", Path(package).name if option == "--with-editable" else package)
        if not option.startswith("--with") or named is None or normalized(named[0]) not in removed:
            kept += [option, package]
    return kept + list(arguments[len(arguments) // 2 * 2 :])


def with_commands(text: str, typed: str) -> str:
    """Return a text in which the commands of this program begin with what is typed to start it; the rest stays.

    A command that has its beginning already stays as well.
    """
    return _COMMAND.sub(lambda found: found[0] if found["started"] else typed, text)


@cache
def typed_command(*, anywhere: bool = False) -> str:
    """Return how a person starts this installation from the current folder, for a shell: what they typed themselves.

    With `anywhere` it holds in every folder and shell. That is a path: a server has the PATH of who started it, where
    `uv run` puts this environment, and a shell has its own.
    """
    program, arguments = server_command()
    if made_by() == "uvx":
        words = ["uvx" if shutil.which("uvx") else program if anywhere else _typed(Path(program)), *arguments]
    elif not anywhere and (uv := os.environ.get("UV")) and in_project():
        words = [_typed(Path(uv)), "run", APP]
    else:
        words = [program if anywhere else _typed(Path(program)), *arguments]
    return shell_words(words)


def for_any_shell(text: str) -> str:
    """Return a text whose commands of this program, or of pip for its environment, run in every folder and shell."""
    if (way := made_by()) in {"pip", "uv pip"}:
        whole = shell_words(change_words(["x"])[:-1])
        text = re.sub(rf"(?<![\w/-])(?<!uv )(?<!-m ){way} install(?= (?!--python ))", lambda _: whole, text)
    return with_commands(text, typed_command(anywhere=True))


def in_project() -> bool:
    """Return whether this runs in the environment of a checkout, which `uv run` makes."""
    environment = Path(sys.prefix)
    return environment.name == ".venv" and (environment.parent / "pyproject.toml").is_file()


def _typed(program: Path) -> str:
    """Return a program as one types it here: its name where a shell finds it, else from the current folder."""
    if (found := shutil.which(program.stem)) and Path(found).absolute() == program.absolute():
        return program.stem
    if program.is_absolute() and program.is_relative_to(Path.cwd()):
        return str(program.relative_to(Path.cwd()))
    return str(program)


def server_command() -> tuple[str, list[str]]:
    """Return how a client starts this installation, with absolute paths, since clients don't see a shell's PATH."""
    if made_by() == "uvx":
        return _uvx(), _uvx_arguments()
    base = _extended()
    if base is not None and (base.parent / "pyproject.toml").is_file():
        folders = [place for place in sys.path if not {"builds-v0", "archive-v0"}.isdisjoint(Path(place).parts)]
        known = {normalized(dist.name): dist for dist in distributions(path=folders)}
        needed = {other for name in known for other in _needs(name, known) - {name}}
        added = [part for name in sorted(known.keys() - needed) for part in _requirement(known[name])]
        return _uv(), ["run", "--project", str(base.parent), *added, APP]
    script = Path(sysconfig.get_path("scripts")) / (f"{APP}.exe" if os.name == "nt" else APP)
    return (str(script), []) if script.is_file() else (sys.executable, ["-m", "kie_ai_mcp"])


def _extended() -> Path | None:
    """Return the environment that this one adds packages to for one run, as `uv run --with` makes and deletes it."""
    with suppress(OSError):
        lines = (Path(sys.prefix) / "pyvenv.cfg").read_text("utf-8").splitlines()
        found = [line.partition("=")[2].strip() for line in lines if line.startswith("extends-environment")]
        return Path(found[0]) if found else None
    return None


def _uv() -> str:
    """Return where uv is: the one that runs this, on PATH, installed here, or where its installer puts it."""
    name = "uv.exe" if os.name == "nt" else "uv"
    places = (Path(sysconfig.get_path("scripts"), name), Path.home() / ".local/bin" / name)
    known = next((str(place) for place in places if place.is_file()), "uv")
    return os.environ.get("UV") or shutil.which("uv") or known


def _uvx() -> str:
    """Return where uvx is: beside the uv that runs this, where a shell does not find it."""
    beside = Path(os.environ.get("UV") or "uv").with_name("uvx.exe" if os.name == "nt" else "uvx")
    return shutil.which("uvx") or (str(beside) if beside.is_absolute() and beside.is_file() else "uvx")


def server_environment() -> dict[str, str]:
    """Return the variables without which that command would not find this program: clients have no PYTHONPATH."""
    places = [Path(place).absolute() for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if place]
    if HOME not in places:
        places = [*filter(None, [_target()])]
    return {"PYTHONPATH": os.pathsep.join(map(str, places))} if places else {}


def _target() -> Path | None:
    """Return the folder that this program was installed into with `pip install --target`."""
    known = sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *getsitepackages(), getusersitepackages()
    if HOME in map(Path, known) or _extended() is not None:
        return None
    return HOME if any(HOME.glob(f"{CORE.replace('-', '_')}-*.dist-info")) else None


def made_by() -> str:
    """Return what made the environment of this process: a tool, a host that started a bundle, or `pip --target`."""
    environment = Path(sys.prefix)
    if any(part.startswith(("archive-v", "environments-v")) for part in environment.parts):
        return "uvx"  # made for one run, and deleted some day
    if (environment / "uv-receipt.toml").is_file():
        return "uv tool"
    if (environment / "pipx_metadata.json").is_file():
        return "pipx"
    if all((environment.parent / name).exists() for name in ("manifest.json", "wheels")):
        return "bundle"
    if _target() is not None:
        return "pip --target"
    if (environment / "conda-meta" / "history").is_file() and find_spec("pip"):
        return "conda"
    return "pip" if find_spec("pip") else "uv pip"


def _uvx_arguments() -> list[str]:
    """Return the arguments with which uvx makes such an environment once more."""
    known = _installed()
    program = CORE if CORE in known and APP not in known else APP
    origin = _requirement(known[program]) if program in known else ["--with", APP]
    return [*(["--from", origin[1]] if origin != ["--with", APP] else []), *_added(), program]


def _added() -> list[str]:
    """Return what was installed beside this program and its requirements, as arguments of uv."""
    known = _installed()
    beside = known.keys() - _needs(CORE, known) - _needs(APP, known) - {"pip", "setuptools", "uv", "wheel"}
    added: list[str] = []
    for extra in (known[CORE].metadata.get_all("Provides-Extra") or ()) if CORE in known else ():
        if extra not in NEEDED_HERE and _is_installed(CORE, extra, known):
            added += ["--with", f"{CORE}[{extra}]"]
            beside -= _needs(CORE, known, extra)
    for name in tuple(beside):
        beside -= _needs(name, known) - {name}
    return added + [part for name in sorted(beside) for part in _requirement(known[name])]


def _is_installed(name: str, extra: str, known: Mapping[str, Distribution]) -> bool:
    """Return whether all that an extra of a distribution brings is installed, with the extras that this asks for."""
    brought = [(other, others) for other, others, only in _requirements(known[name]) if only == extra]
    return bool(brought) and all(
        other in known and all(_is_installed(other, more, known) for more in others.split(",") if more)
        for other, others in brought
    )


def _installed() -> Mapping[str, Distribution]:
    """Return the distributions in this environment by their normalized names."""
    folder = str(_target() or sysconfig.get_path("purelib", vars={"base": sys.prefix}))
    return {normalized(dist.name): dist for dist in distributions(path=[folder])}


def normalized(name: str) -> str:
    """Return the name of a distribution in the one spelling in which names are compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _requirements(dist: Distribution) -> list[tuple[str, str, str]]:
    """Return the name of each requirement, its extras, and the extra for which alone it is needed."""
    lines = re.findall(_REQUIREMENT, "\n".join(dist.requires or ()))
    return [(normalized(name), re.sub(r"\s", "", extras), only) for name, extras, only in lines]


def _needs(name: str, known: Mapping[str, Distribution], extras: str = "") -> set[str]:
    """Return a distribution and all that it needs, directly or not."""
    seen, left = set(), [(name, extras)]
    while left:
        name, extras = left.pop()
        if name in known and (name, extras) not in seen:
            seen.add((name, extras))
            wanted = {"", *extras.split(",")}
            left += [(other, others) for other, others, only in _requirements(known[name]) if only in wanted]
    return {name for name, _ in seen}


def _requirement(dist: Distribution) -> list[str]:
    """Return the argument of uv that installs a distribution from where it came."""
    origin = json.loads(dist.read_text("direct_url.json") or "{}")
    url, vcs = str(origin.get("url", "")), origin.get("vcs_info", {}).get("vcs")
    if origin.get("dir_info", {}).get("editable"):
        return ["--with-editable", unquote(urlsplit(url).path).removeprefix("/" if os.name == "nt" else "")]
    return ["--with", f"{dist.name} @ {f'{vcs}+' if vcs else ''}{url}" if url else normalized(dist.name)]
