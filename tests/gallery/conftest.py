"""Shared fixtures of the gallery's tests: a history to show, a reader of the page, a real browser without a screen."""

import json
import os
import queue
import shutil
import signal
import sqlite3
import subprocess
import threading
import time
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from kie_ai_mcp import Outcome, Task
from kie_ai_mcp._record.record import Record
from kie_ai_mcp._record.slots import RateLimit
from kie_ai_mcp._record.submissions import NewSubmission, Ticket
from kie_ai_mcp.specs import Kind
from tests.helpers import LIMIT_S

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


# The history ---------------------------------------------------------------------------------------------------------


@dataclass
class Past:
    """A history of the last month, made entry by entry, each an hour younger than the one before."""

    record: Record
    folder: Path
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    made: int = 0

    async def request(
        self,
        prompt: str | None = "a fox",
        tool: str = "generate_nano_banana",
        *,
        provider: str = "nano-banana",
        kind: Kind = "image",
        model: str | None = None,
        arguments: Mapping[str, Any] | None = None,
        estimated_credits: float | None = None,
    ) -> int:
        """Write a request ahead; return its submission."""
        self.made += 1
        given = {**({} if prompt is None else {"prompt": prompt}), **(arguments or {})}
        body = f"body {self.made}"
        new = NewSubmission(
            tool, provider, provider, kind, "kie", model, given, body, estimated_credits=estimated_credits
        )
        ticket = await self.record.submissions.write_ahead(new)
        assert isinstance(ticket, Ticket)
        moment = f"{self._moment:%Y-%m-%d %H:%M:%S.%f}"
        with closing(sqlite3.connect(self.record.path)) as database:
            database.execute("UPDATE submissions SET created_at = ? WHERE id = ?", (moment, ticket.submission_id))
            database.commit()
        # The record would know the request by the time that was just changed.
        self.record.recovery.requests.pop(ticket.submission_id)
        return ticket.submission_id

    async def task(
        self,
        prompt: str | None = "a fox",
        tool: str = "generate_nano_banana",
        *,
        provider: str = "nano-banana",
        kind: Kind = "image",
        model: str | None = None,
        outcome: Outcome | None = None,
        files: tuple[Path, ...] = (),
        task_id: str | None = None,
        arguments: Mapping[str, Any] | None = None,
        estimated_credits: float | None = None,
    ) -> str:
        """Record a task and what became of it; return its id."""
        submission_id = await self.request(
            prompt,
            tool,
            provider=provider,
            kind=kind,
            model=model,
            arguments=arguments,
            estimated_credits=estimated_credits,
        )
        task_id = task_id or f"task-{self.made}"
        task = Task(task_id, provider, provider, kind, tool, model, "jobs/createTask", created_at=self._moment)
        await self.record.submissions.accepted(submission_id, task, outcome)
        if files:
            await self.record.tasks.record_files(task_id, map(str, files))
        return task_id

    @property
    def _moment(self) -> datetime:
        return self.now - timedelta(days=30) + timedelta(hours=self.made)

    def done(self, *urls: str, credits: float | None = 4.0, days_ago: float = 0.0, keeps_s: int = 86_400) -> Outcome:
        """What a finished task says; without an address it has the usual one."""
        urls = urls or ("https://tempfile.example/result.png",)
        finished_at = self.now - timedelta(days=days_ago)
        return Outcome("completed", urls, credits=credits, finished_at=finished_at, keeps_s=keeps_s)

    def picture(self, name: str = "picture.png", size: tuple[int, int] = (640, 480)) -> Path:
        """Draw a picture, light above and dark below, so that it can be recognised on a screen."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True, parents=True)
        image = Image.new("RGB", size, "gold")
        ImageDraw.Draw(image).rectangle((0, size[1] // 2, *size), fill="teal")
        image.save(path)
        return path


@pytest.fixture
async def past(tmp_path: Path) -> AsyncIterator[Past]:
    record = Record(tmp_path / "tasks.db", RateLimit(10_000, 10.0))
    record.open()
    yield Past(record, tmp_path / "out")
    record.close()


# The page as text ----------------------------------------------------------------------------------------------------


@dataclass
class Element:
    """An element of a page, as a browser's parser understands it."""

    name: str
    attributes: dict[str, str]
    parts: list["Element | str"] = field(default_factory=list)

    def all(self, name: str = "", **attributes: str) -> list["Element"]:
        """Every element inside of that name, with these attributes; of a class attribute, one word is enough."""
        found = []
        for part in self.parts:
            if isinstance(part, Element):
                if name in {"", part.name} and all(
                    value in part.attributes.get(key.rstrip("_").replace("_", "-"), "").split()
                    for key, value in attributes.items()
                ):
                    found.append(part)
                found += part.all(name, **attributes)
        return found

    def one(self, name: str = "", **attributes: str) -> "Element":
        """The only such element."""
        (found,) = self.all(name, **attributes)
        return found

    @property
    def text(self) -> str:
        """What is read there, white space as one space."""
        return " ".join(self._raw.split())

    @property
    def _raw(self) -> str:
        if self.name in {"script", "style"}:
            return ""
        return "".join(part if isinstance(part, str) else part._raw for part in self.parts)

    @property
    def cards(self) -> list["Element"]:
        """Every entry of the gallery."""
        return self.all("li", class_="card")

    def card(self, words: str) -> "Element":
        """The only entry that has these words."""
        (found,) = [card for card in self.cards if words in card.text]
        return found

    def fact(self, term: str) -> str:
        """What the details of an entry say of something."""
        (found,) = [row for row in self.all("div") if [part.text for part in row.all("dt")] == [term]]
        return found.one("dd").text


class _Reader(HTMLParser):
    VOID = ("meta", "img", "input", "br", "link")

    def __init__(self) -> None:
        super().__init__()
        self.root = Element("", {})
        self._open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self._open[-1].parts.append(element)
        if tag not in self.VOID:
            self._open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self._open[-1].name == tag, f"</{tag}> closes <{self._open[-1].name}>"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        self._open[-1].parts.append(data)


# The browser ---------------------------------------------------------------------------------------------------------


class Browser:
    """One page of a real browser, driven over a pipe; the network is as good as unplugged.

    Args:
        program: Chromium, by whatever name.
        folder: Where it keeps its profile.
    """

    def __init__(self, program: str, folder: Path) -> None:
        ours, theirs = os.pipe(), os.pipe()
        command = [
            program,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--disable-breakpad",
            "--no-first-run",
            "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1 , EXCLUDE localhost",
            "--lang=en-US",
            f"--user-data-dir={folder}",
            "--remote-debugging-pipe",
        ]
        # The browser reads from descriptor 3 and writes to 4.
        line = f'exec "$@" 3<&{ours[0]} 4>&{theirs[1]}'
        self._process = subprocess.Popen(
            ["bash", "-c", line, "bash", *command],
            pass_fds=(ours[0], theirs[1]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "TMPDIR": str(folder)},
        )
        os.close(ours[0])
        os.close(theirs[1])
        self._to, self._from = ours[1], theirs[0]
        self._messages: queue.Queue[dict[str, Any]] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._number = 0
        self._session: str | None = None
        self.log: list[str] = []
        self.requests: list[str] = []
        self._answers: dict[str, tuple[str, bytes]] = {}
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Log", "Runtime"):
            self._ask(f"{domain}.enable")

    def _read(self) -> None:
        left = b""
        while data := os.read(self._from, 1 << 20):
            *messages, left = (left + data).split(b"\0")
            for message in messages:
                self._messages.put(json.loads(message))

    def _send(self, method: str, **params: Any) -> int:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        return self._number

    def _ask(self, method: str, **params: Any) -> dict[str, Any]:
        number = self._send(method, **params)
        return self._until(lambda answer: answer.get("id") == number, method)

    def _until(self, wanted: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
        deadline = time.monotonic() + LIMIT_S
        while True:
            try:
                message = self._messages.get(timeout=max(deadline - time.monotonic(), 0.01))
            except queue.Empty:
                raise AssertionError(f"the browser did not answer {what}") from None
            if message.get("method") == "Log.entryAdded":
                self.log.append(message["params"]["entry"]["text"])
            if message.get("method") == "Runtime.exceptionThrown":
                self.log.append(json.dumps(message["params"]["exceptionDetails"]))
            if message.get("method") == "Fetch.requestPaused":
                self._answer(message["params"])
            if wanted(message):
                assert "error" not in message, message
                result: dict[str, Any] = message.get("result", {})
                return result

    def intercept(self, answers: dict[str, tuple[str, bytes]]) -> None:
        """Answer requests of the web by address, with a type and a body each; every other one fails."""
        self.requests.clear()
        self._answers = answers
        self._ask("Fetch.enable", patterns=[{"urlPattern": "http*"}])

    def let_through(self) -> None:
        """Answer no more requests."""
        self._ask("Fetch.disable")

    def _answer(self, paused: dict[str, Any]) -> None:
        address = paused["request"]["url"]
        self.requests.append(address)
        if address in self._answers:
            mime_type, body = self._answers[address]
            headers = [{"name": "Content-Type", "value": mime_type}]
            answer = {"responseCode": 200, "responseHeaders": headers, "body": b64encode(body).decode()}
            self._send("Fetch.fulfillRequest", requestId=paused["requestId"], **answer)
        else:
            self._send("Fetch.failRequest", requestId=paused["requestId"], errorReason="NameNotResolved")

    def allow_copying(self) -> str:
        """Let pages use the clipboard; return the expression that reads it."""
        session, self._session = self._session, None
        self._ask("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
        self._session = session
        self._ask("Page.bringToFront")
        return "navigator.clipboard.readText()"

    def run_in_every_frame(self, script: str) -> str:
        """Run a script in every frame of the pages that are opened from now on; return what takes it back."""
        added: str = self._ask("Page.addScriptToEvaluateOnNewDocument", source=script)["identifier"]
        return added

    def run_no_more(self, added: str) -> None:
        """Take back a script of `run_in_every_frame`."""
        self._ask("Page.removeScriptToEvaluateOnNewDocument", identifier=added)

    def run_scripts(self, *, on: bool) -> None:
        """Run the scripts of pages, or none."""
        self._ask("Emulation.setScriptExecutionDisabled", value=not on)

    def open(self, address: str) -> None:
        """Go to an address and wait until the page and what it loads at once is there."""
        self.log.clear()
        self._ask("Page.navigate", url="about:blank")
        self._until(lambda message: message.get("method") == "Page.loadEventFired", "about:blank")
        self.log.clear()
        self._ask("Page.navigate", url=address)
        self._until(lambda message: message.get("method") == "Page.loadEventFired", address)

    def ask(self, script: str) -> Any:
        """Return what an expression is worth on the page; promises are awaited."""
        answer = self._ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, script: str) -> None:
        """Wait until an expression is true on the page."""
        deadline = time.monotonic() + LIMIT_S
        while not self.ask(script):
            assert time.monotonic() < deadline, f"never came true: {script}"
            time.sleep(0.01)

    def look(self, width: int, height: int, *, dark: bool = False, phone: bool = False, scale: int = 0) -> None:
        """Be a screen of that size, and a reader who likes it light or dark."""
        self._ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale or (2 if phone else 1),
            mobile=phone,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._ask("Emulation.setEmulatedMedia", features=[scheme])

    def press(self, key: str) -> None:
        """Press a key and let it go: ``Tab``, ``ArrowRight``, ``/``."""
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        codes = {"Tab": 9, "Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowRight": 39}
        code = codes.get(key, ord(key[0].upper()))
        self._ask("Input.dispatchKeyEvent", type="keyDown", key=key, text=text, windowsVirtualKeyCode=code)
        self._ask("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    def named(self, wanted: dict[str, list[str]], within_s: float = LIMIT_S) -> dict[str, list[str]]:
        """Return the names that a screen reader reads for some roles; wait until they are the expected ones."""
        deadline = time.monotonic() + within_s
        while True:
            nodes = [node for node in self._ask("Accessibility.getFullAXTree")["nodes"] if not node["ignored"]]
            found: dict[str, list[str]] = {role: [] for role in wanted}
            for node in nodes:
                if node["role"]["value"] in found:
                    found[node["role"]["value"]].append(node.get("name", {}).get("value", ""))
            if found == wanted or time.monotonic() > deadline:
                return found
            time.sleep(0.02)

    def screenshot(self, path: Path) -> Image.Image:
        """Keep what the screen shows now, and return it."""
        path.write_bytes(b64decode(self._ask("Page.captureScreenshot", format="png")["data"]))
        with Image.open(path) as image:
            return image.convert("RGB")

    def close(self) -> None:
        """End the browser and everything that it started; its profile is thrown away, so it may be sudden."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(timeout=LIMIT_S)
        os.close(self._to)
        self._reader.join(timeout=LIMIT_S)
        assert not self._reader.is_alive(), "something of the browser is still there"
        os.close(self._from)


@pytest.fixture(scope="session")
def one_browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    if os.name != "posix":
        pytest.skip("the browser is driven over inherited pipes, which this system does not have")
    browser = Browser(program, tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


READABLE = """(() => {
  document.querySelectorAll("noscript, [hidden]").forEach((element) => element.remove());
  return document.documentElement.outerHTML;
})()"""


@dataclass(frozen=True)
class Read:
    """Reads a page as a browser has drawn it, without what it hides."""

    browser: Browser
    file: Path

    def __call__(self, text: str) -> Element:
        """Return its root."""
        self.file.write_text(text, encoding="utf-8")
        self.browser.open(self.file.as_uri())
        assert self.browser.log == []
        reader = _Reader()
        reader.feed(self.browser.ask(READABLE))
        reader.close()
        assert reader._open == [reader.root], "elements are left open"
        return reader.root


@pytest.fixture(scope="session")
def read(one_browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Read:
    return Read(one_browser, tmp_path_factory.mktemp("read") / "page.html")


@pytest.fixture
def browser(one_browser: Browser) -> Browser:
    """A browser with an empty page on a wide, light screen; the next test gets the same process."""
    one_browser.look(1280, 900)
    return one_browser
