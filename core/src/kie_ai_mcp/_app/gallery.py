"""Tasks of an answer as a host's gallery page gets them: results that it can load, and calls that make each anew."""

import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from itertools import zip_longest
from typing import Any
from urllib.parse import urlsplit

from kie_ai_mcp._app.again import call_again
from kie_ai_mcp._app.resources import Link, Resources, file_uri
from kie_ai_mcp._flow.engine import DEEPEST, Engine
from kie_ai_mcp._flow.report import report_of
from kie_ai_mcp._gallery.entries import Entry, cut, task_entry
from kie_ai_mcp._media.files import format_of_url
from kie_ai_mcp._models.tools import RUN
from kie_ai_mcp._providers.tools import BoundTool
from kie_ai_mcp._record.tables import PROMPTS, SubmissionRecord, TaskRecord
from kie_ai_mcp._record.tasks import Filters

log = logging.getLogger(__name__)
SHOWN_BY = ("show_result", "wait_for_tasks", "list_tasks")  # tools beside whose answers hosts show the page
MOST_BYTES = 16_000  # of an answer's entries: hosts refuse 100 kB of these, its words, data and links together
SHORT = 500  # the most characters of a text in an entry that has to be short
DEEPEST_ENTRY = DEEPEST + 9  # how deep entries may be nested: the arguments of a call lie inside them
HOST = re.compile(r"(\*\.)?([a-z0-9-]+\.)+[a-z0-9-]+(:\d+)?")  # it stands in a policy, so it has no odd sign
HOSTS_OF = 50  # the newest tasks whose results' hosts the page may load from, beside those that services name


@dataclass(frozen=True)
class Gallery:
    """The entries of a page in a host; `is_listed` tells whether hosts know a tool, by its name."""

    engine: Engine
    resources: Resources
    is_listed: Callable[[str], bool]

    async def beside(self, data: Mapping[str, Any]) -> list[Entry]:
        """Return the entries for an answer's data without any secret; the answer is whole without those that fail."""
        try:
            made: list[Entry] = self.resources.mask.json(await self.entries(data), DEEPEST_ENTRY, encodable=True)
        except Exception:
            log.exception("the gallery's entries could not be made")
            return []
        return made

    async def entries(self, data: Mapping[str, Any]) -> list[Entry]:
        """Return the tasks of an answer's data as entries, as far as they are on record and fit."""
        ids = [str(report["task_id"]) for report in data.get("tasks", [data]) if report.get("task_id")]
        found = [await self.engine.record.tasks.find(task_id) for task_id in ids]
        records = [record for record in found if record is not None]
        links = {link.uri: link for link in await self.resources.links(map(report_of, records))}
        entries, left = [], MOST_BYTES
        for record in records:
            request = await self.engine.record.submissions.of_task(record.row_id)
            for entry in self._forms(record, request, links):
                if (size := len(json.dumps(entry))) <= left:
                    entries.append(entry)
                    left -= size
                    break
        return entries

    async def hosts(self) -> list[str]:
        """Return the origins of results, all of them encrypted: those that services name, and those on record."""
        named = {host for caller in self.engine.callers.values() for host in caller.gateway.result_hosts}
        newest = await self.engine.record.tasks.newest(Filters(status="completed", limit=HOSTS_OF))
        seen = {_host(url) for record in newest for url in record.result_urls}
        return [f"https://{host}" for host in sorted(named | seen) if HOST.fullmatch(host)]

    def _forms(self, record: TaskRecord, request: SubmissionRecord | None, links: Mapping[str, Link]) -> list[Entry]:
        """Return a task as a whole, and as a short entry that lacks what some buttons need."""
        entry = task_entry(record, request, list(_results(record, links)), datetime.now(UTC))
        entry.pop("command", None)
        again = self._again(request) if request else None
        more = list(self._more(record)) if record.status == "completed" else []
        whole = entry | ({"again": again} if again else {}) | ({"more": more} if more else {})
        short = {name: value for name, value in entry.items() if name != "arguments"}
        return [whole, short | {name: cut(short[name], SHORT) for name in ("prompt", "data", "error") if name in short}]

    def _again(self, request: SubmissionRecord) -> dict[str, Any] | None:
        """Return the call that makes a request anew, and where its prompt stands; None where it is not on record."""
        tool = self.engine.plugins.tools.get(request.tool)
        if request.tool != RUN and not (tool and tool.paid):
            return None
        name, arguments, unstored = call_again(request, tool, saves=self.engine.settings.output_dir is not None)
        if unstored or self.resources.mask.json(arguments, DEEPEST + 1) != arguments:
            return None
        place = ["input"] if name == RUN else []
        if not self.is_listed(name):
            name, arguments, place = RUN, {"model": name, "input": arguments}, ["input"]
        words = next((word for word in PROMPTS if isinstance(request.arguments.get(word), str)), None)
        return {"tool": name, "arguments": arguments} | ({"prompt": [*place, words]} if words else {})

    @cached_property
    def _further(self) -> list[BoundTool]:
        """The tools that are paid for and take a task, and need nothing else."""
        paid = [tool for tool in self.engine.plugins.tools.values() if tool.charges]
        return [tool for tool in paid if tool.arguments.listed.get("required") == ["task_id"]]

    def _more(self, record: TaskRecord) -> Iterator[dict[str, Any]]:
        """Yield the calls of the provider's tools that take a finished task and nothing else, such as a larger clip."""
        further = [tool for tool in self._further if (tool.provider, tool.kind) == (record.provider, record.kind)]
        if record.tool not in {tool.name for tool in further}:
            for tool in further if record.gateway in self.engine.callers else ():
                if self.is_listed(tool.name):
                    values = {"arguments": {"task_id": record.written_id}, "once": tool.once}
                    yield {"tool": tool.name, "title": tool.title, **values}


def _results(record: TaskRecord, links: Mapping[str, Link]) -> Iterator[dict[str, Any]]:
    numbered = enumerate(zip_longest(record.result_urls, record.labels, fillvalue=""), start=1)
    for number, (url, label) in numbered:
        link = links.get(file_uri(record.written_id, number))
        is_saved = link is not None and link.size is not None
        mime_type = (link.mime_type if link else None) or format_of_url(url).mime_type
        kind = mime_type.partition("/")[0]
        kind = kind if kind in {"image", "video", "audio", "text"} else record.kind
        result = {"number": number, "label": label, "kind": kind, "url": "" if record.expired else url}
        result |= {"uri": link.uri} if link else {}
        result |= {"name": link.name} if link and is_saved else {}
        yield {name: value for name, value in result.items() if value}


def _host(url: str) -> str:
    """Return the host of an encrypted address, "" for any other."""
    try:
        address = urlsplit(url)
    except ValueError:
        return ""
    return address.netloc.lower() if address.scheme == "https" and "*" not in address.netloc else ""
