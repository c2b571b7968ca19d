"""Command ``install``: an entry for this server in an MCP client's file.

The change is shown and confirmed before it is written, and the old file is kept as a copy.
"""

import os
import re
import shutil
import stat
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import click

from kie_ai_mcp._cli.console import PROGRAM, UserPath, echo, file_errors, json_option, show
from kie_ai_mcp._cli.fill_memory import start_once
from kie_ai_mcp._cli.install.clients import (
    CLIENTS,
    ENTRY,
    KEY,
    Client,
    Env,
    Remote,
    Spoiled,
    config_path,
    edited,
    start_of,
)
from kie_ai_mcp._cli.install.jsonc import Malformed
from kie_ai_mcp._cli.install.remote import about_token, remote_of
from kie_ai_mcp._media.files import replacing
from kie_ai_mcp._settings.load import config_file, find_origins, full_environment, load_settings, nearest
from kie_ai_mcp._settings.settings import SECRET_SETTINGS, SECTIONS, Settings, variable
from kie_ai_mcp.errors import ConfigError

# Strings and comments of JSON and TOML, the longest forms first; a string that is followed by : or = is a key.
WORDS = re.compile(
    r'''"""(?:[^\\]|\\.)*?"""|\'{3}.*?\'{3}|"[^"\\\n]*(?:\\.[^"\\\n]*)*"|'[^'\n]*'|//[^\n]*|\#[^\n]*|/\*.*?\*/''',
    re.DOTALL,
)
NAME, AFTER_A_NAME = re.compile(r"""["'][\w .@/-]*["']"""), re.compile(r"\s*[:=]")
OFFER = "Tools of families that Kie.ai retired or never documented are listed last; --current-only leaves them out."
COLOURS = {"+": "green", "-": "red"}


@click.command()
@click.argument("name", metavar="CLIENT", type=click.Choice(list(CLIENTS)))
@click.option("--yes", is_flag=True, help="Write without asking.")
@click.option("--print", "only_print", is_flag=True, help="Only print the entry, for entering it by hand.")
@click.option("--write-key", is_flag=True, help="Write the key itself into the file, in clear text.")
@click.option("--set", "pairs", metavar="SETTING=VALUE", multiple=True, help="A setting for this client; repeatable.")
@click.option("--current-only", is_flag=True, help="Leave out the tools of families that Kie.ai no longer has.")
@click.option("--url", help="Enter a server that runs elsewhere, by its address, instead of one that is started here.")
@click.option("--token-variable", metavar="NAME", help="With --url: the environment variable that holds its token.")
@click.option("--token", help="With --url: the token itself; with - it is asked for, or read from stdin.")
@click.option("--name", "entry", default=ENTRY, show_default=True, help="What the entry is called.")
@click.option("--file", "path", type=UserPath(dir_okay=False), help="The client's file, if it is elsewhere.")
@json_option
def install(
    name: str,
    yes: bool,
    only_print: bool,
    write_key: bool,
    pairs: tuple[str, ...],
    current_only: bool,
    url: str | None,
    token_variable: str | None,
    token: str | None,
    entry: str,
    path: Path | None,
) -> None:
    """Enter this server into the configuration of an MCP client.

    CLIENT is claude-desktop, claude-code, cursor, vscode, codex, gemini, windsurf, zed or cline. The change is shown
    before it is made, the file as it was stays beside it with the time in its name, and everything else in it stays as
    it is, comments too. Entering it twice changes nothing.

    The key is not written: the entry refers to the variable KIE_AI_API_KEY where the client can do that, and otherwise
    leaves it to the configuration file (see `kie-ai-mcp-server config --help`). With --current-only the entry sets
    KIE_AI_AVAILABILITY=current: families that Kie.ai retired or never documented are otherwise listed last.

    With --url the entry leads to a server that runs elsewhere, over HTTP. No key is needed here then; a token comes
    from an environment variable, or from VS Code's own question, where the client can do that.

    \b
    kie-ai-mcp-server install claude-desktop
    kie-ai-mcp-server install cursor --set output_dir=~/Pictures/kie --yes
    kie-ai-mcp-server install claude-code --url https://kie.example/mcp --token-variable KIE_TOKEN
    """
    client = CLIENTS[name]
    path = (path or config_path(name)).absolute()
    wanted: Env | Remote
    if url is not None:
        if pairs or current_only or write_key:
            reason = "--set, --current-only and --write-key are for a server that is started here; leave --url out."
            raise click.UsageError(reason)
        wanted = remote_of(client, url, token_variable, token)
    elif token is not None or token_variable is not None:
        raise click.UsageError("A token is for a server elsewhere; give its address with --url.")
    else:
        wanted = _variables((*pairs, *(["availability=current"] if current_only else ())), write_key=write_key)
    if only_print:
        echo(f"# for {path}", err=True)
        echo(_shown_entry(client, wanted, entry))
        return
    _enter(name, path, wanted, entry, yes=yes, private=write_key)


def _enter(name: str, path: Path, wanted: Env | Remote, entry: str, *, yes: bool, private: bool) -> None:
    """Write the entry, once it was shown and agreed to, and say what was done."""
    client, before = CLIENTS[name], _read(path)
    mark = "\ufeff" if before.startswith("\ufeff") else ""
    try:
        after = mark + edited(client, before.removeprefix(mark), wanted, entry)
    except Spoiled:
        echo(_shown_entry(client, wanted, entry))
        reason = f"{path} would have changed in more than this entry, so nothing was written. Enter the entry by hand."
        raise click.ClickException(reason) from None
    except Malformed as exc:
        cure = f"Correct it, or enter this by hand: {PROGRAM} install {name} --print"
        raise click.ClickException(f"{path} can't be understood ({exc}), so it was not changed. {cure}") from None
    backup, text = None, f"{client.title} has it already: {path}"
    if after != before:
        _show_change(before, after, path, _public_words(client, wanted, entry))
        if not yes:
            if not isinstance(wanted, Remote) and variable("availability") not in wanted:
                echo(OFFER, err=True)
            _ask(path)
        if isinstance(wanted, Remote):
            private = bool(wanted.token) and not client.asks
        backup = _write(path, before, after, private=private)
        text = f"Written to {path}." + (f" As it was: {backup}." if backup else "") + f" Restart {client.title}."
    about = {"client": name, "path": path, "entry": entry, "changed": after != before, "backup": backup}
    if isinstance(wanted, Remote):
        advice = about_token(client, wanted)
        show({**about, "url": wanted.url, "token": advice}, f"{text}\n{advice}")
        return
    advice = _about_key(client, after)
    show({**about, "key": advice}, f"{text}\n{advice}")
    _start_first(*start_of(client, after.removeprefix(mark), entry, full_environment()))


def _shown_entry(client: Client, wanted: Env | Remote, entry: str) -> str:
    """Return the entry for entering it by hand; a token is left to the user."""
    if isinstance(wanted, Remote) and wanted.token:
        wanted = replace(wanted, token="YOUR_TOKEN")  # noqa: S106  stands for one
    return edited(client, "", wanted, entry).rstrip()


def _start_first(command: Sequence[str], environ: Mapping[str, str]) -> None:
    """Start the server as the client will; where that fails, say why: the entry is right all the same."""
    echo("Starting the server once, so that its first start in the client is fast ...", err=True)
    if reason := start_once(command, environ):
        reason = load_settings(faults=[]).mask.text(reason)
        echo(f"The server could not be started: {reason.rstrip('.')}. Run {PROGRAM} doctor.", err=True)


def _variables(pairs: tuple[str, ...], *, write_key: bool) -> dict[str, str]:
    """Return the variables that the entry sets, checked as the server will check them."""
    variables: dict[str, str] = {}
    names = [field for field in Settings.model_fields if field not in {*SECTIONS, "api_key"}]
    for pair in pairs:
        setting, equals, value = pair.partition("=")
        if setting == "api_key":
            reason = "A key is not given here, where others see it; set KIE_AI_API_KEY and use --write-key."
            raise click.UsageError(reason)
        if not equals or setting not in names:
            raise click.UsageError(f"{pair!r} is not SETTING=VALUE. {nearest(setting, names)}")
        variables[variable(setting)] = value
    load_settings({**variables, "KIE_AI_CONFIG": os.devnull})
    if not write_key:
        return variables
    key = load_settings().key
    if key is None:
        raise ConfigError("No key is set, so none can be written.", next_step=f"Set {KEY} first.")
    return {KEY: key, **variables}


def _read(path: Path) -> str:
    try:
        with file_errors(path, "read", "Check its permissions."):
            return path.read_bytes().decode("utf-8") if path.exists() else ""
    except UnicodeDecodeError:
        raise click.ClickException(f"{path} is not UTF-8 text, so it was not changed. Save it as UTF-8.") from None


def _public_words(client: Client, env: Env | Remote, entry: str) -> set[str]:
    """Return the words of our entry as they are written, without the secrets among its variables, or its token."""
    if isinstance(env, Remote):
        return set(WORDS.findall(_shown_entry(client, env, entry)))
    mask = load_settings({**env, "KIE_AI_CONFIG": os.devnull}).mask
    env = {name: value for name, value in env.items() if not name.lower().endswith(SECRET_SETTINGS)}
    return {word for word in WORDS.findall(edited(client, "", env, entry)) if mask.text(word) == word}


def _show_change(before: str, after: str, path: Path, public: Collection[str]) -> None:
    """Show the lines that change on stderr, with the keys of the file and the `public` words, and without all others.

    A client's file holds the secrets of other servers, in forms that nobody can list.
    """

    def shown(match: re.Match[str]) -> str:
        word, text = match[0], match.string
        is_key = NAME.fullmatch(word) and AFTER_A_NAME.match(text, match.end())
        return word if is_key or word in public else "[not shown]" + "\n" * word.count("\n")

    texts = {sign: text.split("\n") for sign, text in (("-", before), ("+", after))}
    start = len(os.path.commonprefix([*texts.values()]))  # noqa: RUF071  it takes any sequences
    kept = len(os.path.commonprefix([lines[start:][::-1] for lines in texts.values()]))  # noqa: RUF071
    echo(f"--- {path}\n+++ {path} (new)\n@@ from line {start + 1} @@", err=True)
    for sign, lines in texts.items():
        masked = WORDS.sub(shown, "\n".join(lines)).split("\n")
        for line in masked[start : len(lines) - kept]:
            echo(f"{sign}{line}", err=True, fg=COLOURS[sign])


def _ask(path: Path) -> None:
    try:
        if click.confirm(f"Write this to {path}?", default=True, err=True):
            return
        reason = "nothing was written, as you wished. --print shows the entry again."
    except click.Abort:
        reason = "no answer was given, so nothing was written. --yes writes without asking."
    raise click.ClickException(reason)


def _write(path: Path, before: str, after: str, *, private: bool) -> Path | None:
    """Replace the file in one step; return the path of a copy of the old one, or None where there was no file."""
    target = Path(os.path.realpath(path))  # a link stays one
    backup = None
    with file_errors(path, "written", "Check its folder's permissions."):
        if target.is_symlink():
            raise click.ClickException(f"{path} is a link that leads in a circle, so nothing was written.")
        if target.exists() and not target.stat().st_mode & stat.S_IWUSR:
            raise click.ClickException(
                f"{path} is read-only, so nothing was written. Make it writable, or use --print."
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        if _read(path) != before:
            raise click.ClickException(f"{path} was changed meanwhile, so nothing was written. Run this again.")
        if target.exists():
            stamp = datetime.now().strftime("%Y%m%d-%H%M%S-%f")  # the user's own time
            backup = target.with_name(f"{target.name}.{stamp}.bak")
            shutil.copy2(target, backup)
        with replacing(target, mode=0o600 if private or backup else 0o666, fsync=True) as file:
            file.write(after.encode())
            if backup is not None and not private:
                shutil.copymode(target, file.name)
    return backup


def _about_key(client: Client, text: str) -> str:
    """Return how the key reaches the server that this client starts."""
    try:
        settings, origins = load_settings(), find_origins()
    except ConfigError:
        return f"See {PROGRAM} doctor for what is wrong with the settings."
    file = config_file()
    if settings.key and settings.key in text:
        return f"The key is in clear text in {client.title}'s file."
    if origins.get("api_key") == str(file):
        return f"The key is read from {file}."
    if client.key is not None:
        return f"The key is taken from {KEY} where {client.title} is started; or set api_key in {file}."
    cure = f"Set api_key in {file} ({PROGRAM} config init), or use --write-key."
    return f"{client.title} knows no variables, so the key is not in its file. {cure}"
