"""A model as a tool: its input is the tool's arguments, sent exactly as they are given."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from kie_ai_mcp._models.catalogue import Entry
from kie_ai_mcp._models.checking import check
from kie_ai_mcp._models.wording import usual_price
from kie_ai_mcp._providers.arguments import HOSTS_OWN, NOTHING_USUAL, with_bounds
from kie_ai_mcp._providers.tools import BoundTool
from kie_ai_mcp._providers.understanding import Understood
from kie_ai_mcp.errors import InvalidArgument
from kie_ai_mcp.models import Model
from kie_ai_mcp.specs import Media, Submission, is_web_address

RUN = "run_model"
CALLBACK = "callBackUrl"


@dataclass(frozen=True)
class ModelArguments:
    """The arguments of a model as a tool, with what core asks of those of a function."""

    model: Model
    name: str
    task_ids: tuple[str, ...] = ()
    callbacks: tuple[str, ...] = (CALLBACK,)
    defaults: Mapping[str, Any] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the model's fields."""
        return tuple(self.model.input["properties"])

    @property
    def media(self) -> Mapping[str, Media]:
        """The fields that name files, by their path."""
        return self.model.media

    @property
    def schema(self) -> dict[str, Any]:
        """The schema of the model's input and of the server's own argument."""
        schema = deepcopy(dict(self.model.input))
        if CALLBACK not in schema["properties"]:
            schema["properties"][CALLBACK] = {"type": "string"}
        return schema

    @property
    def listed(self) -> dict[str, Any]:
        """A new copy of the schema as clients read it."""
        return with_bounds(self.schema)

    def understood(self, given: Mapping[str, Any] | None) -> Understood:
        """Return the arguments unchanged: an input is sent exactly as it is given."""
        return Understood(dict(given or {}))

    def check(self, given: Mapping[str, Any] | None, usual: Mapping[str, Any] = NOTHING_USUAL) -> dict[str, Any]:
        """Return the arguments unchanged, or raise one InvalidArgument that names everything wrong with them."""
        given = {**usual, **(given or {})}
        foreign = {name for name in given if name in HOSTS_OWN and name not in self.names}
        arguments = {name: value for name, value in given.items() if name not in foreign}
        sent = {name: value for name, value in arguments.items() if name != CALLBACK or CALLBACK in self.names}
        faults = list(check(self.model, sent).faults)
        callback = arguments.get(CALLBACK)
        if callback is not None and not (isinstance(callback, str) and is_web_address(callback)):
            faults.append(InvalidArgument(CALLBACK, callback, "give an http:// or https:// address"))
        elif callback is not None and not self.model.wrapped:
            faults.append(InvalidArgument(CALLBACK, callback, "this service is not told of one; leave it out"))
        if faults:
            raise InvalidArgument.joined(faults)
        return arguments


def tool_of(entry: Entry, name: str = RUN, usual: Mapping[str, Any] = NOTHING_USUAL) -> BoundTool:
    """Return a model as a tool that can be called; `name` is the model's own where it is pinned."""
    model = entry.model
    description = f"{model.title}: {model.task.replace('-', ' ')}. {usual_price(model, entry.unit).capitalize()}."
    return BoundTool(
        name=name,
        title=model.title,
        description=description,
        provider=entry.provider,
        kind=model.kind,
        paid=True,
        fn=partial(_submission, entry),
        arguments=ModelArguments(model, name),  # type: ignore[arg-type]  # it has what is asked of them
        charges=True,
        model=model,
        usual=usual,
    )


def _submission(entry: Entry, /, **arguments: Any) -> Submission:
    model = entry.model
    callback = None if CALLBACK in model.input["properties"] else arguments.pop(CALLBACK, None)
    paths = (model.path,) if isinstance(model.path, str) else model.path
    body = {"model": model.id, "input": arguments, CALLBACK: callback} if model.wrapped else arguments
    return Submission(
        tuple(path.replace("{id}", model.id) for path in paths),
        body,
        model.api_type or model.id,
        model=model.id,
        gateway=model.gateway,
        notes=tuple(filter(None, [entry.note])),
    )
