"""Command ``call``: one tool, checked, sent, recorded and answered exactly as for an MCP client."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from kie_ai_mcp._app.app import App
from kie_ai_mcp._app.own_tools import NAMES
from kie_ai_mcp._app.tools import Answer, Call
from kie_ai_mcp._cli.console import (
    FAILED,
    PROGRAM,
    complain,
    end,
    exit_code_of,
    json_option,
    print_json,
    progress,
    run_with_app,
    save_option,
    saving_in,
    show,
    timeout_option,
    wants_json,
)
from kie_ai_mcp._flow.report import report_of_error
from kie_ai_mcp._providers.loader import Plugins
from kie_ai_mcp._settings.load import load_settings, nearest
from kie_ai_mcp._settings.settings import at_home
from kie_ai_mcp.errors import KieError, Unknown, shorten

RUNNING = ("pending", "processing")
LOST = ("failed", "refused", "unknown", "not found")


def _tool_names(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    try:
        plugins = Plugins(load_settings(), reserved=NAMES)
    except KieError:
        return []
    known = {name: tool.title for name, tool in plugins.tools.items()} | dict.fromkeys(filter(plugins.lists, NAMES), "")
    return [CompletionItem(name, help=title) for name, title in known.items() if name.startswith(incomplete)]


def _argument_names(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    try:
        tool = Plugins(load_settings(), reserved=NAMES).tools.get(ctx.params.get("tool", ""))
    except KieError:
        return []
    properties = tool.input_schema(saves=True)["properties"] if tool else {}
    # Bash takes KEY=VALUE for three words, and wants the rest of the one that is typed alone.
    typed: list[str] = [word for word in ctx.params.get("pairs") or () if word != "="]
    if typed and typed[-1] in properties:
        values = map(str, properties[typed[-1]].get("enum", ()))
        return [CompletionItem(value) for value in values if value.startswith(incomplete)]
    offered = [f"{name}={value}" for name, taken in properties.items() for value in taken.get("enum", [""])]
    return [CompletionItem(pair) for pair in offered if pair.startswith(incomplete)]


@click.command()
@click.argument("tool", metavar="TOOL", shell_complete=_tool_names)
@click.argument("pairs", metavar="[KEY=VALUE]...", nargs=-1, shell_complete=_argument_names)
@click.option("--wait", is_flag=True, help="Wait until the task is finished.")
@timeout_option
@save_option
@json_option
def call(tool: str, pairs: tuple[str, ...], wait: bool, timeout_s: float, folder: Path | None) -> None:
    """Call one tool, with the same checks as an MCP client's call.

    A generation costs credits. It is recorded, limited and saved as if an assistant had asked for it.

    VALUE is text, or JSON where the tool takes a number, a list or an object. KEY=@FILE reads the value from a file,
    KEY=@- from stdin; KEY=@@TEXT is the text @TEXT. A list may also be given one item at a time, with KEY repeated.
    `kie-ai-mcp-server tools TOOL` shows what a tool takes.

    \b
    kie-ai-mcp-server call generate_nano_banana prompt='A harbour at dawn' image_size=16:9 --save ~/Pictures
    kie-ai-mcp-server call get_credits --json

    --save waits as well. Exit codes: 0 done; 1 refused, failed, unknown or still running; 2 wrong usage or settings.
    """
    waits = wait or folder is not None
    # A generation tool waits by itself, so that it answers with the finished task.
    waiting = {"wait_s": timeout_s if waits else 0.0}
    settings = saving_in(load_settings(), folder).model_copy(update=waiting)

    async def work(app: App) -> Answer:
        if tool not in app.names:
            raise click.UsageError(f"There is no tool {tool!r}. {nearest(tool, app.names)}")
        arguments = arguments_of(pairs, app.tool(tool).input_schema)
        return await app.run(tool, arguments, Call(say, patience_s=timeout_s))

    try:
        with progress() as say:
            answer = run_with_app(settings, work)
    except KieError as exc:
        if wants_json():
            print_json(settings.mask.json(report_of_error(exc).structured()))
        here = f" From here: {PROGRAM} tasks list, then tasks resolve." if isinstance(exc, Unknown) else ""
        complain(settings.mask.text(str(exc)) + here)
        end(exit_code_of(exc))
    data = answer.data or {}
    show(data, answer.text)
    if not _has_succeeded(tool, data, waits=waits, saves=settings.output_dir is not None):
        complain(_why(data))
        end(FAILED)


def _has_succeeded(tool: str, data: Mapping[str, Any], *, waits: bool, saves: bool) -> bool:
    """Tell whether an answer is what the command asked for."""
    if tool in NAMES:
        waited_for = data["tasks"] if tool == "wait_for_tasks" else ()
        return all(task["status"] == "completed" for task in waited_for)
    if not waits:
        return data["status"] not in LOST
    return data["status"] == "completed" and (not saves or bool(data["files"]) or not data["result_urls"])


def _why(structured: Mapping[str, Any]) -> str:
    """Return why a call did not succeed, and what can be done."""
    task_id, status = structured.get("task_id"), structured.get("status")
    if "tasks" in structured:
        return "not every task is completed; see their states above"
    if status in RUNNING:
        return f"the task is still running and goes on by itself: {_command('wait', task_id)}"
    if status == "completed":
        return f"the results could not be saved; {structured['next_step']} Or: {_command('save', task_id)}"
    reason = structured.get("error") or structured.get("read_error") or "no reason is known"
    return f"the task is {status}: {reason}. {structured['next_step']}"


def _command(verb: str, task_id: object) -> str:
    return f"{PROGRAM} tasks {verb} {task_id}"


# -- arguments --------------------------------------------------------------------------------------------------------


def arguments_of(pairs: Sequence[str], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``KEY=VALUE`` pairs as a tool's arguments, read as its schema declares them.

    A key that the schema does not know, and a value that does not fit, are passed on: the tool's own check names them.

    Raises:
        click.UsageError: A pair has another form, a key occurs twice, or a file can't be read.
    """
    given: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise click.UsageError(f"{shorten(pair)} is not KEY=VALUE, such as prompt='A harbour at dawn'.")
        declared = schema["properties"].get(key, {})
        value = _read(_text(key, text), declared)
        if declared.get("type") == "array":
            given[key] = [*given.get(key, []), *(value if isinstance(value, list) else [value])]
        elif key in given:
            raise click.UsageError(f"{key} is given twice; it takes one value.")
        else:
            given[key] = value
    return given


def _read(text: str, declared: Mapping[str, Any]) -> Any:
    """Return text as the value that the schema asks for, or unchanged where it can't be converted."""
    kind = declared.get("type")
    if kind == "array" and not text.lstrip().startswith("["):
        return _read(text, declared.get("items", {}))
    branches = {branch.get("type") for branch in declared.get("anyOf", ())}
    if kind == "string" or "string" in branches or (kind is None and not branches and "enum" not in declared):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _text(key: str, text: str) -> str:
    if text.startswith("@@") or not text.startswith("@"):
        return text.removeprefix("@")
    name = text.removeprefix("@")
    try:
        read = sys.stdin.read() if name == "-" else at_home(Path(name)).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise click.UsageError(
            f"{key}: {name} is not text. A picture or clip is given by its path, without @."
        ) from None
    except ValueError as exc:
        raise click.UsageError(f"{key}: {exc}.") from None
    except OSError as exc:
        raise click.UsageError(f"{key}: the file {name} can't be read: {exc.strerror}.") from None
    return read.removesuffix("\n")
