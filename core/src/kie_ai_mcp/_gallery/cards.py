"""One entry of the history as a card of the gallery. Whatever comes from outside is escaped on its way in."""

import base64
import html
import io
import json
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from kie_ai_mcp._media.files import HEAD_BYTES, format_of
from kie_ai_mcp._media.frames import frame_of
from kie_ai_mcp.errors import MediaError

if TYPE_CHECKING:
    from PIL import Image

PROMPT_CHARS = 2000
"""How much of a prompt a page holds."""

BRIEF_CHARS = 170
"""How much of it is seen before it is unfolded."""

ARGUMENT_CHARS = 200
ARGUMENTS = 16

THUMBNAIL_PX = 480
THUMBNAILS_BYTES = 1_500_000
"""What all embedded thumbnails of a page may weigh together; the pictures after them are links."""

THUMBNAILS = 48
"""How many are made at most: each costs the decoding of its picture."""

PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".gif"}
CLIPS = {".mp4", ".mov", ".webm"}
THREADS = 4

VOID = {"img", "meta"}


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def tag(name: str, *children: str | None, **attributes: str | bool | None) -> Markup:
    """Return an element. Children that are not `Markup` are escaped, and so is every attribute.

    ``class_`` stands for ``class``, ``data_kind`` for ``data-kind``; None and False leave an attribute out.
    """
    shown = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{_safe(value)}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    inner = joined(*children)
    return Markup(f"<{name}{shown}>" if name in VOID else f"<{name}{shown}>{inner}</{name}>")


def joined(*parts: str | None) -> Markup:
    """Return the parts one after the other, escaped where they are not `Markup`."""
    return Markup("".join(part if isinstance(part, Markup) else _safe(part) for part in parts if part is not None))


def _safe(text: str) -> str:
    # Half of a surrogate pair can't be written, other control characters can't be shown.
    text = text.encode("utf-8", "replace").decode("utf-8")
    return html.escape(re.sub(r"[\x00-\x08\x0b-\x1f\x7f]", " ", text))


@dataclass(frozen=True)
class Entry:
    """A task, or a request that came to none.

    Args:
        status: A task's status, or a submission's state.
        name: The task's id, or words for the submission.
        arguments: What it was made with; None where it was made elsewhere.
        files: What was recorded as saved, whether it is still there or not.
        estimate: Credits that it probably cost, where `credits` is not known.
        charged: What is to be said of the cost where neither is.
    """

    status: str
    created_at: datetime
    provider: str
    tool: str
    name: str
    kind: str = ""
    model: str | None = None
    arguments: Mapping[str, Any] | None = None
    urls: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    error: str | None = None
    progress: float | None = None
    credits: float | None = None
    estimate: float | None = None
    charged: str = "cost unknown"
    finished_at: datetime | None = None
    expires_at: datetime | None = None


def thumbnails(entries: Iterable[Entry]) -> dict[Path, str]:
    """Return small pictures of the first entries' files, of a clip a frame, as ``data:`` addresses.

    There are none where Pillow is not installed, and none of clips without PyAV.
    """
    paths = (path for entry in entries for path in entry.files if path.suffix.lower() in PICTURES | CLIPS)
    made: dict[Path, str] = {}
    left = THUMBNAILS_BYTES
    with warnings.catch_warnings(), ThreadPoolExecutor(THREADS) as pool:
        # Pillow only warns of a picture that is large enough to be an attack.
        warnings.filterwarnings("error", "Image size .* exceeds limit")
        wanted = list(islice(paths, THUMBNAILS))
        for path, address in zip(wanted, pool.map(_thumbnail_of, wanted), strict=True):
            if address is not None and len(address) <= left:
                made[path] = address
                left -= len(address)
    return made


def _thumbnail_of(path: Path) -> str | None:
    try:
        return _thumbnail(path, path.stat().st_mtime_ns)
    except (OSError, ValueError):
        return None


@lru_cache(maxsize=2 * THUMBNAILS)
def _thumbnail(path: Path, _changed_ns: int) -> str | None:
    try:
        from PIL import Image, ImageOps  # noqa: PLC0415  an optional extra, and heavy
    except ImportError:
        return None
    try:
        if path.suffix.lower() in CLIPS:
            small = _frame(path)
        else:
            with Image.open(path, formats=("PNG", "JPEG", "WEBP", "GIF")) as picture:
                picture.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX), reducing_gap=2.0)
                small = ImageOps.exif_transpose(picture).convert("RGBA" if picture.has_transparency_data else "RGB")
        data = io.BytesIO()
        small.save(data, "WEBP", quality=70, method=2)
    except (ImportError, MediaError, OSError, ValueError, SyntaxError):
        return None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return None
    return f"data:image/webp;base64,{base64.b64encode(data.getvalue()).decode()}"


def _frame(path: Path) -> "Image.Image":
    with path.open("rb") as file:
        form = format_of(file.read(HEAD_BYTES))
        if form is None or form.kind != "video":
            raise MediaError("It is no clip.")
        file.seek(0)
        frame = frame_of(file, form)
    frame.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX), reducing_gap=2.0)
    return frame


@dataclass
class Cards:
    """Turns entries into cards.

    Args:
        address: How a saved file is addressed from the page.
        now: What counts as expired is what expired before.
        thumbnails: Small pictures by file, to embed; the others are loaded from their files, clips when played.
    """

    address: Callable[[Path], str]
    now: datetime
    thumbnails: Mapping[Path, str] = field(default_factory=dict)

    def card(self, entry: Entry) -> tuple[list[str], Markup]:
        """Return the words that the status filter knows the entry by, and its card."""
        saved = [(path, kind) for path in entry.files if (kind := _kind_of(path)) is not None]
        expired = bool(entry.status == "completed" and not saved and entry.expires_at and entry.expires_at < self.now)
        states = [entry.status, "expired"] if expired else [entry.status]
        card = tag(
            "li",
            self._media(entry, saved, states[-1]),
            tag(
                "div",
                tag(
                    "header",
                    tag("h2", entry.provider, tag("span", f" {entry.kind}", class_="kind") if entry.kind else None),
                    tag("span", _cost(entry), class_="cost"),
                ),
                _prompt(entry),
                tag("p", entry.error, class_="error", dir="auto") if entry.error else None,
                tag(
                    "footer",
                    tag("span", states[-1].capitalize(), class_=f"state {states[-1]}"),
                    when(entry.created_at),
                ),
                self._details(entry, saved),
                class_="body",
            ),
            class_="card",
            data_kind=entry.kind,
            data_provider=entry.provider,
            data_status=" ".join(states),
            data_credits=None if entry.credits is None else str(entry.credits),
            data_estimate=None if entry.estimate is None else str(entry.estimate),
        )
        return states, card

    def _media(self, entry: Entry, saved: list[tuple[Path, str]], state: str) -> Markup:
        if saved:
            shots = [self._player(entry, path, kind) for path, kind in saved]
            return tag("div", *shots, class_="media many" if len(shots) > 1 else "media")
        lines: list[str | None] = [tag("span", _GLYPHS.get(state, "·"), class_="glyph", aria_hidden="true")]
        if entry.files:
            lines.append(tag("p", "The saved file is gone."))
        if state == "expired":
            lines.append(tag("p", "Not saved; the link ended ", when(entry.expires_at)))
        elif entry.urls:
            until = joined("; the link works until ", when(entry.expires_at)) if entry.expires_at else None
            lines.append(tag("p", "Not saved", until))
            several = len(entry.urls) > 1
            for number, url in enumerate(entry.urls, start=1):
                lines.append(_link(url, f"Open result {number}" if several else "Open the result"))
        elif entry.status in {"pending", "processing"} and entry.progress:
            lines.append(tag("p", f"{entry.progress:.0%} when last asked"))
        elif entry.status == "completed":
            lines.append(tag("p", "The service named no result."))
        elif entry.status == "unknown":
            lines.append(tag("p", "The answer was lost. Look at ", _link("https://kie.ai/logs", "kie.ai/logs")))
        return tag("div", *lines, class_=f"media none {state}")

    def _player(self, entry: Entry, path: Path, kind: str) -> Markup:
        address = self.address(path)
        label = cut(_words(entry) or path.name, 120)
        if kind == "video":
            poster = self.thumbnails.get(path)
            return tag(
                "video", src=address, poster=poster, controls=True, preload="none", playsinline=True, aria_label=label
            )
        if kind == "audio":
            return tag("audio", src=address, controls=True, preload="none", aria_label=label)
        source = self.thumbnails.get(path, address)
        image = tag("img", src=source, alt=label, loading="lazy", decoding="async")
        return tag("a", image, href=address, class_="shot")

    def _details(self, entry: Entry, saved: list[tuple[Path, str]]) -> Markup:
        rows: list[tuple[str, str]] = [("Tool", entry.tool), ("Model", entry.model or ""), ("Id", entry.name)]
        if entry.finished_at:
            rows.append(("Finished", when(entry.finished_at)))
        rows += [("File", tag("a", path.name, href=self.address(path))) for path, _ in saved]
        rows += [("Link", _link(url, cut(url, 90))) for url in entry.urls]
        given = {name: value for name, value in (entry.arguments or {}).items() if name != "prompt"}
        rows += [(name, _value(value)) for name, value in list(given.items())[:ARGUMENTS]]
        terms = [tag("div", tag("dt", name), tag("dd", value)) for name, value in rows if value]
        return tag("details", tag("summary", "Details"), tag("dl", *terms), class_="more")


_GLYPHS = {
    "completed": "↗",
    "expired": "⌛",
    "failed": "!",
    "refused": "✕",
    "unknown": "?",
    "pending": "…",
    "processing": "…",
    "sending": "…",
}


def when(moment: datetime | None) -> Markup:
    """Return a moment as the page shows it: UTC, until its script knows the reader's own time."""
    if moment is None:
        return Markup()
    moment = moment.astimezone(UTC).replace(microsecond=0, tzinfo=None)
    return tag("time", f"{moment.isoformat(' ', 'minutes')} UTC", datetime=f"{moment.isoformat()}Z")


def amount(credits: float) -> str:
    """Return a number of credits as the page's script writes it, too."""
    return f"{credits:,.2f}".rstrip("0").rstrip(".")


def spent(entries: Iterable[Entry]) -> str:
    """Return in words what the service said that entries cost, and what others probably cost; as the script does."""
    told, estimated = 0.0, 0.0
    for entry in entries:
        told += entry.credits or 0.0
        estimated += entry.estimate or 0.0
    more = f" and about {amount(estimated)} more by estimate" if estimated else ""
    return f"{amount(told)} credits{more}"


def cut(text: str, limit: int) -> str:
    """Return `text`, cut to `limit` characters."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _cost(entry: Entry) -> str:
    if entry.estimate is not None:
        return f"about {amount(entry.estimate)} credits"
    if entry.credits is None:
        return entry.charged
    return f"{amount(entry.credits)} {'credit' if entry.credits == 1 else 'credits'}"


def _words(entry: Entry) -> str:
    prompt = (entry.arguments or {}).get("prompt")
    return prompt.strip() if isinstance(prompt, str) else ""


def _prompt(entry: Entry) -> Markup:
    text = _words(entry)
    if not text:
        missing = "Made elsewhere, so its prompt is not on record." if entry.arguments is None else "Without a prompt."
        return tag("p", missing, class_="prompt missing")
    if len(text) <= BRIEF_CHARS:
        return tag("p", text, class_="prompt", dir="auto")
    note = None
    if len(text) > PROMPT_CHARS:
        note = tag("small", f"The first {PROMPT_CHARS:,} of {len(text):,} characters.")
    return tag(
        "details",
        tag("summary", tag("span", cut(text, BRIEF_CHARS), class_="brief", dir="auto")),
        tag("p", text[:PROMPT_CHARS], dir="auto"),
        note,
        class_="prompt",
    )


def _kind_of(path: Path) -> str | None:
    """Return what a file that is still there is, judged by its bytes; None where it is gone or something else."""
    try:
        if not (path.is_absolute() and path.is_file()):
            return None
        with path.open("rb") as file:
            found = format_of(file.read(HEAD_BYTES))
    except (OSError, ValueError):
        return None
    return found.kind if found else None


def _link(url: str, text: str) -> Markup:
    """Return a link to the web; an address of any other sort is shown and can't be followed."""
    try:
        web = urlsplit(url).scheme in {"http", "https"}
    except ValueError:
        web = False
    if not web:
        return tag("span", cut(url, 90))
    return tag("a", text, href=url, target="_blank", rel="noopener noreferrer")


def _value(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return cut(text, ARGUMENT_CHARS)
