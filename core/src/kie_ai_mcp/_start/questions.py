"""Questions whose answers can be remembered, read strictly: all other lines are the server's to answer or to refuse."""

import json
from typing import Any

MODERN = "_meta"  # in place of an agreed revision: each request names its own
LISTS = {"server/discover", "tools/list", "prompts/list", "resources/templates/list"}
META = "io.modelcontextprotocol/"
ABOUT_CLIENT = {"name", "version", "title", "description", "websiteUrl"}  # texts
NESTED = {"experimental", "extensions", "sampling", "elicitation", "tasks"}  # capabilities that hold objects alone


def question_in(line: bytes, agreed: str | None) -> tuple[Any, str] | None:
    """Return the number and the question of a request whose answer can be remembered; None for any other line.

    A question names all that its answer depends on. For the notification that ends a handshake it is empty. `agreed`
    is the revision that client and server have agreed upon, or `MODERN`.
    """
    try:
        text = line.decode()
        message = json.loads(text, parse_constant=_refuse)
        method, params = message["method"], message.get("params", {})
        if message["jsonrpc"] != "2.0" or message.keys() - {"jsonrpc", "id", "method", "params"}:
            return None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    # An escaped half of a character is no text for the server; a whole one of two halves is seldom written so.
    if "\\ud" in text.lower() or not isinstance(method, str) or not isinstance(params, dict):
        return None
    if "id" not in message:
        is_end = method == "notifications/initialized" and agreed not in {None, MODERN} and not params
        return (None, "") if is_end else None
    number = message["id"]
    key = _key(method, params, agreed) if is_number(number) else None
    return None if key is None else (number, key)


def is_modern(question: str) -> bool:
    """Return whether a question names its own revision."""
    return f" {MODERN} " in question


def is_number(value: Any) -> bool:
    """Return whether a value is the number of a request, which may be a text."""
    return isinstance(value, str | int) and not isinstance(value, bool)


def _refuse(word: str) -> None:
    raise ValueError(word)  # NaN and the like are no JSON


def _key(method: str, params: dict[str, Any], agreed: str | None) -> str | None:
    meta = params.get("_meta", {})
    if not isinstance(meta, dict) or not is_number(meta.get("progressToken", 0)):
        return None
    own = {name.removeprefix(META): value for name, value in meta.items() if name.startswith(META)}
    if method == "initialize" and agreed is None and not own:
        is_known = params.keys() <= {"protocolVersion", "capabilities", "clientInfo", "_meta"}
        revision = params.get("protocolVersion")
        is_sound = _is_client(params.get("clientInfo")) and _has_capabilities(params.get("capabilities"))
        return f"initialize {revision}" if is_known and is_sound and isinstance(revision, str) else None
    if method not in LISTS or params.keys() - {"_meta"}:
        return None
    if agreed not in {None, MODERN}:
        return None if own else f"{method} {agreed}"
    revision = own.pop("protocolVersion", None)
    is_client = "clientInfo" not in own or _is_client(own.pop("clientInfo"))
    is_sound = is_client and _has_capabilities(own.pop("clientCapabilities", None))
    return f"{method} {MODERN} {revision}" if is_sound and not own and isinstance(revision, str) else None


def _is_client(value: Any) -> bool:
    is_known = isinstance(value, dict) and {"name", "version"} <= value.keys() <= ABOUT_CLIENT
    return is_known and all(isinstance(text, str) for text in value.values())


def _has_capabilities(value: Any) -> bool:
    """Return whether a value is a client's capabilities as the protocol has them; others may hold anything."""
    if not isinstance(value, dict):
        return False
    for name in value.keys() & {"roots", *NESTED}:
        part = value[name]
        if not isinstance(part, dict):
            return False
        kind = bool if name == "roots" else dict
        if not all(isinstance(entry, kind) for entry in part.values()):
            return False
        if name in {"sampling", "elicitation", "tasks"} and not all(map(_is_nested, part.values())):
            return False
    return True


def _is_nested(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_nested, value.values()))
