"""Consent of a person to a purchase: what is asked and in which words, and what an answer leads to."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import anyio

from kie_ai_mcp._flow.engine import Engine
from kie_ai_mcp._flow.report import Report, brief, in_credits, report_of
from kie_ai_mcp._flow.status import credits_left
from kie_ai_mcp._record.consents import YES_S, Question
from kie_ai_mcp._record.submissions import NewSubmission
from kie_ai_mcp._record.tables import prompt_of
from kie_ai_mcp._settings.settings import APP, variable
from kie_ai_mcp.errors import KieError, LimitReached, one_line
from kie_ai_mcp.specs import KIE

BALANCE_S = 2.0  # how long the balance may keep a question waiting
LIMIT = variable("confirm_credits")
AGAIN = f"call again unchanged within {YES_S / 60:g} minutes"


@dataclass(frozen=True)
class Asked:
    """A question with what a person needs to answer it; the `balance` is None where it is not known."""

    question: Question
    prompt: str
    unit: str
    most: float | None
    balance: float | None

    def facts(self) -> list[str]:
        """Return the question in words, one fact each."""
        question = self.question
        price = "unknown" if question.price is None else f"{question.price:g} {self.unit}"
        if question.price is not None and question.gateway == KIE:
            price = in_credits(question.price)
        limit = "" if self.most is None else f"; above {self.most:g}, or where it is unknown, {LIMIT} asks a person"
        named = {"Model": question.model, "Prompt": self.prompt and f"'{self.prompt.replace(chr(39), '’')}'"}
        named |= {"Balance": None if self.balance is None else in_credits(self.balance)}
        facts = {"Tool": question.tool, **named, "Price": f"{price}{limit}"}
        # Each fact is one line, whatever a prompt or a model's name holds.
        return [f"{name}: {one_line(text)}" for name, text in facts.items() if text]

    def words(self) -> str:
        """Return the question as it is put to a person."""
        return "\n".join(["Buy this? It is paid from your account.", *self.facts()])


class ConsentNeeded(LimitReached):
    """A request is not sent without a yes of a person, and none is on record."""

    def __init__(self, asked: Asked, *, too_fast: bool = False) -> None:
        why = "The question was answered faster than a person could. " if too_fast else ""
        message = f"{why}A person has to agree to this purchase first. {'. '.join(asked.facts())}. Nothing was sent."
        way = f"Ask the user to run `{APP} tasks approve {asked.question.id}`, then {AGAIN}."
        super().__init__(message, next_step=way)
        self.asked = asked


class Declined(LimitReached):
    """The person said no."""

    def __init__(self) -> None:
        step = "Do not repeat the call, unless the user asks for it."
        super().__init__("The user said no to this purchase. Nothing was sent.", next_step=step)


async def consent_needed(engine: Engine, new: NewSubmission, arguments: Mapping[str, Any]) -> ConsentNeeded:
    """Record the question whether a request of these arguments may be bought; return the error that asks it."""
    question = Question(
        identity=new.body_hash,
        gateway=new.gateway,
        account=engine.record.accounts.get(new.gateway, ""),
        tool=new.tool,
        model=new.model,
        arguments=new.arguments,
        price=new.estimated_credits,
    )
    return ConsentNeeded(await asked(engine, await engine.record.consents.ask(question), arguments))


async def asked(
    engine: Engine, question: Question, arguments: Mapping[str, Any] | None = None, *, with_balance: bool = True
) -> Asked:
    """Return a question with what a person needs to answer it; `arguments` are those of its request, if not stored."""
    balance = None
    if with_balance and question.gateway == KIE:
        with suppress(KieError), anyio.move_on_after(BALANCE_S):
            balance = await credits_left(engine)
    caller = engine.callers.get(question.gateway)
    prompt = brief(engine.settings.mask.text(prompt_of(question.arguments if arguments is None else arguments)))
    unit = caller.gateway.unit if caller else "credits"
    return Asked(question, prompt, unit, engine.record.budget.confirm_credits, balance)


async def answer(engine: Engine, number: int, by: str, *, is_yes: bool, secret: str | None = None) -> Report | None:
    """Record a person's answer; return None where the request may be made now, or what an earlier one of it bought.

    Raise `Declined` after a no, `ConsentNeeded` where a form has answered faster than a person could.
    """
    question = await engine.record.consents.answer(number, by, is_yes=is_yes, secret=secret)
    if question.answer is None:
        raise ConsentNeeded(await asked(engine, question), too_fast=True)
    if question.submission_id is None and (question.answer == "no" or not is_yes):
        raise Declined
    if question.submission_id is None:
        return None
    request = await engine.record.submissions.find(question.submission_id)
    record = await engine.record.tasks.find(request.exact_id) if request and request.task_id else None
    if record is None:
        state = request.state if request else "not on record any more"
        message = f"This yes was used for submission {question.submission_id}, which is {state}. Nothing more was sent."
        raise LimitReached(message, next_step="list_tasks shows what was made.")
    note = "This yes was used already, for the request that made this task; nothing more was bought."
    return report_of(record).noted(note, charged="no")
