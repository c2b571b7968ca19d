"""Our entry in a client's file: made, changed, read and removed, with everything else in the file as it was."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import reduce
from operator import getitem, itemgetter
from pathlib import PurePosixPath
from typing import Any, Literal

from tomlkit.exceptions import TOMLKitError

from kie_ai_mcp._cli.install.clients import ADDRESSES, ENTRY, KEY, Client, Env, Remote
from kie_ai_mcp._cli.install.jsonc import Malformed
from kie_ai_mcp._settings.installation import server_command, server_environment
from kie_ai_mcp._settings.settings import PREFIX, SECRET_ENDINGS

PROGRAMS = ("kie-ai-mcp", "kie_ai_mcp")  # in the command of every entry that starts this server
# The program or the module as an entry names it, or what uvx or a container engine is to start, of any version.
OURS = re.compile(r"(kie-ai-mcp-(server|core)|kie_ai_mcp)(\.exe)?(\[[\w,-]+\])?(([=<>~!]=?|[@:]).*)?")
RUNNERS = re.compile(r"(uvx?|pipx|py|python[\d.]*w?)(\.exe)?")  # programs that start it with the words after its name
NAMING = {"--directory", "--from", "--name", "--project", "--spec", "--with", "--with-editable"}  # what is not started
SECRETS = ("key", "token")  # what a client can be made to ask for
HEADERS = ("headers", "http_headers")
# All that stands for a secret: a reference to a variable or a question, with no other value for where there is none.
REFERENCE = re.compile(r"(Bearer )?(\$\{(env:|input:)?[\w-]+(:-)?\}|\{env:\w+\}|\$\w+)")
# The editors of TOML and YAML raise whatever they meet, for files that they can't edit.
EDIT_ERRORS = (AttributeError, LookupError, TypeError, ValueError, RecursionError, TOMLKitError)

Keys = tuple[str, ...]
KeyFrom = Literal["asked", "environment", "kept"]


class Spoiled(Exception):
    """The file that an edit made does not read back as it should: it differs in more than our entry."""


class Absent(Exception):
    """A client's file has no entry of that name."""


def edited(client: Client, text: str, wanted: Env | Remote, name: str = ENTRY, *, key: KeyFrom = "environment") -> str:
    """Return a client's file with our entry in it, and everything else as it was.

    The entry starts this server with the variables of `wanted` in clear text, or leads to a server elsewhere. In an
    existing entry, only the command, its arguments and these variables change, or the address and its token: its key
    and what the user added stay. A new entry has the key from where `key` says: a client that can't ask for it refers
    to the variable, and one that the server finds by itself is left out. A file of another form raises `Malformed`; an
    edit that does not read back as it should raises `Spoiled`.
    """
    before = client.form.read(text)
    place = _place(client, before)
    existing = _entry_at(before, (*place, name))
    _check_form(client, existing, name)
    changes: dict[Keys, Any]
    if isinstance(wanted, Remote):
        entry = _remote_entry(client, wanted, name)
        changes = _remote_changes(client, entry, existing) if isinstance(existing, dict) else {(): entry}
    else:
        entry = _new_entry(client, wanted, name, key)
        changes = _changes(client, entry, existing, wanted) if isinstance(existing, dict) else {(): entry}
    try:
        for keys, value in changes.items():
            text = client.form.put(text, (*place, name, *keys), value)
        written = repr(_entry_at(client.form.read(text), (*place, name)))
        for secret in SECRETS if client.asks else ():
            if f"${{input:{name}-{secret}}}" in written:
                text = _put_question(client, text, before.get("inputs"), _question(name, secret))
        after = client.form.read(text)
        own = _entry_at(after, (*place, name))
        complete = all(reduce(getitem, keys, own) == value for keys, value in changes.items())
        complete = complete and _others(before, client, name) == _others(after, client, name)
    except Malformed:
        raise
    except EDIT_ERRORS as exc:
        raise Spoiled from exc
    if not complete:
        raise Spoiled
    return text


def removed(client: Client, text: str, name: str = ENTRY) -> str:
    """Return a client's file without our entry, and everything else as it was.

    Raises `Absent` where there is none, `Malformed` where an entry of that name is another program's, and `Spoiled`
    where more than the entry would change.
    """
    before = client.form.read(text)
    place = _place(client, before)
    existing = _entry_at(before, (*place, name))
    if not isinstance(existing, dict):
        raise Absent
    if _starts_another(client, existing):
        raise Malformed(f"its entry {name} starts another program; choose the right --name")
    try:
        text = client.form.remove(text, (*place, name))
        after = client.form.read(text)
        rest = repr(after.get(client.servers))
        for secret in SECRETS if client.asks and isinstance(after.get("inputs"), list) else ():
            question = _question(name, secret)
            if question in after["inputs"] and f"${{input:{question['id']}}}" not in rest:
                text = client.form.remove(text, ("inputs", str(after["inputs"].index(question))))
                after = client.form.read(text)
        complete = _entry_at(after, (*place, name)) is None
        complete = complete and _others(before, client, name) == _others(after, client, name)
    except EDIT_ERRORS as exc:
        raise Spoiled from exc
    if not complete:
        raise Spoiled
    return text


def starts_this(client: Client, text: str) -> bool:
    """Return whether an entry of a client's file starts this server, whatever it is called."""
    return any(_starts_this(client, entry) for entry in own_entries(client, text).values())


def own_entries(client: Client, text: str) -> dict[str, dict[str, Any]]:
    """Return the entries of a client's file that start this server, and the one that has the usual name of ours."""
    whole = client.form.read(text)
    servers = _entry_at(whole, _place(client, whole))
    named = servers.items() if isinstance(servers, dict) else ()
    return {name: own for name, own in named if isinstance(own, dict) and (name == ENTRY or _starts_this(client, own))}


def _starts_this(client: Client, entry: Mapping[str, Any]) -> bool:
    """Return whether an entry's program, or what it is told to start, is this server, and not only a folder of ours."""
    program, *arguments = [*_words(entry, {client.command, "command", "cmd"}), ""]
    arguments += _words(entry, {client.args or "args", "args"})
    parts = [part for words in arguments for part in words.split()]  # of a shell that is given a line
    return _is_program(program, of_any_folder=True) or any(map(_is_program, parts))


def _words(entry: Mapping[str, Any], keys: Iterable[str]) -> list[str]:
    values = (entry.get(key) for key in sorted(keys))
    return [str(word) for value in values if value for word in (value if isinstance(value, list) else [value])]


def _is_program(word: str, *, of_any_folder: bool = False) -> bool:
    path = PurePosixPath(word.replace("\\", "/"))
    is_bare = of_any_folder or "/" not in str(path) or path.parent.name.lower() in {"bin", "scripts"}
    return is_bare and OURS.fullmatch(path.name) is not None


def _file_name(word: str) -> str:
    return PurePosixPath(word.replace("\\", "/")).name.lower()


def server_arguments(command: Sequence[str]) -> list[str]:
    """Return the arguments that this server gets of a command; none where it is not known which these are."""
    at = [0] if _is_program(command[0], of_any_folder=True) else []
    if RUNNERS.fullmatch(_file_name(command[0])):
        at = [number for number, word in enumerate(command) if _is_program(word) and command[number - 1] not in NAMING]
    return [*command[at[-1] + 1 :]] if at else []


def own_key(client: Client, text: str, name: str) -> str:
    """Return the key that our entry in a client's file holds in clear text; an empty text where it holds none."""
    whole = client.form.read(text)
    env = _entry_at(whole, (*_place(client, whole), name, client.env))
    key = str(env.get(KEY, "")).strip() if isinstance(env, dict) else ""
    return "" if REFERENCE.fullmatch(key) else key


def holds_secret(client: Client, text: str, name: str) -> bool:
    """Return whether our entry in a client's file holds a key, a token or a password, and not a reference to it."""
    whole = client.form.read(text)
    own = _entry_at(whole, (*_place(client, whole), name))
    if not isinstance(own, dict):
        return False
    parts = {key: part for key in (client.env, *HEADERS) if isinstance(part := own.get(key), dict)}
    secrets = [
        value
        for key, part in parts.items()
        for name, value in part.items()
        if str(name).lower().endswith(SECRET_ENDINGS if key == client.env else "authorization")
    ]
    addresses = [str(value) for part in (own, *parts.values()) for value in part.values()]
    is_clear = any(str(value).strip() and not REFERENCE.fullmatch(str(value).strip()) for value in secrets)
    return is_clear or any(re.match(r"\w+://[^/]*:[^/]*@", address) for address in addresses)


def _check_form(client: Client, existing: Any, name: str) -> None:
    """Raise Malformed where an existing entry, or a part of it that is changed, is of another form."""
    cure = "correct it, or choose another --name"
    if existing is None:
        return
    if not isinstance(existing, dict):
        raise Malformed(f"its entry {name} is no server; {cure}")
    forms = {client.env: dict, "env_vars": list, **dict.fromkeys(HEADERS, dict)}
    for key, form in forms.items():
        if existing.get(key) is not None and not isinstance(existing[key], form):
            raise Malformed(f"{key} in its entry {name} is no {'list' if form is list else 'table'}; {cure}")


def _starts_another(client: Client, existing: Mapping[str, Any]) -> bool:
    """Return whether an entry starts a program, and not this server."""
    return not {client.command, "command", "cmd"}.isdisjoint(existing) and not _starts_this(client, existing)


def start_of(client: Client, text: str, name: str, environ: Env) -> tuple[list[str], dict[str, str]]:
    """Return the command of our entry in a client's file, and its environment where the client is started in `environ`.

    No setting reaches it but those of the entry.
    """
    whole = client.form.read(text)
    own = _entry_at(whole, (*_place(client, whole), name))
    written = own.get(client.env)
    env = {key: str(value) for key, value in written.items()} if isinstance(written, Mapping) else {}
    if (KEY in env and env[KEY] == client.key) or KEY in own.get(client.passed, ()):
        env[KEY] = environ.get(KEY, "")
    if env.get(KEY, "").startswith("${input:"):
        del env[KEY]
    others = {key: value for key, value in environ.items() if not key.startswith(PREFIX)}
    command = own[client.command] if client.args is None else [own[client.command], *own.get(client.args, ())]
    return [*command], others | env


def _place(client: Client, whole: Mapping[str, Any]) -> Keys:
    """Return the keys of what holds the servers in a client's file."""
    servers = whole.get(client.servers)
    is_newer = isinstance(servers, dict) and isinstance(servers.get(client.inner), dict)
    return (client.servers, client.inner) if client.inner and is_newer else (client.servers,)


def _entry_at(whole: Any, keys: Keys) -> Any:
    """Return what is at a place in a client's file; None where there is no such place."""
    for key in keys:
        whole = whole.get(key) if isinstance(whole, dict) else None
    return whole


def _others(whole: Mapping[str, Any], client: Client, name: str) -> str:
    """Return all that a file holds besides our entry, for comparing."""

    def less(part: Any, keys: Keys) -> Any:
        if not keys:
            return {key: value for key, value in part.items() if key != name} if isinstance(part, dict) else part
        return {**part, keys[0]: less(part.get(keys[0]) or {}, keys[1:])} if isinstance(part, dict) else part

    rest = less(whole, _place(client, whole))
    if client.asks and isinstance(inputs := whole.get("inputs", []), list):
        ours = [_question(name, secret) for secret in SECRETS]
        rest["inputs"] = [question for question in inputs if question not in ours]
    return repr(_comparable(rest))


def _comparable(value: Any) -> Any:
    """Return a value of a file as lists and texts, in one order; the keys of YAML may be numbers, dates or lists."""
    if isinstance(value, Mapping):
        return sorted(((repr(key), _comparable(part)) for key, part in value.items()), key=itemgetter(0))
    return [_comparable(part) for part in value] if isinstance(value, list | tuple) else repr(value)


def _new_entry(client: Client, env: Env, name: str, key: KeyFrom) -> dict[str, Any]:
    command, args = server_command()
    start: dict[str, Any] = {client.command: [command, *args]}
    if client.args is not None:
        start = {client.command: command, client.args: args}
    env = {**server_environment(), **env}
    own = {client.names: name} if client.names else {}
    if client.passed:
        entry = {**start, **({} if KEY in env else {client.passed: [KEY]}), **client.usual}
    else:
        entry = {**own, **client.usual, **start}
        value = f"${{input:{name}-key}}" if key == "asked" and client.asks else client.key
        env = {KEY: value, **env} if value and key != "kept" else env
    return {**entry, client.env: dict(env)} if env else entry


def _remote_entry(client: Client, remote: Remote, name: str) -> dict[str, Any]:
    assert client.address is not None  # noqa: S101  it was asked for before
    own = {client.names: name} if client.names else {}
    entry = {**own, **client.remote, client.address: remote.url}
    proof = remote.token
    if remote.variable and client.bearer:
        return {**entry, client.bearer: remote.variable}
    if remote.variable and client.reference:
        proof = client.reference.format(remote.variable)
        if client.required:
            entry[client.required] = [remote.variable]
    elif proof and client.asks:
        proof = f"${{input:{name}-token}}"
    headers = {client.headers: {"Authorization": f"Bearer {proof}"}}
    return {**entry, **(headers if proof else {})}


def _question(name: str, secret: str) -> dict[str, Any]:
    """Return the question for a key or a token as VS Code puts it; it keeps the answer encrypted."""
    words = {"key": "Key from kie.ai/api-key", "token": f"Token for {name}"}[secret]
    return {"type": "promptString", "id": f"{name}-{secret}", "description": words, "password": True}


def _put_question(client: Client, text: str, questions: Any, question: Mapping[str, Any]) -> str:
    put = client.form.put
    if questions is None:
        return str(put(text, ("inputs",), [question]))
    if not isinstance(questions, list):
        raise Malformed("inputs is not a list")
    return text if question in questions else str(put(text, ("inputs", str(len(questions))), question))


def _changes(client: Client, entry: Mapping[str, Any], existing: Mapping[str, Any], own: Env) -> dict[Keys, Any]:
    """Return the values that have to be written into an existing entry, each with its keys in that entry."""
    if _starts_another(client, existing):
        raise Malformed("its entry of that name starts another program; choose another --name")
    if any(word in existing for word in ADDRESSES):
        raise Malformed("its entry of that name leads to a server at an address; choose another --name")
    return dict(_differences(client, entry, existing, {**server_environment(), **own}))


def _differences(
    client: Client, entry: Mapping[str, Any], existing: Mapping[str, Any], own: Env
) -> Iterator[tuple[Keys, Any]]:
    passed = client.passed or ""
    env, names = existing.get(client.env, {}), existing.get(passed)
    has_key = isinstance(env, dict) and KEY in env
    for key, value in entry.items():
        is_changed = key not in existing or (key in {client.command, client.args} and existing[key] != value)
        if is_changed and not (key == passed and has_key):
            yield (key,), value
    if env is None and client.env in entry:
        yield (client.env,), entry[client.env]
    if isinstance(env, dict) and client.env in existing:
        for key, value in entry.get(client.env, {}).items():
            if key not in env or (key in own and env[key] != value):
                yield (client.env, key), value
    if not has_key and passed in entry and isinstance(names, list) and KEY not in names:
        yield (passed,), [*names, KEY]


def _remote_changes(client: Client, entry: Mapping[str, Any], existing: Mapping[str, Any]) -> dict[Keys, Any]:
    """Return the values that have to be written into an existing entry of a remote server; its numbers stay."""
    if client.command in existing:
        raise Malformed("its entry of that name starts a program; remove that entry, or choose another --name")
    changes: dict[Keys, Any] = {}
    for key, value in entry.items():
        old = existing.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            changes |= {(key, part): text for part, text in value.items() if old.get(part) != text}
        elif key not in existing or (isinstance(value, str | dict) and old != value):
            changes[key,] = value
    headers = {**existing.get(client.headers, {}), **entry.get(client.headers, {})}
    if "Authorization" in headers and client.bearer in {**existing, **entry}:
        raise Malformed("its entry of that name has its token elsewhere; remove that entry, or choose another --name")
    return changes


def entry_settings(client: Client, text: str, wanted: Env, name: str) -> set[str]:
    """Return the settings that our entry has, or is to get, in a client's file."""
    try:
        whole = client.form.read(text)
    except Malformed:
        return {key.removeprefix(PREFIX).lower() for key in wanted}
    written = _entry_at(whole, (*_place(client, whole), name, client.env))
    env = written if isinstance(written, dict) else {}
    own = {key for key, value in env.items() if not (key == KEY and REFERENCE.fullmatch(str(value).strip()))}
    return {key.removeprefix(PREFIX).lower() for key in {*own, *wanted}}
