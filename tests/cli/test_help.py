"""The command line as a whole: its help, its errors, its exit codes, completion, and commands of providers."""

import inspect
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

from kie_ai_mcp._cli.console import PROGRAM
from kie_ai_mcp._cli.main import COMMANDS, FIRST_PARTY, cli
from kie_ai_mcp._flow.links import FILES_PATH
from kie_ai_mcp._flow.submit import CALLBACK_PATH
from kie_ai_mcp._media.uploading import UPLOADS_PATH
from kie_ai_mcp._web.access import GALLERY_PATH, HEALTH_PATH, METRICS_PATH, READY_PATH
from kie_ai_mcp._web.site import CALL_PATH
from kie_ai_mcp._web.visitors import MCP_PATH
from tests.helpers import LIMIT_S

if TYPE_CHECKING:
    from tests.cli.conftest import Run
    from tests.conftest import Environment

SCRIPT = Path(sys.executable).with_name(PROGRAM)


def commands(command: click.Command = cli, *path: str) -> Iterator[tuple[str, ...]]:
    """Every command's words."""
    yield path
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from commands(inner, *path, name)


@pytest.mark.parametrize("path", [" ".join(path) for path in commands()])
def test_help_of_every_command_is_complete(path: str) -> None:
    command: click.Command = cli
    for name in path.split():
        assert isinstance(command, click.Group)
        inner = command.get_command(click.Context(command), name)
        assert inner is not None
        command = inner
    context = click.Context(command, info_name=path)
    assert command.help
    unexplained = [param.name for param in command.params if isinstance(param, click.Option) and not param.help]
    assert unexplained == []
    shown = command.get_help(context)
    arguments = [param.make_metavar(context) for param in command.params if isinstance(param, click.Argument)]
    assert [name for name in arguments if name not in shown.splitlines()[0]] == []
    assert "..." not in shown.partition("Commands:")[2]


def test_list_of_commands_says_what_each_command_says_of_itself() -> None:
    context = click.Context(cli)
    for name, line in COMMANDS.items():
        command = cli.get_command(context, name)
        assert command is not None
        assert (command.help or "").startswith(line), name


def test_help_imports_no_module_of_a_command(environment: "Environment", tmp_path: Path) -> None:
    code = (
        "import sys; from click.testing import CliRunner; from kie_ai_mcp._cli.main import cli;"
        "assert CliRunner().invoke(cli, ['--help']).exit_code == 0;"
        "late = ('kie_ai_mcp._cli.', 'rich', 'mcp');"
        "shared = {'kie_ai_mcp._cli.' + name for name in ('main', 'console', 'greeting')};"
        "print([name for name in sys.modules if name.startswith(late) and name not in shared])"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, env=environment(tmp_path), capture_output=True, text=True, timeout=LIMIT_S, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("bananas",), "There is no command 'bananas'. Known: call, completion, "),
        (("task", "list"), "There is no command 'task'. Did you mean tasks?"),
        (("tasks", "lst"), "There is no command 'lst'. Did you mean list?"),
        (("config", "shw"), "Did you mean show?"),
        (("users", "ad"), "Did you mean add?"),
        (("database", "backups"), "Did you mean backup"),
        (("models", "shows"), "Did you mean show?"),
        (("call",), "Missing argument 'TOOL'"),
        (("tasks", "list", "--status", "done"), "'done' is not one of"),
        (("tasks", "list", "--limit", "51"), "51 is not in the range"),
        (("tasks", "prune"), "Missing option '--older-than'"),
        (("doctor", "--ofline"), "--ofline"),
        (("config", "reset"), "There is no command 'reset'. Did you mean set or unset?"),
        (("completion", "tcsh"), "'tcsh' is not one of"),
    ],
)
def test_wrong_usage_is_one_line_that_names_the_help_and_ends_with_2(
    run: "Run", arguments: tuple[str, ...], words: str
) -> None:
    ended = run(*arguments)
    assert (ended.code, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    assert words in ended.stderr
    assert f"See: {PROGRAM}" in ended.stderr
    assert ended.stderr.rstrip().endswith("--help")


@pytest.mark.parametrize("arguments", [("call", "get_credits"), ("tasks", "list"), ("config", "show"), ("providers",)])
def test_wrong_setting_is_one_line_with_its_cure_and_ends_with_2(run: "Run", arguments: tuple[str, ...]) -> None:
    ended = run(*arguments, KIE_AI_TIMEOUT="60s")
    assert (ended.code, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    assert "set it to 60000" in ended.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("install", "cursor", "--file", "~nobody-here/mcp.json"),
        ("config", "init", "--output", "~nobody-here/config.toml"),
        ("call", "get_credits", "--save", "~nobody-here"),
        ("call", "generate_nano_banana", "prompt=@~nobody-here/prompt.txt"),
    ],
)
def test_unknown_home_folder_is_one_line_that_ends_with_2(run: "Run", arguments: tuple[str, ...]) -> None:
    ended = run(*arguments)
    assert (ended.code, ended.stderr.count("\n")) == (2, 1)
    assert "no home folder is known for ~nobody-here; give an absolute path" in ended.stderr


def test_help_works_where_the_settings_are_wrong(run_child: "Run") -> None:
    ended = run_child("--help", KIE_AI_TIMEOUT="60s")
    assert (ended.code, ended.stderr) == (0, "")
    assert "doctor" in ended.stdout
    assert "sandbox" not in ended.stdout


def test_database_that_can_not_be_opened_ends_with_1(run: "Run", tmp_path: Path) -> None:
    (tmp_path / "tasks.db").write_text("a shopping list\n" * 100, "utf-8")
    ended = run("tasks", "list")
    assert (ended.code, ended.stderr.count("\n")) == (1, 1)
    assert "KIE_AI_DB_PATH" in ended.stderr


def test_tool_is_shown_with_its_arguments(run: "Run") -> None:
    shown = run("tools", "generate_nano_banana", COLUMNS="200").stdout
    (line,) = [line for line in shown.splitlines() if line.strip().startswith("image_size")]
    assert "16:9 | " in line
    assert "needed" in next(line for line in shown.splitlines() if line.strip().startswith("prompt"))
    ended = run("tools", "generate_nano_bananas")
    assert (ended.code, "Did you mean generate_nano_banana" in ended.stderr) == (2, True)
    assert json.loads(run("tools", "get_credits", "--json").stdout)["tool"] == "get_credits"


# Completion ----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("bash") is None or not SCRIPT.exists(), reason="needs bash and the installed command")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["ta"], ["tasks"]),
        (["tasks", "re"], ["resolve"]),
        (["call", "generate_nano"], ["generate_nano_banana"]),
        (["call", "generate_nano_banana", "output_f"], ["output_format=png", "output_format=jpeg"]),
        (["call", "generate_nano_banana", "output_format", "="], ["png", "jpeg"]),
        (["call", "generate_nano_banana", "prompt=x", "output_format", "=", "p"], ["png"]),
    ],
)
def test_bash_completes(
    run: "Run", environment: "Environment", tmp_path: Path, words: list[str], offered: list[str]
) -> None:
    typed = f"COMP_WORDS=({' '.join([PROGRAM, *words])}); COMP_CWORD={len(words)}"
    asked = f'{typed}; _kie_ai_mcp_server_completion {SCRIPT}; printf "%s\\n" "${{COMPREPLY[@]}}"'
    script = run("completion", "bash").stdout + asked
    environ = environment(tmp_path, KIE_AI_ENABLED_PROVIDERS="nano-banana")
    done = subprocess.run(
        ["bash", "-c", script], env=environ, capture_output=True, text=True, timeout=LIMIT_S, check=True
    )
    assert done.stdout.split() == offered


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_never_starts_the_server(run: "Run", shell: str) -> None:
    script = run("completion", shell).stdout
    (call,) = [line for line in script.splitlines() if f"_COMPLETE={shell}_complete" in line]
    assert " completion)" in call


# Commands of providers -----------------------------------------------------------------------------------------------


def plant(tmp_path: Path, **sources: str) -> str:
    """Publish provider modules, as an installer would; return the PYTHONPATH that finds them."""
    for name, text in sources.items():
        about = tmp_path / "site" / f"kie_ai_mcp_{name}-1.0.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: kie-ai-mcp-{name}\nVersion: 1.0\n", "utf-8")
        (about / "entry_points.txt").write_text(f"[kie_ai_mcp]\n{name} = kie_ai_mcp_{name}\n", "utf-8")
        (tmp_path / "site" / f"kie_ai_mcp_{name}.py").write_text(inspect.cleandoc(text), "utf-8")
    return os.pathsep.join([str(tmp_path / "site"), *filter(None, [os.environ.get("PYTHONPATH")])])


MOON = """
    import click
    from kie_ai_mcp import hookimpl

    @click.command("moon")
    def moon():
        "Look at the moon."
        click.echo("full")

    @hookimpl
    def kie_register_commands(commands):
        commands.add_command(moon)
        for name in (*commands.commands, "doctor", "serve", "demo", "new-provider"):
            commands.add_command(moon, name)
"""
FAILING = """
    from kie_ai_mcp import hookimpl

    @hookimpl
    def kie_register_commands(commands):
        1 / 0
"""


def test_provider_whose_commands_fail_goes_without_them_and_none_replaces_ours(
    run_child: "Run", tmp_path: Path
) -> None:
    path = plant(tmp_path, moon=MOON, sun=FAILING)
    ended = run_child("moon", PYTHONPATH=path)
    assert (ended.code, ended.stdout) == (0, "full\n")
    assert "sun" in ended.stderr
    assert "ZeroDivisionError" in ended.stderr
    assert "versions" in run_child("doctor", "--offline", PYTHONPATH=path, KIE_AI_ENABLED_PROVIDERS="moon").stdout


@pytest.mark.parametrize(("name", "help_line"), [("demo", "stand-in for the service"), ("new-provider", "one tool")])
@pytest.mark.parametrize("other", ["aardvark", "zebra"])
def test_commands_of_first_party_providers_are_not_replaced_either(
    run_child: "Run", tmp_path: Path, name: str, help_line: str, other: str
) -> None:
    path = plant(tmp_path, **{other: MOON})
    ended = run_child(name, "--help", PYTHONPATH=path)
    assert (ended.code, help_line in ended.stdout) == (0, True)
    assert f"the command {name} of provider {other} is left out: it belongs to {FIRST_PARTY[name]}" in ended.stderr
    without = run_child(name, PYTHONPATH=path, KIE_AI_ENABLED_PROVIDERS=other)
    assert (without.code, without.stdout) == (2, "")


def test_command_that_two_providers_bring_stays_with_the_first(run_child: "Run", tmp_path: Path) -> None:
    path = plant(tmp_path, moon=MOON, titan=MOON.replace("full", "hazy"))
    ended = run_child("moon", PYTHONPATH=path)
    assert (ended.code, ended.stdout) == (0, "full\n")
    assert "the command moon of provider titan is left out: it belongs to moon" in ended.stderr


@pytest.mark.parametrize(("name", "provider"), FIRST_PARTY.items())
@pytest.mark.parametrize(
    ("settings", "cure"),
    [
        ({"KIE_AI_DISABLED_PROVIDERS": "sandbox, authors"}, "To use it: change KIE_AI_DISABLED_PROVIDERS in"),
        ({"KIE_AI_ENABLED_PROVIDERS": "nano-banana"}, "To use it: change KIE_AI_ENABLED_PROVIDERS in"),
    ],
)
def test_command_of_a_disabled_first_party_provider_says_how_to_enable_it(
    run_child: "Run", name: str, provider: str, settings: dict[str, str], cure: str
) -> None:
    ended = run_child(name, "--output", "made", sandbox=None, **settings)
    assert (ended.code, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    assert f"The command {name} comes from the provider {provider}, which is disabled." in ended.stderr
    assert cure in ended.stderr


def test_command_of_a_first_party_provider_that_is_set_aside_says_why(run_child: "Run", tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "kie_ai_mcp_sandbox.py").write_text("KIE_AI_MCP_CONTRACT = 2\n", "utf-8")
    ended = run_child("demo", PYTHONPATH=str(tmp_path / "site"))
    assert (ended.code, ended.stdout) == (2, "")
    assert "which is set aside: it is built for contract 2" in ended.stderr


def test_help_of_serve_names_every_address_and_all_that_lets_users_in() -> None:
    said = CliRunner().invoke(cli, ["serve", "--help"]).output
    addresses = (HEALTH_PATH, READY_PATH, METRICS_PATH, GALLERY_PATH, CALLBACK_PATH, FILES_PATH, UPLOADS_PATH, MCP_PATH)
    assert [path for path in (*addresses, CALL_PATH) if path not in said] == []
    assert [word for word in ("KIE_AI_HTTP_TOKEN", "users", "KIE_AI_OAUTH_ISSUER") if word not in said] == []
