"""Every method of the field that a study can name, in words: `list methods` and docs/methods.md."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from alignstudy.methods import (
    LOSSES,
    METHODS,
    ROUND_METHODS,
    WEIGHT_METHODS,
    TrainingSettings,
    method_of,
)
from alignstudy.methods.losses import ADDED, Loss
from alignstudy.methods.rounds.rules import RANKING

DPO_PASSES = 8
"""DPO reads two texts: forward and backward is 3 passes' work each, the reference 1 each."""

NEEDS = {
    "demonstrations": "prompts with a good response",
    "pairs": "pairs",
    "rated": "responses rated one by one, or pairs",
}
_READS = dict.fromkeys(("demo_v_sample", "chosen_of_drafts"), NEEDS["demonstrations"])
"""What rules of rounds read beside prompts."""
_USUAL = {key: each.default for key, each in TrainingSettings.model_fields.items()}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One method: what a study file calls it, and what is to be known before one takes it.

    Attributes:
        name: Label, or the method's name where a label is another.
        summary: In a line.
        text: What it changes, and when its authors say that it helps.
        needs: Rows, reference, and what else.
        settings: Its own, as set where the study says nothing.
        grid: Values that were found good, by setting.
        cost: Work of an epoch against DPO's, whose reference isn't kept yet: 1 is DPO's.
        source: Papers.
    """

    name: str
    summary: str
    text: str
    needs: str
    settings: dict[str, Any]
    grid: dict[str, tuple[float, ...]]
    cost: float
    source: str

    def to_json(self) -> dict[str, Any]:
        """Return the same for scripts."""
        return vars(self)


def entries() -> Iterator[Entry]:
    """Yield the methods in the order of their tables, each loss after its method's first."""
    shown = set()
    for name in METHODS:
        if not METHODS.load(name).in_recipes:
            continue
        first = getattr(_settings({"method": name}), "loss_type", None)
        first = first if isinstance(first, str) else next(iter(first or ()), None)
        shown |= {name, first}
        yield _entry(name, {"method": name}, LOSSES.get(str(first)))
        for label, loss in LOSSES.items():
            if loss.method == name and label not in shown and label not in ROUND_METHODS:
                yield _entry(label, {"method": name, "loss_type": label}, loss)
    yield from map(_of_rounds, ROUND_METHODS)
    for name in WEIGHT_METHODS:
        kind = WEIGHT_METHODS.load(name)
        summary, text = _words(kind)
        own = {key: value for key, value in kind().model_dump().items() if key != "method"}
        yield Entry(
            name=name,
            summary=summary,
            text=text,
            needs="a method before it",
            settings=own,
            grid={},
            cost=0.0,
            source=_cited(kind),
        )


def _of_rounds(name: str) -> Entry:
    """Return the entry of a method that trains in rounds; sampling's cost is not in its cost."""
    settings = ROUND_METHODS.load(name)()
    rounds = settings.rounds
    summary, text = _words(type(settings))
    method = method_of(settings)
    rule = rounds[0].rule
    needs = [_READS[rule] if rule in _READS else NEEDS[method.rows] if not rule else "prompts"]
    needs.append("a reference" if method.reference != "none" else "no reference")
    if rule in RANKING:
        needs.append("a judge that ranks samples")
    passes = _passes(method, reference=method.reference != "none")
    if rounds[0].reward_model is not None:
        passes += _passes(method_of(rounds[0].reward_model), reference=False)
    usual = {key: each.default for key, each in type(rounds[0].training).model_fields.items()}
    return Entry(
        name=name,
        summary=summary,
        text=text,
        needs=", ".join(needs),
        settings=_own(settings, usual),
        grid={},
        cost=sum(passes * (1 + one.keeps_last) / one.slice[1] for one in rounds) / DPO_PASSES,
        source=_cited(type(settings)),
    )


def _heeded(settings: Any, loss: Loss | None) -> dict[str, Any]:  # noqa: ANN401
    """Return the settings that a loss heeds."""
    heeded = sorted(loss.heeds - {"f"}) if loss is not None else []
    if loss is not None and "f" in loss.heeds:
        heeded.append("f_divergence_type")
    return {key: getattr(settings, key) for key in heeded}


def _own(settings: Any, usual: Mapping[str, Any] | None = None) -> dict[str, Any]:  # noqa: ANN401
    """Return the settings that a method has beside the usual ones, those of sections by path."""
    usual = _USUAL if usual is None else usual
    given = settings.model_dump().items()
    own = {key: value for key, value in given if key not in usual or usual[key] != value}
    del own["method"]
    for section in [key for key, value in own.items() if isinstance(value, dict)]:
        own |= {f"{section}.{key}": value for key, value in own.pop(section).items()}
    return {key: value for key, value in own.items() if value is not None}


def _settings(given: dict[str, Any]) -> Any:  # noqa: ANN401 - of any method
    """Return the settings that a label stands for, with what the loss can't do without."""
    kind = METHODS.load(given["method"]).settings_type
    loss = LOSSES.get(given.get("loss_type", ""))
    if loss is None:
        return kind(**given)
    added = {"max_steps": 1} if "max_steps" in loss.needs else {}
    if given["loss_type"] in ADDED:
        given = {**given, "loss_type": ("sigmoid", given["loss_type"])}
    return kind(**given, **added)


def _entry(name: str, given: dict[str, Any], loss: Loss | None) -> Entry:
    settings = _settings(given)
    method = method_of(settings)
    summary, text = _words(type(method) if loss is None else loss.function)
    needs = [NEEDS["rated" if hasattr(settings, "rows") else method.rows]]
    if method.samples:
        needs = ["prompts", "a judge that rewards samples"]
        needs += ["a critic"] if hasattr(settings, "critic") else []
    reference = method.reference != "none" and (loss is None or loss.needs_reference)
    needs.append("a reference" if reference else "no reference")
    if loss is not None and loss.compares_vocabulary:
        needs[-1] += " in every step"
    if "gold" in method.branches:
        needs.append("a third, best response")
    if loss is not None and loss.couples_rows == "order":
        needs.append("micro-batches of 16 rows or more")
    if loss is not None and "max_steps" in loss.needs:
        needs.append("max_steps")
    if loss is not None and name in ADDED:
        needs.append("another loss beside it")
    own = _own(settings) if method.samples else _heeded(settings, loss)
    source = loss.source if loss is not None else _cited(type(method))
    return Entry(
        name=name,
        summary=summary,
        text=text,
        needs=", ".join(needs),
        settings=own,
        grid=dict(loss.grid) if loss is not None else {},
        cost=_passes(method, reference=reference) / DPO_PASSES,
        source=source,
    )


def _passes(method: Any, *, reference: bool) -> int:  # noqa: ANN401
    """Count a row's passes over one text: 3 where it is learnt from, 1 where it is only read."""
    read_only, texts = len(method.measured), len(method.branches)
    if method.samples:  # written, read by the policy before it learns, and by the reference
        critic = 4 if hasattr(method.settings, "critic") else 0  # read, then learnt from
        return texts * (5 + reference + critic)
    once: int = 3 * (texts - read_only) + read_only + reference * texts
    return 2 * once if method.rows == "rated" else once  # a pair is two such rows


def _words(described: Any) -> tuple[str, str]:  # noqa: ANN401 - a function or a class
    """Return the first line of a docstring, and its other paragraphs as one."""
    first, _, rest = (inspect.getdoc(described) or "").partition("\n")
    rest = rest.split("\nAttributes:")[0].split("Source: arXiv")[0]  # which stands by itself
    return first.strip(), " ".join(rest.split())


def _cited(kind: type) -> str:
    """Return the papers that a class says it is from."""
    words = " ".join((inspect.getdoc(kind) or "").split())
    return ", ".join(re.findall(r"arXiv \d{4}\.\d{5}", words))


INTRODUCTION = """# Methods
<!-- made by `make docs` from the losses and methods themselves: change them there -->

Every name here is a label in a study file: `methods: {NAME: {}}` trains it with the settings that
are shown, `recipes: {mine: [sft, NAME]}` compares it. `alignstudy list methods` shows the same
list, `alignstudy explain methods.NAME` every setting. Which to take: [choosing.md](choosing.md).
Losses may be added: `{method: dpo, loss_type: [sigmoid, sft_seq], loss_weights: [1, 0.2]}`. Means
and arcs of recipes' weights are [recipes of their own](study-file.md#recipes-made-of-weights).

Symbols: c, r are the log-probabilities of the whole chosen and rejected response, a and b their
log-ratios to the reference, z = beta (a - b), S the logistic function, NLL the mean negative
log-likelihood of the chosen response's tokens. *Cost* is the work of one epoch against DPO's on the
same pairs, prompts counted with each text: a text that is learnt from costs 3 passes (2 with an
adapter), one that is only read 1. A reference is computed once for all epochs, seeds, losses and
studies on the same rows, so that where it is kept already DPO itself costs 0.75.
"""


def as_page() -> str:
    """Return docs/methods.md."""
    found = list(entries())
    lines = [INTRODUCTION, "| name | what | needs | cost |", "|---|---|---|---|"]
    lines += [
        f"| [{each.name}](#{each.name}) | {each.summary} | {each.needs} | {each.cost:.2g} |"
        for each in found
    ]
    for each in found:
        said = ", ".join(f"`{key}: {_plain(value)}`" for key, value in each.settings.items())
        good = "; ".join(
            f"{key} {', '.join(f'{value:g}' for value in values)}"
            for key, values in each.grid.items()
        )
        lines += ["", f"## {each.name}", each.summary, ""]
        lines += [each.text, ""] if each.text else []
        lines.append(f"Needs {each.needs}. Cost {each.cost:.2g}. Source: {each.source}.")
        lines += [f"Settings of its own: {said}."] if said else []
        lines += [f"Found good: {good}."] if good else []
    return "\n".join(lines) + "\n"


def _plain(value: Any) -> str:  # noqa: ANN401 - of a setting
    return f"{value:g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.stdout.write(as_page())
