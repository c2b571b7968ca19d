"""Image, compose file and systemd unit: their parts agree with the server, and their steps are done for real.

No container is started: what the Dockerfile says is done in a folder of its own, under its user's number.
"""

import http.client
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import pytest

from kie_ai_mcp._cli.main import cli
from kie_ai_mcp._mcp.server import CLEANUP_S
from kie_ai_mcp._settings.load import load_settings
from kie_ai_mcp._settings.settings import SECRET_SETTINGS, SECTIONS, Settings, variable
from kie_ai_mcp._start.limits import LOAD
from kie_ai_mcp._web import site
from kie_ai_mcp._web.access import HEALTH_PATH, METRICS_PATH, READY_PATH

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = import_module("yaml").safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
ENV_EXAMPLE = (ROOT / "deploy/env.example").read_text(encoding="utf-8")
CADDYFILE = (ROOT / "deploy/Caddyfile").read_text(encoding="utf-8")
UNIT_FILE = ROOT / "deploy/kie-ai-mcp-server.service"
FILES = [
    "Dockerfile",
    "compose.yaml",
    "deploy/env.example",
    "deploy/Caddyfile",
    "deploy/kie-ai-mcp-server.service",
    "docs/operating.md",
]

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
DRAIN_S = CLEANUP_S + site.CLOSE_S
LIMIT_S = 120.0
TOKEN = "token-of-the-tests-0123"
ADDRESSES = re.compile(r"(?<![\w/.])/(?=(?:src|wheels|opt/kie-ai|data)\b)")

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="they are for Linux")


# The Dockerfile ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """One instruction of a Dockerfile."""

    word: str
    text: str

    @property
    def values(self) -> dict[str, str]:
        """The values that an ENV or LABEL sets."""
        return dict(part.split("=", 1) for part in shlex.split(self.text))

    @property
    def command(self) -> list[str]:
        """The command of an instruction in its form as a list."""
        found: list[str] = json.loads(self.text[self.text.index("[") :])
        return found


def steps_of(text: str) -> list[Step]:
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\s*\\\n\s*", " ", "\n".join(lines))
    return [Step(*line.split(maxsplit=1)) for line in joined.splitlines()]


STEPS = steps_of(DOCKERFILE)
LAST = max(number for number, step in enumerate(STEPS) if step.word == "FROM")
BUILD, FINAL = STEPS[:LAST], STEPS[LAST:]


def the(word: str, steps: Sequence[Step] = FINAL) -> Step:
    (found,) = (step for step in steps if step.word == word)
    return found


ENV = the("ENV").values
PORT = the("EXPOSE").text
UID = int(the("USER").text.partition(":")[0])


def test_image_is_built_of_files_that_the_builder_is_sent() -> None:
    allowed = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert next(line for line in allowed if line and not line.startswith("#")) == "*"
    sources = [source for step in BUILD if step.word == "COPY" for source in step.text.split()[:-1]]
    assert sources
    assert [source for source in sources if not (ROOT / source).exists()] == []
    assert sorted(f"!{source}" for source in sources) == sorted(line for line in allowed if line.startswith("!"))
    assert [step.text.split()[0] for step in FINAL if step.word == "COPY"] == ["--from=build"]


def test_last_stage_has_neither_build_tools_nor_secrets() -> None:
    tools = r"\b(apt|apt-get|pip|uv|gcc|curl|wget|git)\b"
    assert [step.text for step in FINAL if step.word == "RUN" and re.search(tools, step.text)] == []
    names = [name for step in STEPS if step.word in {"ENV", "ARG"} for name in step.values]
    assert [name for name in names if name.lower().endswith((*SECRET_SETTINGS, "database_url"))] == []
    assert not {step.word for step in STEPS} & {"ADD", "ARG"}


def test_image_runs_a_user_with_a_fixed_number_on_its_volume() -> None:
    assert UID > 0
    assert the("USER").text == f"{UID}:{UID}"
    volume = the("VOLUME").text
    assert [name for name, value in ENV.items() if name != "PATH" and not value.startswith(volume)] == []
    folders = {word for step in FINAL if step.word == "RUN" for word in step.text.split()}
    assert {volume, ENV["TMPDIR"], ENV["KIE_AI_OUTPUT_DIR"]} <= folders
    assert not ENV["TMPDIR"].startswith(tuple(SERVERS["server-a"]["tmpfs"]))  # which is memory
    assert {"HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "KIE_AI_DB_PATH", "KIE_AI_OUTPUT_DIR"} < ENV.keys()
    assert the("LABEL").values["org.opencontainers.image.version"] == VERSION


def test_image_listens_where_it_says_and_is_stopped_as_the_server_expects() -> None:
    command = the("CMD").command
    assert command[command.index("--port") + 1] == PORT
    assert f"{PORT}, timeout" in the("HEALTHCHECK").text
    assert HEALTH_PATH in the("HEALTHCHECK").text
    assert the("STOPSIGNAL").text == "SIGTERM"


def interpreter() -> str:
    """An interpreter that other users of this machine may run, too; else this one."""
    known = (shutil.which(name, path="/usr/local/bin:/usr/bin") for name in ("python3.13", "python3.12", "python3.11"))
    return next(filter(None, known), sys.executable)


def may_be_run_by_others(path: str) -> bool:
    parents = Path(path).resolve().parents
    return os.geteuid() == 0 and all(folder.stat().st_mode & 0o001 for folder in parents)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def running(command: Sequence[str], **how: Any) -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **how) as process:
        try:
            assert process.stderr is not None
            said = process.stderr.readline()
            assert "serving MCP at" in said, said + process.stderr.read()
            yield process
        finally:
            process.kill()


def asked(port: int, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, str]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT_S)) as connection:
        headers = {"Content-Type": "application/json", **headers}
        connection.request(method, path, json.dumps(body) if body else None, headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


@dataclass(frozen=True)
class Image:
    """What the steps of the Dockerfile made, below a folder of its own."""

    root: Path
    python: str

    def here(self, text: str) -> str:
        """A text with the image's addresses below that folder."""
        return ADDRESSES.sub(f"{self.root}/", text.replace("/usr/local/bin/python3", self.python))

    def make(self, uv: Callable[..., None]) -> None:
        builder = self.root / "builder"
        uv("venv", "--seed", "--python", self.python, str(builder))
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_"))}
        environ |= {"PATH": f"{builder / 'bin'}:{os.environ['PATH']}"}
        folder = self.root
        for step in STEPS:
            text = self.here(step.text)
            if step.word == "ENV" and step in BUILD:
                environ |= step.values
            elif step.word == "WORKDIR":
                folder = Path(text)
                folder.mkdir(exist_ok=True)
            elif step.word == "COPY" and step in BUILD:
                *sources, _ = step.text.split()
                for source in sources:
                    self._copy(ROOT / source, folder / source)
            elif step.word == "RUN":
                if os.geteuid() != 0:
                    text = re.sub(r"--(owner|group) \d+ ", "", text)
                done = subprocess.run(
                    ["sh", "-ec", text],
                    cwd=folder,
                    env=environ,
                    capture_output=True,
                    text=True,
                    timeout=LIMIT_S,
                    check=False,
                )
                assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"

    def _copy(self, source: Path, place: Path) -> None:
        if source.is_dir():
            shutil.copytree(source, place, ignore=shutil.ignore_patterns("__pycache__", "*.pyc", ".env*", "*.db*"))
        else:
            shutil.copy(source, place)


def test_steps_of_the_image_make_a_server_that_runs_and_ends_as_it_says(run_uv: Callable[..., None]) -> None:
    python, port = interpreter(), str(free_port())
    with tempfile.TemporaryDirectory(prefix="kie-image-") as name:  # pytest's own folders are closed to other users
        image = Image(Path(name), python)
        image.root.chmod(0o755)
        image.make(run_uv)
        shutil.rmtree(image.root / "src")
        who = {"user": UID, "group": UID, "extra_groups": []} if may_be_run_by_others(python) else {}
        environ = {key: image.here(value) for key, value in ENV.items()}
        program = image.root / "opt/kie-ai/bin"
        how: dict[str, Any] = {"env": {**environ, "KIE_AI_HTTP_TOKEN": TOKEN}, "cwd": image.root / "data", **who}
        command = [word if word != PORT else port for word in the("CMD").command]
        command[command.index("--host") + 1] = "127.0.0.1"  # nobody else is let in here
        probe = [part.replace(PORT, port) for part in the("HEALTHCHECK").command]
        probe[0] = str(program / probe[0])
        assert subprocess.run(probe, **how, capture_output=True, timeout=LIMIT_S, check=False).returncode == 1
        with running([str(program / the("ENTRYPOINT").command[0]), *command], **how) as server:
            assert subprocess.run(probe, **how, timeout=LIMIT_S, check=False).returncode == 0
            call = {"name": "list_tasks", "arguments": {}}
            assert asked(int(port), "POST", site.CALL_PATH, call)[0] == 401
            status, answer = asked(int(port), "POST", site.CALL_PATH, call, Authorization=f"Bearer {TOKEN}")
            assert (status, '"isError":false' in answer.replace(" ", "")) == (200, True), answer
            assert asked(int(port), "GET", METRICS_PATH, Authorization=f"Bearer {TOKEN}")[0] == 200
            server.send_signal(signal.SIGTERM)
            assert server.wait(DRAIN_S) == 0
        owner = (image.root / "data/tasks.db").stat().st_uid
        assert owner == (UID if who else os.geteuid())
        extras = "import av, opentelemetry.sdk, PIL, psycopg, kie_ai_mcp; print(kie_ai_mcp.__file__)"
        done = subprocess.run([program / "python", "-c", extras], **how, capture_output=True, text=True, check=True)
        assert done.stdout.startswith(str(program.parent))


# The compose file ----------------------------------------------------------------------------------------------------

SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SERVERS = {name: service for name, service in SERVICES.items() if name.startswith("server-")}
GIVEN = {
    "DOMAIN": "kie.example",
    "KIE_AI_API_KEY": "key-of-the-tests-0123",
    "KIE_AI_HTTP_TOKEN": TOKEN,
    "POSTGRES_PASSWORD": "secret",
}


def seconds(text: str) -> float:
    assert text.endswith("s")
    return float(text.removesuffix("s"))


def filled(text: str) -> str:
    return re.sub(r"\$\{(\w+)(:\?[^}]*)?\}", lambda found: GIVEN[found[1]], text)


@pytest.mark.parametrize("name", FILES)
def test_every_variable_that_a_file_names_is_a_setting(name: str) -> None:
    known = {variable(field) for field in Settings.model_fields if field not in SECTIONS} | {"KIE_AI_CONFIG", LOAD}
    named = set(re.findall(r"\bKIE_AI_[A-Z_]*[A-Z]\b", (ROOT / name).read_text(encoding="utf-8")))
    assert named - known == set()
    assert named or "Caddyfile" in name


def test_commands_beside_the_unit_have_its_environment() -> None:
    page = (ROOT / "docs/operating.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^systemd-run .*(?:\\\n.*)+", page, re.MULTILINE)
    given = dict(part.split("=", 1) for part in re.findall(r"--setenv (\S+)", command))
    assert given == unit_environment(Path("/var/lib"))


def test_every_command_that_the_page_names_exists() -> None:
    page, named = (ROOT / "docs/operating.md").read_text(encoding="utf-8"), 0
    for text in re.findall(r"`([^`\n]+)`|kie-ai-mcp-server ([a-z][^\n#]+)", page):
        words = "".join(text).removeprefix("kie-ai-mcp-server ").split()
        with click.Context(cli) as context:
            command = cli.get_command(context, words[0])
            if command is None or words == ["doctor"]:
                continue
            if isinstance(command, click.Group) and len(words) > 1:
                command = command.get_command(context, words[1])
            assert command is not None, " ".join(words)
            options = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options, " ".join(words)
        named += 1
    assert named >= 10


def test_two_servers_differ_in_nothing_but_their_own_folder() -> None:
    assert len(SERVERS) == 2
    first, second = ({**server, "volumes": None} for server in SERVERS.values())
    assert first == second
    folders = [set(server["volumes"]) for server in SERVERS.values()]
    assert folders[0] & folders[1] == {f"results:{ENV['KIE_AI_OUTPUT_DIR']}"}
    assert [len([place for place in places if place.endswith(f":{the('VOLUME').text}")]) for places in folders] == [
        1,
        1,
    ]


def test_servers_of_the_compose_file_get_settings_that_they_take() -> None:
    for server in SERVERS.values():
        environ = {**GIVEN, **ENV, **{name: filled(value) for name, value in server["environment"].items()}}
        settings = load_settings({**environ, "KIE_AI_CONFIG": os.devnull})
        assert settings.database_address.startswith("postgresql://kie@postgres/")
        assert (settings.token, settings.public_url) == (TOKEN, "https://kie.example")
        assert environ["PGPASSWORD"] == GIVEN["POSTGRES_PASSWORD"]
        assert server["image"] == f"kie-ai-mcp-server:{VERSION}"
        assert seconds(server["stop_grace_period"]) > DRAIN_S


def test_servers_of_the_compose_file_get_nothing_but_their_settings() -> None:
    offered = dict(line.lstrip("#").split("=", 1) for line in ENV_EXAMPLE.splitlines() if re.match(r"#?[A-Z_]+=", line))
    for server in SERVERS.values():
        assert server["env_file"] == ".env"
        given = {**dict.fromkeys(offered, "x"), **server["environment"]}
        others = [name for name, value in given.items() if value and not name.startswith("KIE_AI_")]
        assert others == ["PGPASSWORD"]


def test_everything_that_the_compose_file_refers_to_exists() -> None:
    used = {place.partition(":")[0] for service in SERVICES.values() for place in service.get("volumes", ())}
    assert {place for place in used if not place.startswith(".")} == set(COMPOSE["volumes"])
    assert [place for place in used if place.startswith(".") and not (ROOT / place).is_file()] == []
    for service in SERVICES.values():
        for other, state in service.get("depends_on", {}).items():
            # The image of the servers brings its own check.
            assert state["condition"] != "service_healthy" or other in SERVERS or "healthcheck" in SERVICES[other]
    database = SERVICES["postgres"]
    user, name = database["environment"]["POSTGRES_USER"], database["environment"]["POSTGRES_DB"]
    address = SERVERS["server-a"]["environment"]["KIE_AI_DATABASE_URL"]
    assert address == f"postgresql://{user}@postgres/{name}"
    assert database["healthcheck"]["test"] == ["CMD", "pg_isready", "--username", user, "--dbname", name]


PLAIN = {"KIE_AI_MAX_CREDITS_PER_DAY", "KIE_AI_ALLOWED_HOSTS"}


def test_no_secret_stands_in_the_files() -> None:
    text = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    asked_for = set(re.findall(r"\$\{(\w+)", text)) | {"KIE_AI_API_KEY"}
    offered = dict(line.lstrip("#").split("=", 1) for line in ENV_EXAMPLE.splitlines() if re.match(r"#?[A-Z_]+=", line))
    assert asked_for <= offered.keys()
    assert [name for name, value in offered.items() if value and name not in PLAIN] == []
    secret = r"(PASSWORD|TOKEN|KEY): (?!\$\{\w+:\?|\"\"\n)"
    assert re.findall(secret, text) == []
    assert ".env" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_proxy_sends_each_client_to_one_of_the_servers_and_buffers_nothing() -> None:
    code = "\n".join(line for line in CADDYFILE.splitlines() if not line.lstrip().startswith("#"))
    assert code.count("{") == code.count("}")
    found = re.search(r"reverse_proxy (.*) \{", code)
    assert found
    assert found[1].split() == [f"{name}:{PORT}" for name in SERVERS]
    assert "lb_policy header Authorization\n" in code
    assert f"health_uri {READY_PATH}\n" in code
    assert "flush_interval -1\n" in code
    assert "{$DOMAIN}" in code
    assert "DOMAIN" in SERVICES["proxy"]["environment"]
    assert [port.split(":")[0] for port in SERVICES["proxy"]["ports"]] == ["80", "443", "443"]
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["proxy"]


@pytest.mark.parametrize("around", ["{}", "{}/", "/{}", "//{}//", "{}//"])
def test_what_is_not_for_the_internet_is_kept_from_it_with_any_slashes(around: str) -> None:
    page = (ROOT / "docs/operating.md").read_text(encoding="utf-8")
    rules = [re.findall(r"@internal path_regexp (\S+)\n", CADDYFILE), re.findall(r"location ~ (\S+) \{ return", page)]
    for (rule,) in rules:
        for path in (METRICS_PATH, READY_PATH):
            assert re.search(rule, around.format(path)), path
        for path in (HEALTH_PATH, "/mcp", "/gallery", "/callbacks/kie", "/files/0/a/1/metrics.png", "/readyz.json"):
            assert not re.search(rule, around.format(path)), path


@pytest.mark.skipif(not shutil.which("caddy"), reason="Caddy is not installed here")
def test_proxy_takes_its_file() -> None:
    command = ["caddy", "validate", "--config", str(ROOT / "deploy/Caddyfile"), "--adapter", "caddyfile"]
    environ = {**os.environ, "DOMAIN": "kie.example"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, done.stderr


# The systemd unit ----------------------------------------------------------------------------------------------------


def unit() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in UNIT_FILE.read_text(encoding="utf-8").splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


UNIT = unit()


def unit_environment(folder: Path) -> Mapping[str, str]:
    text = " ".join(UNIT["Environment"]).replace("%S", str(folder))
    return dict(part.split("=", 1) for part in shlex.split(text))


def test_unit_waits_longer_than_the_server_needs_to_end() -> None:
    assert float(UNIT["TimeoutStopSec"][0]) > DRAIN_S
    assert (UNIT["Type"], UNIT["Restart"], UNIT["KillMode"]) == (["exec"], ["on-failure"], ["mixed"])


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed here")
def test_unit_is_what_systemd_takes_and_gives_few_rights(tmp_path: Path) -> None:
    copy = tmp_path / UNIT_FILE.name
    program = UNIT["ExecStart"][0].split()[0]
    copy.write_text(UNIT_FILE.read_text(encoding="utf-8").replace(program, "/bin/true"), encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", copy], capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert (done.returncode, [line for line in done.stderr.splitlines() if copy.name in line]) == (0, []), done.stderr
    # 0 is no right at all, 10 every one; in tenths.
    judge = ["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=20", str(copy)]
    done = subprocess.run(judge, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, done.stdout


def test_command_of_the_unit_runs_with_its_environment_and_ends_well(tmp_path: Path) -> None:
    state = tmp_path / UNIT["StateDirectory"][0]
    state.mkdir()
    assert UNIT["WorkingDirectory"] == [f"%S/{state.name}"]
    program, *arguments = shlex.split(UNIT["ExecStart"][0])
    own = Path(sys.executable).with_name(Path(program).name)
    port = str(free_port())
    command = [str(own), *(port if word == "3000" else word for word in arguments)]

    how: dict[str, Any] = {"env": {**unit_environment(tmp_path), "KIE_AI_HTTP_TOKEN": "short"}, "cwd": state}
    done = subprocess.run(command, **how, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert [str(done.returncode)] == UNIT["RestartPreventExitStatus"], done.stderr
    assert "KIE_AI_HTTP_TOKEN" in done.stderr

    how["env"]["KIE_AI_HTTP_TOKEN"] = TOKEN
    with running(command, **how) as server:
        assert asked(int(port), "GET", HEALTH_PATH)[0] == 200
        assert asked(int(port), "GET", "/gallery")[0] == 401
        assert asked(int(port), "GET", "/gallery", Authorization=f"Bearer {TOKEN}")[0] == 200
        server.send_signal(signal.SIGTERM)
        assert server.wait(DRAIN_S) == 0
    assert [path.name for path in tmp_path.iterdir()] == [state.name]
    assert len(list(state.rglob("tasks.db"))) == 1
