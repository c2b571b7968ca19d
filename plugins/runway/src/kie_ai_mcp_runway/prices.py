"""Credits of a clip, as the service listed it on the day below (Aleph: on 2026-09-24); extensions have no price."""

CHECKED = "2026-10-02"

# Credits by sort of task, seconds and quality.
CREDITS: dict[tuple[str, int | None, str | None], float] = {
    ("runway-gen3-video", 5, "720p"): 12,
    ("runway-gen3-video", 10, "720p"): 30,
    ("runway-gen3-video", 5, "1080p"): 30,
    ("runway-aleph-video", None, None): 110,
}


def credits_of(api_type: str, duration_s: int | None = None, quality: str | None = None) -> float | None:
    """Return the credits of one clip; None where the list has no price."""
    return CREDITS.get((api_type, duration_s, quality))
