"""Rules of a model over one input: the places where each is broken, and the changes that mend it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from math import floor
from operator import ge, gt, le, lt
from typing import Any

from kie_ai_mcp._models.samples import choices, usual
from kie_ai_mcp._models.terms import View, alternatives, beside, group, number_of, part_words, parts_of, same, schema_at
from kie_ai_mcp._models.wording import bounds, condition_words, shown
from kie_ai_mcp._settings.amounts import plain
from kie_ai_mcp.models import Group, Model, Rule

SHOWN = 6  # cures in one message
LEFT_OUT = object()
Fix = tuple[str, str, Mapping[str, Any]]  # what to do, with which value, and the fields that it changes
Places = frozenset[tuple[int, str]]  # the rules that are broken, by their number, and where


@dataclass(frozen=True)
class Break:
    """One place where a rule is broken: the value there (None where one is missing), what the rule allows, and fixes.

    Without fixes, what it allows is all that can be said.
    """

    place: str
    value: Any
    says: str
    fixes: tuple[Fix, ...] = ()


def breaks_of(model: Model, rule: Rule, view: View) -> list[Break]:
    """Return every place where a rule is broken; none where it does not speak, or a fact is not known."""
    if view.holds(rule.when) is not (rule.kind != "only_with"):
        return []
    return [found for item in view.items(rule.each) for found in _BY_KIND[rule.kind](model, rule, item)]


def cure(model: Model, view: View, rule: Rule, found: Break) -> tuple[str, View]:
    """Return what mends a break in one call, as far as it can be tried here, and the input once that is done.

    It is empty where no fix does it. An earlier cure may have mended the break already.
    """
    before, place = _broken(model, view), (model.rules.index(rule), found.place)
    if place not in before and not rule.soft:
        return "what mends the field above mends this one, too", view

    def working(fixes: Iterable[Fix]) -> list[Fix]:
        """Return the fixes that mend the break and break nothing else; of several, those that mend most besides."""
        tried = [(fix, _broken(model, _changed(view, fix))) for fix in fixes]
        mended = [(fix, len(after)) for fix, after in tried if place not in after and after <= before]
        least = min((left for _, left in mended), default=0)
        return [fix for fix, left in mended if left == least]

    further = (both for fix in found.fixes for both in _with_more(model, view, fix, before))
    # What to change within an item of a list can't be tried.
    fixes = [*found.fixes] if rule.each else working(found.fixes) or working(further)
    acts: dict[str, list[str]] = {}
    for act, value, _ in fixes:
        acts.setdefault(act, []).append(value)
    words = ", or ".join(f"{act} {' or '.join(values[:SHOWN])}".strip() for act, values in [*acts.items()][:SHOWN])
    return words, _changed(view, fixes[0]) if fixes and not rule.each else view


def _changed(view: View, fix: Fix) -> View:
    after = {name: value for name, value in {**view.input, **fix[2]}.items() if value is not LEFT_OUT}
    return replace(view, input=after)


def _with_more(model: Model, view: View, fix: Fix, before: Places) -> Iterator[Fix]:
    """Yield a fix that breaks other rules together with each one that mends those."""
    changed = _changed(view, fix)
    act, value, change = fix
    for number, place in sorted(_broken(model, changed) - before):
        rule = model.rules[number]
        for found in breaks_of(model, rule, changed):
            for more, other, added in found.fixes if found.place == place and not rule.each else ():
                second = f"use {place}:" if more == "use" else more
                yield f"{act} {value}".strip() + f" and {second}", other, {**change, **added}


def _broken(model: Model, view: View) -> Places:
    hard = ((number, rule) for number, rule in enumerate(model.rules) if not rule.soft)
    return frozenset((number, found.place) for number, rule in hard for found in breaks_of(model, rule, view))


def _names(rule: Rule) -> list[str]:
    return [name for fields in rule.fields for name in group(fields)]


def _without(view: View, fields: Group) -> Iterator[Fix]:
    names = [name for name in group(fields) if view.at(name)]
    if names and not {*names} & {*view.schema.get("required", ())}:
        yield f"leave out {' and '.join(names)}", "", dict.fromkeys(names, LEFT_OUT)


def _with(model: Model, view: View, fields: Group) -> list[Fix]:
    """Return ways to send those fields of a group that are not sent."""
    names = [name for name in group(fields) if not view.at(name)]
    if len(names) == 1 and (values := choices(schema_at(view.schema, names[0]))):
        return [(f"give {names[0]}:", shown(value), {names[0]: value}) for value in values]
    return [(f"give {' and '.join(names)}", "", {name: usual(model, name) for name in names})] if names else []


def _only_with(_model: Model, rule: Rule, view: View) -> Iterator[Break]:
    for name in _names(rule):
        values = choices(schema_at(view.schema, name)) if rule.values else []
        for place, sent in view.at(name):
            if not rule.values or any(same(sent, each) for each in rule.values):
                others = (value for value in values if not any(same(value, each) for each in rule.values))
                fixes: list[Fix] = [("use", shown(value), {name: value}) for value in others]
                yield Break(place, sent, f"only {condition_words(rule.when)}", (*fixes, *_without(view, name)))


def _needs(model: Model, rule: Rule, view: View) -> Iterator[Break]:
    says = f"this field is required {condition_words(rule.when)}".strip()
    causes = {term for one in alternatives(rule.when) for term in one if term in view.input}
    fixes = [fix for term in sorted(causes) for fix in _without(view, term)]
    for name in _names(rule):
        if not view.at(name):
            yield Break(f"{view.prefix}.{name}".removeprefix("."), None, says, (*_with(model, view, name), *fixes))


def _of_groups(model: Model, rule: Rule, view: View) -> Iterator[Break]:
    touched, fixes = [fields for fields in rule.fields if any(map(view.at, group(fields)))], list[Fix]()
    if len(touched) > 1 and rule.kind != "at_least_one":
        # Each group can be kept; of exactly one, it must then be complete.
        fixes += [
            (f"{act}{' and ' if more else ''}{more}", value, {**change, **added})
            for kept in touched
            for act, _, change in _without(
                view, tuple(name for each in touched if each != kept for name in group(each))
            )
            for more, value, added in (rule.kind == "exactly_one" and _with(model, view, kept)) or [("", "", {})]
        ]
        place, sent = next(entry for name in group(touched[0]) for entry in view.at(name))
        others = (" and ".join(name for name in group(fields) if view.at(name)) for fields in touched[1:])
        yield Break(place, sent, f"not together with {', '.join(others)}", tuple(fixes))
    elif rule.kind != "not_both" and not any(all(map(view.at, group(fields))) for fields in rule.fields):
        wanted = touched if rule.kind == "exactly_one" and touched else rule.fields
        missing = next(name for fields in wanted for name in group(fields) if not view.at(name))
        begun = " and ".join(name for name in group(wanted[0]) if len(wanted) == 1 and view.at(name))
        says = f"this field is required with {begun}" if begun else "one of several fields is required"
        fixes += [fix for fields in wanted for fix in _with(model, view, fields)]
        yield Break(missing, None, f"{says} {condition_words(rule.when)}".strip(), tuple(fixes))


def _limit(_model: Model, rule: Rule, view: View) -> Iterator[Break]:
    for term in _names(rule):
        (first, *more) = parts_of(term)
        if any(part.sort == "~" and view.at(part.path) for part in (first, *more)):
            yield from _seconds(rule, view, term)
            continue
        is_field = not first.sort and not more and first.weight == 1
        if is_field and "[]" in term:
            numbers = [(place, value, number_of(value)) for place, value in view.at(term)]
        else:
            sent = [entry for part in (first, *more) if part.sort != "(" for entry in view.at(part.path)]
            place, value = sent[0] if sent else (f"{view.prefix}.{first.path}".removeprefix("."), None)
            numbers = [(place, value, view.number(term))]
        for place, value, number in numbers:
            if number is not None and not _within(rule, number):
                what = "" if is_field else f"{part_words(first, *more)} is {plain(number)}, must be "
                near = f" (as {' or '.join(map(plain, beside(number, rule.step)))})" if rule.step else ""
                yield Break(place, value, f"{what}{bounds(rule)}{near} {condition_words(rule.when)}".strip())


def _seconds(rule: Rule, view: View, term: str) -> Iterator[Break]:
    """Yield the break of a limit of measured seconds: of the number that was chosen beside the files, else of them."""
    number, parts = view.number(term), parts_of(term)
    if number is None or _within(rule, number):
        return
    files = [part for part in parts if part.sort == "~" and view.at(part.path)]
    says = " and ".join(f"{part.path} lasts {plain(view.part(part) or 0)} s" for part in files)
    chosen = [part for part in parts if not part.sort and "[]" not in part.path and view.at(part.path)]
    fixes = list[Fix]()
    if len(chosen) == 1 and len(parts) == len(files) + 1 and abs(chosen[0].weight) == 1 and rule.step is None:
        name, weight = chosen[0].path, chosen[0].weight
        place, value = view.at(name)[0]
        sent = number_of(value) or Fraction(0)
        limits = _limits_of(rule, weight, number - weight * sent)
        says += f", so {name} must be {' and '.join(f'{words} {plain(limit)}' for words, limit in limits)}"
        near = _fitting(limits, schema_at(view.schema, name) or {}, sent)
        fixes = [*([] if near is None else [("use", shown(near), {name: near})]), *_without(view, name)]
    else:
        place, value = view.at(files[0].path)[0]
        total = f", {part_words(*parts)} is {plain(number)}" if len(parts) > 1 else ""
        says = says.replace(f"{files[0].path} lasts", "it lasts", 1) + f"{total}, must be {bounds(rule)}"
    causes = {term for one in alternatives(rule.when) for term in one if term in view.input}
    others = ((cause, each) for cause in sorted(causes) for each in choices(schema_at(view.schema, cause)))
    fixes += [(f"use {cause}:", shown(each), {cause: each}) for cause, each in others]
    yield Break(place, value, f"{says} {condition_words(rule.when)}".strip(), tuple(fixes))


def _limits_of(rule: Rule, weight: int, rest: Fraction) -> list[tuple[str, Fraction]]:
    """Return what a number of this weight may be, 1 or -1, beside the rest of a sum, so that a rule is kept."""
    more, least, most = ("more than", "at least", "at most") if weight > 0 else ("less than", "at most", "at least")
    limits = ((more, rule.above), (least, rule.min), (most, rule.max))
    return [(words, (limit - rest) * weight) for words, each in limits if (limit := number_of(each)) is not None]


def _fitting(limits: list[tuple[str, Fraction]], schema: Mapping[str, Any], value: Fraction) -> Any:
    """Return the value nearest to a wrong one that a field takes within limits, in steps of a tenth; None for none."""
    whole = schema.get("type") == "integer"
    step = number_of(schema.get("multipleOf")) or Fraction(1 if whole else "0.1")
    beyond = (floor(limit / step) * step + each * step for _, limit in limits for each in (-1, 0, 1))
    more, least = number_of(schema.get("exclusiveMinimum")), number_of(schema.get("minimum"))
    most = number_of(schema.get("maximum"))
    every = [*limits, ("more than", more), ("at least", least), ("at most", most)]
    listed = [(number_of(each), each) for each in choices(schema)]
    values = listed or [(each, int(each) if each.denominator == 1 else float(each)) for each in beyond]
    near = [
        (abs(each - value), shown_as)
        for each, shown_as in values
        if each is not None and all(limit is None or _KEEPS[words](each, limit) for words, limit in every)
    ]
    return min(near, key=lambda entry: entry[0])[1] if near else None


_KEEPS: Mapping[str, Callable[[Fraction, Fraction], bool]] = {
    "more than": gt,
    "less than": lt,
    "at least": ge,
    "at most": le,
}


def _within(rule: Rule, number: Fraction) -> bool:
    low, high, over = map(number_of, (rule.min, rule.max, rule.above))
    is_inside = (low is None or number >= low) and (high is None or number <= high) and (over is None or number > over)
    return is_inside and (rule.step is None or number in beside(number, rule.step))


def _refers(_model: Model, rule: Rule, view: View) -> Iterator[Break]:
    known = [value for _, value in view.at(rule.to)]
    for place, value in (entry for name in _names(rule) for entry in view.at(name)):
        if not any(same(value, each) for each in known):
            values = f"one of {', '.join(map(shown, known))}, " if known else ""
            yield Break(place, value, f"use {values}as of {rule.to}")


def _unique(_model: Model, rule: Rule, view: View) -> Iterator[Break]:
    for name in _names(rule):
        values = view.at(name)
        for number, (place, value) in enumerate(values):
            if any(same(value, earlier) for _, earlier in values[:number]):
                yield Break(place, value, "it occurs twice; give each another one")


_BY_KIND: Mapping[str, Callable[[Model, Rule, View], Iterator[Break]]] = {
    "only_with": _only_with,
    "needs": _needs,
    "not_both": _of_groups,
    "exactly_one": _of_groups,
    "at_least_one": _of_groups,
    "limit": _limit,
    "refers": _refers,
    "unique": _unique,
}
