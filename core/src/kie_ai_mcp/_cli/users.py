"""Commands ``users``: who may use this server over HTTP, with tokens and limits."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import anyio
import click

from kie_ai_mcp._cli import console
from kie_ai_mcp._record.record import Record
from kie_ai_mcp._record.users import LIMITS, User
from kie_ai_mcp._settings.amounts import plain
from kie_ai_mcp._settings.load import load_settings
from kie_ai_mcp._settings.settings import variable

SHOWN_ONCE = "This is the token, shown once; the record keeps no more than its hash:"


@click.group(cls=console.Commands)
def users() -> None:
    """Say who may use this server over HTTP, and how much each may spend.

    Once there is a user, `serve --http` lets nobody else in. Each sees, waits for, saves and settles what is theirs
    alone; an administrator sees all. Servers that run learn of a change within seconds.
    """


name_argument = click.argument("name")


def limits(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of a user's limits."""
    amount, number = console.Amount(0), console.Count(0)
    for option in (
        click.option("--submissions-per-hour", type=number, help="Paid requests in any hour."),
        click.option("--credits-per-request", type=amount, help="Credits that one request may cost."),
        click.option("--credits-per-day", type=amount, help="Credits that may be spent in any 24 hours."),
    ):
        command = option(command)
    return command


@users.command()
@name_argument
@click.option("--admin", "is_admin", is_flag=True, help="Let this user see and settle everybody's tasks.")
@click.option(
    "--own-key", is_flag=True, help=f"Spend nothing of the server's, but with a key in {variable('user_keys')}."
)
@click.option("--no-token", is_flag=True, help="Make no token: the user comes with one of the OAuth issuer.")
@limits
@console.json_option
def add(name: str, no_token: bool, **values: Any) -> None:
    """Add the user NAME, and print their token once.

    One who was removed comes back with the limits of before, except where others are given.
    """

    async def add_user(record: Record) -> tuple[bool, str | None, User | None]:
        was_there = await record.users.find(name) is not None
        token = await record.users.add(User(name, **values), with_token=not no_token)
        return was_there, token, await record.users.find(name)

    was_there, token, user = _in_record(add_user)
    again = f" Tasks of the {name} who was removed are theirs again; another person needs another name."
    again += f" Limits and key as before are kept: {console.PROGRAM} users change {name} changes them."
    _show_token(f"Added {name} ({_role(user)}; {_limits_of(user)}).{again if was_there else ''}", name, token)


@users.command()
@name_argument
@console.json_option
def rotate(name: str) -> None:
    """Give the user NAME a new token, printed once.

    The one before is not taken any more.
    """
    token = _in_record(lambda record: record.users.rotate(name))
    _show_token(f"{name} has a new token; the one before is not taken any more.", name, token)


@users.command()
@name_argument
@limits
@click.option("--admin/--no-admin", "is_admin", default=None, help="Whether they see and settle everybody's tasks.")
@click.option("--own-key/--no-own-key", default=None, help="Whether they spend nothing of the server's.")
@click.option("--unlimited", is_flag=True, help="Take every limit off that is not given here.")
@console.json_option
def change(name: str, unlimited: bool, **given: Any) -> None:
    """Change limits and rights of the user NAME.

    What is not given stays as it is.
    """
    values = {key: value for key, value in given.items() if value is not None}
    if unlimited:
        values = {**dict.fromkeys(LIMITS), **values}
    if not values:
        raise click.UsageError("Nothing to change: give a limit, --admin, --own-key or --unlimited.")
    user = _in_record(lambda record: record.users.change(name, **values))
    console.show(_plain(user), f"Changed {name}: {_limits_of(user)}.")


@users.command()
@name_argument
@console.json_option
def remove(name: str) -> None:
    """Let the user NAME in no more.

    Their tasks and files stay on record, and what was paid for is still read and saved.
    """
    _in_record(lambda record: record.users.remove(name))
    console.show(
        {"name": name, "removed": True}, f"Removed {name}; servers that run let them in no more within seconds."
    )


@users.command("list")
@console.json_option
def list_users() -> None:
    """List every user with limits and credits.

    The credits are those of the last 24 hours, estimates included.
    """

    async def read(record: Record) -> list[tuple[User, float]]:
        spent = await record.spent_by_user()
        return [(user, spent.get(user.name, 0.0)) for user in await record.users.all()]

    rows = _in_record(read)
    found = [{**_plain(user), "credits_24h": spent} for user, spent in rows]
    console.show(found, lambda: _print(rows))


def _print(rows: list[tuple[User, float]]) -> None:
    if not rows:
        console.echo(f"No users: whoever has the token of {variable('http_token')} may use this server over HTTP.")
        return
    cells = [
        [user.name, _role(user), _limits_of(user), plain(spent), f"{user.created_at:%Y-%m-%d}"] for user, spent in rows
    ]
    columns = ("user", "role", "limits", "credits 24h", "since")
    console.terminal().print_table(cells, columns, wrapped=("role", "limits"))


def _role(user: User) -> str:
    if user.removed_at is not None:
        return f"removed {user.removed_at:%Y-%m-%d}"
    roles = ["admin"] * user.is_admin + ["own key"] * user.own_key + ["no token"] * (user.token_hash is None)
    return ", ".join(roles) or "user"


def _limits_of(user: User) -> str:
    named = {
        "{:g} credits a day": user.credits_per_day,
        "{:g} credits a request": user.credits_per_request,
        "{:g} requests an hour": user.submissions_per_hour,
    }
    return (
        ", ".join(form.format(value) for form, value in named.items() if value is not None) or "no limits of their own"
    )


def _plain(user: User) -> dict[str, Any]:
    return {name: value for name, value in asdict(user).items() if name != "token_hash"}


def _show_token(what: str, name: str, token: str | None) -> None:
    text = what if token is None else f"{what} {SHOWN_ONCE}\n{token}"
    console.show({"name": name} | ({} if token is None else {"token": token}), text)


def _in_record(work: Callable[[Record], Any]) -> Any:
    """Return what `work` returns on the open record of the settings."""

    async def run() -> Any:
        record = Record.of(load_settings())
        try:
            return await work(record)
        finally:
            await record.aclose()

    return anyio.run(run)
