"""Amounts in words: numbers without the noise of their sums, prices with their unit, credits with their dollars."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from kie_ai_mcp.specs import CREDITS

USD = 0.005  # one credit of Kie.ai's
DIGITS = 6  # after the point; what is beyond comes from adding floats
# What a value must be, by pydantic's name of the error.
VALUES = {
    **dict.fromkeys(("int_parsing", "int_type", "int_from_float"), "a whole number"),
    **dict.fromkeys(("float_parsing", "float_type"), "a number"),
    **dict.fromkeys(("bool_parsing", "bool_type"), "true or false"),
    "finite_number": "a finite number",
    "literal_error": "{expected}",
    "greater_than_equal": "at least {ge}",
    "greater_than": "more than {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "less than {lt}",
}


def exact(amount: float) -> float:
    """Return an amount as data: as `plain` writes it."""
    return round(amount, DIGITS)


def plain(number: float | Fraction) -> str:
    """Return a number in its shortest form: 8, 0.05, 1000000."""
    text = f"{float(number):.{DIGITS}f}" if abs(float(number)) < 1e15 else str(number)
    return text.rstrip("0").rstrip(".") if "." in text else text


def priced(number: float, unit: str) -> str:
    """Return a price with its unit: ``1 credit``, ``28 credits``."""
    return f"{plain(number)} {unit.removesuffix('s') if number == 1 else unit}"


def dollars(credits: float) -> str:
    """Return credits of Kie.ai as dollars: two digits after the point, more only where cents are too coarse."""
    amount = credits * USD
    fine = f"{amount:.{4 if amount >= 0.001 else 6}f}".rstrip("0")
    digits = 2 if amount >= 1 else max(2, len(fine.partition(".")[2]))
    return f"${amount:,.{digits}f}"


def in_words(amount: float, unit: str = CREDITS) -> str:
    """Return an amount with its unit; credits of Kie.ai with the dollars that they cost."""
    return f"{priced(amount, unit)}{f' ({dollars(amount)})' if unit == CREDITS else ''}"


def what_it_takes(error: str, limits: Mapping[str, Any]) -> str:
    """Return what a value must be where pydantic's `error` is of a number, a truth value or a choice; else nothing."""
    whole = {name: plain(limit) if isinstance(limit, float) else limit for name, limit in limits.items()}
    return VALUES.get(error, "").format(**whole)
