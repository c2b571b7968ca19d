"""Credits of a picture, as the service listed it on the day below."""

CHECKED = "2026-10-02"

CREDITS: dict[str, float] = {"flux-kontext-pro": 5, "flux-kontext-max": 10}


def credits_of(model: str) -> float | None:
    """Return the credits of one picture, made or changed; None where the list has no price."""
    return CREDITS.get(model)
