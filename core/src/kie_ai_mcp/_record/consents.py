"""Consents on record: questions to a person whether one request may be bought, their answers, what each yes bought."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from kie_ai_mcp._record.database import Database
from kie_ai_mcp._record.lane import in_worker
from kie_ai_mcp._record.scope import Scope
from kie_ai_mcp._record.tables import ConsentRow
from kie_ai_mcp.errors import LimitReached

OPEN_S = 86_400.0  # how long after it was asked last a question can be answered; by the form that shows it, `FORM_S`
FORM_S = 600.0
YES_S = 600.0  # how long after it was given a yes can be used
LEAST_S = 0.5  # nobody reads a question and answers it in less: a host that does answers by itself
CLOSED = 0  # stands for a request where a yes can buy none, since its call was asked anew
COMMAND_LINE = "command line"  # whose yes lets any such request be made; every other one is for the call that brings it
LAST = 2**63  # no number of a row is so large
ANEW = "Make the call without an answer: the user is asked anew."


@dataclass(frozen=True)
class Question:
    """A question whether a person agrees to one unchanged request, with the answer if there is one.

    `identity` is the hash of all that makes the request, `price` what it may cost at most in the service's unit, None
    if unknown. Times are seconds since 1970. `submission_id` is the request that a yes was used for, or `CLOSED`.
    """

    identity: str
    gateway: str
    account: str
    tool: str
    model: str | None
    arguments: Mapping[str, Any]
    price: float | None
    id: int = 0
    asked_at: float = 0.0
    answer: Literal["yes", "no"] | None = None
    answered_at: float | None = None
    answered_by: str | None = None
    submission_id: int | None = None
    notes: tuple[str, ...] = ()
    user: str = ""


@dataclass
class Consents:
    """The questions in a database, as far as they are seen."""

    scope: Scope

    @property
    def database(self) -> Database:
        """The database that they are in."""
        return self.scope.database

    @in_worker
    def ask(self, question: Question, agreed: int = 0) -> Question:
        """Record a question, or the same one anew that is open, instead of any form of it; return it with its number.

        An unused yes to question `agreed`, brought by the call that has to ask now, is closed.
        """
        rows, now = ConsentRow, self.database.now()
        price = rows.price.is_null() if question.price is None else rows.price == question.price
        values = {name: value for name, value in asdict(question).items() if name != "id"} | {"asked_at": now}
        same = (rows.identity == question.identity) & (rows.user == question.user)
        with self.database.transaction():
            use(self.database, CLOSED, question.user, agreed)
            if row := self.database.first(self._open(now).where(same, price)):
                self._change(row["id"], asked_at=now, secret=None)
                return _question(row)
            return _question(values | {"id": self.database.execute(rows.insert(values))})

    @in_worker
    def show(self, number: int, secret: str) -> None:
        """Let a form show a question, which whoever knows its secret may answer then."""
        self._change(number, secret=_hash(secret), asked_at=self.database.now())

    @in_worker
    def hide(self, number: int, secret: str) -> None:
        """Take note that a form shows a question no more, and gave no answer: it stays open at the command line."""
        self._change(number, ConsentRow.secret == _hash(secret), ConsentRow.answer.is_null(), secret=None)

    @in_worker
    def answer(self, number: int, by: str, *, is_yes: bool, secret: str | None = None) -> Question:
        """Record a person's answer, and return the question with the answer that holds.

        That is the first one; but until it is used the command line may change it, and a form take its yes back.

        Raise `LimitReached` where there is no such question, or it is too late. A form gives its secret. One that
        answers faster than a person is not believed: the question stays open, but not to that form.
        """
        with self.database.transaction():
            row, now = self._row(number), self.database.now()
            if row is None or (secret is not None and row["secret"] != _hash(secret)):
                raise LimitReached(f"No question {number} of this request is open. Nothing was sent.", next_step=ANEW)
            if row["answer"] is None or (row["submission_id"] is None and (secret is None or not is_yes)):
                age_s = now - row["asked_at"]
                if secret is not None and 0 <= age_s < LEAST_S:
                    self._change(number, secret=None)
                elif not 0 <= age_s <= (OPEN_S if secret is None else FORM_S):
                    raise LimitReached(
                        f"Question {number} is too old to be answered. Nothing was sent.", next_step=ANEW
                    )
                else:
                    self._change(number, answer="yes" if is_yes else "no", answered_at=now, answered_by=by)
            question = self._row(number)
        assert question is not None  # noqa: S101  it was there in the same transaction
        return _question(question)

    @in_worker
    def find(self, number: int) -> Question | None:
        """Return a question, or None."""
        row = self._row(number)
        return None if row is None else _question(row)

    @in_worker
    def open(self) -> Sequence[Question]:
        """Return the questions that can be answered, oldest first."""
        return [*map(_question, self.database.rows(self._open(self.database.now()).order_by(ConsentRow.id)))]

    @in_worker
    def history(self, after_id: int, limit: int) -> Sequence[Question]:
        """Return questions oldest first, at most `limit`, above `after_id`; for export."""
        query = ConsentRow.select().where(self.scope.seen(ConsentRow), ConsentRow.id > after_id)
        query = query.order_by(ConsentRow.id).limit(limit)
        return [*map(_question, self.database.rows(query))]

    def _open(self, now: float) -> Any:
        rows, seen = ConsentRow, self.scope.seen(ConsentRow)
        return rows.select().where(seen, rows.answer.is_null(), rows.asked_at.between(now - OPEN_S, now))

    def _row(self, number: int) -> dict[str, Any] | None:
        seen = self.scope.seen(ConsentRow)
        return self.database.first(ConsentRow.select().where(seen, ConsentRow.id == min(number, LAST - 1)))

    def _change(self, number: int, *conditions: Any, **values: Any) -> None:
        ours = self.scope.seen(ConsentRow), ConsentRow.id == number
        self.database.execute(ConsentRow.update(values).where(*ours, *conditions))


def yes_for(database: Database, identity: str, user: str, price: float | None, agreed: int) -> int | None:
    """Return the number of an unused yes to a user's request of this price, None if unknown; None if there is none.

    It is that to question `agreed`, which the request's call has brought, or one that was given at the command line.
    Call it in the transaction in which it is used.
    """
    rows, now = ConsentRow, database.now()
    # A yes of the future is one from before the clock was set back: nobody knows how old it is.
    unused = (rows.answer == "yes") & rows.submission_id.is_null() & rows.answered_at.between(now - YES_S, now)
    covers = rows.price.is_null() if price is None else rows.price >= price
    whose = (rows.id == agreed) | (rows.answered_by == COMMAND_LINE)
    query = rows.select(rows.id).where(rows.identity == identity, rows.user == user, unused, covers, whose)
    row = database.first(query.order_by(rows.id != agreed, rows.id))
    return None if row is None else int(row["id"])


def use(database: Database, submission_id: int, user: str, *numbers: int | None) -> None:
    """Use each yes of a user up for a request, if there is one that is unused."""
    theirs = ConsentRow.id.in_(numbers), ConsentRow.user == user
    unused = *theirs, ConsentRow.answer == "yes", ConsentRow.submission_id.is_null()
    database.execute(ConsentRow.update(submission_id=submission_id).where(*unused))


def give_back(database: Database, submissions: Any) -> None:
    """Let each yes that was used for these requests, numbers or a query of them, be used again: they bought nothing."""
    database.execute(ConsentRow.update(submission_id=None).where(ConsentRow.submission_id.in_(submissions)))


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _question(row: Mapping[str, Any]) -> Question:
    return Question(**{name: row[name] for name in Question.__dataclass_fields__})
