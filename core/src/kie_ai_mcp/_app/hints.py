"""Hints in answers: commands as their reader types them, and cures that only an administrator can apply."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, cast

from kie_ai_mcp._flow.engine import Engine
from kie_ai_mcp._settings.installation import for_any_shell
from kie_ai_mcp._settings.settings import APP
from kie_ai_mcp._settings.sources import IN_CLIENT
from kie_ai_mcp.errors import KEYS_PAGE

Value = TypeVar("Value")
# What a caller or a service has written, as lines of an answer's text and as fields of its data.
QUOTED = ("Prompt: ", "Text: ", "Data: ", "Arguments: ", "Tool: ", "Instead: ", "The service's own record: ")
QUOTED_FIELDS = {"prompt", "data", "arguments", "instead", "service_record"}

ASK = "Ask an administrator of this server"
# How a sentence begins that tells somebody to do something, at the start of a text or after another sentence.
_TOLD = (
    r"(?:(?<=^)|(?<=[.!?:] )|(?<=[.!?]\" ))(?:Let the user )?(?P<do>Add|Allow|Change|Check|Copy|Correct|Delete|Enable|"
    r"Install|Look|Make|Mount|Move|Name|Put|Raise|Reinstall|Restart|Run|Set|Start|Stop|Top|Update|Use|add|allow|change|"
    r"name|run|set|update)\b"
)
_INSIDE = r"(?:(?!\.(?:\s|$)).)*?"  # as far as the sentence goes
# What only who runs the server has at hand: its settings, programs and disk.
_SERVERS = (
    r"(?:KIE_AI_[A-Z_]+|\bkie-ai-mcp|\brestart|\b(?:every|the) server|\bPGPASSWORD|\bsqlite3|\bfree space|"
    r"\bthe (?:network|proxy|settings|service's address)|\bonce more)"
)
_ACCOUNTS = KEYS_PAGE, "https://kie.ai/billing", "up the account"
_CLAUSE = re.compile(rf"(?P<link>\bor |; )(?P<do>add|change|raise|run|set) (?={_INSIDE}{_SERVERS})")


def for_user(engine: Engine, value: Value) -> Value:
    """Return text of an answer, or its data, with hints that its user can follow.

    Commands are as they are typed in any folder, by the program's path: a server that a client starts is mostly on no
    shell's PATH. Those of pip name its environment. Users who may be on other machines can type no command of this one,
    and read its bare name. To users who are no administrators what only one can do is said as such. What is quoted
    stays as it is.
    """
    text: Any = value
    if engine.links is None:
        text = _typed(for_any_shell, text, (APP, "pip install"))
    if engine.life.is_over_http:
        text = _typed(_at_server, text, (IN_CLIENT,))
    return cast(Value, text if engine.record.sees_all else _for_no_administrator(engine, text))


def _for_no_administrator(engine: Engine, value: Any) -> Any:
    logs = (caller.gateway.logs_page for caller in engine.callers.values())
    pages = () if engine.adopts else (*_ACCOUNTS, *logs)  # who pays with a key of their own has their own account
    told = re.compile(rf"{_TOLD}{_INSIDE}(?:{'|'.join([_SERVERS, *map(re.escape, pages)])})")
    return _typed(partial(_left_to_administrator, told), value)


def _typed(change: Callable[[str], str], value: Any, words: tuple[str, ...] = ("",)) -> Any:
    """Return a value whose texts are changed where they hold one of the words, but for what is quoted."""
    if isinstance(value, str):
        lines = value.split("\n") if any(word in value for word in words) else ()
        return "\n".join(line if line.startswith(QUOTED) else change(line) for line in lines) if lines else value
    if isinstance(value, dict):
        return {name: each if name in QUOTED_FIELDS else _typed(change, each, words) for name, each in value.items()}
    return [_typed(change, each, words) for each in value] if isinstance(value, list) else value


def _at_server(line: str) -> str:
    return line.replace(IN_CLIENT, "in the server's settings")


def _left_to_administrator(told: re.Pattern[str], line: str) -> str:
    """Return a line that tells its reader to ask an administrator for what takes the server's settings or account."""

    def asked(match: re.Match[str]) -> str:
        begin = match["do"]
        return f"{ASK}: {begin[0].lower()}{match[0][match.start('do') - match.start() + 1 :]}"

    clause, sentences = (
        rf"\g<link>{ASK[0].lower()}{ASK[1:]} to \g<do> ",
        re.split(r"(?<=[.!?]) ", told.sub(asked, line)),
    )
    return " ".join(each if ASK in each else _CLAUSE.sub(clause, each) for each in sentences)
