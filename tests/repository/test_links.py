"""Links and pictures of the documentation under test, and the pages of its site."""

import re
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from PIL import Image

ROOT = Path(__file__).parents[2]
DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "benchmarks/README.md", *DOCS]
SITE: dict[str, Any] = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
MOST_BYTES = 120_000  # of a picture
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^ *```.*?^ *```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    lost = []
    for link in re.findall(r"\]\((?!https?://)([^)\s]+)\)", prose(page)):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            lost.append(link)
    assert lost == []


@every_page
def test_pictures_are_small_and_have_words_for_those_who_do_not_see_them(page: Path) -> None:
    for words, link in re.findall(r"!\[([^\]]*)\]\(([^)\s]+)\)", prose(page)):
        picture = page.parent / link
        assert len(words) > 20, link
        assert picture.stat().st_size < MOST_BYTES
        with Image.open(picture) as image:
            assert image.width >= 1200


def entries(nav: list[Any]) -> list[str]:
    """Every page that the site's navigation names."""
    found: list[str] = []
    for entry in nav:
        for value in entry.values() if isinstance(entry, dict) else [entry]:
            found += entries(value) if isinstance(value, list) else [value]
    return found


def test_every_page_is_in_the_navigation_of_the_site_once() -> None:
    named = [entry for entry in entries(SITE["nav"]) if not entry.startswith("https://")]
    assert sorted(named) == sorted(page.relative_to(ROOT / "docs").as_posix() for page in DOCS)


def test_site_asks_nobody_else_for_anything() -> None:
    assert SITE["theme"]["font"] is False
    assert "repo_url" not in SITE, "the theme would ask GitHub for stars"
    assert all("```mermaid" not in page.read_text(encoding="utf-8") for page in DOCS), "the theme would fetch a script"


def test_folder_of_the_built_site_is_ignored() -> None:
    assert "site/" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_links_out_of_the_docs_lead_to_the_repository_on_the_site() -> None:
    (hook,) = SITE["hooks"]
    spec = spec_from_file_location("site_links", ROOT / hook)
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    page = SimpleNamespace(file=SimpleNamespace(src_uri="plugins/hooks.md"))
    config = SimpleNamespace(extra=SITE["extra"])
    text = "[a](../../core/x.py#L3) [b](../using.md) [c](tutorial.md) [d](https://kie.ai)"
    blob = f"{SITE['extra']['repository']}/blob/main"
    assert module.on_page_markdown(text, page=page, config=config, files=None) == (
        f"[a]({blob}/core/x.py#L3) [b](../using.md) [c](tutorial.md) [d](https://kie.ai)"
    )
    assert "site_links" not in sys.modules
