"""Every setting of a study file, found in the classes that read it.

In keys, NAME stands for a name of the study's own, `[]` for any item of a list, and
`[use=length]` for the items of that kind.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from difflib import SequenceMatcher, get_close_matches
from functools import cache
from typing import Any, get_args

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from alignstudy.errors import InputError
from alignstudy.methods import LOSSES, METHODS, named
from alignstudy.settings import Settings
from alignstudy.study.settings.study import StudySettings
from alignstudy.study.tools.setting_keys import Place, Setting
from alignstudy.study.tools.type_words import Sections, sections_in, type_in_words

OWN = "alignstudy's own"
ITEM = "none unless given"

_CITATION = re.compile(r"arXiv:? ?\d{4}\.\d{5}(?:, (?:eq\.|table) [\d.]+)?")
_NAMES = re.compile(r"[Nn]ames as in ([^.,;(]+)(?:, but for ([^.;]+))?")


def every_setting() -> list[Setting]:
    """Return all settings in the order of the classes, then the losses that are labels."""
    return [*_of_classes(), *_labels()]


def outermost() -> Iterator[tuple[Setting, int]]:
    """Yield the keys that a study file begins with, and how many there are beneath each."""
    known = every_setting()
    for each in known:
        if each.key in StudySettings.model_fields:
            yield each, sum(each.holds(other.key) for other in known) - 1


def explained(key: str) -> list[Setting]:
    """Return the setting that a key names and, of a section, all beneath it.

    Args:
        key: As in a study file, in messages, or after `--set`: `methods.dpo.beta`,
            `judges[0].train.rows`, `judges.0.max_length`, `prompts.axes.honesty.n`.

    Raises:
        InputError: If there is none; the nearest ones are named.
    """
    known = every_setting()
    label = key.removeprefix("methods.").partition(".")[0]
    if "loss_type" in named(label):
        known += _beneath(label)
    meant = [each for each in known if each.key == key]
    meant = meant or [each for each in known if each.is_called(key)]
    if meant:
        return [each for each in known if any(found.holds(each.key) for found in meant)]
    section, _, last = key.rpartition(".")  # a short form is said where the section is
    short = [each for each in known if f"`{last}: " in each.meaning and each.is_called(section)]
    if short:
        return short
    raise InputError(
        f"unknown setting '{key}'",
        why="no key of a study file is written so",
        hint=f"did you mean {' or '.join(_nearest(key, known))}?",
    )


def _nearest(key: str, known: Iterable[Setting]) -> list[str]:
    """Return the keys that are most like one, as a whole or at their end."""
    ends = {each.key: re.split(r"[.\]]", each.key)[-1] for each in known}
    alike = get_close_matches(re.split(r"[.\]]", key)[-1], set(ends.values()))[:1]
    near = [name for name in ends if ends[name] in alike] or get_close_matches(key, ends)
    return sorted(near or ends, key=lambda name: -SequenceMatcher(None, name, key).ratio())[:3]


@cache
def _labels() -> tuple[Setting, ...]:
    return tuple(next(_of_loss(name)) for name in LOSSES if "loss_type" in named(name))


@cache
def _beneath(label: str) -> tuple[Setting, ...]:
    return tuple(_of_loss(label))[1:]


@cache
def _of_classes() -> tuple[Setting, ...]:
    return tuple(_fields(StudySettings, Place()))


def _fields(kind: type[Settings], at: Place, *, without: str | None = None) -> Iterator[Setting]:
    """Walk a settings class; `without` names a key that was said before."""
    alone = _alone(kind)
    for name, field in kind.model_fields.items():
        if name == without:
            continue
        default = field.default if alone is None else getattr(alone, name)
        yield from _field(kind, field.alias or name, field, at, default)


def _alone(kind: type[Settings]) -> Settings | None:
    """Return the settings where nothing is given, with what validators fill in; None: not sound."""
    try:
        return kind()
    except ValidationError:
        return None


def _field(
    kind: type[Settings], name: str, field: FieldInfo, at: Place, default: object
) -> Iterator[Setting]:
    """Say what a field is, and walk the sections in it."""
    found = sections_in(field.annotation, str(field.discriminator or "") or None)
    meaning = field.description or (_said_of(found.kinds[0]) if found.kinds else "")
    if found.tag and not found.container:  # the kinds' own keys stand beside
        yield from _kinds(found, name, meaning, at)
        return
    place = here = at.at(name)
    labels = at.labels(name, may_be_left_out=hasattr(kind, "_axes_beside"))
    if found.container == "map" and not found.kinds:  # a name of the study's own is no setting
        place = replace(here, spelling=rf"({here.spelling}|{labels.spelling})")
    value = _default(field, default, meaning)
    words = type_in_words(field.annotation, field.metadata)
    yield _setting(place, words, value, meaning, _source(kind, name, field))
    if found.container == "map" and found.kinds and not found.tag:  # one of them, by its keys
        yield from _item(found.kinds, labels)
        return
    for each in found.kinds:
        if found.container == "map":
            yield from _item([each], here.at(_tag_of(each, str(found.tag))))
        elif found.container == "list":
            yield from _item([each], here.items())
        else:
            yield from _fields(each, here)


def _kinds(found: Sections, name: str, meaning: str, at: Place) -> Iterator[Setting]:
    """Say which kinds a section can be, and walk each."""
    tag = str(found.tag)
    tags = [_tag_of(each, tag) for each in found.kinds]
    there = replace(at.at(tag), spelling=rf"{at.spelling}(\.{name})?\.{tag}")
    yield _setting(there, f"one of {', '.join(tags)}", tags[0], meaning, OWN)
    for each, value in zip(found.kinds, tags, strict=True):
        place = at.of_kind(tag, value)
        written_out = replace(place, spelling=rf"{place.spelling}(\.{name})?")
        yield from _item([each], written_out, without=tag)


def _item(
    kinds: Sequence[type[Settings]], at: Place, *, without: str | None = None
) -> Iterator[Setting]:
    """Say what an item of a list or map is, or can be, and walk it."""
    cited = "; ".join(filter(None, (_cited(inspect.getdoc(kind)) for kind in kinds)))
    yield _setting(at, "section", ITEM, " Or: ".join(map(_said_of, kinds)), cited or OWN)
    for kind in kinds:
        yield from _fields(kind, at, without=without)


def _of_loss(name: str) -> Iterator[Setting]:
    """Say what a loss' name means as a label: its method's settings, with its own defaults."""
    loss, meant = LOSSES[name], named(name)
    kind, at = METHODS.load(meant["method"]).settings_type, Place().at("methods").at(name)
    own = {key: _in_words(value) for key, value in {**loss.defaults, **meant}.items()}
    default = f"{ITEM}; then {', '.join(f'{key}: {value}' for key, value in own.items())}"
    yield _setting(at, "section", default, loss.summary, loss.source)
    idle = {key for each in LOSSES.values() for key in each.settings} - loss.settings
    for found in _fields(kind, at):
        key = found.key.rpartition(".")[2]
        if key not in idle:
            yield replace(found, default=own.get(key, found.default))


def _setting(at: Place, type_: str, default: str, meaning: str, source: str) -> Setting:
    return Setting(
        key=at.key,
        spelling=at.spelling,
        type=type_,
        default=default,
        meaning=meaning,
        source=source,
    )


def _tag_of(kind: type[Settings], tag: str) -> str:
    return str(get_args(kind.model_fields[tag].annotation)[0])


def _said_of(kind: type[Settings]) -> str:
    """Return what a class says of itself, in its first paragraph."""
    return " ".join((inspect.getdoc(kind) or "").split("\n\n")[0].split())


def _source(kind: type[Settings], name: str, field: FieldInfo) -> str:
    """Name where a field comes from: whose name it has, by the classes that declare it, and papers.

    A class says `names as in X's Y, but for a, b` of the fields that it declares itself.
    """
    sources = []
    for each in kind.__mro__:
        names = _NAMES.search(" ".join((each.__doc__ or "").split()))
        own = re.findall(r"\w+", names[2] or "") if names else []
        if names and name in inspect.get_annotations(each) and name not in own:
            sources.append(names[1].strip())
    sources.append(_cited(field.description))
    return "; ".join(dict.fromkeys(filter(None, sources))) or OWN


def _cited(text: str | None) -> str:
    """Return the papers that a text cites."""
    return "; ".join(dict.fromkeys(_CITATION.findall(" ".join((text or "").split()))))


def _default(field: FieldInfo, default: object, meaning: str) -> str:
    """Say what holds where a field is left out."""
    if not field.is_required():
        return _in_words(default)
    made = re.search("left out: ([^.;]+)", meaning)  # of other keys, by a validator
    return made[1] if made else "required"


def _in_words(default: Any) -> str:  # noqa: ANN401 - of any field
    """Write a default as a study file has it."""
    if isinstance(default, str) and default:
        return default
    text = json.dumps(default, ensure_ascii=False, default=_given)
    return "its keys' defaults" if isinstance(default, Settings) and text == "{}" else text


def _given(section: Settings) -> dict[str, Any]:
    """Return what a section's own defaults don't say."""
    return section.model_dump(mode="json", exclude_defaults=True)
