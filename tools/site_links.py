"""Links of the documentation's site: those that lead out of ``docs/`` go to the file in the repository."""

import posixpath
import re
from typing import Any

ROOT = "docs"
LINK = re.compile(r"(\]\()(\.\./[^)\s]+)(\))")


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:  # noqa: ARG001  mkdocs names them
    """Return a page's text, with the repository's address in links to files beside ``docs/``."""
    folder = posixpath.dirname(posixpath.join(ROOT, page.file.src_uri))

    def link(found: re.Match[str]) -> str:
        path, sign, anchor = found[2].partition("#")
        target = posixpath.normpath(posixpath.join(folder, path))
        if target.startswith(f"{ROOT}/"):
            return found[0]
        return f"{found[1]}{config.extra['repository']}/blob/main/{target}{sign}{anchor}{found[3]}"

    return LINK.sub(link, markdown)
