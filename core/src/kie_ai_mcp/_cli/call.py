"""Command ``call``: one tool, checked, sent, recorded and answered exactly as for an MCP client."""

import json
import shlex
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from kie_ai_mcp._app.app import RESERVED, App
from kie_ai_mcp._app.tools import Answer, Call
from kie_ai_mcp._cli import console
from kie_ai_mcp._flow import consent
from kie_ai_mcp._flow.engine import Say
from kie_ai_mcp._flow.report import ERRORS, report_of_error
from kie_ai_mcp._models.tools import RUN
from kie_ai_mcp._settings.load import decoded, nearest
from kie_ai_mcp._settings.settings import Settings, at_home
from kie_ai_mcp.errors import InvalidArgument, KieError, Unknown, shorten

TERMINAL = "terminal"  # where the person of a call has answered
LISTED = f"All of them: {console.PROGRAM} tools"
SAVING = ("save_result",)  # tools that only read the record and the service, and write files
LOST = ("failed", *ERRORS - {"unread"})
Wanted = tuple[str, dict[str, Any]]  # a tool and its arguments


def _tool_names(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    titles: dict[str, str] = {}
    with suppress(KieError):
        plugins = console.load_plugins()
        titles = {name: tool.title for name, tool in plugins.tools.items()} | dict.fromkeys(
            filter(plugins.lists, RESERVED), ""
        )
    return [CompletionItem(name, help=title) for name, title in titles.items() if name.startswith(incomplete)]


def _argument_names(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    properties: Mapping[str, Any] = {}
    with suppress(KieError):
        tool = console.load_plugins().tools.get(ctx.params.get("tool", ""))
        properties = tool.input_schema["properties"] if tool else {}
    # Bash takes KEY=VALUE for three words, and completes only the last one.
    words: list[str] = [word for word in ctx.params.get("pairs") or () if word != "="]
    offered = [f"{name}={value}" for name, declared in properties.items() for value in declared.get("enum", [""])]
    if words and words[-1] in properties:
        offered = [str(value) for value in properties[words[-1]].get("enum", ())]
    return [CompletionItem(text) for text in offered if text.startswith(incomplete)]


dry_run_option = click.option("--dry-run", is_flag=True, help="Say what it would cost, and send nothing.")
pairs_argument = click.argument("pairs", metavar="[KEY=VALUE]...", nargs=-1)
wait_option = click.option("--wait", is_flag=True, help="Wait until the task is finished.")


@click.command()
@click.argument("tool", metavar="TOOL", shell_complete=_tool_names)
@click.argument("pairs", metavar="[KEY=VALUE]...", nargs=-1, shell_complete=_argument_names)
@wait_option
@dry_run_option
@console.timeout_option
@console.save_option
@console.json_option
def call(tool: str, pairs: tuple[str, ...], wait: bool, dry_run: bool, timeout_s: float, folder: Path | None) -> None:
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

    async def wanted(app: App) -> Wanted:
        if tool not in app.names:
            why = app.engine.plugins.why_unlisted(tool)
            raise click.UsageError(
                f"There is no tool {tool!r}{f': {why}' if why else f'. {nearest(tool, app.names, LISTED)}'}"
            )
        return tool, await _with_whole_ids(app, tool, arguments_of(pairs, app.tool(tool).input_schema))

    perform(wanted, waits=wait, dry_run=dry_run, timeout_s=timeout_s, folder=folder)


async def _with_whole_ids(app: App, tool: str, values: dict[str, Any]) -> dict[str, Any]:
    """Return arguments with whole ids of tasks; fail where a tool that spends or settles is given a beginning of one.

    What begins as the id of a task on record may also be a part of another one's, and a wrong task can't be undone.
    """
    is_enough = app.tool(tool).reads_only or tool in SAVING
    for name in values.keys() & {"task_id", "task_ids", "taskId"}:
        given = values[name]
        texts = list(map(str, given if isinstance(given, list) else [given]))
        if not is_enough and (short := [text for text in texts if await console.is_beginning(app, text)]):
            reason = f"{tool} takes a task's whole id, and {short[0]} is only the beginning of one on record."
            raise click.UsageError(f"{reason} See: {console.PROGRAM} tasks show {short[0]}")
        if is_enough:
            ids = [await console.full_id(app, text) for text in texts]
            values[name] = ids if isinstance(given, list) else ids[0]
    return values


def perform(
    wanted: Wanted | Callable[[App], Awaitable[Wanted]],
    *,
    waits: bool = False,
    dry_run: bool = False,
    timeout_s: float = 60.0,
    folder: Path | None = None,
    listed: Callable[[Mapping[str, Any]], object] | None = None,
) -> None:
    """Make the wanted call, print its answer, and end the command with the exit code of what came of it.

    The function `listed` prints the answer's data instead of its text.
    """
    waits = waits or folder is not None
    # A generation tool waits by itself, so that it answers with the finished task.
    settings = console.settings_saving_in(folder).model_copy(update={"wait_s": timeout_s if waits else 0.0})

    tool, failed = "", "refused"

    async def work(app: App, say: Say, agreed: int) -> Answer:
        nonlocal tool, failed
        tool, values = await wanted(app) if callable(wanted) else wanted
        if dry_run:
            tool, values = "estimate_cost", {"name": tool, "arguments": values}
        failed = app.tool(tool).failed
        return await app.run(tool, values, Call(say, patience_s=timeout_s, agreed=agreed))

    try:
        answer = _with_consent(settings, work)
    except KieError as exc:
        if console.wants_json():
            console.print_json(settings.mask.json(report_of_error(exc, failed).structured()))
        is_open = isinstance(exc, Unknown) and "tasks resolve" not in str(exc)
        here = f" From here: {console.PROGRAM} tasks list, then tasks resolve." if is_open else ""
        if isinstance(exc, InvalidArgument) and exc.instead:
            here = f" Instead: {_command(exc.instead)}"
        console.complain(settings.mask.text(str(exc)) + here)
        raise click.exceptions.Exit(console.exit_code_of(exc)) from None
    data = answer.data or {}
    buy = "Buy it with the same command without --dry-run."
    text = answer.text.replace(console.BUY, buy) if dry_run else answer.text
    console.show(data, text if listed is None else partial(listed, data))
    if failure := _failure(tool, data, waits=waits, saves=settings.output_dir is not None):
        raise click.ClickException(failure)


def _with_consent(settings: Settings, work: Callable[[App, Say, int], Awaitable[Answer]]) -> Answer:
    """Return the answer of a call; where a person has to agree to it first, the one at this terminal is asked."""
    number, is_yes = 0, False

    async def whole(app: App) -> Answer:
        agreed = await consent.agreed(app.engine, number, TERMINAL, is_yes=is_yes) if number else 0
        return await work(app, say, agreed)

    while True:
        try:
            with console.terminal().progress() as say:
                return console.run_with_app(settings, whole)
        except consent.ConsentNeeded as exc:
            if not console.has_person():
                raise
            number, is_yes = exc.purchase.question.id, console.confirmed(exc.purchase.words())


def _command(call: Mapping[str, Any]) -> str:
    """Return a whole call as a command of this program."""
    words, arguments = ["call", call["tool"]], dict(call["arguments"])
    if call["tool"] == RUN:
        words, arguments = ["models", "run", arguments.pop("model")], {**arguments.pop("input"), **arguments}
    texts = ((name, v if isinstance(v, str) else json.dumps(v)) for name, v in arguments.items())
    pairs = (f"{name}={'@' if text.startswith('@') else ''}{text}" for name, text in texts)
    return shlex.join([console.PROGRAM, *words, *pairs])


def _failure(tool: str, data: Mapping[str, Any], *, waits: bool, saves: bool) -> str:
    """Return why a call did not succeed, and what can be done; an empty text where it did."""
    if "status" not in data:
        if data.get("valid") is False:
            return "the arguments are wrong; see above"
        lost = tool == "wait_for_tasks" and any(task["status"] != "completed" for task in data["tasks"])
        return "not every task is completed; see their states above" if lost else ""
    task_id, status = data.get("task_id"), data["status"]
    if status in LOST or (waits and status == "unread"):
        reason = data.get("error") or data.get("read_error") or "no reason is known"
        return f"the task is {status}: {str(reason).rstrip('.')}. {data['next_step']}"
    if waits and status != "completed":
        unread = f" (its status can't be read: {data['read_error']})" if data.get("read_error") else ""
        return f"the task is still running and goes on by itself{unread}: {console.PROGRAM} tasks wait {task_id}"
    if waits and saves and len(data["files"]) < len(data["result_urls"]) + ("data" in data):
        reason = " ".join(data.get("notes", ())) or data["next_step"]
        return f"not every result could be saved; {reason} Or: {console.PROGRAM} tasks save {task_id}"
    return ""


def arguments_of(pairs: Sequence[str], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``KEY=VALUE`` pairs as a tool's arguments, read as its schema declares them.

    A key that the schema does not know, and a value that does not fit, are passed on: the tool's own check names them.
    """
    arguments: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise click.UsageError(f"{shorten(pair)} is not KEY=VALUE, such as prompt='A harbour at dawn'.")
        declared = schema["properties"].get(key, {})
        value = read_value(_text(key, text), declared)
        if declared.get("type") == "array":
            arguments.setdefault(key, []).extend(value if isinstance(value, list) else [value])
        elif key in arguments:
            raise click.UsageError(f"{key} is given twice; it takes one value.")
        else:
            arguments[key] = value
    return arguments


def read_value(text: str, declared: Mapping[str, Any]) -> Any:
    """Return text as the value that the schema asks for, or unchanged where it can't be converted."""
    kind = declared.get("type")
    if kind == "array" and not text.lstrip().startswith("["):
        return read_value(text, declared.get("items", {}))
    branches = {branch.get("type") for branch in declared.get("anyOf", ())}
    if kind == "string" or "string" in branches or (kind is None and not branches and "enum" not in declared):
        return text
    with suppress(ValueError):
        return json.loads(text)
    return text


def _text(key: str, text: str) -> str:
    if text.startswith("@@") or not text.startswith("@"):
        return text.removeprefix("@")
    name = text.removeprefix("@")
    try:
        content = decoded(sys.stdin.buffer.read() if name == "-" else at_home(Path(name)).read_bytes())
    except UnicodeDecodeError:
        reason = f"{name} is not text. A picture or clip is given by its path, without @."
    except ValueError as exc:
        reason = f"{exc}."
    except OSError as exc:
        reason = f"the file {name} can't be read: {exc.strerror}."
    else:
        return content.replace("\r\n", "\n").removesuffix("\n")
    raise click.UsageError(f"{key}: {reason}")
