"""Masking: keys, tokens and passwords are replaced in all that is shown, logged or stored, and folders if wanted."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

SHORTEST_SECRET = 6  # no real service has a shorter key, and masking one would damage other words
ADDRESS = r"""(?:https?|kie|ui)://[^\s"'<>]+|data:[^\s"'<>]+"""  # what looks like a path in it is none
DEEPEST = 60  # how deep a JSON value may be nested; no real answer comes near


class Mask:
    """Replacement of secrets by ``[key]``, also where they are spelled as URLs and JSON write them.

    What `folders` names is replaced as well, by the word that is given for it; web addresses stay as they are. Of a
    `database` elsewhere nothing is left of what an error quotes from it, where its host may be named again.
    """

    def __init__(self, secrets: Iterable[str], folders: Mapping[str, str] | None = None, database: str = "") -> None:
        self._database = database
        self._quoting = re.compile(rf'({re.escape(database)} can\'t be [\w ]+): "[^"]*"') if database else None
        self._folders = {form: word for name, word in (folders or {}).items() for form in {name, repr(name)[1:-1]}}
        forms = "|".join(map(re.escape, sorted(self._folders, key=len, reverse=True)))
        self._paths = re.compile(rf"{ADDRESS}|(?<![\w.~])(?:{forms})(?![\w-])") if forms else None
        self._secrets = frozenset(secret for secret in secrets if len(secret) >= SHORTEST_SECRET)
        spellings = {spelling for secret in self._secrets for spelling in _spellings(secret)}
        # The longest first, so that a secret which is part of another one leaves nothing of it.
        self._spellings = sorted(spellings, key=len, reverse=True)
        self._escaped = [json.dumps(spelling, ensure_ascii=False)[1:-1] for spelling in self._spellings]

    def extended(self, *secrets: str) -> "Mask":
        """Return a mask that replaces further secrets, too."""
        return Mask({*self._secrets, *secrets}, self._folders, self._database)

    def hiding(self, folders: Mapping[str, str], database: str = "") -> "Mask":
        """Return a mask that replaces the names of folders, and of a database elsewhere, as well."""
        return Mask(self._secrets, {**folders, database: "[database]"} if database else folders, database)

    def text(self, text: str) -> str:
        """Return `text` without any secret."""
        for spelling in self._spellings:
            text = text.replace(spelling, "[key]")
        if self._quoting is not None:
            text = self._quoting.sub(r"\1", text)
        if self._paths is not None:
            text = self._paths.sub(lambda match: self._folders.get(match[0], match[0]), text)
        return text

    def json(self, value: Any, deepest: int = DEEPEST, *, encodable: bool = False) -> Any:
        """Return a JSON value without any secret in its strings, names of fields included.

        `ValueError` is raised where it is nested more than `deepest` times. If `encodable`, halves of surrogate pairs,
        which no encoder takes, become ``?``.
        """
        try:
            written = json.dumps(value, ensure_ascii=False)
        except RecursionError:
            raise _too_deep(deepest) from None
        if encodable and (sound := written.encode("utf-8", "replace").decode()) != written:
            value, written = json.loads(sound), sound
        # Nearly every value is clean: one search in its text is cheaper than a look at each of its strings.
        # The text itself is not changed, since the end of an escape sequence may look like the start of a secret.
        if written.count("[") + written.count("{") > deepest and is_deeper(value, deepest):
            raise _too_deep(deepest)
        is_clean = self._paths is None and not any(spelling in written for spelling in self._escaped)
        return value if is_clean else self._masked(value)

    def _masked(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list | tuple):
            return [self._masked(entry) for entry in value]
        if isinstance(value, dict):
            return {self.text(str(name)): self._masked(entry) for name, entry in value.items()}
        return value


def _spellings(secret: str) -> set[str]:
    """Return a secret as it is, and as URLs and JSON write it."""
    quoted = {quote(secret, safe=""), quote(secret), quote_plus(secret)}
    small = {re.sub("%[0-9A-F]{2}", lambda match: match[0].lower(), text) for text in quoted}
    return {secret, *quoted, *small, json.dumps(secret)[1:-1], secret.replace("/", "\\/")}


_NESTED = dict, list, tuple


def is_deeper(value: Any, most: int) -> bool:
    """Return whether a list, tuple or dict is nested more than `most` times."""
    if most == 0:
        return bool(value)
    entries = value.values() if isinstance(value, dict) else value
    return any(isinstance(entry, _NESTED) and is_deeper(entry, most - 1) for entry in entries)


def _too_deep(deepest: int) -> ValueError:
    return ValueError(f"the answer is nested more than {deepest} times")
