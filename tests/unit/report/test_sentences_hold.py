"""Every sentence of the answer, held against the numbers that it claims, over random studies."""

import re
from typing import NamedTuple

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alignstudy.analysis.analyze_run import AnalysisConfig, analyze_run
from alignstudy.analysis.claims.claims import Claim
from alignstudy.analysis.comparisons.orientation import between, values_of
from alignstudy.analysis.findings import Findings
from alignstudy.analysis.results import Thresholds
from alignstudy.metrics.axes import PUBLISHED
from alignstudy.records import Estimate, ScoredResponse
from alignstudy.records.evidence import JudgeQuality, PairAccuracy
from alignstudy.report.text.answer import answer

NAMES = ("base", "sft", "dpo", "rival")
LIMITS = Thresholds(values={"harmless": 0.0, "helpful": 0.0})
LOOP = "again and again " * 30
CLAIMS = (
    Claim(metric=("hmr",), better="sft", than=("base",)),
    Claim(metric=("cas",), better="sft"),
    Claim(metric=("score_helpful",), better="base", than=("sft",), margin=0.3),
)


@st.composite
def studies(draw):
    """A random study: models, seeds, gains, prompts that some lack, loops, judges, stamps."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    models = NAMES[: draw(st.integers(1, 4))]
    seeds = draw(st.integers(1, 3))
    judges = ("one", "two")[: draw(st.integers(1, 2))]
    gains = {name: draw(st.sampled_from([0.0, 0.0, 0.3, 1.5])) for name in models}
    looping = draw(st.sampled_from([(), (), models[:1], models]))
    uneven = draw(st.booleans())
    alike = draw(st.sampled_from([False, False, False, True]))
    rows = []
    for axis in ("harmless", "helpful"):
        n = draw(st.integers(12, 40))
        hard = rng.normal(0.0, 1.0, n)
        for name in models:
            for seed in range(1 if name == "base" else seeds):
                noise = 0.0 if alike else rng.normal(0.0, 0.7, (2, n))
                values = np.broadcast_to(hard + (0.0 if alike else gains[name]) + noise, (2, n))
                last = n - 3 if uneven and name == models[-1] else n
                rows += [
                    ScoredResponse(
                        model=name, seed=seed, prompt_id=f"{axis}-{i}", axis=axis, prompt=f"{i}?",
                        response=LOOP if name in looping else f"{name} says {i}",
                        scores={judge: float(values[at, i]) for at, judge in enumerate(judges)},
                    )
                    for i in range(last)
                ]  # fmt: skip
    below = draw(st.sampled_from([(), (), ("harmless",), ("harmless", "helpful")]))
    qualities = [_quality(judge, below) for judge in judges] if draw(st.booleans()) else []
    claims = CLAIMS if len(models) > 1 and draw(st.booleans()) else ()
    config = AnalysisConfig(
        thresholds=dict.fromkeys(judges, LIMITS), base="base", axes=PUBLISHED, claims=claims
    )
    _, findings = analyze_run(rows, config, qualities=qualities)
    return Made(rows, findings)


class Made(NamedTuple):
    """A study that doesn't print its thousands of rows."""

    rows: list
    findings: Findings

    def __repr__(self):
        return f"a study of {[model.model for model in self.findings.first.models]}"


def _quality(judge, below):
    return JudgeQuality(
        judge=judge,
        accuracies=tuple(
            PairAccuracy(
                axis=axis, subset="all", ties=0,
                accuracy=Estimate(value=71.5, low=66.0, high=76.5, n=300, method="wilson"),
            )
            for axis in ("harmless", "helpful")
        ),
        below_floor=below,
    )  # fmt: skip


def plain(text):
    return text.replace("\u00a0", " ").replace("\u2212", "-")


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
@given(studies())
def test_every_sentence_of_the_answer_is_true(study):
    rows, findings = study
    said, first = answer(findings), findings.first
    head = plain(said.headline)
    _leads(head, first, findings.verdicts)
    _stamps(head, findings)
    _scope(head, first)
    _claims(head, findings)
    for sentence in map(plain, said.sentences):
        _difference(sentence, first)
    for sentence in map(plain, said.rests_on):
        _basis(sentence, rows, findings)
    for sentence in map(plain, said.would_change):
        _change(sentence, first)


def _metric_in(text, analysis):
    """The figure that a sentence is about: the longest name that it holds."""
    named = [m for m in analysis.metrics if plain(m.in_full) in text]
    return max(named, key=lambda metric: len(metric.in_full))


def _leads(head, analysis, claims):
    lead = re.search(r"(\w+) has the highest (.+?), (-?[\d.]+)", head)
    if lead:
        metric = _metric_in(lead[0] + ",", analysis)
        found = values_of(analysis, metric)
        assert found[lead[1]].value == max(e.value for e in found.values())
        assert f"{found[lead[1]].value:.{metric.digits}f}" == lead[3]
        others = [name for name in found if name != lead[1]]
        pairs = {name: between(analysis, metric, lead[1], name) for name in others}
        if "above every other model" in head:
            assert ("in exploration" in head) == bool(claims)
            assert all(pair.is_shown and pair.model == lead[1] for pair in pairs.values())
        for names, why in re.findall(
            r"its lead over (.+?) ((?:was not tested|is none|is not shown).*?)"
            r"(?= its lead over|;|$)",
            re.split(r"\. (?=Of \d+ stated|The stated)", head)[0],
        ):
            for name in (n for n in others if re.search(rf"\b{n}\b", names)):
                _undecided(pairs[name], why)
    if alike := re.search(r"[Aa]ll (\d+) models have the same", head):
        metric = _metric_in(head, analysis)
        values = {estimate.value for estimate in values_of(analysis, metric).values()}
        assert len(values) == 1
        assert int(alike[1]) == len(values_of(analysis, metric))


def _undecided(pair, why):
    if "other is shown to be above" in why:
        assert pair.is_shown
        assert pair.difference.value < 0.0
        return
    assert pair is None or not pair.is_shown
    if why.startswith("was not tested"):
        assert pair is None or pair.p_holm is None
    if "equivalent" in why:
        assert pair.p_equivalent < 0.05
    if "would have been seen" in why:
        assert pair.power.power >= 80.0
    if "too small to decide" in why:
        assert pair.power is None or pair.power.power is None or pair.power.power < 80.0


def _stamps(head, findings):
    """No lead is told in a figure of an axis whose judge lies below its floor."""
    first = findings.first
    below = [a for a in first.axes if findings.is_below_floor(first.judge, a.name)]
    told = "has the highest" in head or "share the highest" in head
    if told and below:
        metric = _metric_in(head.split("stamped")[-1], first)
        assert not set(metric.axes) & {axis.name for axis in below}
    if len(below) == len(first.axes):
        assert not told
        assert "no model is called better" in head
    loops = [m.model for m in first.models if all(h.loop > 50 for h in m.hygiene.values())]
    if len(loops) == len(first.models) and not below:
        assert not told
        assert "loops" in head


def _scope(head, analysis):
    assert ("between these trained models" not in head.lower()) or len(analysis.seeds) == 1
    if seeds := re.search(r"[Oo]ver (\d+) training seeds", head):
        assert int(seeds[1]) == len(analysis.seeds)


def _claims(head, findings):
    if counted := re.search(r"Of (\d+) stated claims: (.+?)\.", head):
        assert int(counted[1]) == len(findings.verdicts)
        for amount, name in re.findall(r"(\d+) ([a-z ]+)", counted[2]):
            assert sum(v.verdict == name.strip() for v in findings.verdicts) == int(amount)
    elif findings.verdicts:
        # Broken answers leave no claim worth a headline.
        assert "laim" in head or "no model is called better" in head.lower()


def _difference(sentence, analysis):
    if " that are shown (after Holm)" in sentence:
        for part in sentence.split(": ", 1)[1].rstrip(".").split("; "):
            title, rest = part.split(", ", 1)
            metric = next(m for m in analysis.metrics if plain(m.title) == title)
            shown = {
                frozenset((c.model, c.reference))
                for c in analysis.comparisons
                if c.metric == metric.name and c.is_shown
            }
            named = re.findall(r"(\w+) above (\w+)", rest)
            for one, two in named:
                pair = between(analysis, metric, one, two)
                assert (pair.model, pair.is_shown) == (one, True)
            more = re.search(r"(\d+) more", rest)
            assert len(named) + (int(more[1]) if more else 0) == len(shown)
    elif none := re.match(r"No model has a higher (.+) than (\w+)\.", sentence):
        metric = next(m for m in analysis.metrics if plain(m.title) == none[1])
        found = values_of(analysis, metric)
        assert found[none[2]].value == max(estimate.value for estimate in found.values())
    elif base := re.match(
        r"Compared with (\w+), the (.+) of (\w+) is (-?[\d.]+).*(?:; |: )"
        r"(shown|not shown|no test was made)\.",
        sentence,
    ):
        metric = next(m for m in analysis.metrics if plain(m.title) == base[2])
        pair = between(analysis, metric, base[3], base[1])
        assert pair.model == base[3]
        assert f"{abs(pair.difference.value):.{metric.digits}f}" == base[4]
        assert ("lower on the prompts" in sentence) == (pair.difference.value < 0.0)
        assert pair.is_shown == (base[5] == "shown")
        assert (pair.p_holm is None) == (base[5] == "no test was made")
    elif sentence.startswith("No model leads in both"):
        rates = [rate for rate in analysis.rates if len(rate.axes) == 1]
        tops = []
        for rate in rates:
            found = values_of(analysis, rate)
            top = max(estimate.value for estimate in found.values())
            tops.append({name for name, e in found.items() if e.value == top})
        assert not set.intersection(*tops)
    else:
        assert sentence == "No difference was tested."


def _basis(sentence, rows, findings):
    first = findings.first
    _prompts(sentence, rows, first)
    if seeds := re.search(r"(\d+) training seeds a recipe", sentence):
        assert int(seeds[1]) == max(model.num_seeds for model in first.models) > 1
    if sentence.startswith("One training run a model"):
        assert max(model.num_seeds for model in first.models) == 1
    if "picks the preferred answer" in sentence:
        accuracy = findings.quality(first.judge).accuracy("harmless")
        assert f"{accuracy.value:.1f}" in sentence or f"{accuracy.value:.0f}" in sentence
    if "was not measured in this study" in sentence:
        assert findings.quality(first.judge) is None
    _other_judge(sentence, findings)


def _prompts(sentence, rows, first):
    if "each answered by every model" not in sentence:
        return
    for amount, prompts in re.findall(r"(\d+) (\w+)", sentence.split(" prompts")[0]):
        axis = next(a for a in first.axes if a.prompts == prompts)
        asked = {
            name: {r.prompt_id for r in rows if r.model == name and r.axis == axis.name}
            for name in {r.model for r in rows}
        }
        assert {len(ids) for ids in asked.values()} == {int(amount)}
        assert len(set.union(*asked.values())) == int(amount)


def _other_judge(sentence, findings):
    agrees = re.match(r"The judge (\w+) (agrees|does not agree) on who leads", sentence)
    if agrees is None:
        return
    tops = []
    for analysis in (findings.first, next(a for a in findings.analyses if a.judge == agrees[1])):
        for metric in analysis.metrics:
            found = values_of(analysis, metric)
            top = max(estimate.value for estimate in found.values())
            tops.append({name for name, e in found.items() if e.value == top})
    half = len(tops) // 2
    same = [one == two for one, two in zip(tops[:half], tops[half:], strict=True)]
    assert any(same) if agrees[2] == "agrees" else not all(same)


def _change(sentence, analysis):
    if more := re.search(r"to find a lead of ([\d.]+).* over (\w+) takes", sentence):
        known = [
            c.power.difference
            for c in analysis.comparisons
            if c.power and c.power.difference and more[2] in (c.model, c.reference)
        ]
        assert any(abs(float(more[1]) - value) < 0.06 for value in known)
    if "More training seeds" in sentence:
        assert max(model.num_seeds for model in analysis.models) < 3
