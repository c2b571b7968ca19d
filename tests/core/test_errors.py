"""The error tree, the service's codes, and what each says about money."""

import inspect
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kie_ai_mcp import errors
from kie_ai_mcp.errors import (
    MEANINGS,
    InvalidArgument,
    KeyRejected,
    KieError,
    NoCredits,
    RateLimited,
    ReadFailed,
    Refused,
    ServiceError,
    Unknown,
    meaning_of,
    meaning_of_failure,
    shorten,
)

# code: the error, whether the same call can succeed later
CODES: dict[int, tuple[type[ServiceError], bool]] = {
    400: (Refused, False),
    401: (KeyRejected, False),
    402: (NoCredits, False),
    404: (Refused, False),
    405: (Refused, False),
    408: (Unknown, False),
    409: (Refused, False),
    413: (Refused, False),
    422: (Refused, False),
    429: (RateLimited, True),
    430: (RateLimited, True),
    433: (RateLimited, False),
    451: (Refused, False),
    455: (Refused, True),
    500: (Unknown, False),
    501: (Unknown, False),
    505: (Refused, False),
    531: (Refused, True),
    550: (Refused, True),
}
SEED = (400, 401, 402, 404, 422, 429, 451, 455, 500, 501)


@pytest.mark.parametrize("code", sorted({*CODES, *MEANINGS}))
def test_each_code_has_its_error_and_says_whether_to_try_again(code: int) -> None:
    meaning = meaning_of(code)

    assert (meaning.error, meaning.can_retry) == CODES[code]
    assert meaning.text
    assert meaning.next_step.endswith(".")


@pytest.mark.parametrize(
    ("code", "reason", "advice"),
    [
        (400, "no", "Reword the prompt"),
        ("400", "", "not in English"),
        (451, "", "an address that anybody can open"),
        (422, "", "Change the arguments it names"),
        *(
            (code, "", "no fault of the request: make it again, or use another model")
            for code in (500, "501", 408, 524)
        ),
        (531, "", "make it again"),
        (505, "", "Use another model or tool"),
        (500, "Blocked by our content policy", "Reword the prompt"),
        ("SENSITIVE_WORD_ERROR", "", "Reword the prompt"),
        ("²", "", "Change the request"),
        (None, "no luck", "Change the request"),
    ],
)
def test_advice_on_a_failed_task_goes_by_its_code(code: object, reason: str, advice: str) -> None:
    assert advice in meaning_of_failure(code, reason)[1]


def test_every_code_of_the_seed_is_defined() -> None:
    assert set(SEED) <= set(MEANINGS)


@pytest.mark.parametrize("code", [403, 410, 418, 499])
def test_unlisted_code_of_the_four_hundreds_is_refused(code: int) -> None:
    assert meaning_of(code).error is Refused


@pytest.mark.parametrize("code", [-1, 0, 1, 100, 201, 204, 301, 399, 502, 503, 504, 599, 600, 10_000])
def test_any_other_unlisted_code_is_unknown_because_it_may_have_been_charged(code: int) -> None:
    assert meaning_of(code).error is Unknown
    assert not meaning_of(code).can_retry


def every_error(root: type[KieError] = KieError) -> list[type[KieError]]:
    """Return an error and those below it in its module; what is raised in one place alone is defined there."""
    own = (child for child in root.__subclasses__() if child.__module__ == errors.__name__)
    return [root, *(error for child in own for error in every_error(child))]


def test_only_a_request_that_left_and_was_not_answered_may_have_been_charged() -> None:
    assert {error for error in every_error() if error.charged != "no"} == {Unknown}


@pytest.mark.parametrize("error", [Refused, KeyRejected, NoCredits, RateLimited, Unknown, ReadFailed])
def test_every_answer_of_the_service_is_a_service_error_with_its_code(error: type[ServiceError]) -> None:
    assert error("x", code=422).code == 422
    assert error("x").code is None


def test_only_what_may_pass_by_itself_is_worth_trying_again() -> None:
    assert {error for error in every_error() if error.can_retry} == {RateLimited, ReadFailed}


def test_tree_in_the_docstring_is_the_tree_in_the_code() -> None:
    drawn: dict[str, str] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        stripped = line.lstrip(" │├└─")
        name = stripped.split(" ", 1)[0]
        if inspect.isclass(getattr(errors, name, None)):
            depth = (len(line) - len(stripped)) // 4 - 1
            drawn[name] = path[depth - 1] if depth else "Exception"
            path[depth:] = [name]

    assert drawn == {error.__name__: error.__mro__[1].__name__ for error in every_error()}


def test_message_and_next_step_are_read_together() -> None:
    assert str(KieError("It failed.", next_step="Do this.")) == "It failed. Do this."
    assert str(KieError("It failed.")) == "It failed."


def test_what_one_error_says_of_money_and_retrying_leaves_the_others_alone() -> None:
    error = Refused("x", charged="unknown", can_retry=True)

    assert (error.charged, error.can_retry) == ("unknown", True)
    assert (Refused("y").charged, Refused("y").can_retry) == ("no", False)


def test_refused_argument_is_named_with_its_value_and_what_is_allowed() -> None:
    error = InvalidArgument("image_urls[2]", "ftp://x", "give a web address")

    assert str(error) == "image_urls[2]: 'ftp://x' is not accepted: give a web address."
    asked = InvalidArgument("provider", "veo", "there is none. Did you mean veo3?")
    assert str(asked) == "provider: 'veo' is not accepted: there is none. Did you mean veo3?"
    assert (error.field, error.value, error.allowed) == ("image_urls[2]", "ftp://x", "give a web address")


def test_long_value_is_shortened_in_the_message() -> None:
    assert len(str(InvalidArgument("prompt", "x" * 30_000, "at most 5000 characters"))) < 160


@settings(deadline=None, database=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.one_of(st.text(), st.integers(), st.lists(st.text())), st.integers(min_value=1, max_value=100))
def test_shortened_value_never_exceeds_its_limit(value: object, limit: int) -> None:
    text = shorten(value, limit)

    assert len(text) <= limit
    whole = json.dumps(value, ensure_ascii=False) if isinstance(value, list) else repr(value)
    assert text == whole or text.endswith("…")


def test_one_refusal_carries_every_fault_and_the_call_that_works() -> None:
    size, shape = InvalidArgument("size", 9, "at most 8"), InvalidArgument("shape", "x", "use 'y'")
    both = InvalidArgument.joined([size, shape], instead={"tool": "make", "arguments": {"size": 8}})
    assert (both.field, both.value, both.allowed) == ("size", 9, "at most 8")
    assert str(both) == "size: 9 is not accepted: at most 8. shape: 'x' is not accepted: use 'y'."
    assert (both.faults, size.faults) == ((size, shape), (size,))
    assert InvalidArgument.joined([both, InvalidArgument("n", 1, "leave it out")]).instead == both.instead
    assert [fault.field for fault in InvalidArgument.joined([both, size]).faults] == ["size", "shape", "size"]
