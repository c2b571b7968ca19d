"""Prompts that people choose in their client: a request of theirs, and the calls of our tools that it takes."""

import json
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import anyio.to_thread

from kie_ai_mcp._flow.engine import Engine
from kie_ai_mcp._models.samples import choices, nearest_first
from kie_ai_mcp._models.search import Offer, best
from kie_ai_mcp._models.tools import RUN
from kie_ai_mcp._providers.selection import RANKS
from kie_ai_mcp._providers.understanding import seconds_in
from kie_ai_mcp._settings.load import nearest
from kie_ai_mcp.errors import InvalidArgument
from kie_ai_mcp.specs import Kind, Media, field_of

UPRIGHT = "9:16"
PROMPT, PORTRAIT, RECORDING = "<your prompt>", "<my portrait>", "kie://files/<task_id>/1"  # for later values
IS_FILE = re.compile(r"[/\\:.]")  # in a path or an address, and in no name of a voice
STYLES = ("studio photo", "lifestyle photo", "flat lay", "macro", "minimalist", "3D render", "watercolour")
BACKGROUNDS = ("plain white", "soft gradient", "marble", "wooden table", "kitchen", "street", "nature", "transparent")
SECONDS = ("4", "5", "6", "8", "10", "15")


@dataclass(frozen=True)
class Argument:
    """An argument of a prompt, with values to suggest where some are usual."""

    name: str
    description: str
    required: bool = False
    values: tuple[str, ...] = ()


@dataclass(frozen=True)
class Goal:
    """What a prompt needs a tool for: what it makes, from which files, and the words that find it."""

    kind: Kind
    search: str
    files: tuple[str, ...] = ()
    texts: frozenset[str] = frozenset({"prompt"})


PICTURE, EDIT = Goal("image", "image"), Goal("image", "edit image", ("image",))
CLIP, AVATAR = Goal("video", "video"), Goal("video", "talking avatar", ("audio", "image"))
SPEECH = Goal("audio", "speech", texts=frozenset({"text"}))


@dataclass(frozen=True)
class Prompt:
    """A prompt as clients list it. It is offered where there is a tool for its goal."""

    name: str
    title: str
    description: str
    arguments: tuple[Argument, ...]
    goal: Goal
    icon: str
    steps: Callable[["Prompts", Mapping[str, str]], Awaitable[list[str]]]  # of its arguments that are filled in


@dataclass(frozen=True)
class Maker:
    """A tool or model that can be called now."""

    name: str
    schema: Mapping[str, Any]
    media: Mapping[str, Media]
    is_tool: bool  # called by its own name, not through run_model

    @property
    def files(self) -> dict[str, tuple[str, ...]]:
        """The kinds of each file that it can't do without, by argument."""
        required = self.schema.get("required", ())
        return {field: media.kinds for path, media in self.media.items() if (field := field_of(path)) in required}

    def fits(self, goal: Goal) -> bool:
        """Return whether it needs exactly the files of a goal, and no text besides the goal's."""
        files = self.files
        kinds = sorted(kind for kinds in files.values() for kind in kinds)
        return tuple(kinds) == goal.files and {*self.schema.get("required", ())} - files.keys() <= goal.texts

    def values_of(self, field: str) -> list[Any]:
        """Return the values that an argument may have, as far as they are few."""
        schema = self.schema["properties"].get(field, {})
        least, most = schema.get("minimum", 1), schema.get("maximum", 0)
        listed = [*choices(schema), *schema.get("examples", ())]
        return listed or list(range(max(1, int(least)), min(int(most), 60) + 1))

    def upright(self) -> dict[str, Any]:
        """Return the argument that makes it upright; nothing where it has none."""
        names = (name for name, schema in self.schema["properties"].items() if UPRIGHT in choices(schema))
        return dict.fromkeys(list(names)[:1], UPRIGHT)


@dataclass(frozen=True)
class Prompts:
    """The prompts, over the tools that clients are offered and everything that can be found."""

    engine: Engine
    is_listed: Callable[[str], bool]
    offers: Callable[[], Sequence[Offer]]

    async def listed(self) -> list[Prompt]:
        """Return the prompts for whose goal there is a tool or model."""
        with_tool = [prompt for prompt in PROMPTS.values() if any(self._tools(prompt.goal))]
        if len(with_tool) < len(PROMPTS) and self.is_listed(RUN):
            await self.engine.catalogue.load()
            return [prompt for prompt in PROMPTS.values() if prompt in with_tool or any(self._models(prompt.goal))]
        return with_tool

    async def find(self, name: str) -> Prompt:
        """Return a prompt that is listed; raise InvalidArgument for any other."""
        listed = {prompt.name: prompt for prompt in await self.listed()}
        if name in PROMPTS and name not in listed:
            raise InvalidArgument("name", name, "the settings leave out every tool that it needs")
        if name not in listed:
            raise InvalidArgument("name", name, f"there is no such prompt. {nearest(name, listed)}")
        return listed[name]

    async def text(self, name: str, arguments: Mapping[str, str]) -> str:
        """Return the user's message that a prompt makes of its arguments; raise InvalidArgument for wrong ones."""
        prompt = await self.find(name)
        taken = {argument.name: argument for argument in prompt.arguments}
        if unknown := next((each for each in arguments if each not in taken), None):
            raise InvalidArgument(unknown, arguments[unknown], f"{name} takes {', '.join(taken)}")
        filled = {key: text for key in taken if (text := arguments.get(key, "").strip())}
        if missing := next((key for key in taken if taken[key].required and key not in filled), None):
            raise InvalidArgument(missing, "", f"{name} needs it: {taken[missing].description}")
        about = [f"{key.capitalize()}: {_quoted(value)}" for key, value in filled.items()]
        steps = [f"{number}. {step}" for number, step in enumerate(await prompt.steps(self, filled), 1)]
        return "\n".join([prompt.description, *about, "", *steps])

    async def maker(self, goal: Goal, words: str = "", after: Maker | None = None) -> Maker | None:
        """Return the tool or model that serves a goal best, that of a name, or the one that words describe.

        It is not one that costs more of the files that the maker of the step before makes, where another serves.
        """
        await self.engine.catalogue.load()
        return await anyio.to_thread.run_sync(self._best, goal, words, after)

    def candidates(self, goal: Goal) -> list[Offer]:
        """Return every tool and model that serves a goal, those first that its service has today."""
        fits = (offer for offer in self.offers() if (maker := self._maker(offer.name)) and maker.fits(goal))
        return sorted((each for each in fits if each.kind == goal.kind), key=lambda each: RANKS[each.availability])

    def _best(self, goal: Goal, words: str, after: Maker | None) -> Maker | None:
        offers, entry = self.candidates(goal), self.engine.catalogue.find(words)
        name = words if words in self.engine.plugins.tools else entry and entry.name
        if name:
            offers = [offer for offer in offers if offer.name == name]
        elif words:
            offers = best(offers, words, None, None)
        else:
            offers = best(offers, goal.search, None, None) or offers
        makers = [maker for offer in offers if (maker := self._maker(offer.name))]
        dear = {each.tool for each in self.engine.formats.of_results_of(after.name)} if after else set()
        return min(makers, key=lambda maker: maker.name in dear or (goal == CLIP and not maker.upright()), default=None)

    def _tools(self, goal: Goal) -> Iterator[Maker]:
        plugins = self.engine.plugins
        names = (tool.name for tool in plugins.tools.values() if tool.paid and tool.kind == goal.kind)
        makers = (self._maker(name) for name in names if not plugins.rank(name))
        return (maker for maker in makers if maker and maker.fits(goal))

    def _models(self, goal: Goal) -> Iterator[Maker]:
        entries = self.engine.catalogue.entries.values()
        makers = (self._maker(entry.name) for entry in entries if entry.model.kind == goal.kind)
        return (maker for maker in makers if maker and maker.fits(goal))

    def _maker(self, name: str) -> Maker | None:
        """Return a tool or model as far as the listed tools can call it."""
        tool, is_listed = self.engine.plugins.tools.get(name), self.is_listed(name)
        if not is_listed and not self.is_listed(RUN):
            return None
        if tool is not None:
            return Maker(name, tool.arguments.schema, tool.arguments.media, is_listed) if tool.paid else None
        entry = self.engine.catalogue.entries.get(name)
        return None if entry is None else Maker(name, entry.model.input, entry.model.media, is_tool=False)

    def purchase(self, maker: Maker, wishes: Mapping[str, Any], files: Mapping[str, str]) -> Iterator[str]:
        """Yield the steps to one paid result: the prompt, the price, the call, the wait."""
        arguments = dict(wishes)
        if "prompt" in maker.schema["properties"]:
            arguments = {"prompt": PROMPT, **wishes}
            yield f"Write a prompt from the above; it takes the place of {PROMPT} below."
        for field, (kind, *_) in maker.files.items():
            if not files.get(kind):
                yield f"Ask me for the {kind} that {field} needs (a path or an address), and wait for it."
            file, is_list = files.get(kind) or "...", maker.schema["properties"][field].get("type") == "array"
            arguments[field] = [file] if is_list else file
        if self.is_listed("estimate_cost"):
            call = f"name {_quoted(maker.name)} and arguments {_quoted(arguments)}"
            more = " find_models finds others, should I want them." if self.is_listed("find_models") else ""
            yield f"Call estimate_cost with {call}, and tell me the price.{more}"
        call = f"{maker.name} ONCE with" if maker.is_tool else f"{RUN} ONCE with model {_quoted(maker.name)} and input"
        yield f"Call {call} {_quoted(arguments)}. It is paid: do not repeat it because its answer is slow."
        if self.is_listed("wait_for_tasks"):
            yield "Call wait_for_tasks with the task_id that it answers; again, while the task is running."

    def ending(self) -> Iterator[str]:
        """Yield the step that shows the result, where there is a tool for it."""
        if self.is_listed("show_result"):
            yield "Call show_result with that task_id. Tell me what it cost, and where the result is."


async def _product_steps(prompts: Prompts, filled: Mapping[str, str]) -> list[str]:
    image = filled.get("image", "")
    maker = await prompts.maker(EDIT if image else PICTURE)
    if maker is None:
        raise InvalidArgument("image", image, "no enabled tool makes a picture from another one. Leave it out")
    return [*prompts.purchase(maker, {}, {"image": image}), *prompts.ending()]


async def _clip_steps(prompts: Prompts, filled: Mapping[str, str]) -> list[str]:
    seconds, words = filled.get("seconds", ""), filled.get("model", "")
    length = str(seconds_in(seconds) or seconds)
    if seconds and not re.fullmatch(r"[1-9][0-9]{0,2}", length):
        raise InvalidArgument("seconds", seconds, "give a whole number of seconds, such as 5")
    maker = await prompts.maker(CLIP, words)
    if maker is None:
        raise InvalidArgument("model", words, "no tool or model that makes videos of words alone fits. Leave it out")
    wishes = maker.upright()
    if seconds and (near := nearest_first(int(length), maker.values_of("duration"))):
        wishes["duration"] = near[0]
    return [*prompts.purchase(maker, wishes, {}), *prompts.ending()]


async def _avatar_steps(prompts: Prompts, filled: Mapping[str, str]) -> list[str]:
    voice, steps = filled.get("voice", ""), list[str]()
    files = {"image": filled.get("picture", ""), "audio": voice if IS_FILE.search(voice) else ""}
    speech = None if files["audio"] else await prompts.maker(SPEECH)
    maker = await prompts.maker(AVATAR, after=speech)
    assert maker is not None  # noqa: S101  else the prompt is not listed
    if speech is not None:
        files["audio"] = RECORDING
        wishes = {"voice": voice} if voice and "voice" in speech.schema["properties"] else {}
        steps += prompts.purchase(speech, {"text": filled["words"], **wishes}, {})
        steps.append(f"Its result is the recording, {RECORDING}: put the task_id in.")
    if not files["image"]:  # before anything is paid for
        files["image"] = PORTRAIT
        steps.insert(
            0, f"Ask me for a portrait, a path or an address, and wait. It takes the place of {PORTRAIT} below."
        )
    return [*steps, *prompts.purchase(maker, {}, files), *prompts.ending()]


def _quoted(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


PROMPTS = {
    prompt.name: prompt
    for prompt in (
        Prompt(
            "product_picture",
            "Product picture",
            "Make a picture of a product, from words or from a picture of it.",
            (
                Argument("product", "What it is: a red enamel mug with a white rim", required=True),
                Argument("style", "How it is to look", values=STYLES),
                Argument("image", "A picture of the product: a path or an address"),
                Argument("background", "What is behind it", values=BACKGROUNDS),
            ),
            PICTURE,
            "picture",
            _product_steps,
        ),
        Prompt(
            "short_clip",
            "Short vertical clip",
            "Make a short upright video for a phone.",
            (
                Argument("idea", "What happens in it", required=True),
                Argument("seconds", "How long it is, about", values=SECONDS),
                Argument("model", "A tool or model for videos, or words that describe one: cheap, Kling"),
            ),
            CLIP,
            "clip",
            _clip_steps,
        ),
        Prompt(
            "talking_avatar",
            "Talking avatar",
            "Make a video of a person who says something.",
            (
                Argument("words", "What is said", required=True),
                Argument("picture", "A portrait of who speaks: a path or an address"),
                Argument("voice", "The name of a voice, or a recording of the words: a path or an address"),
            ),
            AVATAR,
            "face",
            _avatar_steps,
        ),
    )
}
