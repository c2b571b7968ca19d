"""Escaping: whatever comes from outside stays text on the page."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kie_ai_mcp._gallery.entries import Entry, task_entry
from kie_ai_mcp._gallery.page import html, page
from kie_ai_mcp._record.tables import Ending, SubmissionRecord, TaskRecord
from kie_ai_mcp._settings.installation import typed_command

if TYPE_CHECKING:
    from tests.gallery.conftest import Past, Read

NOW = datetime(2026, 11, 22, tzinfo=UTC)

HOSTILE = {
    "end of a script": "</script><script>document.title='owned'</script>",
    "end of a style": "</style><style>*{display:none}</style>",
    "end of a list": "</p></li></ul></main></body></html><h1>owned</h1>",
    "handler": "<img src=x onerror=\"document.title='owned'\">",
    "quotes": '" onmouseover="alert(1)" x=\'1\' `',
    "script address": "javascript:document.title='owned'",
    "comment": "<!-- --><![CDATA[ ]]><?php ?>",
    "entity": "&lt;b&gt; &amp; &#60; &quot;",
    "template": "$script ${style} $$ {cards} %s",
    "turned around": "\u202egnp.exe \u2066\u200f",
    "half a pair": "\ud83e fox",
    "nothing to see": "\x00\x08\x1b[31m\x7f\r",
}
HALF = "half a pair"
"""No database takes it, but the page must not trust in that."""

WORDS = st.text(max_size=100)


def normal(text: str) -> str:
    """`text` as a page can show it at best."""
    text = text.encode("utf-8", "replace").decode()
    return " ".join("".join(" " if ord(char) < 32 or char == "\x7f" else char for char in text).split())


def entry(
    *,
    task_id: str = "n",
    provider: str = "p",
    tool: str = "t",
    kind: Any = "image",
    model: str | None = None,
    arguments: Mapping[str, Any] | None = None,
    result_urls: Sequence[str] = (),
    **task: Any,
) -> Entry:
    """A task as the page gets it, and of the request that led to it where `arguments` are given."""
    record = TaskRecord(
        task_id,
        provider,
        provider,
        kind=kind,
        tool=tool,
        model=model,
        **{"status": "completed", "created_at": NOW, "updated_at": NOW, **task},
    )
    request = None
    if arguments is not None:
        request = SubmissionRecord(1, "accepted", tool, provider, arguments, NOW, task_id, None, None)
    links = [{"number": number, "url": url} for number, url in enumerate(result_urls, start=1)]
    return task_entry(replace(record, result_urls=tuple(result_urls)), request, links, NOW)


def drawn(*entries: Entry) -> str:
    """A page of entries."""
    return html(
        {"mode": "page", "entries": entries, "older": False, "written": f"{NOW:%Y-%m-%dT%H:%M:%SZ}", "live": ""}
    )


@pytest.mark.anyio
@pytest.mark.parametrize("case", HOSTILE)
async def test_hostile_words_are_shown_as_they_were_written(past: "Past", read: "Read", case: str) -> None:
    words = HOSTILE[case]
    if case != HALF:
        await past.task(words, model=words, arguments={"negative_prompt": words, words: "value"})
        submission = await past.request(words, words, provider=words)
        await past.record.submissions.settled(submission, Ending("refused", code=400, message=words))
        root = read(await page(past.record))
        refused, made = root.cards
        kept = normal(words.replace("\0", "?"))  # which no database takes in a text
        assert made.one(class_="prompt").text == kept
        assert made.fact("Model") == made.fact("negative_prompt") == kept
        assert made.fact(kept) == "value"
        assert refused.one("h2").text == f"{kept} image"
        assert refused.fact("Tool") == kept
        assert refused.one(class_="error").text == f"{normal(words)} (code 400)"
        assert [len(root.all(name)) for name in ("script", "style", "h1", "main", "ul")] == [2, 1, 1, 1, 1]


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_words_change_no_element_and_no_attribute(read: "Read", case: str) -> None:
    def shape(words: str) -> list[tuple[str, list[str]]]:
        shown = entry(provider=words, tool=words, task_id=words, kind=words, model=words, error=words, status="failed")
        return [(element.name, sorted(element.attributes)) for element in read(drawn(shown)).all()]

    assert shape(HOSTILE[case]) == shape("harmless")
    assert drawn(entry(arguments={"prompt": HOSTILE[case]})).encode()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(WORDS, WORDS, WORDS), min_size=1, max_size=20, unique_by=lambda words: words[1]))
def test_any_words_come_out_as_they_went_in(read: "Read", texts: list[tuple[str, str, str]]) -> None:
    entries = [
        entry(arguments={"prompt": prompt, "argument": value}, task_id=name, error=prompt, status="failed")
        for prompt, name, value in texts
    ]
    text = drawn(*entries)
    assert text.encode()
    for card, (prompt, name, value) in zip(read(text).cards, texts, strict=True):
        assert card.one(class_="prompt").text == (
            normal(prompt.strip()) or ("Without a prompt." * (not prompt.strip()))
        )
        assert [row.text for row in card.all("dd")] == ["t", *(normal(words) for words in (name, value) if words)]


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        " javascript:alert(1)",
        "java\nscript:alert(1)",
        "data:text/html,<script>alert(1)</script>",
        "file:///etc/passwd",
        "vbscript:x",
        "//evil.example/x",
        "relative.html",
        "https://[broken",
    ],
)
def test_address_that_is_not_of_the_web_can_not_be_followed(read: "Read", address: str) -> None:
    root = read(drawn(entry(result_urls=(address,)))).cards[0]
    assert root.all("a") == []
    assert normal(address) in root.text


def test_data_of_the_page_can_not_end_its_script() -> None:
    text = "</script><script>alert(1)</script><!-- <script>"
    data = drawn({"prompt": text}).partition('<script type="application/json" id="data">')[2].partition("</script>")[0]
    assert "<" not in data
    assert json.loads(data)["entries"] == [{"prompt": text}]


@pytest.mark.parametrize(
    ("task_id", "command"),
    [
        ("3f9a-1c:22.x_y", f"{typed_command(anywhere=True)} tasks again 3f9a-1c:22.x_y"),
        ("--help", None),
        ("a; rm -rf ~", None),
        ("$(id)", None),
        ("a\nb", None),
        ("", None),
        ("ä", None),
    ],
)
def test_command_is_offered_only_where_a_shell_takes_the_id_for_nothing_else(task_id: str, command: str | None) -> None:
    assert entry(task_id=task_id, arguments={"prompt": "fox"}).get("command") == command
    assert "command" not in entry(task_id="made-elsewhere")


def test_only_so_many_arguments_are_shown_and_each_only_so_far(read: "Read") -> None:
    root = read(drawn(entry(arguments={"prompt": "fox", **{f"a{number}": "x" * 5000 for number in range(50)}})))
    shown = [row for row in root.all("dd") if row.text.startswith("xxx")]
    assert len(shown) == 16
    assert {len(row.text) for row in shown} == {200}


def test_argument_that_is_no_text_is_shown_as_json(read: "Read") -> None:
    given = {"shots": [{"Scene": "Füchse", "duration": 2.5}], "flag": False, "none": None}
    root = read(drawn(entry(arguments=given)))
    assert root.fact("shots") == '[{"Scene": "Füchse", "duration": 2.5}]'
    assert root.fact("flag") == "false"
