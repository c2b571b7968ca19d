"""Command ``install``: an entry for this server in an MCP client's file.

The change is shown and confirmed before it is written, and the old file is kept as a copy.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from kie_ai_mcp._cli.console import PROGRAM, Amount, UserPath, echo, has_person, json_option, say, show
from kie_ai_mcp._cli.fill_memory import start_once
from kie_ai_mcp._cli.install.clients import CLIENTS, ENTRY, KEY, Remote, config_path
from kie_ai_mcp._cli.install.entries import entry_settings, own_key, start_of
from kie_ai_mcp._cli.install.files import ask
from kie_ai_mcp._cli.install.looking import look_at_entry
from kie_ai_mcp._cli.install.plan import Plan
from kie_ai_mcp._cli.install.questions import Shared, ask_for, given_key
from kie_ai_mcp._cli.install.remote import about_token, remote_of
from kie_ai_mcp._cli.settings_file import check_folders, check_settings, plain_number
from kie_ai_mcp._cli.text_files import TextFile
from kie_ai_mcp._settings.load import config_file, find_origins, full_environment, load_settings, nearest
from kie_ai_mcp._settings.settings import SECRETS, SECTIONS, Settings, variable
from kie_ai_mcp._settings.system_keyring import ORIGIN
from kie_ai_mcp.errors import ConfigError

OFFER = "Tools of families that Kie.ai retired or never documented are listed last; --current-only leaves them out."


@click.command()
@click.argument("name", metavar="CLIENT", type=click.Choice(list(CLIENTS)))
@click.option("--yes", is_flag=True, help="Write without asking.")
@click.option("--print", "only_print", is_flag=True, help="Only print the entry, for entering it by hand.")
@click.option("--key", metavar="-", help="With -, read the key from stdin, or ask for it, and keep it for all clients.")
@click.option("--output-dir", metavar="DIR", help="Save results in this folder, for all clients.")
@click.option("--upload-root", "roots", metavar="DIR", multiple=True, help="Let files of it be sent; repeatable.")
@click.option(
    "--max-credits-per-day",
    metavar="N",
    type=Amount(0),
    callback=lambda _context, _option, value: None if value is None else plain_number(value),
    help="Spend no more, over all clients.",
)
@click.option("--write-key", is_flag=True, help="Write the key itself into the client's file, in clear text.")
@click.option("--set", "pairs", metavar="SETTING=VALUE", multiple=True, help="A setting for this client; repeatable.")
@click.option("--current-only", is_flag=True, help="Leave out the tools of families that Kie.ai no longer has.")
@click.option("--url", help="Enter a server that runs elsewhere, by its address, instead of one that is started here.")
@click.option("--token-env", metavar="NAME", help="With --url: the environment variable that holds its token.")
@click.option("--token", help="With --url: the token itself; with - it is asked for, or read from stdin.")
@click.option("--name", "entry", default=ENTRY, show_default=True, help="What the entry is called.")
@click.option("--file", "path", type=UserPath(dir_okay=False), help="The client's file, if it is elsewhere.")
@json_option
def install(
    name: str,
    yes: bool,
    only_print: bool,
    key: str | None,
    output_dir: str | None,
    roots: tuple[str, ...],
    max_credits_per_day: float | None,
    write_key: bool,
    pairs: tuple[str, ...],
    current_only: bool,
    url: str | None,
    token_env: str | None,
    token: str | None,
    entry: str,
    path: Path | None,
) -> None:
    """Enter this server into the configuration of an MCP client.

    CLIENT is {clients}.
    The change is shown before it is made, the file as it was stays beside it with the time in its name, and everything
    else in it stays as it is, comments too. Entering it twice changes nothing.

    At a terminal it asks for what is not set yet: the key, the folder for results, folders whose files may be sent, and
    a limit of credits. The answers hold for all clients. The key goes into the system's keyring, or where there is none
    into the settings file (`kie-ai-mcp-server config path`), and never into the client's file without --write-key. With
    --current-only the entry leaves out families that Kie.ai retired or never documented, which are else listed last.

    With --url the entry leads to a server that runs elsewhere, over HTTP. No key is needed here then; a token comes
    from an environment variable, or from VS Code's own question, where the client can do that.

    \b
    kie-ai-mcp-server install claude-desktop
    kie-ai-mcp-server install cursor --set output_dir=~/Pictures/kie --yes
    kie-ai-mcp-server install claude-code --url https://kie.example/mcp --token-env KIE_TOKEN
    """
    client = CLIENTS[name]
    path = (path or config_path(name)).absolute()
    asks = has_person() and not yes and not only_print
    values = {"output_dir": output_dir, "upload_roots": list(roots), "max_credits_per_day": max_credits_per_day}
    shared = Shared(values={name: value for name, value in values.items() if value not in (None, [])})
    if url is not None:
        if pairs or current_only or write_key or key is not None or shared:
            reason = "Keys and settings are for a server that is started here; leave --url out, or leave them out."
            raise click.UsageError(reason)
        _enter(Plan(name, _file(path), remote_of(client, url, token_env, token), entry), only_print=only_print, yes=yes)
        return
    if token is not None or token_env is not None:
        raise click.UsageError("A token is for a server elsewhere; give its address with --url.")
    wanted = _variables((*pairs, *(["availability=current"] if current_only else ())))
    check_settings(shared.values)
    shared.key = given_key(key, asks=has_person())
    file = _file(path)
    if asks:
        Plan(name, file, wanted, entry).text()  # what can't be changed is said before anything is asked
        ask_for(client, shared, entry_settings(client, file.text, wanted, entry))
    if write_key:
        wanted = {KEY: _key_to_write(shared), **wanted}
        shared.key = ""
    _enter(Plan(name, file, wanted, entry, shared), only_print=only_print, yes=yes)


install.help = str(install.help).format(clients=f"{', '.join([*CLIENTS][:-1])} or {[*CLIENTS][-1]}")


def _file(path: Path) -> TextFile:
    return TextFile.read(path, cure="With --print, the entry is shown instead.")


def _enter(plan: Plan, *, only_print: bool, yes: bool) -> None:
    """Write the entry, and what all clients share, once both were shown and agreed to, and say what was done."""
    if only_print:
        echo(f"# for {plan.file.path}", err=True)
        echo(plan.entry())
        return
    after = plan.text()
    plan.check(after)
    if plan.shared:
        echo(plan.shared.words(), err=True)
    if after != plan.file.text:
        plan.show(after)
        if not yes:
            if not isinstance(plan.wanted, Remote) and variable("availability") not in plan.wanted:
                echo(OFFER, err=True)
            ask(plan.file.path)
    elif plan.shared and not yes:
        ask(config_file(), "")
    backup = plan.carry_out(after)
    _report(plan, after, backup)
    if not isinstance(plan.wanted, Remote):
        for fault in look_at_entry(plan.client_name, plan.file.path, after, plan.name, full_environment()):
            if fault.state != "ok":
                say(f"{fault.found} {fault.cure}".rstrip(), err=True, fg="yellow")
        _start_first(*start_of(plan.client, after, plan.name, full_environment()))


def _report(plan: Plan, after: str, backup: Path | None) -> None:
    """Say what was written, and how the key or the token reaches the server."""
    client, path, wanted = plan.client, plan.file.path, plan.wanted
    is_changed = after != plan.file.text
    text = f"{client.title} has it already: {path}"
    if plan.shared and not is_changed:
        text += f"\nThe rest is kept. Restart {client.title}, so that it holds."
    if is_changed:
        copy = f" As it was: {backup}." if backup else ""
        text = f"Written to {path}.{copy} Restart {client.title}, then ask it for a picture."
    about = {"client": plan.client_name, "path": path, "entry": plan.name, "changed": is_changed, "backup": backup}
    if isinstance(wanted, Remote):
        advice = about_token(client, wanted)
        about |= {"url": wanted.url, "token": advice}
    else:
        advice = _about_key(plan, after)
        about |= {"key": advice, "settings": plan.shared.values}
    show(about, lambda: say(f"{text}\n{advice}"))


def _start_first(command: Sequence[str], environ: Mapping[str, str]) -> None:
    """Start the server as the client will; where that fails, say why: the entry is right all the same."""
    echo("Starting the server once, so that its first start in the client is fast ...", err=True)
    if reason := start_once(command, environ):
        reason = load_settings(faults=[]).mask.text(reason)
        echo(f"The server could not be started: {reason.rstrip('.')}. Run {PROGRAM} doctor.", err=True)


def _variables(pairs: tuple[str, ...]) -> dict[str, str]:
    """Return the variables that the entry sets, checked as the server will check them."""
    variables: dict[str, str] = {}
    names = [field for field in Settings.model_fields if field not in {*SECTIONS, "api_key"}]
    for pair in pairs:
        setting, equals, value = pair.partition("=")
        if setting == "api_key":
            raise click.UsageError("A key is not given here, where others see it; give --key - and --write-key.")
        if setting in SECRETS:
            reason = (
                f"{setting} is a secret: given here, it would stay in your shell's history and in the client's file."
            )
            raise click.UsageError(f"{reason} Keep it for all clients: {PROGRAM} config set {setting} -")
        if not equals or setting not in names:
            raise click.UsageError(f"{pair!r} is not SETTING=VALUE. {nearest(setting, names)}")
        variables[variable(setting)] = value
    load_settings({**variables, "KIE_AI_CONFIG": os.devnull})
    check_folders(dict(pair.split("=", 1) for pair in pairs))
    return variables


def _key_to_write(shared: Shared) -> str:
    key = shared.key or load_settings().key
    if not key:
        raise ConfigError("No key is set, so none can be written.", next_step=f"Set {KEY}, or give --key -.")
    return key


def _about_key(plan: Plan, text: str) -> str:
    """Return how the key reaches the server that this client starts."""
    name, client = plan.client_name, plan.client
    try:
        settings, origins = load_settings(), find_origins()
    except ConfigError:
        return f"See {PROGRAM} doctor for what is wrong with the settings."
    file = config_file()
    if own_key(client, text, plan.name):
        return f"The key is in clear text in {client.title}'s file."
    if "${input:" in text and settings.key is None:
        return f"{client.title} asks for the key once and keeps it encrypted, so it is not in the file."
    if (origin := origins.get("api_key")) in {str(file), ORIGIN}:
        return f"The key is read from {origin}."
    if client.key is not None:
        return f"The key is taken from {KEY} where {client.title} is started, or kept for all clients with --key -."
    reason = "No key is known" if settings.key is None else f"{client.title} knows no variables, so it lacks the key"
    return f"{reason}. Give it with: {PROGRAM} install {name} --key -"
