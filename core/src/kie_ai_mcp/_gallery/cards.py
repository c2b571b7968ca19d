"""Cards of the gallery: each task or request on record as HTML, with everything from outside escaped."""

import html
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path
from urllib.parse import urlsplit

from kie_ai_mcp._media.files import Format
from kie_ai_mcp._record.tables import SubmissionRecord, TaskRecord
from kie_ai_mcp.errors import sound
from kie_ai_mcp.specs import KIE

PROMPT_CHARS = 2000
BRIEF_CHARS = 170  # length of a prompt that is shown before it is unfolded
ARGUMENT_CHARS = 200
ARGUMENTS = 16
DATA_CHARS = 6000

VOID = {"img", "meta"}

Address = Callable[[Path], str]

_GLYPHS = {"completed": "↗", "expired": "⌛", "failed": "!", "refused": "✕", "unknown": "?"}
_GLYPHS |= dict.fromkeys(("pending", "processing", "sending"), "…")
_CHARGED = {"refused": "not charged", "cancelled": "never sent", "unknown": "may have been charged", "sending": ""}


class Markup(str):
    """Text that is HTML, and is not escaped again."""

    __slots__ = ()


def tag(name: str, *children: str | None, **attributes: str | bool | None) -> Markup:
    """Return an element. Children that are not `Markup` are escaped, and so is every attribute.

    The name ``class_`` becomes ``class``, ``data_kind`` becomes ``data-kind``; None and False leave an attribute out.
    """
    shown = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{_safe(value)}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    return Markup(f"<{name}{shown}>" if name in VOID else f"<{name}{shown}>{joined(*children)}</{name}>")


def joined(*parts: str | None) -> Markup:
    """Return the parts in a row; those that are not `Markup` are escaped."""
    return Markup("".join(part if isinstance(part, Markup) else _safe(part) for part in parts if part is not None))


def _safe(text: str) -> str:
    return html.escape(re.sub(r"[\x00-\x08\x0b-\x1f\x7f]", " ", sound(text)))  # few control characters can be shown


@dataclass(frozen=True)
class Card:
    """A card as HTML, with the values that the page filters and sums by."""

    html: Markup
    kind: str
    provider: str
    states: tuple[str, ...]
    credits: float | None
    estimate: float | None


@dataclass(frozen=True)
class TaskCards:
    """The cards of a page's tasks; `address` returns the address of a saved file from the page.

    Pictures without a thumbnail are loaded from their files, clips when played.
    """

    address: Address
    now: datetime
    formats: Mapping[Path, Format] = field(default_factory=dict)  # only of saved files that exist
    thumbnails: Mapping[Path, str] = field(default_factory=dict)

    def card(self, record: TaskRecord, request: SubmissionRecord | None) -> Card:
        """Return the card of a task; `request` is None for a task that was made elsewhere."""
        arguments = request.arguments if request else None
        saved = [(path, form) for path in map(Path, record.files) if (form := self.formats.get(path))]
        labels = dict(zip(record.files, record.labels, strict=False))
        shown = [(path, form, labels.get(str(path), "")) for path, form in saved if form.kind != "text"]
        expires_at = None if shown or record.status != "completed" else record.expires_at
        states = (record.status, "expired") if expires_at and expires_at < self.now else (record.status,)
        unpriced = record.credits is None and record.status != "failed"
        estimate = request.estimated_credits if request and unpriced else None
        words = _words(arguments)
        shots = [self._player(path, form, label, cut(words or path.name, 120)) for path, form, label in shown]
        data = None if record.data is None else _data(record.data)
        if data and not record.result_urls:
            shots.append(tag("pre", data, class_="text", tabindex="0", dir="auto"))
        sounds = any(form.kind == "audio" for _, form, _ in shown)
        return _card(
            record,
            states,
            media=_media(states[-1], *(shots or _reasons(record, states[-1])), shots=len(shots), sounds=sounds),
            arguments=arguments,
            error=_error(record.error, record.error_code),
            cost=_cost(record, estimate),
            facts=[
                ("Id", record.written_id),
                ("Finished", when(record.finished_at)),
                *(("File", tag("a", path.name, href=self.address(path))) for path, _ in saved),
                ("Data", data if data and record.result_urls else ""),
                ("Not saved", f"results {', '.join(map(str, record.unsaved))}" if saved and record.unsaved else ""),
                *(("Link", _link(url, cut(url, 90))) for url in record.result_urls),
            ],
            credits=record.credits,
            estimate=estimate,
        )

    def _player(self, path: Path, form: Format, name: str, label: str) -> Markup:
        address = self.address(path)
        if form.kind == "video":
            poster = self.thumbnails.get(path)
            return tag(
                "video", src=address, poster=poster, controls=True, preload="none", playsinline=True, aria_label=label
            )
        if form.kind == "audio":
            player = tag("audio", src=address, controls=True, preload="none", aria_label=name or label)
            return tag("figure", tag("figcaption", name, dir="auto") if name else None, player)
        source = self.thumbnails.get(path, address)
        image = tag("img", src=source, alt=label, loading="lazy", decoding="async")
        return tag("a", image, href=address, class_="shot")


def request_card(request: SubmissionRecord) -> Card:
    """Return the card of a request without a task."""
    here = request.gateway == KIE
    logs = _link("https://kie.ai/logs", "kie.ai/logs") if here else f"the request log of {request.gateway}"
    lost = tag("p", "The answer was lost. Look at ", logs) if request.state == "unknown" else None
    return _card(
        request,
        (request.state,),
        media=_media(request.state, lost),
        arguments=request.arguments,
        error=_error(request.message, request.code),
        cost=_CHARGED.get(request.state, "cost unknown"),
        facts=[("Id", f"submission {request.id}")],
    )


def _card(
    record: TaskRecord | SubmissionRecord,
    states: tuple[str, ...],
    *,
    media: Markup,
    arguments: Mapping[str, object] | None,
    error: str | None,
    cost: str,
    facts: Iterable[tuple[str, str]],
    credits: float | None = None,
    estimate: float | None = None,
) -> Card:
    provider, state = record.provider or record.api_type, states[-1]
    others = [(name, _value(value)) for name, value in (arguments or {}).items() if name != "prompt"]
    rows = [("Tool", record.tool), ("Model", record.model or ""), *facts, *others[:ARGUMENTS]]
    terms = [tag("div", tag("dt", name), tag("dd", value)) for name, value in rows if value]
    kind = tag("span", f" {record.kind}", class_="kind")
    body = tag(
        "div",
        tag("header", tag("h2", provider, kind), tag("span", cost, class_="cost")),
        _prompt(arguments),
        tag("p", error, class_="error", dir="auto") if error else None,
        tag("footer", tag("span", state.capitalize(), class_=f"state {state}"), when(record.created_at)),
        tag("details", tag("summary", "Details"), tag("dl", *terms), class_="more"),
        class_="body",
    )
    html = tag(
        "li",
        media,
        body,
        class_="card",
        data_kind=record.kind,
        data_provider=provider,
        data_status=" ".join(states),
        data_credits=None if credits is None else str(credits),
        data_estimate=None if estimate is None else str(estimate),
    )
    return Card(html, record.kind, provider, states, credits, estimate)


def _media(state: str, *parts: Markup | None, shots: int = 0, sounds: bool = False) -> Markup:
    if shots:
        return tag("div", *parts, class_="media sounds" if sounds else "media many" if shots > 1 else "media")
    glyph = tag("span", _GLYPHS.get(state, "·"), class_="glyph", aria_hidden="true")
    return tag("div", glyph, *parts, class_=f"media none {state}")


def when(moment: datetime | None) -> Markup:
    """Return a moment in UTC, which the page's script replaces by the reader's local time."""
    if moment is None:
        return Markup()
    moment = moment.astimezone(UTC).replace(microsecond=0, tzinfo=None)
    return tag("time", f"{moment.isoformat(' ', 'minutes')} UTC", datetime=f"{moment.isoformat()}Z")


def amount(credits: float) -> str:
    """Return a number of credits in the format that the page's script uses, too."""
    return f"{credits:,.2f}".rstrip("0").rstrip(".")


def cut(text: str, limit: int) -> str:
    """Return `text`, cut to `limit` characters."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _reasons(record: TaskRecord, state: str) -> Iterator[Markup]:
    """Say why the card of a task shows no result."""
    if any(record.files):
        yield tag("p", "The saved file is gone.")
    if state == "expired":
        yield tag("p", "Not saved; the link ended ", when(record.expires_at))
    elif record.result_urls:
        until = joined("; the link works until ", when(record.expires_at)) if record.expires_at else None
        yield tag("p", "Not saved", until)
        several = len(record.result_urls) > 1
        for number, (url, label) in enumerate(zip_longest(record.result_urls, record.labels), start=1):
            what = f"Open result {number}" if several else "Open the result"
            yield _link(url, f"{what}: {label}" if label else what)
    elif not record.final and record.progress:
        yield tag("p", f"{record.progress:.0%} when last asked")
    elif record.status == "completed":
        yield tag("p", "The service named no result.")


def _error(text: str | None, code: object) -> str | None:
    return f"{text} (code {code})" if text and code else text


def _cost(record: TaskRecord, estimate: float | None) -> str:
    if estimate is not None:
        return f"about {amount(estimate)} credits"
    if record.credits is None:
        return "cost unknown" if record.final else ""
    return f"{amount(record.credits)} {'credit' if record.credits == 1 else 'credits'}"


def _words(arguments: Mapping[str, object] | None) -> str:
    prompt = (arguments or {}).get("prompt")
    return prompt.strip() if isinstance(prompt, str) else ""


def _prompt(arguments: Mapping[str, object] | None) -> Markup:
    text = _words(arguments)
    if not text:
        missing = "Made elsewhere, so its prompt is not on record." if arguments is None else "Without a prompt."
        return tag("p", missing, class_="prompt missing")
    if len(text) <= BRIEF_CHARS:
        return tag("p", text, class_="prompt", dir="auto")
    brief = tag("summary", tag("span", cut(text, BRIEF_CHARS), class_="brief", dir="auto"))
    note = f"The first {PROMPT_CHARS:,} of {len(text):,} characters."
    end = tag("small", note) if len(text) > PROMPT_CHARS else None
    return tag("details", brief, tag("p", text[:PROMPT_CHARS], dir="auto"), end, class_="prompt")


def _link(url: str, text: str) -> Markup:
    """Return a link to a web address; any other address is shown as text, so that it can't be followed."""
    with suppress(ValueError):
        if urlsplit(url).scheme in {"http", "https"}:
            return tag("a", text, href=url, target="_blank", rel="noopener noreferrer")
    return tag("span", cut(url, 90))


def _data(data: object) -> str:
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False, indent=1)
    return cut(text, DATA_CHARS)


def _value(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return cut(text, ARGUMENT_CHARS)
