"""Consent of a person to a purchase: what is asked and in which words, and what an answer leads to."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import anyio

from kie_ai_mcp._flow.engine import Engine
from kie_ai_mcp._flow.report import brief
from kie_ai_mcp._flow.status import credits_left
from kie_ai_mcp._models.wording import MOST
from kie_ai_mcp._record.consents import YES_S, Question
from kie_ai_mcp._record.submissions import NewSubmission
from kie_ai_mcp._record.tables import prompt_of
from kie_ai_mcp._settings.amounts import in_words, plain
from kie_ai_mcp._settings.settings import APP, variable
from kie_ai_mcp.errors import KieError, LimitReached, one_line
from kie_ai_mcp.specs import KIE, Submission

BALANCE_S = 2.0  # how long the balance may keep a question waiting
LIMIT = variable("confirm_credits")
IN_TIME = f"call again unchanged within {YES_S / 60:g} minutes"


@dataclass(frozen=True)
class Purchase:
    """A question with what a person needs to answer it; the `balance` is None where it is not known."""

    question: Question
    prompt: str
    unit: str
    most: float | None
    balance: float | None

    def facts(self) -> list[str]:
        """Return the question in words, one fact each."""
        question, ours, price = self.question, self.question.gateway == KIE, "unknown"
        if question.price is not None:
            price = f"{'at most ' if MOST in question.notes else ''}{in_words(question.price, self.unit)}"
        if self.most is not None and ours:
            price += f"; above {plain(self.most)}, or where it is unknown, {LIMIT} asks a person"
        elif self.most is not None:
            price += f"; {LIMIT} counts credits of Kie.ai, so that a person is asked at any price in {self.unit}"
        facts = [("Tool", question.tool), ("Model", question.model)]
        facts += [("Prompt", self.prompt and f"'{self.prompt.replace(chr(39), '’')}'")]
        facts += [("Balance", None if self.balance is None else in_words(self.balance)), ("Price", price)]
        facts += [("Note", note.rstrip(".")) for note in question.notes if note != MOST]
        # Each fact is one line, whatever a prompt or a model's name holds.
        return [f"{name}: {one_line(text)}" for name, text in facts if text]

    def words(self) -> str:
        """Return the question as it is put to a person."""
        return "\n".join(["Buy this? It is paid from your account.", *self.facts()])


class ConsentNeeded(LimitReached):
    """A request is not sent without a yes of a person, and none is on record."""

    def __init__(self, purchase: Purchase, why: str = "", sent: str = "Nothing was sent.") -> None:
        who = "an administrator of this server" if purchase.question.user else "the user"
        message = f"{why}A person has to agree to this purchase first. {'. '.join(purchase.facts())}. {sent}"
        way = f"Ask {who} to run `{APP} tasks approve {purchase.question.id}`, then {IN_TIME}."
        super().__init__(message, next_step=way)
        self.purchase = purchase


class Declined(LimitReached):
    """The person said no."""

    def __init__(self) -> None:
        step = "Do not repeat the call, unless the user asks for it."
        super().__init__("The user said no to this purchase. Nothing was sent.", next_step=step)


async def consent_needed(
    engine: Engine, new: NewSubmission, request: Submission, arguments: Mapping[str, Any], *, uploaded: bool = False
) -> ConsentNeeded:
    """Record the question whether a request of these arguments may be bought; return the error that asks it."""
    question = Question(
        identity=new.exact_hash,
        gateway=new.gateway,
        account=engine.record.accounts.get(new.gateway, ""),
        tool=new.tool,
        model=new.model,
        arguments=new.arguments,
        price=new.estimated_credits,
        notes=new.notes or tuple(note for note in request.notes if note == MOST),
        user=new.user,
    )
    question = await engine.record.consents.ask(question, new.agreed)
    shown = replace(question, notes=tuple(map(engine.settings.mask.text, request.notes)))
    purchase = await purchase_of(engine, shown, arguments)
    sent = "Its local files were uploaded, but nothing was bought." if uploaded else "Nothing was sent."
    return ConsentNeeded(purchase, sent=sent)


async def purchase_of(
    engine: Engine, question: Question, arguments: Mapping[str, Any] | None = None, *, with_balance: bool = True
) -> Purchase:
    """Return a question with what a person needs to answer it; `arguments` are those of its request, if not stored."""
    balance = None
    if with_balance and question.gateway == KIE and engine.adopts:
        with suppress(KieError), anyio.move_on_after(BALANCE_S):
            balance = await credits_left(engine)
    prompt = brief(engine.settings.mask.text(prompt_of(question.arguments if arguments is None else arguments)))
    unit = engine.record.units[question.gateway]
    return Purchase(question, prompt, unit, engine.record.budget.confirm_credits, balance)


async def agreed(engine: Engine, number: int, by: str, *, is_yes: bool, secret: str | None = None) -> int:
    """Record the answer of a call's person; return the number that lets this call buy, or find what it bought before.

    Raise `Declined` after a no, `ConsentNeeded` where a form has answered faster than a person could.
    """
    question = await engine.record.consents.answer(number, by, is_yes=is_yes, secret=secret)
    if question.answer is None:
        purchase = await purchase_of(engine, question)
        raise ConsentNeeded(purchase, "The question was answered faster than a person could. ")
    if not question.submission_id and (question.answer == "no" or not is_yes):
        raise Declined
    return number
