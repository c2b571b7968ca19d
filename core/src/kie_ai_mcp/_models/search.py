"""Search among tools and models by the words of people."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from typing import Any

from kie_ai_mcp._models.catalogue import Entry
from kie_ai_mcp._models.lengths import NO_WISH, SOUND, Wish, has_sound, input_with, settings_of, wish_in
from kie_ai_mcp._models.limits import model_of
from kie_ai_mcp._models.pricing import estimate, least
from kie_ai_mcp._models.samples import usual_input
from kie_ai_mcp._models.talking import speaker_in
from kie_ai_mcp._models.wording import usual_price
from kie_ai_mcp._providers.selection import RANKS
from kie_ai_mcp._providers.tools import BoundTool
from kie_ai_mcp._settings.amounts import dollars, plain, priced
from kie_ai_mcp.errors import InvalidArgument
from kie_ai_mcp.specs import KIE, Availability, Kind, Media, Provider, Submission, field_of

MOST_FOUND = 8
UNASKED = 4.0  # what an offer loses whose special task nobody asked for
MISSED = 3.0  # what an offer loses for each wish of which it has nothing, and another offer has
FURTHER = 1.0  # what an offer loses for each sort of files that it needs, and of which nobody spoke; twice for a task
LEAST = 0.01  # the score of what is found for one of several wishes alone
NEAR = 0.6  # the share of the best score from which an offer answers "the cheapest"

# What people say, and the words of tasks, kinds, fields and names that they mean. What a key means that nothing has,
# such as the last, nothing does.
MEANT = {
    "upscale": "enlarge larger bigger sharpen sharper enhance upscaler hires 4k 8k resolution",
    "background": "cutout cut transparent transparency backdrop matting",
    "removal": "remove erase delete isolate without",
    "lipsync": "dub dubbing talk talking speaking speak avatar spokesperson presenter head",
    "audio": "sound recording voice track",
    "talking": "talk speaking avatar presenter speak spokesperson head",
    "music": "song melody tune track soundtrack jingle instrumental beat sing",
    "speech": "tts read aloud narrate narration voiceover voice speaker audiobook say says spoken podcast",
    "sound": "sfx effect audio",
    "isolation": "clean noise denoise isolate remove",
    "lyric": "verse rhyme",
    "separate": "stem vocal karaoke split acapella",
    "video": "clip film movie animate animated animation footage scene",
    "image": "picture photo photograph illustration drawing logo poster icon painting portrait art "
    "thumbnail headshot sketch draw cartoon wallpaper sticker",
    "edit": "change modify retouch replace restyle alter remove erase delete object watermark inpaint inpainting "
    "restore colorize colourize colorise swap expand outpaint outpainting uncrop stylize transfer",
    "motion": "dance dancing move",
    "mask": "inpaint inpainting part region",
    "extend": "continue longer lengthen",
    "kling": "kwai",
    "cover": "remake",
    "transcription": "transcribe transcript subtitle caption dictation",
}
CHEAP = frozenset(("cheap", "cheapest", "cheaply", "budget", "draft", "inexpensive", "lowcost", "affordable"))
FAST = frozenset(("fast", "fastest", "quick", "quickly", "lite", "turbo", "flash", "mini"))
DEAREST = frozenset(("best", "finest", "highest"))
BEST = DEAREST | {"quality", "pro", "premium"}
TASK_ID = re.compile(r"(?i).*task_?ids?")
SOURCE = re.compile(r"\b(text|image|video|speech|reference)[- ]to[- ]")
OF_TEXT = re.compile(r"\btext[- ]to[- ]|\bfrom (a )?text\b", re.IGNORECASE)  # nearly everything is made of it
KINDS = frozenset(("image", "video", "to"))
GENERAL = frozenset(
    ("text-to-image", "image-to-image", "text-to-video", "image-to-video", "music", "speech", "sound", "")
)
"""Tasks that people mean who name a kind alone; any other must be asked for by a word of its own."""


def _ordered(text: str) -> list[str]:
    """Return the words of a text without the ends of plurals."""
    found = re.findall(r"[a-z0-9]+(?:\.[0-9]+)?", re.sub(r"[-_/]", " ", text.lower()))
    return [word[:-1] if len(word) > 3 and word[-1] == "s" != word[-2] else word for word in found]


EMPTY = frozenset(
    _ordered(
        "a an and any are as at be by can do for from generate create get give have how i in into is it its make me my "
        "of on or please some that the them then this to use using want what with would you your costs out up one "
        "about write new prices much credits show two three four five several different variants variations"
    )
)
SAID = {key: {*_ordered(said)} for key, said in MEANT.items()}
KEYS = {word: {key for key, said in SAID.items() if word in said} for word in set().union(*SAID.values())}
KNOWN = {*KEYS, *MEANT}
# What people say who have a picture already: what is to be done to it, or which one it is.
OF_A_NEW_ONE = frozenset(_ordered("4k 8k resolution hires transparent transparency"))
CHANGING = {word for key in ("upscale", "edit", "removal", "background", "mask") for word in (key, *SAID[key])}
CHANGING -= OF_A_NEW_ONE
OF_PICTURES = {"image", "upscale", "background"}
DESIGNED = {"logo", "poster", "icon", "thumbnail"}  # "my logo" may be one that is still to be made
_SHOWN = "|".join(sorted({"image", *SAID["image"]} - DESIGNED))
_STYLES = r"an?|colou?r|cartoon|anime|comic|sketch|drawing|painting|watercolou?r|pixel|line|black"
_SEEN = (
    "dog|cat|pet|son|daughter|wife|husband|kids?|child|children|baby|family|mother|mum|mom|father|dad|sister|brother"
)
# Words for a picture that people have: what it is, who is seen there, what it is to become, that there are several.
OF_OWN_PICTURE = re.compile(
    rf"\b(my|our|this|these|those) (\w+ ){{0,2}}({_SHOWN})s?\b|\b({_SHOWN})s? of (this|these|(my|our) ({_SEEN}))\b|"
    rf"\b(photo|image|picture|drawing|sketch)s? (in)?to ({_STYLES})\b|\bwiden\b|"
    r"\b(turn|convert|transform)\b.*\b(in)?to\b|\bmake (my|our|this|these|it|the)\b.*\binto\b|"
    r"\b(put|join|combin\w+|merg\w+|blend\w*)\b.*\b(pictures|photos|images)\b",
    re.IGNORECASE,
)
MOVING = re.compile(
    r"\b(logo|icon|poster|title)s? (that )?(spin|rotat)\w*|\b(spinning|rotating) (logo|icon|title)", re.IGNORECASE
)
POINTING = re.compile(r"\b(this|these|that|my|our|from|to|into)\b", re.IGNORECASE)


def _tokens(words: list[str]) -> set[str]:
    """Return words as a set; two of them that are also written as one, such as lip sync, are one."""
    both = {index: first + second for index, (first, second) in enumerate(pairwise(words)) if first + second in KNOWN}
    return {*both.values(), *(word for index, word in enumerate(words) if not {index, index - 1} & both.keys())}


@dataclass(frozen=True)
class Offer:
    """A tool or a model, as search shows it.

    `credits` are those of a usual call, at the length and resolution of `settings`; it `fits` where that is the wish.
    It `takes` files of these kinds, and `needs` some of them, or an earlier "task".
    """

    name: str
    makes: str
    kind: Kind
    task: str
    price: str
    tool: str
    availability: Availability
    credits: float | None = None
    words: str = ""
    fields: str = ""
    settings: str = ""
    fits: bool = True
    takes: frozenset[str] = frozenset()
    needs: frozenset[str] = frozenset()

    @property
    def said_price(self) -> str:
        """The price as it is shown beside others: with its dollars, and the length and resolution that it is for."""
        if self.credits is None:
            return self.price
        more = f" ({dollars(self.credits)}){f' for {self.settings}' if self.settings else ''}"
        return re.sub(r"[0-9.]+ credits?(?!/)", lambda found: f"{found[0]}{more}", self.price, count=1)

    @property
    def line(self) -> str:
        """The offer as one line."""
        by = f"; easier by {self.tool}" if self.tool and self.tool != self.name else ""
        state = "" if self.availability == "current" else f" [{self.availability}]"
        return f"{self.name}: {self.makes} ({self.said_price}{by}){state}"


def offer_of_model(entry: Entry, sent: Mapping[str, Any] | None = None, wish: Wish = NO_WISH) -> Offer:
    """Return a model as an offer, at the price of an input; one with the wish, or a usual one, where none is given."""
    wished = input_with(entry.model, wish) if wish and sent is None else None
    sent = wished or sent
    model, price = entry.model, usual_price(entry.model, entry.unit, sent)
    makes = f"{model.title}, {model.task.replace('-', ' ')}" + ("" if model.kind in model.task else f", {model.kind}")
    priced_input = usual_input(model) if sent is None else sent
    credits, settings = estimate(model, priced_input, usual=True).credits, settings_of(model, priced_input)
    if wish.sound and has_sound(model, priced_input):
        settings = ", ".join(filter(None, [settings, SOUND]))
    ours = credits if entry.unit == "credits" else None  # other units can't be compared
    fields, state = " ".join(model.input["properties"]), model.availability
    fits = not wish or wished is not None or wish.is_met(settings, model, priced_input)
    needed = model.input.get("required", ())
    about = (entry.provider, fields, settings, fits, _kinds(model.media), _needs(model.media, needed))
    return Offer(entry.name, makes, model.kind, model.task, price, model.tool, state, ours, *about)


def offer_of_tool(
    tool: BoundTool, provider: Provider, models: Iterable[Offer], default: Offer | None, lowest: float | None = None
) -> Offer:
    """Return a tool as an offer, at the price of its default call, else of the cheapest model that it stands for.

    A `lowest` price that is below it is named as well.
    """
    own = [model for model in models if model.tool == tool.name]
    shown = default or min(own, key=dearness, default=None)
    price = "see estimate_cost" if tool.charges else "free"
    if tool.charges and shown and "unknown" not in shown.price:
        price = f"usually {'' if default else 'from '}{shown.price}"
        if lowest is not None and shown.credits is not None and lowest < shown.credits:
            price = f"usually {shown.price}, from {plain(lowest)}"
    elif tool.charges and lowest is not None:
        price = f"usually from {priced(lowest, 'credits')}"
    words, task = " ".join(model.name for model in own), shown.task if shown else ""
    makes = re.split(r"(?<=[a-z])[.;:] ", tool.description.partition("\n")[0])[0].rstrip(".")
    state, credits, said = provider.availability, shown.credits if shown else None, f"{provider.title} {words}"
    fields = " ".join(tool.arguments.names)
    settings, fits = (shown.settings, shown.fits) if shown else ("", True)
    needed = tool.arguments.schema.get("required", ())
    about = (said, fields, settings, fits, _kinds(tool.arguments.media), _needs(tool.arguments.media, needed))
    return Offer(tool.name, makes, tool.kind, task, price, tool.name, state, credits, *about)


def _kinds(media: Mapping[str, Media]) -> frozenset[str]:
    return frozenset(chain.from_iterable(limits.kinds for limits in media.values()))


def _needs(media: Mapping[str, Media], needed: Iterable[str]) -> frozenset[str]:
    """Return what people must have before a call: files of these kinds, a "task" of the same sort."""
    task = {"task" for name in needed if TASK_ID.fullmatch(name)}
    return _kinds({path: media[path] for path in media if field_of(path) in needed}) | task


def default_of_tool(tool: BoundTool, entries: Mapping[str, Entry], wish: Wish = NO_WISH, **chosen: Any) -> Offer | None:
    """Return the model that a tool buys where it is given only what it needs and was chosen, at the price of that call.

    It is None where that is not known. A wish is a part of the call where the tool takes it. The tool's function is
    called here, so it must be one of this project.
    """
    request = _wished_call(tool, wish, **chosen)
    request = request.otherwise if request and request.model is None and request.otherwise else request
    if request is None or (entry := entries.get(request.model or "")) is None:
        return None
    offer = offer_of_model(entry, request.body["input"] if entry.model.wrapped else request.body, wish)
    # What may have the wish in another call costs the same there, where no price depends on it.
    return replace(offer, fits=offer.fits or (not offer.settings and wish.fields(tool.arguments.schema) is not None))


def lowest_of_tool(tool: BoundTool, entries: Mapping[str, Entry], wish: Wish = NO_WISH) -> float | None:
    """Return the lowest price in credits of a usual call of a tool, with any of its models; None where none has one.

    The tool's function is called here, so it must be one of this project.
    """
    own = [entry for entry in entries.values() if entry.model.tool == tool.name and entry.unit == "credits"]
    inputs = [(entry.model, input_with(entry.model, wish) if wish else usual_input(entry.model)) for entry in own]
    prices = [least(model, sent) for model, sent in inputs if sent is not None]
    for word in tool.arguments.schema["properties"].get("model", {}).get("enum", ()):
        request = _wished_call(tool, wish, model=word)
        if request is not None and (entry := entries.get(request.model or "")) is not None:
            sent = request.body["input"] if entry.model.wrapped else request.body
            prices += [least(entry.model, sent)] if not wish or offer_of_model(entry, sent, wish).fits else []
        elif request is not None and request.gateway == KIE:
            prices.append(request.estimated_credits)
    return min((price for price in prices if price), default=None)


def _wished_call(tool: BoundTool, wish: Wish, **chosen: Any) -> Submission | None:
    """Return the request of the least call with a wish, or without it where the tool does not take it."""
    for each in (wish, replace(wish, sound=False)):  # a tool whose clips always have sound has no word for it
        fields = each.fields(tool.arguments.schema) if each else None
        if fields and (request := _least_call(tool, **chosen, **fields)):
            return request
    return _least_call(tool, **chosen)


def _least_call(tool: BoundTool, **chosen: Any) -> Submission | None:
    """Return the request of a call with nothing but what a tool needs, and what was chosen."""
    try:
        request = tool.fn(**tool.check(usual_input(model_of(tool)) | chosen, saves=True)[1])
    except InvalidArgument:
        return None
    return request if isinstance(request, Submission) else None


def dearness(model: Offer) -> tuple[bool, str, float]:
    """Return a key by which prices sort; of rates it compares only those of one unit."""
    rate = re.match(r"\D*([0-9.]+)(.*)", model.price)
    if model.credits is not None or rate is None:
        return (model.credits is None, "", model.credits or 0.0)
    return (True, rate[2], float(rate[1]))


def best(offers: Iterable[Offer], words: str, kind: str | None, task: str | None) -> list[Offer]:
    """Return the offers that fit best, current ones first."""
    offers, (wish, words) = [*offers], wish_in(words)
    words = OF_TEXT.sub("", words)
    words = f"{words} video" if MOVING.search(words) else words
    asked = _with_change(_wanted(words), words)
    by_price = 1 if CHEAP & asked else -1 if DEAREST & asked else 0
    if wish.sound:
        asked = _of_a_sounding_clip(asked, named=not by_price)
    elif speaker := speaker_in(words):
        asked = _of_a_speaker(asked, speaker, offers)
    wishes = asked - CHEAP - FAST - BEST
    fits = [offer for offer in offers if kind in {None, offer.kind} and task in {None, offer.task}]
    if not wishes and task is None:  # nothing in particular is meant
        general = [offer for offer in fits if offer.task and offer.task in GENERAL]
        fits = [offer for offer in general if offer.kind in {"image", "video"}] or general or fits
    minor = _qualities(words) | {wish.resolution}
    gains = [_gains(offer, wishes, minor) for offer in fits]
    if any(wish in KEYS and not any(gain[wish] for gain in gains) for wish in wishes):
        return []
    most = NEAR * max((sum(gain.values()) for gain in gains), default=0)
    if not any(offer.fits for offer, gain in zip(fits, gains, strict=True) if sum(gain.values()) >= most):
        wish = NO_WISH  # nothing that is asked for has such a length
    offered = {wish for gain in gains for wish in wishes if gain[wish]}
    pairs = zip(fits, gains, strict=True)
    scored = [(_score(offer, gain, asked, minor, offered, wish), offer) for offer, gain in pairs]
    if wishes:
        scored = [(score, offer) for score, offer in scored if score > 0]
    is_new = _is_new_picture(asked) and not POINTING.search(words)
    if by_price:
        top = max((score for score, _ in scored), default=0)
        scored = [(score, offer) for score, offer in scored if not wishes or score >= NEAR * top]

    def key(found: tuple[float, Offer]) -> tuple[Any, ...]:
        (score, offer), makes = found, found[1].tool == found[1].name and found[1].name.startswith("generate_")
        (unknown, *rate), credits = dearness(offer), offer.credits or 0.0
        order = (by_price < 0 and not makes, unknown, by_price * credits)
        is_named = asked & _tokens(_ordered(offer.name)) - KINDS
        is_other = is_new and not is_named and (offer.kind != "image" or "image" in offer.needs)
        state = (RANKS[offer.availability], is_other, *([bool(wish) and not offer.fits] if by_price else []))
        return (*state, *(order if by_price else ()), -score, unknown, *rate, offer.name)

    return [offer for _, offer in sorted(scored, key=key)[:MOST_FOUND]]


def _is_new_picture(asked: Iterable[str]) -> bool:
    """Return whether words ask for a picture, and neither for a change to one nor for a thing of another kind."""
    keys = [KEYS.get(word, set()) | ({word} & MEANT.keys()) for word in asked]
    is_picture = any("image" in each for each in keys)
    return is_picture and not CHANGING.intersection(asked) and all(not each or each & OF_PICTURES for each in keys)


def _wanted(text: str) -> set[str]:
    """Return the words that say what to make, not what it is for."""
    head = _tokens(_ordered(text.lower().partition(" for ")[0]))
    return (head if KNOWN & head else _tokens(_ordered(text))) - EMPTY


def _with_change(asked: set[str], text: str) -> set[str]:
    """Return the words of a wish, with "edit" where they speak of a picture that is there, and of nothing else."""
    keys = {key for word in asked for key in (*KEYS.get(word, ()), word) if key in MEANT}
    is_wider = "extend" in keys
    if "image" not in keys or keys - {"image", "edit", "extend"}:
        return asked
    if not (is_wider or OF_OWN_PICTURE.search(text.partition(" for ")[0])):
        return asked
    return asked - SAID["extend"] - {"extend"} | {"edit"}


def _of_a_sounding_clip(asked: set[str], *, named: bool) -> set[str]:
    """Return the words of a wish for a clip with sound, of which all that have it are one; or `named` by its sort."""
    heard = {word for word in asked if {word, *KEYS.get(word, ())} & {"speech", "sound", "audio", "music", "lipsync"}}
    is_speech = any({word, *KEYS.get(word, ())} & {"sing", "speech", "lipsync"} for word in heard)
    return asked - heard | ({"speech" if is_speech else "sound"} if named else set())


def _of_a_speaker(asked: set[str], speaker: str, offers: Iterable[Offer]) -> set[str]:
    """Return the words of a wish for a photo or video that is to speak: what it says, and who, names no tool."""
    named = chain.from_iterable(_tokens(_ordered(offer.name)) for offer in offers if offer.task == "lip-sync")
    kept = asked & ({*named} - KNOWN | CHEAP | FAST | BEST)
    if speaker == "nobody":  # the words are written in a picture, or one who speaks is seen in it
        seen = {word for word in asked if not KEYS.get(word, set()) & {"speech", "lipsync", "talking"}}
        return seen if any({"video", "image"} & KEYS.get(word, {word}) for word in seen) else seen | {"picture"}
    return kept | {"talking" if speaker == "photo" else "lipsync", speaker}


def _qualities(text: str) -> set[str]:
    """Return the words for what comes with a thing, which are not the thing itself: music with lyrics."""
    thing, more = re.split(" with | from | and show |$", text.lower(), maxsplit=1)
    return _tokens(_ordered(more)) if KNOWN & _tokens(_ordered(thing)) else set()


def _gains(offer: Offer, wishes: set[str], minor: set[str]) -> dict[str, float]:
    """Return what each wish finds in an offer: its name counts most, then what it does, then what is said of it.

    The `minor` ones count half.
    """
    texts = (offer.name, offer.task, offer.words, offer.makes, offer.fields)
    # What a thing takes, as in speech-to-video, is not what it makes.
    name, does, more, said, fields = (_tokens(_ordered(SOURCE.sub("", text))) for text in texts)
    said = said.union(*(KEYS.get(word, ()) for word in said))
    name, fields, does = name - KINDS, fields - KINDS, does | {offer.kind}
    more = name | (more - KINDS - KNOWN)
    gains = {}
    for wish in wishes:
        meant = {wish} | KEYS.get(wish, set())
        found = 0.5 * bool(meant & fields) + max(
            (4.0 if any(map(str.isdigit, wish)) else 6.0) * (wish in more),
            5.0 * bool(meant & does),
            4.0 * bool(meant & name),
            2.0 * bool(meant & (said | offer.takes)),
        )
        gains[wish] = found / 2 if wish in minor else found
    return gains


def _score(
    offer: Offer, gains: Mapping[str, float], asked: set[str], minor: set[str], offered: Iterable[str], wish: Wish
) -> float:
    """Return how well an offer fits, by what each wish finds in it; 0 where it does not."""
    name, task, said = (_tokens(_ordered(text)) for text in (offer.name, offer.task, offer.makes))
    special = (task | _tokens(_ordered(offer.name.rpartition("/")[2]))) - KINDS
    special = special.union(*(KEYS.get(word, ()) for word in special))
    is_asked = offer.task in GENERAL or any(special & ({wish} | KEYS.get(wish, set())) for wish in gains)
    score = sum(gains.values()) - (0.0 if is_asked else UNASKED)
    if gains and score <= 0:
        return 0.0
    speed = name | said
    score += 2.0 * bool(FAST & asked and FAST & speed) + 2.0 * bool(BEST & asked and BEST & speed)
    # Of equals the one that does nothing else, and what makes something before what changes it.
    score += 1.0 * bool(task and task - {"to"} <= asked - minor) + 0.5 * offer.name.startswith("generate_")
    spoken = asked.union(*(KEYS.get(word, ()) for word in asked))
    score += 1.5 * (offer.tool == offer.name) - FURTHER * (len(offer.needs - spoken) + ("task" in offer.needs))
    # What has nothing of a wish that others have comes after these, and is found all the same.
    missed = sum(0.5 if word in minor else 1.0 for word in offered if not gains[word])
    return max(score - MISSED * (missed + (bool(wish) and not offer.fits)), LEAST)
