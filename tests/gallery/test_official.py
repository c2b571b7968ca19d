"""The gallery against what others wrote: the official library of hosts, and a judge of accessibility (axe)."""

import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kie_ai_mcp import Outcome
from kie_ai_mcp._gallery.page import write
from tests.gallery.hosts import PAGE
from tests.gallery.test_app import CARDS, LINK, PICTURES, WAKE, Stage, ready, staged
from tests.helpers import LIMIT_S
from tests.hosts.node import Missing, Node, install

if TYPE_CHECKING:
    from tests.gallery.conftest import Browser, Past

pytestmark = pytest.mark.anyio

PACKAGES = {
    "@modelcontextprotocol/ext-apps": "2.0.4",
    "@modelcontextprotocol/client": "2.4.0",
    "@modelcontextprotocol/core": "2.4.0",
    "zod": "4.6.7",
    "esbuild": "0.28.2",
    "axe-core": "4.14.1",
}


@pytest.fixture(scope="session")
def packages() -> Node:
    try:
        return install(PACKAGES, with_node=False)
    except Missing as missing:
        pytest.skip(f"the official library of hosts can't be had: {missing}")


@pytest.fixture(scope="session")
def official_page(packages: Node, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A host's page on the official library, as `hosts.PAGE` is one of our own."""
    bundle = tmp_path_factory.mktemp("official") / "host.js"
    places = (place for name in ("bin/esbuild", "esbuild.exe") for place in packages.modules.glob(f"@esbuild/*/{name}"))
    source = Path(__file__).with_name("official_host.js")
    command = [str(next(places)), f"--outfile={bundle}", "--bundle", "--format=esm", "--charset=ascii"]
    env = {"NODE_PATH": str(packages.modules), "SYSTEMROOT": ""}
    subprocess.run([*command, str(source)], check=True, timeout=LIMIT_S, capture_output=True, env=env)
    head = PAGE.partition("<script>")[0]
    script = bundle.read_text(encoding="utf-8").replace("</", "<\\/")
    return f'{head}<script>const given = GIVEN;</script><script type="module">{script}</script>'


@pytest.fixture
async def official(past: "Past", browser: "Browser", tmp_path: Path, official_page: str) -> AsyncIterator[Stage]:
    async with staged(past, browser, tmp_path) as stage:
        stage.host.page = official_page
        yield stage


async def test_official_host_shows_a_result_and_passes_its_calls_on(official: Stage) -> None:
    task_id = await ready(official)
    await official.host.until(f"({PICTURES})[0] === 640")
    official.host.press("Again")
    official.host.press("Again")
    await official.host.until("document.querySelectorAll('.card').length === 2")
    assert len(official.sandbox.ledger) == 1
    official.host.press("Open")
    await official.host.answer()
    assert official.host.links == [LINK]
    assert official.host.ask(CARDS) == ["A fox", "A fox"]
    assert task_id in official.host.ask("document.body.textContent")
    assert official.host.faults == []


async def test_official_host_is_asked_for_what_runs_and_for_saved_results(official: Stage) -> None:
    saved = official.past.picture(size=(300, 500))
    await official.past.task("Saved", outcome=official.past.done("https://gone.aiquickdraw.com/a.png"), files=(saved,))
    made = await official.client.call_tool("generate_nano_banana", {"prompt": "A fox"})
    assert made.structured_content is not None
    await official.host.show("list_tasks")
    await official.host.until(f"({PICTURES})[0] === 300")
    official.sandbox.finish(made.structured_content["task_id"])
    official.host.ask(WAKE)
    await official.host.until(f"({PICTURES}).length === 2 && ({PICTURES})[0] > 0")
    assert {name for name, _ in official.host.calls} == {"wait_for_tasks"}


async def test_official_host_is_told_sizes_and_tells_light_and_end(official: Stage) -> None:
    official.host.context = {"theme": "light", "styles": {"variables": {"--color-text-primary": "rgb(1, 2, 3)"}}}
    await ready(official)
    assert official.host.ask("getComputedStyle(document.body).color") == "rgb(1, 2, 3)"
    official.host.notify("host-context-changed", theme="dark")
    await official.host.until("document.documentElement.dataset.theme === 'dark'")
    official.host.browser.wait("sizes.length > 0 && sizes.at(-1).height > 300")
    assert official.host.browser.ask("end().then(() => 'ended')") == "ended"


async def test_official_host_cancels_a_call(official: Stage) -> None:
    await official.host.open()
    official.host.notify("tool-input", arguments={})
    await official.host.until("document.getElementById('empty').textContent === 'One moment…'")
    official.host.notify("tool-cancelled", reason="user action")
    await official.host.until("document.getElementById('empty').textContent.startsWith('The call was cancelled.')")


# Accessibility -------------------------------------------------------------------------------------------------------

FOUND = """axe.run(document, { resultTypes: ["violations"] }).then(({ violations }) => violations.map(
  ({ id, impact, nodes }) => [id, impact, nodes.map(({ html }) => html).slice(0, 3)]))"""
FORMS = [(1280, False), (1280, True), (320, False), (320, True)]


@pytest.fixture
def judge(packages: Node, one_browser: "Browser") -> Iterator[None]:
    """Put axe into every frame that is opened."""
    added = one_browser.run_in_every_frame((packages.modules / "axe-core" / "axe.min.js").read_text(encoding="utf-8"))
    yield
    one_browser.run_no_more(added)


async def filled(past: "Past") -> None:
    """Make a little of everything."""
    await past.task("A fox", outcome=past.done(LINK), files=(past.picture(),), arguments={"seed": 7})
    await past.task("An old fox " * 30, outcome=past.done(LINK, days_ago=9))
    await past.task("A rude fox", provider="veo3", kind="video", outcome=Outcome("failed", error="Not allowed."))
    await past.task("A slow fox", outcome=Outcome("processing", progress=0.4), estimated_credits=4)
    await past.task("Words", kind="text", outcome=Outcome("completed", (), data="Drops on a tin roof"))


@pytest.mark.usefixtures("judge")
@pytest.mark.parametrize(("width", "dark"), FORMS)
async def test_gallery_has_nothing_that_keeps_anybody_out(
    past: "Past", browser: "Browser", width: int, dark: bool
) -> None:
    await filled(past)
    browser.look(width, 900, dark=dark)
    browser.open((await write(past.record, past.folder / "gallery.html")).as_uri())
    browser.ask("document.querySelectorAll('details').forEach((details) => { details.open = true; })")
    browser.wait("document.querySelectorAll('#costs table').length === 4")
    assert browser.ask(FOUND) == []


@pytest.mark.usefixtures("judge")
@pytest.mark.parametrize(("width", "dark"), FORMS)
async def test_app_has_nothing_that_keeps_anybody_out(
    past: "Past", browser: "Browser", tmp_path: Path, width: int, dark: bool
) -> None:
    async with staged(past, browser, tmp_path) as stage:
        await filled(past)
        browser.look(width, 900, dark=not dark)
        stage.host.context = {"theme": "dark" if dark else "light"}
        await stage.host.show("list_tasks")
        await stage.host.until("document.querySelectorAll('.card').length === 5")
        stage.host.press("Vary")
        stage.host.ask("document.querySelectorAll('details').forEach((details) => { details.open = true; })")
        await stage.host.until(f"({PICTURES})[0] > 0")
        assert browser.ask(f"(({{ axe, document }}) => {FOUND})(app.contentWindow)") == []
