"""Credits of a clip of any length, as the service listed it on the day below."""

CHECKED = "2026-10-02"

# Credits by sort of task, model and resolution; None stands for no resolution, which means 720p.
CREDITS: dict[tuple[str, str | None], dict[str | None, float]] = {
    ("veo3", "veo3_lite"): {None: 30, "720p": 30, "1080p": 35, "4k": 150},
    ("veo3", "veo3_fast"): {None: 60, "720p": 60, "1080p": 65, "4k": 180},
    ("veo3", "veo3"): {None: 250, "720p": 250, "1080p": 255, "4k": 370},
    ("veo3-extend", "lite"): {None: 30},
    ("veo3-extend", "fast"): {None: 60},
    ("veo3-extend", "quality"): {None: 250},
    ("veo3-1080p", None): {None: 5},
    ("veo3-4k", None): {None: 120},
}


def credits_of(api_type: str, model: str | None = None, resolution: str | None = None) -> float | None:
    """Return the credits of one request; None where the list has no price."""
    return CREDITS.get((api_type, model), {}).get(resolution)


def highest(api_type: str) -> float:
    """Return the most that a request of one sort costs."""
    return max(price for (sort, _), prices in CREDITS.items() for price in prices.values() if sort == api_type)
