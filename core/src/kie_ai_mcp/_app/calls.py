"""Calls of tools as they are logged and counted: one line each, without what was asked for."""

import json
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio

from kie_ai_mcp._app.tools import Answer, Tool
from kie_ai_mcp._flow.consent import ConsentNeeded
from kie_ai_mcp._flow.engine import Engine
from kie_ai_mcp.errors import ConfigError, KeyRejected, KieError, NoCredits, StorageError, meaning_of

log = logging.getLogger("kie_ai_mcp.requests")
MOST_CHARS = 2_000  # of arguments in a line, where they are logged at all
OPERATORS = ConfigError, StorageError  # what these say is of settings and of the database alone


@dataclass
class Made:
    """One call, and what became of it."""

    tool: Tool | None = None  # None: there is none of that name
    outcome: str = "error"
    reason: str = ""  # the sort of error, where it ended in one
    figures: Mapping[str, Any] = field(default_factory=dict)  # of a limit that was reached, or the service's code
    error: str = ""  # what an operator has to mend, in the words that the caller got
    data: Mapping[str, Any] = field(default_factory=dict)

    def failed(self, error: KieError) -> None:
        """Take note of the error that it ended in. What a service or a caller has said may be a part of a prompt."""
        self.reason, self.figures = error.reason or type(error).__name__, getattr(error, "figures", {})
        if code := getattr(error, "code", None):
            self.figures = {**self.figures, "code": code}
        if error.reason or isinstance(error, OPERATORS):
            self.error = error.message
        elif isinstance(error, KeyRejected | NoCredits):
            self.error = f"{meaning_of(error.code or 0).text}."

    def answered(self, answer: Answer) -> Answer:
        """Take note of the answer, and return it."""
        self.data, status = answer.data or {}, (answer.data or {}).get("status")
        self.outcome = "error" if answer.is_error else "ok"
        if self.tool is not None and self.tool.charges:
            charged = self.data.get("charged")
            if charged == "unknown":
                self.outcome = "unknown"
            elif status == "refused":
                self.outcome = "refused"
            elif charged == "yes" or status == "failed":  # else it tells of an earlier request
                self.outcome = "accepted"
        return answer


@dataclass
class Calls:
    """The calls of one user: a line of the log for each; they are counted with everybody's."""

    engine: Engine

    @contextmanager
    def made(self, arguments: Mapping[str, Any] | None) -> Iterator[Made]:
        """Log and count the call that is made in the context."""
        made, began = Made(), time.monotonic()
        try:
            yield made
        except ConsentNeeded:
            made.outcome = "asked"
            raise
        except anyio.get_cancelled_exc_class():
            made.outcome = "cancelled"
            raise
        finally:
            self._note(made, arguments, time.monotonic() - began)

    def _note(self, made: Made, arguments: Mapping[str, Any] | None, took_s: float) -> None:
        tool = made.tool.name if made.tool else "-"
        self.engine.calls[tool, made.outcome] += 1
        # Who runs the server has to mend the one and to settle the other.
        level = logging.WARNING if made.error or made.outcome == "unknown" else logging.INFO
        if not log.isEnabledFor(level):
            return
        fields: dict[str, Any] = {"who": self.engine.record.user or "-", "tool": tool, "outcome": made.outcome}
        if made.reason and made.outcome in {"error", "refused", "unknown"}:
            fields |= {"reason": made.reason, **made.figures}
        names = ["task_id", "submission_id"]
        if made.tool is not None and made.tool.charges:  # elsewhere they are the balance, or told of again and again
            names += ["credits", "estimated_credits", "unit"]
        known = {name: made.data.get(name) for name in names}
        fields |= {name: value for name, value in known.items() if value is not None}
        fields["took_s"] = round(took_s, 3)
        if self.engine.settings.log_prompts and arguments:
            fields["arguments"] = self._text_of(arguments)
        if made.error:
            fields["error"] = made.error
        text = " ".join(f"{name}={value}" for name, value in fields.items())
        log.log(level, "%s", text, extra={"fields": fields})

    def _text_of(self, arguments: Mapping[str, Any]) -> str:
        try:
            text = json.dumps(arguments, ensure_ascii=False)
        except (ValueError, RecursionError):
            return "[no JSON]"
        # Before it is cut: of a half key nobody would see that it is one.
        text = self.engine.settings.mask.text(text)
        return text if len(text) <= MOST_CHARS else f"{text[:MOST_CHARS]}…"
