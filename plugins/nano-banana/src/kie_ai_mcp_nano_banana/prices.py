"""Credits of a picture, as the service listed it on the day below (nano-banana-2-1: on 2026-10-07)."""

CHECKED = "2026-10-02"

# Credits by model and resolution; None stands for no resolution, which the service documents to mean 1K.
CREDITS: dict[str, dict[str | None, float]] = {
    "google/nano-banana": {None: 4},
    "google/nano-banana-edit": {None: 4},
    "nano-banana-2-lite": {None: 4},
    "nano-banana-2-1": {None: 4, "1K": 4, "2K": 6, "4K": 9},
    "nano-banana-2": {None: 8, "1K": 8, "2K": 12, "4K": 18},
    "nano-banana-pro": {None: 18, "1K": 18, "2K": 18, "4K": 24},
}


def credits_of(model: str, resolution: str | None) -> float | None:
    """Return the credits of one picture; None where the list has no price."""
    return CREDITS.get(model, {}).get(resolution)
