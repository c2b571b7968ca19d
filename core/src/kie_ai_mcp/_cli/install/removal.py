"""Command ``uninstall``: our entry removed from an MCP client's file, and the key deleted where that is asked for."""

from contextlib import suppress
from functools import partial
from pathlib import Path

import click

from kie_ai_mcp._cli.console import PROGRAM, UserPath, echo, json_option, show
from kie_ai_mcp._cli.install import yaml_text
from kie_ai_mcp._cli.install.clients import ADDRESSES, CLIENTS, ENTRY, Client, config_path
from kie_ai_mcp._cli.install.entries import Absent, Spoiled, edited, holds_secret, own_entries, own_key, removed
from kie_ai_mcp._cli.install.files import ask, show_change, without_secrets
from kie_ai_mcp._cli.install.jsonc import Malformed
from kie_ai_mcp._cli.stored_key import delete_key
from kie_ai_mcp._cli.text_files import TextFile
from kie_ai_mcp._settings.databases import place_in
from kie_ai_mcp._settings.load import config_file, find_origins, load_settings
from kie_ai_mcp._settings.system_keyring import ORIGIN
from kie_ai_mcp._start.memory import folder
from kie_ai_mcp.errors import ConfigError


@click.command()
@click.argument("name", metavar="CLIENT", type=click.Choice(list(CLIENTS)))
@click.option("--name", "entry", default=ENTRY, show_default=True, help="What the entry is called.")
@click.option("--file", "path", type=UserPath(dir_okay=False), help="The client's file, if it is elsewhere.")
@click.option("--key", is_flag=True, help="Delete the key as well, from the system's keyring or the settings file.")
@click.option("--yes", is_flag=True, help="Write without asking.")
@json_option
def uninstall(name: str, entry: str, path: Path | None, key: bool, yes: bool) -> None:
    """Remove this server from the configuration of an MCP client.

    CLIENT is a name that `install` takes. The change is shown before it is made, the file as it was stays beside it
    with the time in its name, and everything else in it stays as it is. The key, the settings and the history stay,
    too, and the command says where they are and how to delete them. The key that --key deletes is one for all clients:
    those that lose it are named before the question.

    \b
    kie-ai-mcp-server uninstall claude-desktop
    kie-ai-mcp-server uninstall cursor --key --yes
    """
    client = CLIENTS[name]
    path = (path or config_path(name)).absolute()
    file = TextFile.read(path)
    try:
        after = removed(client, file.text, entry)
    except Absent:
        after = file.text
    except (Spoiled, Malformed) as exc:
        reason = f"can't be understood ({exc})" if str(exc) else "would have changed in more than this"
        raise click.ClickException(f"{path} {reason}, so it was not changed. Remove the entry by hand.") from None
    sharing = _sharing_the_key(path, after, client) if key else []
    if sharing:
        echo(
            f"--key deletes the one key of all clients: {', '.join(sharing)} would be left without one.",
            err=True,
            fg="yellow",
        )
        if after == file.text and not yes:
            ask(config_file(), "", "Delete the key named in")
    backup, text = None, f"{client.title} has no entry {entry}: {path}"
    if after != file.text:
        public = edited(client, "", {}, entry)
        show_change(file.text, after, path, partial(without_secrets, public=public, plain=client.form is yaml_text))
        if not yes:
            ask(path, "", "Remove it from")
        is_private = holds_secret(client, file.text, entry)
        backup = file.replace(after, private=is_private, copied=True)
        if is_private:
            file.make_private()
        text = f"Removed from {path}. As it was: {backup}. Restart {client.title}."
    deleted, left = delete_key() if key else ("", "")
    stays = _what_stays(name, path, backup) | ({"the key": left} if left else {})
    if sharing and deleted:
        deleted += f" No key is left for: {', '.join(sharing)}. To give them one: {PROGRAM} install CLIENT --key -"
    words = [text, *filter(None, [deleted]), "What stays:", *(f"  {what}: {how}" for what, how in stays.items())]
    about = {"client": name, "path": path, "entry": entry, "changed": after != file.text, "backup": backup}
    about |= {"without_key": sharing if deleted else []}
    show({**about, "key": deleted, "stays": stays}, "\n".join(words))


def _sharing_the_key(path: Path, after: str, client: Client) -> list[str]:
    """Return the clients with an entry of this server that takes the key from where all do, once a file is changed."""
    pairs = [(client, after)]
    with suppress(ConfigError):
        if find_origins().get("api_key") not in {str(config_file()), ORIGIN}:
            return []
        for name, each in CLIENTS.items():
            with suppress(OSError, click.ClickException):
                place = config_path(name).absolute()
                pairs += [(each, TextFile.read(place).text)] if place != path and place.is_file() else []
    return [*dict.fromkeys(each.title for each, text in pairs if _takes_the_key(each, text))]


def _takes_the_key(client: Client, text: str) -> bool:
    with suppress(Malformed):
        for name, own in own_entries(client, text).items():
            is_asked_for = "${input:" in str(own)  # by the client, which keeps it
            if not (is_asked_for or own.keys() & ADDRESSES or own_key(client, text, name)):
                return True
    return False


def _what_stays(name: str, path: Path, backup: Path | None) -> dict[str, str]:
    """Return what this program leaves on this machine, each with where it is and how it is deleted."""
    settings, origin, file = load_settings(faults=[]), find_origins().get("api_key"), config_file()
    stays = {}
    if origin is not None:
        cure = f"{PROGRAM} uninstall {name} --key" if origin in {str(file), ORIGIN} else "unset it where you set it"
        stays["the key"] = f"in {origin}; to delete it: {cure}"
    if file.exists():
        stays["the settings"] = f"{file}; delete the file"
    if settings.database_address:
        stays["the history"] = f"in {place_in(settings.database_address)}"
    elif settings.database.exists():
        stays["the history"] = f"{settings.database}; delete it and the files named after it"
    if settings.output_dir is not None and settings.output_dir.exists():
        stays["saved results"] = f"{settings.output_dir}; yours to keep"
    if backup is not None:
        stays["copies of the file"] = f"{path}.*.bak; delete them, since an old one may hold a key"
    if Path(folder()).is_absolute() and Path(folder()).exists():
        stays["answers for fast starts"] = f"{folder()}; delete the folder"
    return stays
