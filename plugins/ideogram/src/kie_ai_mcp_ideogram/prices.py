"""Credits of a picture, as the service listed it on the day below (v3-remix: on 2026-09-24)."""

CHECKED = "2026-10-02"

# Credits by rendering speed. None stands for no speed, where the service documents what that means.
V3: dict[str | None, float] = {"TURBO": 3.5, "BALANCED": 7, "QUALITY": 10}
CHARACTER: dict[str | None, float] = {None: 18, "TURBO": 12, "BALANCED": 18, "QUALITY": 24}
CREDITS = {
    "ideogram/v3-text-to-image": V3,
    "ideogram/v3-remix": V3,
    "ideogram/v3-edit": {None: 7, **V3},
    "ideogram/character": CHARACTER,
    "ideogram/character-edit": CHARACTER,
    "ideogram/character-remix": CHARACTER,
}


def credits_of(model: str, rendering_speed: str | None) -> float | None:
    """Return the credits of one picture; None where the list has no price."""
    return CREDITS.get(model, {}).get(rendering_speed)
