"""Credits of pictures, as the service listed it on the day below."""

CHECKED = "2026-10-02"

CREDITS_PER_PICTURE = 6.0


def credits_of(variants: int | None) -> float:
    """Return the credits of one request; without a number of variants it makes one picture."""
    return CREDITS_PER_PICTURE * (variants or 1)
