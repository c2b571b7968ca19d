"""Forms of a tool: the models that can do its work, how each writes the tool's arguments, and the choice among them.

A plugin keeps its models as data beside its module, and says only where a tool's words differ from a model's::

    FAMILY = Family("kie_ai_mcp_nano_banana", "Nano Banana")
    FORMS = (
        Form("google/nano-banana", fields={"image_size": "aspect_ratio"}),
        Form("nano-banana-2", fields={"image_size": "aspect_ratio", "image_urls": "image_input"}),
    )

    def generate_nano_banana(prompt: Prompt, image_size: Shape | None = None, model: str | None = None) -> Submission:
        asked = {"prompt": prompt, "image_size": image_size}
        return FAMILY.choose(FORMS, asked, model).submission("nano-banana")

The cheapest form that takes the whole call is used. Where none does, every fault is told in the tool's own words.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from math import inf
from typing import Any

from kie_ai_mcp._models.pricing import Estimate
from kie_ai_mcp._models.terms import EMPTY
from kie_ai_mcp._models.wording import price_notes, shown
from kie_ai_mcp._models.writing import Written, write
from kie_ai_mcp.errors import InvalidArgument, PluginError
from kie_ai_mcp.models import Form, Model, read_models
from kie_ai_mcp.specs import ConvertTo, Kind, Paths, Submission

SHOWN = 3  # models that take a call whose own does not, in one message


@dataclass(frozen=True)
class Choice:
    """The model that was chosen for a call.

    Args:
        form: The form of it.
        model: Its data.
        input: What is sent to it, checked.
        notes: What was chosen, rounded, left out or appended, a sentence each.
        price: Its price for this input.
        convert_to: As for `Submission`.
    """

    form: Form
    model: Model
    input: Mapping[str, Any]
    notes: tuple[str, ...]
    price: Estimate
    convert_to: ConvertTo | None = None

    def submission(
        self, api_type: str, callback_url: str | None = None, *, kind: Kind | None = None, notes: Sequence[str] = ()
    ) -> Submission:
        """Return the request to the market's common address, with further notes."""
        # Where there is more to be said of the price, core says it when it has seen the files.
        exact = None if price_notes(self.model, self.price) else self.price.credits
        return Submission.market(
            self.model.id,
            self.input,
            api_type=api_type,
            callback_url=callback_url,
            estimated_credits=exact,
            notes=(*self.notes, *notes),
            kind=kind,
            checked=exact is not None,
            convert_to=self.convert_to,
        )

    def own(
        self,
        path: Paths,
        api_type: str,
        callback_url: str | None = None,
        *,
        model: str | None = None,
        names: Mapping[str, str] = EMPTY,
    ) -> Submission:
        """Return the request to a family's own address, in camel case but for `names`; `submission` is its other form.

        Args:
            path: As for `Submission`.
            api_type: As for `Submission`.
            callback_url: As for `Submission.market`.
            model: As for `Submission`.
            names: What the address calls fields that it does not write in camel case.
        """
        camel = {name: re.sub("_([a-z])", lambda sign: sign[1].upper(), name) for name in self.input}
        body = {names.get(name, camel[name]): value for name, value in self.input.items()}
        return Submission(
            path,
            {**body, "callBackUrl": callback_url},
            api_type,
            model=model,
            estimated_credits=self.price.credits,
            notes=self.notes,
            otherwise=self.submission(api_type, callback_url),
            convert_to=self.convert_to,
        )


@dataclass(frozen=True)
class Family:
    """The models of one plugin, read from its data file when they are first needed.

    Args:
        package: The name of the plugin's package, in which the data file lies (``"kie_ai_mcp_kling"``).
        title: The family's name before a form's name in messages (``"Kling"``).
        file: The data file, in the form of `read_models`.
    """

    package: str
    title: str
    file: str = "models.json"

    @cached_property
    def models(self) -> Mapping[str, Model]:
        """Every model by id; raise PluginError where one can't be read, which a form may sell."""
        models = [*read_models(files(self.package).joinpath(self.file))]
        for model in models:
            if model.fault:
                raise PluginError(f"The model {model.id} can't be read: {model.fault} ({model.source}).")
        return {model.id: model for model in models}

    def choose(
        self,
        forms: Sequence[Form],
        asked: Mapping[str, Any],
        named: str | None = None,
        by: str = "model",
        *,
        instead: Mapping[str, Any] | None = None,
        preferred: Collection[Form] = (),
        faults: Sequence[InvalidArgument] = (),
    ) -> Choice:
        """Return the form that takes a whole call and ignores least of it, the cheapest of several.

        Args:
            forms: The tool's forms; the first of several that cost the same is used.
            asked: The tool's arguments; None and empty ones count as left out.
            named: The form's name that the caller insists on, or the model's id.
            by: The tool's argument that names it.
            instead: A whole call of another tool that works where no form takes this one, as in `InvalidArgument`.
            preferred: Those of the forms that come before the others, whatever they cost.
            faults: What the tool itself finds wrong with the call; told together with the rest.

        Raises:
            InvalidArgument: No form takes the call. Names everything that is wrong with the one that comes nearest.
        """
        given = {name: value for name, value in asked.items() if value is not None and value not in ([], {}, "")}
        calls = [self._written(form, given, tuple(asked)) for form in forms]
        allowed = [call for call in calls if named in {None, call.name, call.form.id}]
        if not allowed:
            names = dict.fromkeys(call.name for call in calls)
            raise InvalidArgument(by, named, f"use one of {', '.join(map(shown, names))}")
        # A check costs more than a price, so the cheapest is checked first, and mostly alone.
        allowed.sort(key=lambda call: (call.form not in preferred, call.convert_to is not None, call.cost))
        best = None if faults else _best(allowed)
        if best is None:
            nearest = min(allowed, key=lambda call: (call.unfit, len(call.faults)))
            error = InvalidArgument.joined([*faults, *nearest.faults], instead=instead)
            others = sorted(calls, key=lambda call: call.cost) if named and not faults else ()
            if capable := dict.fromkeys(call.name for call in others if call.fits):
                ways = " or ".join(f"{by}={name!r}" for name in [*capable][:SHOWN])
                error.message += f" The whole call is taken by {ways}."
            elif instead:
                error.message += f" {instead['tool']} can do it."
            raise error
        rank = "first" if best.cost == inf else "cheapest"
        kind = "fitting model" if best.form in preferred else "model"
        note = f"{best.label} was chosen: the {rank} {kind} that takes the whole call."
        is_choice = not named and len({call.name for call in calls}) > 1
        notes = (*((note,) if is_choice else ()), *best.notes, *best.ignored)
        return Choice(best.form, best.model, best.input, notes, best.price, best.convert_to)

    def _written(self, form: Form, given: Mapping[str, Any], arguments: tuple[str, ...]) -> Written:
        label = form.id if form.name in {"", *self.models} else f"{self.title} {form.name}".strip()
        return write(self.models[form.id], form, given, label, arguments)


def _best(calls: Sequence[Written]) -> Written | None:
    """Return the first call of which nothing is ignored, else the one of which least is; None where none fits."""
    best: Written | None = None
    for call in calls:
        if call.fits and (best is None or len(call.ignored) < len(best.ignored)):
            best = call
            if not call.ignored:
                break
    return best
