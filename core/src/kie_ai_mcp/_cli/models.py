"""Commands ``models`` and ``estimate``: find, describe and run single models, and prices before anything is paid."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from kie_ai_mcp._app.app import App
from kie_ai_mcp._cli import console
from kie_ai_mcp._cli.call import Wanted, arguments_of, dry_run_option, pairs_argument, perform, wait_option
from kie_ai_mcp._flow.models import find
from kie_ai_mcp._models.tools import RUN


@click.group(cls=console.Commands)
def models() -> None:
    """Find, describe and run single models of a service."""


@models.command("find")
@click.argument("words", nargs=-1)
@click.option("--kind", help="image, video, audio or text.")
@click.option("--task", help="What it does: text-to-image, upscale, speech, ...")
@console.json_option
def find_command(words: tuple[str, ...], kind: str | None, task: str | None) -> None:
    """Find tools and models by words, with their prices."""
    wishes = {"words": " ".join(words), "kind": kind, "task": task}
    given = {name: value for name, value in wishes.items() if value is not None}
    perform(("find_models", given), listed=_print_found)


def _print_found(answer: Mapping[str, Any]) -> None:
    """Print what was found as a table, and what to do with it."""
    rows = [[found["name"], found["kind"] or "", found["price"], _made(found)] for found in answer["models"]]
    many = "price", "makes"
    if rows:
        console.terminal().print_table(rows, ("name", "kind", *many), wrapped=many, stacked=many)
    console.say(console.for_person(answer["next_step"]))


def _made(found: Mapping[str, Any]) -> str:
    """Return what a model makes, the tool that is easier, and what keeps it from being used."""
    easier = f"; easier by {found['tool']}" if found["tool"] not in (None, "", found["name"]) else ""
    gone = f" ({found['availability']})" if found["availability"] != "current" else ""
    return f"{found['makes']}{easier}{gone}"


@models.command()
@click.argument("model")
@console.json_option
def show(model: str) -> None:
    """Show what a model, or a tool, takes and costs."""
    perform(("describe_model", {"model": model}))


@models.command()
@click.argument("model")
@pairs_argument
@click.option("--max-credits", type=console.Amount(0), help="Send nothing that costs more.")
@wait_option
@dry_run_option
@console.timeout_option
@console.save_option
@console.json_option
def run(
    model: str,
    pairs: tuple[str, ...],
    max_credits: float | None,
    wait: bool,
    dry_run: bool,
    timeout_s: float,
    folder: Path | None,
) -> None:
    """Start one paid task of a model; its input is sent as given.

    VALUE is text, or JSON where the model takes a number, a list or an object, as for the command call.
    """

    async def wanted(app: App) -> Wanted:
        values = {"model": model, "input": await _input(app, model, pairs)}
        return RUN, values if max_credits is None else {**values, "max_credits": max_credits}

    perform(wanted, waits=wait, dry_run=dry_run, timeout_s=timeout_s, folder=folder)


@click.command()
@click.argument("name")
@pairs_argument
@console.json_option
def estimate(name: str, pairs: tuple[str, ...]) -> None:
    """Say what a call of a tool or model would cost, and send nothing paid.

    It also says whether the arguments are right.
    """

    async def wanted(app: App) -> Wanted:
        return "estimate_cost", {"name": name, "arguments": await _input(app, name, pairs)}

    perform(wanted)


async def _input(app: App, name: str, pairs: tuple[str, ...]) -> dict[str, Any]:
    """Return pairs as the arguments of a tool or the input of a model."""
    is_tool = name in app.names
    return arguments_of(pairs, app.tool(name).input_schema if is_tool else (await find(app.engine, name)).model.input)
