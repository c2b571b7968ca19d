"""Search among tools and models by the words of people."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from kie_ai_mcp._models.catalogue import Entry
from kie_ai_mcp._models.pricing import estimate
from kie_ai_mcp._models.samples import usual_input
from kie_ai_mcp._models.wording import usual_price
from kie_ai_mcp._providers.selection import RANKS
from kie_ai_mcp._providers.tools import BoundTool
from kie_ai_mcp.specs import Availability, Kind, Provider

MOST_FOUND = 8
UNASKED = 4.0  # what an offer loses whose special task nobody asked for
NEAR = 0.6  # the share of the best score from which an offer answers "the cheapest"

# What people say, and the words of tasks, kinds and names that they mean.
MEANT = {
    "upscale": "enlarge larger bigger sharpen sharper enhance upscaler hires 4k 8k resolution",
    "background": "cutout cut transparent transparency backdrop matting",
    "removal": "remove erase delete isolate without",
    "lip": "lipsync dub dubbing talk talks talking speaking avatar",
    "sync": "lipsync",
    "audio": "sound recording voice track",
    "talking": "talk talks speaking avatar presenter speak speaks spokesperson",
    "music": "song songs melody tune track soundtrack jingle instrumental beat sing",
    "speech": "tts read aloud narrate narration voiceover voice speaker audiobook say says spoken",
    "sound": "sfx effect effects",
    "isolation": "clean noise denoise isolate",
    "lyrics": "verse verses rhyme",
    "separate": "stem stems vocals karaoke split acapella",
    "video": "clip clips film movie animate animated animation footage scene",
    "image": "picture pictures photo photos photograph illustration drawing logo poster icon painting portrait art",
    "edit": "change modify retouch replace restyle alter",
    "extend": "continue longer lengthen",
    "kling": "kwai",
    "cover": "remake",
}
CHEAP = frozenset(("cheap", "cheapest", "cheaply", "budget", "draft", "inexpensive", "lowcost", "affordable"))
FAST = frozenset(("fast", "fastest", "quick", "quickly", "lite", "turbo", "flash", "mini"))
BEST = frozenset(("best", "finest", "quality", "pro", "highest", "premium"))
EMPTY = frozenset(
    re.findall(
        "[a-z]+",
        "a an and any are as at be by can do for from generate create get give have how i in into is it its make me my "
        "of on or please some that the them then this to use using want what with would you your cost costs out up one "
        "new price prices much credits two three four five several different variant variants variation variations",
    )
)
GENERAL = frozenset(
    ("text-to-image", "image-to-image", "text-to-video", "image-to-video", "music", "speech", "sound", "")
)
"""Tasks that people mean who name a kind alone; any other must be asked for by a word of its own."""


@dataclass(frozen=True)
class Offer:
    """A tool or a model, as search shows it."""

    name: str
    makes: str
    kind: Kind
    task: str
    price: str
    tool: str
    availability: Availability
    credits: float | None = None
    words: str = ""

    @property
    def line(self) -> str:
        """The offer as one line."""
        by = f"; easier by {self.tool}" if self.tool and self.tool != self.name else ""
        state = "" if self.availability == "current" else f" [{self.availability}]"
        return f"{self.name}: {self.makes} ({self.price}{by}){state}"


def offer_of_model(entry: Entry) -> Offer:
    """Return a model as an offer."""
    model, price = entry.model, usual_price(entry.model, entry.unit)
    makes = f"{model.title}, {model.task.replace('-', ' ')}" + ("" if model.kind in model.task else f", {model.kind}")
    state, credits = model.availability, estimate(model, usual_input(model), usual=True).credits
    return Offer(entry.name, makes, model.kind, model.task, price, model.tool, state, credits, entry.provider)


def offer_of_tool(tool: BoundTool, provider: Provider, models: Iterable[Offer]) -> Offer:
    """Return a tool as an offer, with the price of the cheapest of the models that it stands for."""
    own = [model for model in models if model.tool == tool.name]
    cheapest = min(own, key=_dearness, default=None)
    price = f"usually from {cheapest.price}" if cheapest and "unknown" not in cheapest.price else "see estimate_cost"
    if not tool.charges:
        price = "free"
    task, words = cheapest.task if cheapest else "", " ".join(model.name for model in own)
    makes = re.split(r"(?<=[a-z])[.;:] ", tool.description.partition("\n")[0])[0].rstrip(".")
    state = provider.availability
    credits = cheapest.credits if cheapest else None
    return Offer(tool.name, makes, tool.kind, task, price, tool.name, state, credits, f"{provider.title} {words}")


def _dearness(model: Offer) -> tuple[bool, float]:
    rate = re.search(r"[0-9.]+", model.price)
    return (model.credits is None, float(rate[0]) if rate and model.credits is None else model.credits or 0.0)


def best(offers: Iterable[Offer], words: str, kind: str | None, task: str | None) -> list[Offer]:
    """Return the offers that fit best, current ones first."""
    tokens = [token for token in _tokens(words) if token not in EMPTY]
    wishes = [token for token in tokens if token not in CHEAP | FAST | BEST]
    fits = [offer for offer in offers if kind in {None, offer.kind} and task in {None, offer.task}]
    if not wishes and task is None:  # nothing in particular is meant
        general = [offer for offer in fits if offer.task and offer.task in GENERAL]
        fits = [offer for offer in general if offer.kind in {"image", "video"}] or general or fits
    scored = [(_score(offer, wishes, tokens), offer) for offer in fits]
    if wishes:
        scored = [(score, offer) for score, offer in scored if score > 0]
    top = max((score for score, _ in scored), default=0)
    if CHEAP & set(tokens):
        priced = [found for found in scored if found[1].credits is not None]
        scored = [found for found in priced if not wishes or found[0] >= NEAR * top]
        scored.sort(key=lambda found: (RANKS[found[1].availability], found[1].credits, -found[0]))
    else:
        scored.sort(key=lambda found: (RANKS[found[1].availability], -found[0], found[1].credits or 1e9, found[1].name))
    return [offer for _, offer in scored[:MOST_FOUND]]


def _score(offer: Offer, wishes: list[str], tokens: list[str]) -> float:
    """Return how well an offer fits: its name counts most, then what it does, then what else is said of it."""
    name, task = _tokens(offer.name), _tokens(offer.task)
    said, more = _tokens(offer.makes), _tokens(offer.words)
    score, is_asked = 0.0, offer.task in GENERAL
    for wish in wishes:
        meant = {wish} | {word for word, said_so in MEANT.items() if wish in said_so.split()}
        is_asked = (
            is_asked or bool(meant & (task - {"to", "video", "image"})) or bool(meant & (name - {"video", "image"}))
        )
        score += max(
            (4.0 if any(map(str.isdigit, wish)) else 6.0) * (wish in name or wish in more),
            5.0 * bool(meant & {*task, offer.kind}),
            4.0 * bool(meant & name),
            2.0 * bool(meant & said),
        )
    score -= 0.0 if is_asked else UNASKED
    if wishes and score <= 0:
        return 0.0
    speed = {*name, *said}
    score += 2.0 * bool(FAST & set(tokens) and FAST & speed) + 2.0 * bool(BEST & set(tokens) and BEST & speed)
    # Of equals the one that does nothing else, and what makes something before what changes it.
    score += 1.0 * bool(task and task - {"to"} <= set(tokens)) + 0.5 * offer.name.startswith("generate_")
    return score + 1.5 * (offer.tool == offer.name)


def _tokens(text: str) -> set[str]:
    return set(
        re.findall(r"[a-z0-9]+(?:\.[0-9]+)?", text.lower().replace("-", " ").replace("_", " ").replace("/", " "))
    )
