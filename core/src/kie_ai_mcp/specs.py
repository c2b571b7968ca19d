"""Values that core and plugins exchange: frozen, typed, without I/O.

A tool function takes shared argument types (`Prompt`, `ImageUrls`, ...) and returns a `Submission` or a
`Query`; the other hooks take a `Task` and return a `StatusRoute` or an `Outcome`. All times are
timezone-aware UTC, all durations are seconds.

The limits of a field stand in its annotation. Core checks every value that a plugin returns against them, strictly:
nothing is converted, and a bool is no number.
"""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import partial, wraps
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, AwareDatetime, Field, SkipValidation, StringConstraints

from kie_ai_mcp.errors import SAID_CHARS, InvalidArgument, KieError, one_line

Kind = Literal["image", "video", "audio", "text"]
MediaKind = Literal["image", "video", "audio", "file", "link"]
ConvertTo = Literal["png", "jpeg"]
Status = Literal["pending", "processing", "completed", "failed"]
Availability = Literal["current", "retired", "undocumented"]

FORMAT = "output_format"  # the argument that says which type of picture is wanted
KIE = "kie"  # the name of the built-in gateway
GATEWAY_SETTING = "gateway"  # the setting of every provider that names the service that stands in for Kie.ai
CREDITS = "credits"  # the unit of its prices, and of no other gateway's
DAY_S = 86_400
PROMPT_CHARS = 20_000
ADDRESS_CHARS = 4_000  # the longest address of a result
DATA_CHARS = 2_000_000  # of a result that is data, as JSON
WORD_CHARS = 200  # of a model's id, or of a word that stands for an error
LONGEST_KEEP_S = 36_500 * DAY_S

# The service's address for all market models, and what it was called before October 2025.
MARKET_CREATE = ("jobs/createTask", "playground/createTask")
MARKET_STATUS = ("jobs/recordInfo", "playground/recordInfo")


class _Addressed:
    path: str | Sequence[str]

    @property
    def paths(self) -> tuple[str, ...]:
        """Every address, today's first."""
        return (self.path,) if isinstance(self.path, str) else tuple(self.path)


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _json(value: Any, most: float = math.inf) -> Any:
    try:
        plain = dict(value) if isinstance(value, Mapping) else value
        length = len(json.dumps(plain, allow_nan=False, ensure_ascii=False, separators=(",", ":")))
    except (TypeError, ValueError, RecursionError) as exc:
        raise ValueError(f"JSON: {exc}") from None
    if length > most:
        raise ValueError(f"JSON of at most {most:,} characters")
    return value


def _day(value: str) -> str:
    try:
        is_day = not value or date.fromisoformat(value).isoformat() == value
    except ValueError:
        is_day = False
    if not is_day:
        raise ValueError("a day, as YYYY-MM-DD")
    return value


def _names_of_settings(values: Mapping[str, str]) -> Mapping[str, str]:
    for name in values:
        # Its variable is in capitals, with _ for every other sign.
        plain = re.sub("[^a-z0-9]+", "_", name.lower()).strip("_")
        if name != plain:
            likely = f"; write {plain!r} for {name!r}" if plain else ""
            raise ValueError(f"names of a-z, 0-9 and _, of which variables can be made{likely}")
        if name == GATEWAY_SETTING:
            raise ValueError(f"names other than {name!r}, by which users choose another service for it")
    return values


# A description completes the sentence that names a wrong value: "credits are 'many', not a finite number".
_Text = Annotated[str, Field(description="text")]
Day = Annotated[str, AfterValidator(_day), Field(description="a day, as YYYY-MM-DD")]
_OptionalText = Annotated[str | None, Field(description="text")]
_Id = Annotated[str, Field(min_length=1, description="text of at least one character")]
_Texts = Annotated[tuple[str, ...], Field(strict=False, description="a tuple of text")]
_Beginnings = Annotated[
    tuple[Annotated[str, Field(pattern="[0-9A-Za-z]{3}")], ...],
    Field(strict=False, description="a tuple of beginnings of model ids, each of at least three letters or digits"),
]
_Function = Field(description="a function")
_Price = Annotated[float | None, Field(ge=0, description="a number of at least 0")]
_JsonObject = Annotated[Mapping[str, Any], AfterValidator(_json), Field(description="a mapping with text as keys")]
_OnePath = Annotated[str, Field(pattern="[^/ ]")]
Paths = _OnePath | Annotated[Sequence[_OnePath], Field(min_length=1)]
_Path = Annotated[Paths, Field(description="an address below the service's base URL")]
_Kind = Annotated[Kind | None, Field(description="'image', 'video', 'audio' or 'text'")]
_Kinds = Annotated[tuple[Kind, ...], Field(strict=False, description="a tuple of 'image', 'video', 'audio' and 'text'")]
_ConvertTo = Annotated[ConvertTo | None, Field(description="'png' or 'jpeg'")]
_Header = Annotated[str, Field(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")]
_Template = Annotated[str, Field(pattern=r"^[!-~]([ -~]*[!-~])?$")]
_Headers = Annotated[Mapping[_Header, _Template], Field(description="a mapping of header names to printable ASCII")]
_Settings = Annotated[
    Mapping[str, str], AfterValidator(_names_of_settings), Field(description="a mapping of names to their descriptions")
]


@dataclass(frozen=True)
class Answer:
    """One readable answer of a service.

    Args:
        code: The service's code in Kie.ai's numbering; 200 is success.
        message: The service's message; may be empty. Core keeps one line of at most 500 characters.
        data: The service's data, as JSON gives it.
    """

    code: Annotated[int, Field(description="a whole number")]
    message: _Text
    data: Any = None


@dataclass(frozen=True)
class Accepted:
    """The task that a service made of a submission, where its answer says more than the task's id.

    Args:
        task_id: The service's id of the task, of at least one character.
        status_address: Where the answer says that the status is read; below the gateway's base URL.
    """

    task_id: _Id
    status_address: _Text = ""


@dataclass(frozen=True)
class Submission(_Addressed):
    """A paid create request, as a tool function returns it.

    Args:
        path: The address below the gateway's base URL, never empty; several if it was renamed, today's first.
            The next one is tried only when an answer proves that the address is not served, and names no task.
        body: The JSON body, without NaN and infinity. Entries that are None are left out, so optional arguments can
            be passed on as is.
        api_type: The sort of task, stored with it (``"nano-banana"``, ``"veo3"``); at least one character.
        model: The service's model id where there is one; shown in records and file names.
        read: How to read an answer that is not the usual ``data.taskId``. Called with every readable answer of
            this request, whatever its code; returns the task id, an `Accepted`, an `Outcome` that is already
            final, or None for the usual reading. Raises `errors.Refused` where the answer provably made nothing and
            the code's usual words would mislead.
        gateway: The name of the service that is called.
        estimated_credits: The probable price, 0 or more, from the provider's own dated price table; None where that
            does not say.
        notes: What was chosen, rounded or left out, a sentence each; shown in the answer.
        kind: What the task makes, where one function makes several kinds; the tool's own if left out.
        otherwise: The same order in another form, for the same service, which is sent where no address of this one is
            served; while credits are limited only if it costs no more. It has no `otherwise` of its own.
        checked: Whether the input was checked against the model's data already, as `Family` does, and the price is
            that of the data.
        convert_to: The tool's `output_format`, where the service chooses the format of its pictures itself: they are
            converted when they are saved. Such a call is refused where nothing would be saved or nothing converts.
    """

    path: _Path
    body: _JsonObject
    api_type: _Id
    model: _OptionalText = None
    read: Annotated["Callable[[Answer], str | Accepted | Outcome | None] | None", _Function] = None
    gateway: _Text = KIE
    estimated_credits: _Price = None
    notes: _Texts = ()
    kind: _Kind = None
    otherwise: Annotated["Submission | None", SkipValidation, Field(description="a Submission")] = None
    checked: bool = False
    convert_to: _ConvertTo = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "body", _given(self.body))

    @classmethod
    def market(
        cls,
        model: str,
        input: Mapping[str, Any],  # noqa: A002  the service's own word
        *,
        api_type: str,
        callback_url: str | None = None,
        estimated_credits: float | None = None,
        notes: tuple[str, ...] = (),
        kind: Kind | None = None,
        checked: bool = False,
        convert_to: ConvertTo | None = None,
    ) -> Self:
        """A task of one of Kie.ai's market models: ``jobs/createTask`` with `model` and `input`.

        Entries of `input` that are None are left out.
        """
        body = {"model": model, "callBackUrl": callback_url, "input": _given(input)}
        more: dict[str, Any] = {
            "estimated_credits": estimated_credits,
            "notes": notes,
            "kind": kind,
            "checked": checked,
            "convert_to": convert_to,
        }
        return cls(MARKET_CREATE, body, api_type, model=model, **more)

    def or_market(self, model: str, *, less: Sequence[str] = (), **changes: Any) -> Self:
        """Return this request with a market model as its `otherwise`, which takes the same fields in snake case.

        Args:
            model: The service's id of it.
            less: Fields of the body that it lacks and that nobody has asked for.
            **changes: What else differs (``estimated_credits``, ``notes``).
        """
        fields = dict(self.body)
        callback_url = fields.pop("callBackUrl", None)
        fields = {re.sub("[A-Z]", r"_\g<0>", name).lower(): fields[name] for name in fields if name not in less}
        same = {name: getattr(self, name) for name in ("api_type", "estimated_credits", "notes", "kind")}
        return replace(self, otherwise=self.market(model, fields, callback_url=callback_url, **{**same, **changes}))


@dataclass(frozen=True)
class Query(_Addressed):
    """A read that makes no new task, as a tool function returns it.

    Args:
        path: As for `Submission`.
        params: The query's parameters, in JSON's types. Entries that are None are left out.
        read: Turns the answer into an `Outcome`; called with every readable answer, whatever its code.
            ``pending`` and ``processing`` mean "ask again later", ``failed`` means "this will never be there".
        task_id: The task that the result belongs to.
        label: A word for the file name of the result (``"1080p"``).
        gateway: The name of the service that is called.
        estimated_credits: As for `Submission`, of a read that the service charges for.
    """

    path: _Path
    params: _JsonObject
    read: Annotated["Callable[[Answer], Outcome]", _Function]
    task_id: _OptionalText = None
    label: _Text = ""
    gateway: _Text = KIE
    estimated_credits: _Price = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "params", _given(self.params))


@dataclass(frozen=True)
class Task:
    """The task that the service made of a submission, as far as it is on record here."""

    task_id: str
    api_type: str
    provider: str
    kind: Kind = "image"
    tool: str = ""
    model: str | None = None
    path: str = ""
    gateway: str = KIE
    created_at: datetime | None = None
    status_address: str = ""

    @property
    def is_market(self) -> bool:
        """Whether it was made at the address for all market models, and is read there."""
        return self.path in MARKET_CREATE


@dataclass(frozen=True)
class StatusRoute(_Addressed):
    """Where a task's status is read: a GET with these parameters.

    Args:
        path: As for `Submission`.
        params: The query's parameters, in JSON's types.
        read: For a route to read on at: how its answer is read, called with every readable one that speaks of the
            task, whatever its code. None from it means that the read failed and the task goes on. Left out: the
            answer is given to `kie_normalize_result`, and any code but 200 is a failed read.
    """

    path: _Path
    params: _JsonObject
    read: Annotated["Callable[[Answer], Outcome | None] | None", _Function] = None


@dataclass(frozen=True)
class Outcome:
    """A task's state as the service reports it.

    Args:
        status: Where the task stands. An unknown word of the service is ``processing``, never ``failed``.
        urls: Every result address, in the service's order; each starts with http:// or https://, or with one / where
            it stands at the service's own address, and has at most 4,000 characters.
        error: The service's reason, for ``failed``. Kept as one line of at most 500 characters.
        error_code: The service's number for it, or its word.
        progress: From 0 to 1; None where the service says nothing.
        credits: The price of the task, a finite number of at least 0, where the service says so.
        model: The service's model id, where the answer names it.
        finished_at: When the service finished, with a time zone, where it says so.
        keeps_s: How long the service keeps the results, in whole seconds from `finished_at` on, at most 100 years.
            0 where they have expired already.
        labels: What distinguishes each address of `urls`, in their order (``"uncropped"``); empty text for one that
            needs no label. Shown in answers and in the names of saved files.
        data: A result that is no address, as JSON knows it: text, such as lyrics, or segments, detections, notes. It
            is the last of the results; saved as text where it is text, else as JSON.
    """

    status: Status
    urls: Annotated[
        tuple[Annotated[str, Field(pattern=r"^((?i:https?)://|/[^/\\])\P{Cc}*$", max_length=ADDRESS_CHARS)], ...],
        Field(description="a tuple of web addresses"),
    ] = ()
    error: _OptionalText = None
    error_code: Annotated[int | str | None, Field(description="a whole number or text")] = None
    progress: Annotated[float | None, Field(ge=0, le=1, description="a share between 0 and 1")] = None
    credits: Annotated[float | None, Field(ge=0, description="a finite number of at least 0")] = None
    model: _OptionalText = None
    finished_at: Annotated[AwareDatetime | None, Field(description="a time with a time zone")] = None
    keeps_s: Annotated[int, Field(ge=0, le=LONGEST_KEEP_S, description="a whole number of seconds, 0 or more")] = DAY_S
    labels: _Texts = ()
    data: Annotated[Any, AfterValidator(partial(_json, most=DATA_CHARS))] = None

    def __post_init__(self) -> None:
        # These are the service's words, and are shown to people, models and terminals.
        for name, most in (("error", SAID_CHARS), ("error_code", WORD_CHARS), ("model", WORD_CHARS)):
            if isinstance(text := getattr(self, name), str):
                object.__setattr__(self, name, one_line(text, most))


@dataclass(frozen=True)
class Provider:
    """The description of a family of models, by the plugin that serves it.

    Args:
        title: The family's name for people (``"Nano Banana"``).
        homepage: A page about it.
        kinds: The kinds of media that it makes; the first is the kind of a tool that names none.
        availability: ``current``; ``retired`` (was documented, is gone); ``undocumented`` (never was).
        checked: The day of that finding, ``YYYY-MM-DD``.
        note: One sentence of evidence or advice, shown by ``providers`` and in errors.
        nearest: The tool to use instead, for a family that is not current.
        api_types: Every `api_type` its tasks have. An unknown task id is looked up once for each.
        models: Beginnings of the service's model ids that belong to the family, so that a task found at a
            shared status route is given to its owner. Each is one or more whole words, of which one has at least three
            letters or digits; the longest beginning decides.
        settings: Keys of ``[providers.NAME]`` in the configuration, each with a one-line description; of a-z, 0-9 and
            ``_``, since each has an environment variable, too.
    """

    title: _Text
    homepage: _Text = ""
    kinds: _Kinds = ("image",)
    availability: Availability = "current"
    checked: Day = ""
    note: _Text = ""
    nearest: _Text = ""
    api_types: _Texts = ()
    models: _Beginnings = ()
    settings: _Settings = field(default_factory=dict)


@dataclass(frozen=True)
class Balance(_Addressed):
    """A free read of what an account has left at a service.

    Args:
        path: As for `Submission`.
        read: Returns the number in an answer, in the gateway's `unit`; None where the answer names none.
        params: The query's parameters.
    """

    path: _Path
    read: Callable[[Answer], float | None]
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Gateway:
    """A service other than Kie.ai, as `kie_register_gateways` declares it. Core makes every call.

    Args:
        name: Its name in `Submission.gateway` and ``[providers.NAME] gateway``.
        title: Its name for people.
        base_url: Its address; every path is below it, and so is every `Accepted.status_address`.
        key: The key in clear; None where none is set.
        key_help: The setting to make and where to get a key; the error of a call without one says it.
        authorization: The value of the header ``Authorization``, with ``{key}`` in it. It is not sent where `headers`
            carry the key, or where it is empty.
        headers: Further headers of every request by name, each value with ``{key}`` where the key stands
            (``{"X-API-Key": "{key}"}``). A service whose headers nowhere hold ``{key}`` needs no key.
        read: Turns HTTP status and decoded body into an `Answer` whose code is 200 for success, or the service's
            code in Kie.ai's numbering (401, 402, 422, 429, ...). None: Kie.ai's envelope. A body that is not JSON
            never gets here: it is unreadable for every gateway.
        accept: Reads an accepted create, as `Submission.read`, for all submissions of this gateway.
        rate_limit: At most so many creates in so many seconds; None where the service names none.
        logs_page: Where people see their requests at the service; in general words where it is left out.
        unit: What the service counts its prices in, such as ``USD``; credits of its title where it is left out.
            Kie.ai's credits and limits never count them.
        inline_mb: The largest local file, in MB, that the service takes as a ``data:`` address inside the request.
            Others are uploaded to Kie.ai, for which that service's key must be set.
        result_hosts: The hosts that its results are linked at, ``*.example.com`` for all below one; pages that a client
            shows beside answers may load pictures and clips from there.
        balance: How to read what the account has left, for a service that says it.
        serves: Tool functions of other providers that this service can stand in for, by the tool's name. They
            are used where the configuration says ``[providers.NAME] gateway = "..."``.
    """

    name: str
    title: str
    base_url: str
    key: str | None = field(default=None, repr=False)
    key_help: str = ""
    authorization: str = "Bearer {key}"
    headers: _Headers = field(default_factory=dict)
    read: "Callable[[int, Any], Answer] | None" = None
    accept: "Callable[[Answer], str | Accepted | Outcome | None] | None" = None
    rate_limit: tuple[int, float] | None = None
    logs_page: str = ""
    unit: str = CREDITS
    result_hosts: tuple[str, ...] = ()
    balance: Balance | None = None
    inline_mb: Annotated[int, Field(ge=0, description="a whole number of MB")] = 0
    serves: Mapping[str, Callable[..., Submission]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.logs_page:
            object.__setattr__(self, "logs_page", f"the request log of {self.title}")
        if self.unit == CREDITS and self.name != KIE:  # credits of no name are Kie.ai's
            object.__setattr__(self, "unit", f"{self.title} {CREDITS}")


@dataclass(frozen=True)
class Tool:
    """A tool function with the facts that its signature can't express.

    Args:
        fn: Called with validated arguments; returns a `Submission` or a `Query` and is annotated so. Its name
            is the tool's name, its docstring the description, its signature the schema.
        kind: The kind of media that it makes; the provider's first kind if left out.
        title: The name shown to people; made from the function's name if left out.
        charges: Whether the service may charge for it although it makes no task. It is then written ahead, limited
            and sent once like a `Submission`, and the answer is a task, which asks again until it has ended.
        once: Whether the service makes the same thing only once, and gives it for nothing when it is asked again.
            An equal call then leads to the first one's task; so it does for every `Query` that `charges`.
        usual_s: The least and the most seconds that most of its tasks take, where somebody has published that; put its
            source and date beside it. It counts until the user's own tasks say it: progress names it, and a task is
            read seldom before most of the least is over. Leave it out rather than guess.
    """

    fn: Callable[..., Submission | Query]
    kind: _Kind = None
    title: _OptionalText = None
    charges: bool = False
    once: bool = False
    usual_s: tuple[float, float] | None = None

    @property
    def name(self) -> str:
        """The tool's name in the protocol."""
        return self.fn.__name__


@dataclass(frozen=True)
class Media:
    """Marks an argument as the address of a file that the service fetches, with the limits that it has there.

    Core checks every marked argument; plugins only see addresses that anybody can open. Where several mark the same
    argument, the outermost counts: ``Annotated[ImageUrls, Media("image", most_mb=10)]``. Files of the user's are
    measured before they are sent; a limit that is None is not known.

    Args:
        kind: The kind of media that it must be, or a tuple of kinds of which it may be any; ``file`` is a document,
            ``link`` a public page, which is never uploaded.
        most_mb: The largest file that the service takes there, in MB.
        formats: Endings of the file types that it takes there (``jpg`` means jpeg, too).
        codecs: Codecs that a clip may have (``h264``).
        total_mb: The most MB of all files of the argument together.
        least_s: The shortest clip or sound, in seconds.
        most_s: The longest.
        total_s: The most seconds of all files of the argument together.
        least_px: The least pixels of each side.
        most_px: The most pixels of each side.
        least_pixels: The least width times height.
        most_pixels: The most width times height.
        least_ratio: The least width by height.
        most_ratio: The most width by height.
        least_fps: The least pictures in a second.
        most_fps: The most.
        least_mbps: The least megabits in a second.
        most_mbps: The most.
        most_pages: The most pages of a document.
        alpha: False where the service takes no transparent pictures; an alpha channel without a clear pixel is none.
        same_px_as: The path of another file, whose width and height it must have.
        schemes: Forms of address besides http and https that are sent as they are (``asset``).
        at: Where the address stands in an argument that is an object or a list of such (``[].image_url``).
    """

    kind: MediaKind | tuple[MediaKind, ...]
    most_mb: float | None = None
    formats: tuple[str, ...] = ()
    codecs: tuple[str, ...] = ()
    total_mb: float | None = None
    least_s: float | None = None
    most_s: float | None = None
    total_s: float | None = None
    least_px: int | None = None
    most_px: int | None = None
    least_pixels: int | None = None
    most_pixels: int | None = None
    least_ratio: float | None = None
    most_ratio: float | None = None
    least_fps: float | None = None
    most_fps: float | None = None
    least_mbps: float | None = None
    most_mbps: float | None = None
    most_pages: int | None = None
    alpha: bool = True
    same_px_as: str = ""
    schemes: tuple[str, ...] = ()
    at: str = ""

    @property
    def kinds(self) -> tuple[MediaKind, ...]:
        """Every kind that it may be."""
        return (self.kind,) if isinstance(self.kind, str) else self.kind


field_of: Callable[[str], str] = partial(re.sub, r"(?s)[.[].*", "")
"""Returns the field, or argument, in which a path or a place begins (``"shots"`` of ``"shots[].image_url"``)."""


def texts_at(path: str, arguments: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Yield the texts that a path names in arguments: each one's written place, what holds it, and its key there.

    A path is names with a dot between them and ``[]`` where every item of a list is meant (``"shots[].image_url"``),
    a place has numbers there (``"shots[1].image_url"``). A single text is found where a list is named, and vice versa.
    """

    def walk(holder: Any, key: Any, rest: str, place: str) -> Iterator[tuple[str, Any, Any]]:
        value = holder[key]
        if isinstance(value, list):
            for number in range(len(value)):
                yield from walk(value, number, rest.removeprefix("[]"), f"{place}[{number}]")
        elif isinstance(value, str) and rest in {"", "[]"}:
            yield place.removeprefix("."), holder, key
        elif isinstance(value, Mapping) and (step := re.match(r"(?:\[\])?\.([^.[]+)", rest)) and step[1] in value:
            yield from walk(value, step[1], rest[step.end() :], f"{place}.{step[1]}")

    return walk([arguments], 0, f".{path}", "")


def is_web_address(value: str, schemes: Sequence[str] = ()) -> bool:
    """Return whether a text is an address that a service can open, which may have further `schemes` of its own."""
    try:
        parts = urlsplit(value)
        host, _port = parts.hostname, parts.port
    except ValueError:  # malformed brackets or port
        return False
    plain = value.isprintable() and not any(character.isspace() for character in value)
    return parts.scheme in {"http", "https", *schemes} and bool(host) and plain


def _web_address(value: str) -> str:
    if not is_web_address(value):
        raise ValueError("a whole address that starts with http:// or https://")
    return value


# The shared types of arguments. Descriptions are short on purpose: a model reads them once for every tool.
Prompt = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=PROMPT_CHARS)]
"""The description of what to make; never empty. Tighten with ``Annotated[Prompt, Field(max_length=5000)]``."""

NegativePrompt = Annotated[str, Field(max_length=5000)]
"""The description of what to avoid."""

ImageUrl = Annotated[str, Media("image")]
"""One picture the service can fetch."""

ImageUrls = Annotated[list[ImageUrl], Field(min_length=1)]
"""Pictures the service can fetch. Limit with ``Annotated[ImageUrls, Field(max_length=5)]``."""

VideoUrl = Annotated[str, Media("video")]
"""One clip the service can fetch."""

AudioUrl = Annotated[str, Media("audio")]
"""One sound the service can fetch."""

CALLBACK = object()  # marks an argument as one that changes nothing of what is made
CallbackUrl = Annotated[str, AfterValidator(_web_address), CALLBACK]
"""Where the service posts the finished task, besides being polled."""

AspectRatio = Literal["1:1", "9:16", "16:9", "3:4", "4:3", "3:2", "2:3", "5:4", "4:5", "21:9", "auto"]
"""The common picture shapes; a family with other shapes declares its own."""

OutputFormat = Literal["png", "jpeg"]
VideoResolution = Literal["720p", "1080p", "4k", "8k", "auto"]
FrameRate = Literal[12, 15, 24, 25, 30, 48, 50, 60]

OnePicture = Annotated[ImageUrls, Field(json_schema_extra={"maxItems": 1})]
"""A list of one picture. The schema alone states the limit: the tool function checks it, so that the refusal of a
second picture can name a tool that takes several. Add a size limit with ``Annotated[OnePicture, Media(...)]``."""

TASK_ID = object()  # marks an argument as such an id
TaskId = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1), TASK_ID]
"""The id of an earlier task; never empty. The function gets the service's own id, without ``GATEWAY:`` before it."""


def reject_arguments(reason: str, cure: str = "leave it out", /, **arguments: object) -> None:
    """Refuse arguments that a model or a mode does not take, so that none is dropped in silence.

    Args:
        reason: Why the argument is not taken (``"Runway has no such setting"``).
        cure: What the caller does instead, as an imperative.
        **arguments: The arguments by name, as the tool function received them; None means left out.

    Raises:
        InvalidArgument: An argument has a value. Names each that has one, with ``reason; cure``.
    """
    if given := {name: value for name, value in arguments.items() if value is not None}:
        raise InvalidArgument.joined([InvalidArgument(name, given[name], f"{reason}; {cure}") for name in given])


def apply_overrides(submission: Submission, settings: Mapping[str, Any], *, model: str = "model") -> Submission:
    """Return a submission with the model id and the create path that a provider's settings name.

    A provider whose service may rename a model or an address declares the keys in `Provider.settings`.

    Args:
        submission: The request with the provider's own model id and path.
        settings: The provider's settings. ``path`` replaces every path; a missing or empty value replaces nothing.
        model: The key of the model id. An estimate of the provider's own model does not survive another id.
    """
    path = settings.get("path")
    changes: dict[str, Any] = {"path": path} if path else {}
    if model_id := settings.get(model):
        body = {**submission.body, "model": model_id}
        changes |= {"model": model_id, "body": body, "estimated_credits": None, "otherwise": None}
    return replace(submission, **changes)


def otherwise_first(*tools: Callable[..., Submission]) -> list[Callable[..., Submission]]:
    """Return tool functions whose requests begin with their `Submission.otherwise`, where they have one."""

    def turned(fn: Callable[..., Submission]) -> Callable[..., Submission]:
        @wraps(fn)
        def first(**arguments: Any) -> Submission:
            own = fn(**arguments)
            return own if own.otherwise is None else replace(own.otherwise, otherwise=replace(own, otherwise=None))

        return first

    return [*map(turned, tools)]


def is_on(settings: Mapping[str, Any], name: str) -> bool:
    """Return whether a provider's setting is true, in the file or as a variable's text; raise KieError for no bool."""
    value = {"true": True, "false": False}.get(str(settings.get(name, False)).strip().lower())
    if value is None:
        raise KieError(f"The setting {name} is {settings[name]!r}: give true or false.")
    return value
