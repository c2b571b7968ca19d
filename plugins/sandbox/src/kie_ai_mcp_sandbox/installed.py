"""Models of installed providers whose family is not in the catalogue, so that such a provider can be tried at once."""

from functools import cache
from importlib.metadata import entry_points

from kie_ai_mcp import Provider
from kie_ai_mcp.hookspecs import PROJECT
from kie_ai_mcp_sandbox.catalogue import MODELS, Kind


def kind_of(model_id: str) -> Kind | None:
    """Return what the provider makes that a model id belongs to; None where no installed provider claims it."""
    claims = [(start, kind) for start, kind in _claims() if model_id.startswith(start)]
    return max(claims, default=("", None), key=lambda claim: len(claim[0]))[1]


@cache
def _claims() -> list[tuple[str, Kind]]:
    """Return the beginnings of model ids that installed providers claim, each with what they make."""
    claims: list[tuple[str, Kind]] = []
    for entry in entry_points(group=PROJECT):
        try:
            describe = getattr(entry.load(), "kie_describe_provider", None)
            provider = describe() if describe else None
        except Exception:  # noqa: BLE001  a broken provider claims nothing
            provider = None
        if isinstance(provider, Provider) and provider.availability == "current":
            kind: Kind = "video" if provider.kinds[:1] == ("video",) else "image"
            # Of a family in the catalogue only the models there exist.
            others = (start for start in provider.models if not any(known.startswith(start) for known in MODELS))
            claims += [(start, kind) for start in others]
    return claims
