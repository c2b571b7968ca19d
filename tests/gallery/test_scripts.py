"""The scripts of the page, which share one scope: no name in it is taken twice, hidden, or the browser's own."""

import re
from typing import TYPE_CHECKING

from kie_ai_mcp._gallery.page import SCRIPTS, _resource

if TYPE_CHECKING:
    from tests.gallery.conftest import Browser

SHARED = re.compile(r"^(?:const|let|async function|function) (\w+)", re.MULTILINE)
DECLARED = re.compile(r"^ +.*?\b(?:const|let|function) ([\w$]+|[\[{][^=]*?[\]}]) (?:=|of)", re.MULTILINE)
PARAMETERS = re.compile(r"\(([^()]*)\) =>|function \w+\(([^()]*)\)")


def bound(pattern: str) -> set[str]:
    """Return the names that a pattern of parameters or of a declaration binds."""
    text = re.sub(r"\w+: |= [^,]*", "", pattern)
    return set(re.findall(r"[a-zA-Z_$][\w$]*", text))


def test_scripts_share_no_name_and_hide_none() -> None:
    texts = {name: _resource(name) for name in SCRIPTS}
    shared = [found for text in texts.values() for found in SHARED.findall(text)]
    assert len(shared) == len({*shared})
    hidden = set()
    for name, text in texts.items():
        inner = [*DECLARED.findall(text), *(found for pair in PARAMETERS.findall(text) for found in pair)]
        hidden |= {f"{name}: {word}" for pattern in inner for word in bound(pattern) & {*shared}}
    assert hidden == set()


def test_no_name_of_the_scripts_is_the_browsers(browser: "Browser") -> None:
    shared = {found for name in SCRIPTS for found in SHARED.findall(_resource(name))}
    browser.open("about:blank")
    assert [name for name in sorted(shared) if browser.ask(f"{name!r} in window")] == []
