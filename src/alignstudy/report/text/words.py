"""The study in words, from its settings and what came out; a missing setting is left unsaid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from alignstudy.analysis.judge_panel.combine import PANEL
from alignstudy.analysis.results import Analysis
from alignstudy.formatting import listing, plural, short
from alignstudy.metrics.figures import combined, rate_of
from alignstudy.records import Axis
from alignstudy.report.inputs import ReportInputs
from alignstudy.report.ratings import JUDGE

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
    settings, first = inputs.settings, inputs.analyses[0]
    paragraphs = (
        (_compared(settings, first), _data(settings), _seeds(first)),
        (_prompts(inputs), _generation(settings), _PROTOCOLS.get(inputs.protocol or "", "")),
        (_judges(inputs, settings), *(_threshold(first, axis) for axis in first.axes)),
        (_validation(inputs), _claims(inputs)),
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


def _compared(settings: Mapping[str, Any], analysis: Analysis) -> str:
    """Return which models are compared, and on which base they stand."""
    recipes = setting(settings, "recipes") or {}
    named = []
    for model in analysis.models:
        methods = recipes.get(model.model, [model.model])
        done = ", then ".join(methods) or "not trained further"
        named.append(model.model if done == model.model else f"{model.model} ({done})")
    verb = "is evaluated" if len(named) == 1 else "are compared"
    base = _base(settings)
    tail = f" The base is {base}." if base else ""
    return f"{plural(len(named), 'model')} {verb}: {listing(named)}.{tail}"


def _base(settings: Mapping[str, Any]) -> str:
    """Name the base model: a hub id, a folder, or an architecture trained from scratch."""
    path, revision = setting(settings, "base.path"), setting(settings, "base.revision")
    if path:
        return f"{path} (revision {revision})" if revision else str(path)
    kind = setting(settings, "base.scratch.architecture.model_type")
    return f"a small {kind} model, pretrained from scratch in this study" if kind else ""


def _data(settings: Mapping[str, Any]) -> str:
    """Return what they learned from."""
    source = setting(settings, "data.source")
    if not source:
        return ""
    if source == "world":
        source = "a small world of dialogues that alignstudy generates"
    subsets = setting(settings, "data.train.subsets")
    split = setting(settings, "data.train.split")
    parts = f": {listing(subsets)}" if subsets else ""
    return f"Preference data: {source}{parts}{f' (split {split})' if split else ''}."


def _prompts(inputs: ReportInputs) -> str:
    """Return how many prompts there were."""
    sizes = []
    for axis in inputs.analyses[0].axes:
        ids = {row.prompt_id for row in inputs.responses if row.axis == axis.name}
        if ids:
            sizes.append(plural(len(ids), f"{axis.prompts} prompt"))
    return f"Every model answered the same {listing(sizes)}." if sizes else ""


def _generation(settings: Mapping[str, Any]) -> str:
    """Return how responses were made."""
    cap = setting(settings, "generation.max_new_tokens")
    if cap is None:
        return ""
    how, temperature = "by greedy decoding", setting(settings, "generation.temperature")
    if setting(settings, "generation.do_sample"):
        how = "by sampling" + (f" at temperature {temperature}" if temperature is not None else "")
    return f"Responses were made {how} with at most {cap} new tokens."


def _judges(inputs: ReportInputs, settings: Mapping[str, Any]) -> str:
    """Name the judges; the leading one's scores, or the panel's, make the main tables."""
    names = [analysis.judge for analysis in inputs.analyses]
    if names == [JUDGE]:
        return "Scores are the ratings that came with the responses."
    by_name = {entry["name"]: entry for entry in setting(settings, "judges") or ()}
    if PANEL in names:
        said = [_judge(name, by_name.get(name, {})) for name in _members(inputs)]
        lead = "; figures and warnings are by the panel" if names[0] == PANEL else ""
        who = f"The judges are {listing(said)}. " if said else ""
        if settings and not setting(settings, "panel"):
            return f"{who}On each axis the judge leads that the study names for it{lead}."
        return f"{who}The panel puts their scores together{lead}."
    said = [_judge(name, by_name.get(name, {})) for name in names]
    if len(said) == 1:
        return f"The judge is {said[0]}."
    return f"The judges are {listing(said)}; figures and warnings are by the first."


def _members(inputs: ReportInputs) -> list[str]:
    """Name the judges of a panel: those analysed by themselves, compared or assessed."""
    findings = inputs.findings
    names = [analysis.judge for analysis in findings.analyses]
    names += [name for item in findings.agreements for name in (item.first, item.second)]
    names += [quality.judge for quality in findings.qualities]
    return [name for name in dict.fromkeys(names) if name != PANEL]


def _validation(inputs: ReportInputs) -> str:
    """Return on how many preference pairs judges were tried out."""
    qualities = inputs.findings.qualities
    if not qualities:
        return ""
    sizes = []
    for axis in inputs.analyses[0].axes:
        found = [q.accuracy(axis.name) for q in qualities]
        most = max((accuracy.n for accuracy in found if accuracy), default=0)
        if most:
            sizes.append(f"{plural(most, 'pair')} on {axis.prompts} prompts")
    who = "The judge was" if len(qualities) == 1 else "Each judge was"
    tail = f": {listing(sizes)}" if sizes else ""
    return (
        f"{who} tried out on preference pairs of people that hold no evaluation prompt{tail}; below"
        f" {short(qualities[0].floor, 1)}\u00a0% agreement its figures are stamped."
    )


def _claims(inputs: ReportInputs) -> str:
    """Return how many claims were stated."""
    amount = len(inputs.findings.verdicts)
    if not amount:
        return "No claim was stated beforehand." if inputs.settings else ""
    verb = "was" if amount == 1 else "were"
    return (
        f"{plural(amount, 'claim')} {verb} stated before the figures were made;"
        f" {'its verdict is' if amount == 1 else 'their verdicts are'} under Claims."
    )


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


def _seeds(analysis: Analysis) -> str:
    """Return how often each recipe was trained."""
    most = max((model.num_seeds for model in analysis.models), default=0)
    return f"Each recipe was trained with {most} seeds." if most > 1 else ""
