"""``install``: the entry in the client's file, with the rest of the file unchanged."""

import itertools
import json
import re
import stat
import sys
import tomllib
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kie_ai_mcp._cli.install import command as _cli_install
from kie_ai_mcp._cli.install import jsonc, toml_text, yaml_text
from kie_ai_mcp._cli.install.clients import CLIENTS, config_path
from kie_ai_mcp._cli.install.jsonc import read

if TYPE_CHECKING:
    from tests.cli.conftest import Ended, Run

KEY = "a-key-that-nobody-may-see-0123"
OLD = "/old/kie-ai-mcp-server"
STARTED = "Starting the server once, so that its first start in the client is fast ...\n"
LEFT_OUT = ("claude-desktop", "zed", "cline", "lm-studio", "goose")
JSON = [name for name, client in CLIENTS.items() if client.form is jsonc]

COMMENTED = """\
{
    // set up by hand, do not touch
    "theme": "dark",
    "%s": {
        "other": {
            "command": "other-server", /* pinned */
            "env": { "OTHER_API_KEY": "another-secret" },
        },
    },
}
"""


@pytest.fixture(autouse=True)
def one_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every client's file is where it is on Linux, below the test's home, wherever the tests run."""
    monkeypatch.setattr(_cli_install, "config_path", lambda name: config_path(name, "linux", {}))


def file_of(name: str, home: Path) -> Path:
    return config_path(name, "linux", {}, home)


def entry_in(name: str, text: str, entry: str = "kie-ai") -> dict[str, Any]:
    """The entry as the client will read it."""
    found: dict[str, Any] = whole_of(name, text)[CLIENTS[name].servers][entry]
    return found


def whole_of(name: str, text: str) -> dict[str, Any]:
    """All that the client will read."""
    whole: dict[str, Any] = CLIENTS[name].form.read(text.removeprefix("\ufeff"))
    return whole


def command_of(name: str, entry: dict[str, Any]) -> list[str]:
    """The command that the client will start."""
    client = CLIENTS[name]
    command: list[str] = entry[client.command] if client.args is None else [entry[client.command], *entry[client.args]]
    return command


def env_of(name: str, entry: dict[str, Any]) -> dict[str, str]:
    """The variables that the client will set."""
    env: dict[str, str] = entry[CLIENTS[name].env]
    return env


def holds_in_order(after: str, before: str) -> bool:
    """Whether every line of a text is in another one, in its order."""
    rest = iter(after.splitlines())
    return all(line in rest for line in before.splitlines())


def install(run: "Run", *arguments: str, **more: Any) -> "Ended":
    return run("install", *arguments, KIE_AI_API_KEY=KEY, **more)


@pytest.mark.parametrize("name", CLIENTS)
def test_new_file_holds_the_entry_without_the_key(run: "Run", tmp_path: Path, name: str) -> None:
    ended = install(run, name, "--yes")
    path = file_of(name, tmp_path)
    assert ended.code == 0, ended.stderr
    assert (str(path) in ended.stdout, CLIENTS[name].title in ended.stdout) == (True, True)
    text = path.read_text("utf-8")
    entry = entry_in(name, text)
    assert Path(command_of(name, entry)[0]).is_file()
    assert KEY not in text + ended.stdout + ended.stderr
    assert ("KIE_AI_API_KEY" in text) is (name not in LEFT_OUT)
    assert ("knows no variables" in ended.stdout) is (name in LEFT_OUT)
    assert [place.name for place in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("name", CLIENTS)
def test_server_is_started_once_as_the_client_will_start_it(
    run: "Run", tmp_path: Path, name: str, first_starts: list[tuple[list[str], dict[str, str]]]
) -> None:
    install(run, name, "--yes", "--set", "compact=true")
    install(run, name, "--yes")
    entry = entry_in(name, file_of(name, tmp_path).read_text("utf-8"))
    for command, environ in first_starts:
        assert command == command_of(name, entry)
        settings = {key: value for key, value in environ.items() if key.startswith("KIE_AI_") and value}
        key = {} if name in LEFT_OUT else {"KIE_AI_API_KEY": KEY}
        assert settings == {"KIE_AI_COMPACT": "true", **key}  # not those of this shell
        assert environ["HOME"] == str(tmp_path)
    assert len(first_starts) == 2


def test_start_that_fails_is_not_the_entry_s_failure(
    run: "Run", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for reason in ("it takes longer than 20 s", "exit code 1"):
        monkeypatch.setattr(_cli_install, "start_once", lambda *_, reason=reason: reason)
        ended = install(run, "cursor", "--yes")
        begun, said = ended.stderr.splitlines()[-2:]
        assert (ended.code, f"{begun}\n") == (0, STARTED)
        assert said == f"The server could not be started: {reason}. Run kie-ai-mcp-server doctor."
        assert str(tmp_path) in ended.stdout


def test_reason_of_a_start_that_fails_holds_no_key(run: "Run", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cli_install, "start_once", lambda *_: f"ValueError: {KEY} is no key")
    assert KEY not in install(run, "cursor", "--yes").stderr


def test_result_is_shown_before_the_server_is_started(run: "Run", monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(_cli_install, "show", lambda _value, text: shown.append(text))
    monkeypatch.setattr(_cli_install, "start_once", lambda *_: shown.append("started"))
    install(run, "cursor", "--yes")
    assert (len(shown), shown[-1]) == (2, "started")


@pytest.mark.parametrize("name", JSON)
def test_comments_order_and_other_servers_stay(run: "Run", tmp_path: Path, name: str) -> None:
    before, path = COMMENTED % CLIENTS[name].servers, file_of(name, tmp_path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(before, "utf-8")
    ended = install(run, name, "--yes")
    after = path.read_text("utf-8")
    assert holds_in_order(after, before)
    assert read(after)[CLIENTS[name].servers]["other"] == read(before)[CLIENTS[name].servers]["other"]
    assert "another-secret" not in ended.stdout + ended.stderr
    (backup,) = path.parent.glob(f"{path.name}.*.bak")
    assert backup.read_text("utf-8") == before
    assert str(backup) in ended.stdout


def test_codex_file_keeps_its_comments_and_tables(run: "Run", tmp_path: Path) -> None:
    path = file_of("codex", tmp_path)
    path.parent.mkdir()
    before = 'model = "o3" # for now\n\n[mcp_servers.other]\ncommand = "other"\n\n# mine\n[profiles.x]\nmodel = "y"\n'
    path.write_text(before, "utf-8")
    assert install(run, "codex", "--yes").code == 0
    after = path.read_text("utf-8")
    assert holds_in_order(after, before)
    assert tomllib.loads(after)["profiles"] == {"x": {"model": "y"}}
    assert entry_in("codex", after)["env_vars"] == ["KIE_AI_API_KEY"]


@pytest.mark.parametrize("name", CLIENTS)
def test_second_time_changes_nothing(run: "Run", tmp_path: Path, name: str) -> None:
    install(run, name, "--yes", "--set", "output_dir=~/Pictures/kie")
    path = file_of(name, tmp_path)
    before = path.read_bytes()
    ended = install(run, name, "--set", "output_dir=~/Pictures/kie")
    assert (ended.code, ended.stderr) == (0, STARTED)
    assert "has it already" in ended.stdout
    assert path.read_bytes() == before
    assert list(path.parent.glob("*.bak")) == []


@pytest.mark.parametrize("name", ["cursor", "codex"])
def test_entry_leaves_out_retired_families_where_that_is_asked_for(run: "Run", tmp_path: Path, name: str) -> None:
    offered = install(run, name, stdin="n\n")
    assert (offered.code, "--current-only" in offered.stderr) == (1, True)
    ended = install(run, name, "--current-only", stdin="y\n")
    assert (ended.code, "--current-only" in ended.stderr) == (0, False)
    assert entry_in(name, file_of(name, tmp_path).read_text("utf-8"))["env"]["KIE_AI_AVAILABILITY"] == "current"


@pytest.mark.parametrize("name", ["cursor", "codex"])
def test_what_the_user_added_to_the_entry_stays(run: "Run", tmp_path: Path, name: str) -> None:
    install(run, name, "--yes")
    path = file_of(name, tmp_path)
    command = entry_in(name, path.read_text("utf-8"))["command"]
    if name == "codex":
        path.write_text(
            f'[mcp_servers.kie-ai]\ncommand = "{OLD}"\nenabled=false\nenv = {{ KIE_AI_API_KEY = "theirs" }}\n', "utf-8"
        )
    else:
        theirs = {"command": OLD, "disabled": True, "env": {"KIE_AI_API_KEY": "theirs", "KIE_AI_WAIT_S": "5"}}
        path.write_text(json.dumps({"mcpServers": {"kie-ai": theirs}}), "utf-8")
    assert install(run, name, "--yes").code == 0
    entry = entry_in(name, path.read_text("utf-8"))
    assert (entry["command"], entry["env"]["KIE_AI_API_KEY"]) == (command, "theirs")
    assert entry.get("disabled", True) is True
    assert "env_vars" not in entry


@pytest.mark.parametrize("name", CLIENTS)
def test_key_is_written_where_that_is_asked_for_and_shown_nowhere(run: "Run", tmp_path: Path, name: str) -> None:
    ended = install(run, name, "--yes", "--write-key")
    path = file_of(name, tmp_path)
    assert env_of(name, entry_in(name, path.read_text("utf-8")))["KIE_AI_API_KEY"] == KEY
    assert KEY not in ended.stdout + ended.stderr
    assert "clear text" in ended.stdout
    if sys.platform != "win32":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_key_of_the_entry_that_differs_from_the_one_that_is_set_is_named(run: "Run", tmp_path: Path) -> None:
    file, mine = file_of("cursor", tmp_path), "another-key-that-nobody-may-see"
    file.parent.mkdir(parents=True)
    env = {"KIE_AI_API_KEY": mine, "KIE_AI_UPLOAD_ROOTS": "/gone/pictures"}
    file.write_text(json.dumps({"mcpServers": {"kie-ai": {"command": OLD, "args": ["sevre"], "env": env}}}), "utf-8")
    ended = install(run, "cursor", "--yes")
    assert (ended.code, "The key is in clear text in Cursor's file." in ended.stdout) == (0, True)
    assert "holds another key than KIE_AI_API_KEY" in ended.stderr
    assert f"Take KIE_AI_API_KEY out of the entry in {file}" in ended.stderr
    assert "/gone/pictures is no folder." in ended.stderr
    assert mine not in ended.stdout + ended.stderr
    assert "sevre" not in file.read_text("utf-8")


def test_without_a_key_none_can_be_written(run: "Run", tmp_path: Path) -> None:
    ended = run("install", "cursor", "--yes", "--write-key", KIE_AI_API_KEY="")
    assert (ended.code, "KIE_AI_API_KEY" in ended.stderr) == (2, True)
    assert not file_of("cursor", tmp_path).exists()


def test_nothing_is_written_without_a_yes(run: "Run", tmp_path: Path) -> None:
    path = file_of("cursor", tmp_path)
    for answer, words in (("n\n", "as you wished"), ("", "--yes")):
        ended = install(run, "cursor", stdin=answer)
        assert (ended.code, path.exists()) == (1, False)
        assert words in ended.stderr
        assert '+    "kie-ai": {' in ended.stderr
    assert install(run, "cursor", stdin="y\n").code == 0
    assert path.exists()


@pytest.mark.parametrize("name", CLIENTS)
def test_print_writes_no_file_and_no_key(run: "Run", tmp_path: Path, name: str) -> None:
    ended = install(run, name, "--print")
    assert (ended.code, KEY in ended.stdout) == (0, False)
    assert command_of(name, entry_in(name, ended.stdout))
    assert str(file_of(name, tmp_path)) in ended.stderr
    assert not file_of(name, tmp_path).exists()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cursor", '{"mcpServers": '),
        ("cursor", "[]"),
        ("cursor", '{"mcpServers": "none"}'),
        ("cursor", '{"mcpServers": {"kie-ai": {"url": "http://127.0.0.1:3000/mcp"}}}'),
        ("codex", "mcp_servers = "),
        ("codex", "mcp_servers = 3"),
        ("gemini", "\udcff"),
    ],
)
def test_file_that_is_not_understood_is_left_alone(run: "Run", tmp_path: Path, name: str, text: str) -> None:
    path = file_of(name, tmp_path)
    path.parent.mkdir()
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    ended = install(run, name, "--yes")
    assert (ended.code, ended.stdout, ended.stderr.count("\n")) == (1, "", 1)
    assert str(path) in ended.stderr
    assert path.read_bytes() == text.encode("utf-8", "surrogateescape")
    assert [place.name for place in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"command": "npx", "args": ["-y", "other"], "env": {"LOG": "/tmp/kie-ai-mcp.log"}}, "starts another program"),
        ({"command": ["npx", "other"]}, "starts another program"),
        ("npx other", "its entry kie-ai is no server"),
        ([OLD], "its entry kie-ai is no server"),
        ({"command": OLD, "env": "FOO"}, "env in its entry kie-ai is no table"),
        ({"command": OLD, "headers": [1]}, "headers in its entry kie-ai is no table"),
    ],
)
def test_entry_of_another_program_or_form_is_not_replaced(
    run: "Run", tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: Any, words: str
) -> None:
    path = file_of("cursor", tmp_path)
    path.parent.mkdir()
    before = json.dumps({"mcpServers": {"kie-ai": entry}})
    path.write_text(before, "utf-8")
    for is_person in (False, True):
        monkeypatch.setattr(_cli_install, "has_person", lambda is_person=is_person: is_person)
        ended = install(run, "cursor", *([] if is_person else ["--yes"]), "--write-key")
        assert (ended.code, ended.stdout, ended.stderr.count("\n")) == (1, "", 1)
        assert (words in ended.stderr, "choose another --name" in ended.stderr) == (True, True)
        assert path.read_text("utf-8") == before
    monkeypatch.undo()
    assert install(run, "cursor", "--yes", "--name", "pictures", "--file", str(path)).code == 0
    assert read(path.read_text("utf-8"))["mcpServers"]["kie-ai"] == entry


# What is in the file besides -----------------------------------------------------------------------------------------

TOML_FILES = {
    "an empty inline table": "mcp_servers = {} # none yet\n",
    "an inline table": 'mcp_servers = { other = { command = "x" } }\n[profiles.x] # mine\nm = 1\n',
    "dotted keys": '# mine\nmcp_servers.other.command = "x"\nmodel = "o3"\n',
    "dotted keys before a table": 'mcp_servers.other.command = "x"\n[profiles] # mine\na = 1\n',
    "our entry in dotted keys": '[mcp_servers]\nkie-ai.command = "kie-ai-mcp-server" # mine\nother.command = "x"\n',
    "our entry inline": '[mcp_servers]\nkie-ai = { command = "kie-ai-mcp-server" }\nother = { command = "x" } # mine\n',
    "a table after its children": '[mcp_servers.a]\ncommand = "x"\n[mcp_servers] # mine\nb = { command = "y" }\n',
    "tables out of order": "[mcp_servers.a]\nx = 1\n[profiles.x]\nm = 1\n[mcp_servers.b]\ny = 1 # mine\n[z]\nz = 1\n",
    "our tables apart": '[mcp_servers.kie-ai]\ncommand="kie-ai-mcp"\n[x] # mine\nm=1\n[mcp_servers.kie-ai.env]\nA=1\n',
    "arrays of tables": "[mcp_servers.a]\nx = 1\n[[mcp_servers.a.b]] # mine\nn = 1\n[[hooks]]\nn = 2\n[[hooks]]\nn = 3",
    "an array of servers": '[[mcp_servers]]\ncommand = "x" # mine\n',
    "quoted keys": '["mcp_servers"."other server"] # mine\ncommand = "x"\n',
    "Windows line ends": 'model = "o3"\r\n\r\n[mcp_servers.other] # mine\r\ntext = """a\r\nb"""\r\n',
    "tabs and no last line end": '\t[mcp_servers.other]\n\t\tcommand = "x" # mine',
    "odd values": "a = nan\nb = 1e3\nc = 2026-01-01T00:00:00Z # mine\nd = 0xFF\n",
    "our table in a text": 'a = """\n[mcp_servers.kie-ai]\ncommand = 1\n""" # mine\n',
    "a key twice": "a = 1 # mine\na = 2\n",
    "a table twice": "[mcp_servers.a]\nx = 1\n[mcp_servers.a] # mine\ny = 1\n",
    "many tables": "".join(f'[projects."/p/{number}"]\ntrust = "a" # mine\n' for number in range(400)),
}
JSON_FILES = {
    "an empty file": "",
    "blanks": " \n",
    "servers twice": '{"SERVERS": {"a": {"command": "x"}}, "x": 1, "SERVERS": {"b": {"command": "y"}}}',
    "our entry twice": '{"SERVERS": {"kie-ai": {"command": "x"}, "kie-ai": {"command": "kie-ai-mcp-server"}}}',
    "escaped names": '{"SERVERS": {"kie\\u002dai": {"command": "kie-ai-mcp-server"}, "\\u006f": {}}}',
    "Windows line ends and tabs": '{\r\n\t"SERVERS": {\r\n\t\t"o": {}\r\n\t}\r\n}\r\n',
    "last commas": '{"SERVERS": {"o": {"command": "x",},},}',
    "brackets in comments": '{"SERVERS": {"o": {}} /* } */ } // }',
    "quotes in comments": '{ // don\'t "touch\n "SERVERS": { /* "kie-ai": {} */ } }',
    "a byte order mark": '\ufeff{"SERVERS": {"o": {"text": "\ufeff"}}}',
    "odd values": '{"a": NaN, "b": 123456789012345678901234567890, "c": "\\ud83e", "SERVERS": {"o": 1.0}}',
    "a separator in a text": '{"a": "x\u2028y", "SERVERS": {}}',
    "servers that are null": '{"SERVERS": null}',
    "many projects": json.dumps({"projects": {f"/p/{n}": {"history": ["x" * 99]} for n in range(300)}}),
}


YAML_FILES = {
    "an empty file": "",
    "no servers": "GOOSE_MODEL: x  # mine\nnull_one: null\n",
    "servers that are nothing": "SERVERS:\nGOOSE_MODEL: x # mine\n",
    "an empty flow": "SERVERS: {} # mine\n",
    "a flow": "SERVERS: {a: {cmd: x}} # mine\n",
    "other servers": "a: ~\nSERVERS:\n  o:\n    cmd: x # mine\n    args:\n    - y\n\n# mine\nb: 'yes'\n",
    "lists that are indented": 'SERVERS:\n  o:\n    args:\n      - "y" # mine\nz:\n  - 1\n',
    "our entry": "SERVERS:\n  kie-ai:\n    cmd: kie-ai-mcp-server # mine\n    envs:\n      A: '1'\n  o:\n    cmd: x\n",
    "a document's start": "---\nSERVERS:\n  o: {} # mine\n",
    "Windows line ends": "SERVERS:\r\n  o:\r\n    cmd: x # mine\r\n",
    "texts of several lines": "t: |\n  a\n   b\nu: >-\n  c\n  d\nSERVERS:\n  o: {cmd: x} # mine\n",
    "an anchor": "SERVERS:\n  o: &o # mine\n    cmd: x\n  p: *o\n",
    "a key twice": "a: 1\na: 2 # mine\n",
    "tabs": "SERVERS:\n\to: 1 # mine\n",
    "wide indents": "SERVERS:\n    o:\n        cmd: x # mine\n",
    "a list of servers": "SERVERS:\n- o # mine\n",
    "comments alone": "# mine\n",
    "numbers as keys": "1: a # mine\nb: 2\n2.5: d\nSERVERS:\n  7: {cmd: x}\n  o:\n    3: 4\n",
}
FORMS = {"toml_text": TOML_FILES, "jsonc": JSON_FILES, "yaml_text": YAML_FILES}


FILES = [
    pytest.param(name, text.replace("SERVERS", client.servers), id=f"{name}: {label}")
    for name, client in CLIENTS.items()
    for label, text in (FORMS[client.form.__name__.rpartition(".")[2]]).items()
]


def others_in(name: str, text: str) -> str:
    """All that a client reads in its file besides our entry."""
    whole = whole_of(name, text)
    servers = whole.pop(CLIENTS[name].servers, None) or {}
    return json.dumps([whole, {key: value for key, value in servers.items() if key != "kie-ai"}], default=repr)


@pytest.mark.parametrize(("name", "before"), FILES)
def test_file_keeps_all_it_holds_or_is_not_written(run: "Run", tmp_path: Path, name: str, before: str) -> None:
    path = file_of(name, tmp_path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(before.encode())
    ended = install(run, name, "--yes", "--set", "wait_s=5")
    after = path.read_bytes().decode()
    if ended.code:
        assert (after, [place.name for place in path.parent.iterdir() if place.is_file()]) == (before, [path.name])
        if "so it was not changed" not in ended.stderr:
            assert env_of(name, entry_in(name, ended.stdout))["KIE_AI_WAIT_S"] == "5"
        return
    assert others_in(name, after) == others_in(name, before)
    assert env_of(name, entry_in(name, after))["KIE_AI_WAIT_S"] == "5"
    assert after.count("# mine") == before.count("# mine")
    assert ("\n" in after.replace("\r\n", "")) is ("\r\n" not in before)


def test_edit_that_would_change_more_is_not_written_and_the_entry_is_printed(
    run: "Run", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    befores = {"cursor": '{"theme": "dark"}', "codex": 'theme = "dark"\n', "goose": "theme: dark\n"}
    for name, module in (("cursor", jsonc), ("codex", toml_text), ("goose", yaml_text)):
        path, before, put = file_of(name, tmp_path), befores[name], attrgetter("put")(module)
        path.parent.mkdir(parents=True)
        path.write_text(before, "utf-8")

        def spoils(text: str, keys: Any, value: Any, put: Any = put) -> str:
            return str(put(text.replace("dark", "light") if text else text, keys, value))

        with monkeypatch.context() as patch:
            patch.setattr(module, "put", spoils)
            ended = install(run, name, "--yes")
        assert (ended.code, path.read_text("utf-8")) == (1, before)
        assert [place.name for place in path.parent.iterdir()] == [path.name]
        assert command_of(name, entry_in(name, ended.stdout))
        assert f"{path} would have changed in more than this entry, so nothing was written" in ended.stderr


@pytest.mark.parametrize("before", ['{"env": {}}', '{"env": null}', "{}"])
def test_settings_reach_an_entry_without_variables(run: "Run", tmp_path: Path, before: str) -> None:
    path = file_of("cursor", tmp_path)
    path.parent.mkdir()
    path.write_text(f'{{"mcpServers": {{"kie-ai": {before}}}}}', "utf-8")
    assert install(run, "cursor", "--yes", "--set", "wait_s=5").code == 0
    assert entry_in("cursor", path.read_text("utf-8"))["env"]["KIE_AI_WAIT_S"] == "5"


SECRET = "hunter2-0123456789"
NEIGHBOURS = [
    f'"headers": {{"Authorization": "Bearer {SECRET}"}}',
    f'"args": ["--api-key={SECRET}"]',
    f'"args": ["--token", "{SECRET}"]',
    f'"args": ["-y", "{SECRET}"]',
    f'"url": "https://me:{SECRET}@example.com/mcp?token={SECRET}"',
    f'"env": {{"DATABASE_URL": "postgres://me:{SECRET}@db", "PAT": "{SECRET}", "X": "{SECRET}"}}',
    f'"command": "TOKEN={SECRET} npx it"',
    f'"https://me:{SECRET}@example.com": {{}}',
    f'"x": "it is \\"{SECRET}\\""',
]


@pytest.mark.parametrize("member", NEIGHBOURS)
def test_change_is_shown_without_the_secrets_of_other_servers(run: "Run", tmp_path: Path, member: str) -> None:
    path = file_of("cursor", tmp_path)
    path.parent.mkdir()
    layouts = ("{{{0}}}", "{{{0}}} // was {1}", "{{\n{0},\n}}", "{{\n/* {1}\n{1} */ {0}\n}}")
    places = ('"other": {0}\n', '"kie-ai": {0}\n', '"kie-ai": {{"command": "kie-ai-mcp-server"}}, "other": {0}\n')
    for layout, place in itertools.product(layouts, places):
        path.write_text(f'{{"mcpServers": {{{place.format(layout.format(member, SECRET))}}}}}', "utf-8")
        ended = install(run, "cursor", "--yes", "--write-key", "--set", "wait_s=5")
        assert {SECRET, KEY} & {*re.findall(r"[\w-]+", ended.stdout + ended.stderr)} == set()
        if ended.code == 0:
            assert '"KIE_AI_WAIT_S": "5"' in ended.stderr
            assert '"KIE_AI_API_KEY": [not shown]' in ended.stderr


@pytest.mark.parametrize(
    "server",
    [
        f'bearer_token = "{SECRET}"',
        f"http_headers = {{ Authorization = 'Bearer {SECRET}' }}",
        f'args = [ "--api-key", "{SECRET}" ] # {SECRET}',
        f'text = """\nfirst "{SECRET}"\n{SECRET}"""',
    ],
)
def test_change_of_a_toml_file_is_shown_without_secrets_of_others(run: "Run", tmp_path: Path, server: str) -> None:
    path = file_of("codex", tmp_path)
    path.parent.mkdir()
    inline = f"mcp_servers = {{ other = {{ {server} }} }}\n"
    for text in (f"[mcp_servers.other]\n{server}", f"[mcp_servers.kie-ai]\n{server}", inline):
        path.write_text(text, "utf-8")
        ended = install(run, "codex", "--yes", "--set", "wait_s=5")
        assert SECRET not in ended.stdout + ended.stderr
        assert ended.code == (1 if text is inline and "#" in text else 0), ended.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_file_that_is_protected_is_left_alone(run: "Run", tmp_path: Path) -> None:
    path = file_of("cursor", tmp_path)
    path.parent.mkdir()
    path.write_text("{}", "utf-8")
    path.chmod(0o444)
    ended = install(run, "cursor", "--yes")
    assert (ended.code, path.read_text("utf-8"), "read-only" in ended.stderr) == (1, "{}", True)
    circle = tmp_path / "circle.json"
    circle.symlink_to(circle)
    ended = install(run, "cursor", "--yes", "--file", str(circle))
    assert (ended.code, circle.is_symlink(), "circle" in ended.stderr) == (1, True, True)
    assert list(tmp_path.rglob("*.bak")) == []


def test_file_that_changed_while_the_user_thought_is_left_alone(
    run: "Run", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = file_of("cursor", tmp_path)

    def meanwhile(_path: Path) -> None:
        path.parent.mkdir()
        path.write_text("{}", "utf-8")

    monkeypatch.setattr(_cli_install, "ask", meanwhile)
    ended = install(run, "cursor")
    assert (ended.code, path.read_text("utf-8")) == (1, "{}")
    assert "changed meanwhile" in ended.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_link_stays_a_link(run: "Run", tmp_path: Path) -> None:
    path, real = file_of("cursor", tmp_path), tmp_path / "dotfiles.json"
    path.parent.mkdir()
    real.write_text("{}", "utf-8")
    path.symlink_to(real)
    assert install(run, "cursor", "--yes").code == 0
    assert path.is_symlink()
    assert "kie-ai" in real.read_text("utf-8")


def test_settings_are_checked_and_written_as_variables(run: "Run", tmp_path: Path) -> None:
    install(run, "vscode", "--yes", "--set", "output_dir=~/kie", "--set", "rate_limit=5", "--name", "pictures")
    entry = entry_in("vscode", file_of("vscode", tmp_path).read_text("utf-8"), "pictures")
    assert entry["env"] == {
        "KIE_AI_API_KEY": "${env:KIE_AI_API_KEY}",
        "KIE_AI_OUTPUT_DIR": "~/kie",
        "KIE_AI_RATE_LIMIT": "5",
    }


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        ("outputdir=x", "Did you mean output_dir?"),
        ("output_dir", "not SETTING=VALUE"),
        ("output_dir=pictures/kie", "absolute"),
        ("timeout=60s", "60000"),
        ("api_key=secret-value", "--write-key"),
    ],
)
def test_setting_that_the_server_would_refuse_is_refused(run: "Run", tmp_path: Path, pair: str, words: str) -> None:
    ended = install(run, "cursor", "--yes", "--set", pair)
    assert (ended.code, words in ended.stderr, "secret-value" in ended.stderr) == (2, True, False)
    assert not file_of("cursor", tmp_path).exists()


def test_json_says_what_was_done(run: "Run", tmp_path: Path) -> None:
    path = tmp_path / "elsewhere.json"
    first = json.loads(install(run, "cursor", "--yes", "--json", "--file", str(path)).stdout)
    assert (first["path"], first["changed"], first["backup"]) == (str(path), True, None)
    again = json.loads(install(run, "cursor", "--json", "--file", str(path)).stdout)
    assert again["changed"] is False


def test_unknown_client_is_wrong_usage(run: "Run") -> None:
    ended = install(run, "emacs")
    assert (ended.code, "windsurf" in ended.stderr) == (2, True)
