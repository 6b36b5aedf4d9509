"""The study in words, from its settings and what came out; a missing setting is left unsaid."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from alignstudy.analysis.findings import Findings
from alignstudy.analysis.judge_panel.combine import PANEL
from alignstudy.analysis.results import Analysis
from alignstudy.analysis.score_matrix import usable
from alignstudy.data.ratings.rated import JUDGE, LOG
from alignstudy.formatting import listing, plural, short
from alignstudy.metrics.axes import axis_named
from alignstudy.metrics.figures import combined, rate_of
from alignstudy.records import Axis
from alignstudy.report.inputs import ReportInputs
from alignstudy.report.text.recipes import existing_models, pooled_models, recipe_in_words

_PROTOCOLS = {
    "paper": (
        "Prompts and responses follow the published study to the letter (protocol: paper), its"
        " known defects included; they are listed under Warnings."
    ),
    "rigorous": (
        "Prompts are parsed by role and end in the assistant's cue, and responses are cut at the"
        " next role tag (protocol: rigorous)."
    ),
}


def study_in_words(inputs: ReportInputs) -> tuple[str, ...]:
    """Return what was compared, on what data, by which judge and protocol, in short paragraphs."""
    first = inputs.analyses[0]
    paragraphs = (
        _models(inputs, first),
        (*_responses(inputs), _PROTOCOLS.get(inputs.protocol or "", "")),
        (_judges(inputs), *(_threshold(first, axis) for axis in first.axes)),
        _evidence(inputs),
        (_definitions(first),),
    )
    said = (" ".join(filter(None, sentences)) for sentences in paragraphs)
    return tuple(filter(None, said))


def setting(settings: Mapping[str, Any], path: str) -> Any:  # noqa: ANN401 - JSON
    """Return a setting by its dotted path; None where the study has no such part."""
    found: Any = settings
    for name in path.split("."):
        found = None if found is None else found.get(name)
    return found


def prompts_in_words(inputs: ReportInputs) -> str:
    """Return how many prompts of each axis every model answered, and how often; "" if none."""
    asked = Counter(axis for axis, _ in _answered(inputs).shared)
    rows = usable(inputs.responses)[0]
    axes = [axis for axis in inputs.analyses[0].axes if asked[axis.name]]
    often = Counter((row.model, row.seed, row.axis, row.prompt_id) for row in rows).values()
    most = max(often, default=1)
    times = f"{'' if most == min(often, default=1) else 'up to '}{most} times"
    tail = f", each answered {times}" if most > 1 else ""
    return listing([plural(asked[axis.name], f"{axis.prompts} prompt") for axis in axes]) + tail


class _Answered(NamedTuple):
    """The prompts (axis, id) that all models answered, and whether there are no others."""

    shared: set[tuple[str, str]]
    is_same: bool


def _answered(inputs: ReportInputs) -> _Answered:
    by_model: dict[str, set[tuple[str, str]]] = {}
    for row in usable(inputs.responses)[0]:
        by_model.setdefault(row.model, set()).add((row.axis, row.prompt_id))
    if not by_model:
        return _Answered(set(), is_same=True)
    shared = set.intersection(*by_model.values())
    return _Answered(shared, is_same=all(found == shared for found in by_model.values()))


def _models(inputs: ReportInputs, analysis: Analysis) -> Iterator[str]:
    """Return which models are compared, on which base they stand, and what they learned from."""
    settings = inputs.settings
    recipes, methods = (setting(settings, name) or {} for name in ("recipes", "methods"))
    named = []
    for model in analysis.models:
        done = recipe_in_words(model.model, recipes, methods, is_tuned=bool(inputs.tuning))
        done += _version(inputs, model.model)
        named.append(model.model if done == model.model else f"{model.model} ({done})")
    verb = "is evaluated" if len(named) == 1 else "are compared"
    yield f"{plural(len(named), 'model')} {verb}: {listing(named)}."
    path, revision = setting(settings, "base.path"), setting(settings, "base.revision")
    kind = setting(settings, "base.scratch.architecture.model_type")
    if path:
        yield f"The base is {path} (revision {revision})." if revision else f"The base is {path}."
    elif kind:
        yield f"The base is a small {kind} model, pretrained from scratch in this study."
    source = setting(settings, "data.source")
    if source:
        subsets, split = (setting(settings, f"data.train.{name}") for name in ("subsets", "split"))
        whole = "a small world of dialogues that alignstudy generates"
        parts = f": {listing(subsets)}" if subsets else ""
        tail = f" (split {split})" if split else ""
        yield f"Preference data: {whole if source == 'world' else source}{parts}{tail}."
    most = max((model.num_seeds for model in analysis.models), default=0)
    if most > 1:
        yield _seeds(recipes, most)
    yield from _tuning(inputs)


def _version(inputs: ReportInputs, recipe: str) -> str:
    """Return the commit or digest of a model that wasn't trained here; "" if not known."""
    found = str(setting(inputs.provenance, f"sources.recipe/{recipe}") or "")
    commit = found.removeprefix("commit:")
    if commit != found:
        return f" at commit {commit}"
    return f", sha256 {found[:16]}" if found else ""


def _seeds(recipes: Mapping[str, Any], amount: int) -> str:
    """Return what the seeds are of: the base and models that no seed changes have none."""
    alone = [*existing_models(recipes), *pooled_models(recipes)]
    if recipes and not any(given for name, given in recipes.items() if name not in alone):
        return f"Nothing was trained: {amount} seeds are as many samples of responses."
    but = f" but {listing(alone)}" if alone else ""
    return f"Each recipe{but} was trained with {amount} seeds."


def _tuning(inputs: ReportInputs) -> Iterator[str]:
    """Return how many trials chose each method's settings, on what, and by whom."""
    if not inputs.tuning:
        return
    first = inputs.tuning[0]
    sizes = [plural(n, f"{axis_named(axis).prompts} prompt") for axis, n in first.prompts.items()]
    yield (
        f"Each method's settings were chosen among {plural(len(first.trials), 'trial')}, as many"
        f" for every method, by the judge {first.judge} on {listing(sizes)} that nothing else in"
        " this report rests on."
    )


def _responses(inputs: ReportInputs) -> Iterator[str]:
    """Return how many prompts there were, and how responses were made."""
    asked, answered = prompts_in_words(inputs), _answered(inputs)
    if asked and answered.is_same:
        yield f"Every model answered the same {asked}."
    elif asked:
        yield f"All models answered {asked}; some of them others besides."
    elif len(inputs.analyses[0].models) > 1:
        yield "No prompt was answered by all models."
    cap = setting(inputs.settings, "generation.max_new_tokens")
    if cap is None:
        return
    how, temperature = "by greedy decoding", setting(inputs.settings, "generation.temperature")
    if setting(inputs.settings, "generation.do_sample"):
        how = "by sampling" + (f" at temperature {temperature}" if temperature is not None else "")
    if setting(inputs.settings, "generation.engine") == "openai":
        how = f"by a server, {how}"
    yield f"Responses were made {how} with at most {cap} new tokens."
    if inputs.template:
        yield f"{inputs.template[0].upper()}{inputs.template[1:]}."


def _judges(inputs: ReportInputs) -> str:
    """Name the judges; the leading one's scores, or the panel's, make the main tables."""
    findings, settings = inputs.findings, inputs.settings
    names = [analysis.judge for analysis in inputs.analyses]
    if names == [LOG]:
        return "Scores are what the logs of the evaluation say."
    if names == [JUDGE]:
        return "Scores are the ratings that came with the responses."
    is_panel = PANEL in names
    lead = "; figures and warnings are by the panel" if names[0] == PANEL else ""
    if is_panel:
        # Its judges are those analysed by themselves, compared or assessed.
        names += [name for item in findings.agreements for name in (item.first, item.second)]
        names += [quality.judge for quality in findings.qualities]
        names = [name for name in dict.fromkeys(names) if name != PANEL]
    by_name = {entry["name"]: entry for entry in setting(settings, "judges") or ()}
    said = listing([_judge(name, by_name.get(name, {})) for name in names])
    if is_panel:
        who = f"The judges are {said}. " if said else ""
        if settings and not setting(settings, "panel"):
            return f"{who}On each axis the judge leads that the study names for it{lead}."
        return f"{who}The panel puts their scores together{lead}."
    if len(names) == 1:
        return f"The judge is {said}."
    return f"The judges are {said}; figures and warnings are by the first."


def _evidence(inputs: ReportInputs) -> Iterator[str]:
    """Return on how many preference pairs judges were tried out, and how many claims stated."""
    qualities = inputs.findings.qualities
    if qualities:
        sizes = []
        for axis in inputs.analyses[0].axes:
            found = [q.accuracy(axis.name) for q in qualities]
            most = max((accuracy.n for accuracy in found if accuracy), default=0)
            if most:
                sizes.append(f"{plural(most, 'pair')} on {axis.prompts} prompts")
        who = "The judge was" if len(qualities) == 1 else "Each judge was"
        tail = f": {listing(sizes)}" if sizes else ""
        yield (
            f"{who} tried out on preference pairs that hold no evaluation prompt{tail};"
            f" below {short(qualities[0].floor, 1)}\u00a0% agreement its figures are stamped."
        )
    amount = len(inputs.findings.verdicts)
    if amount:
        was, theirs = ("was", "its verdict is") if amount == 1 else ("were", "their verdicts are")
        yield (
            f"{plural(amount, 'claim')} {was} {_stated(inputs.findings)}; {theirs} under Claims."
        )
    elif inputs.settings:
        yield "No claim was stated beforehand."


def _stated(findings: Findings) -> str:
    """Return when claims were stated, as far as that is known."""
    since = findings.stated_since
    return {
        "before": "stated before the figures were made",
        "registered": f"registered on {since}, before these ratings were last written",
        "after": "stated after the fact, for all that is known here: none was registered before the"
        " ratings were made",
        "published": "made by the published study",
    }[findings.stated]


def _judge(name: str, entry: Mapping[str, Any]) -> str:
    """Name a judge, and say where it comes from."""
    path = entry.get("path")
    if path and path != name:
        return f"{name} ({path})"
    kind = setting(entry, "train.architecture.model_type")
    return f"{name} (a small {kind} model, trained for this study on pairs)" if kind else name


def _threshold(analysis: Analysis, axis: Axis) -> str:
    """Return when a response counts on an axis, and where the number comes from."""
    limits = analysis.thresholds
    value = limits.of(axis.name)
    if value is None:
        return ""
    above = "at least" if limits.inclusive else "above"
    origin = limits.origin.get(axis.name, "")
    tail = f" ({origin})" if origin else ""
    return (
        f"A response to a {axis.prompts} prompt counts as {axis.passes} if its score is {above}"
        f" {short(value, 4)}{tail}."
    )


def _definitions(analysis: Analysis) -> str:
    """Return what the rates are."""
    shares = [
        f"{rate_of(axis).title} {'is ' if at == 0 else ''}the share of {axis.prompts} prompts that"
        f" were {axis.answered}"
        for at, axis in enumerate(analysis.axes)
    ]
    if len(shares) > 1:
        whole = "the two" if len(shares) == 2 else "these"
        shares.append(f"{combined(analysis.axes).title} the mean of {whole}")
    return f"{', '.join(shares)}; all in percent."
