"""A report into whose every field a text was put, and what a parser finds in a page."""

from collections import Counter
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from html.parser import HTMLParser

from report_fixtures import JUDGE, analysed, estimate, inputs, scored

from alignstudy.analysis.claims.claims import Verdict
from alignstudy.analysis.findings import Findings
from alignstudy.records import Audit, GuardOutcome, Quarantined
from alignstudy.records.evidence import (
    Agreement,
    Divergence,
    JudgeQuality,
    LeaveOneOut,
    LengthPreference,
    PairAccuracy,
    ProbeShift,
    ReliabilityBin,
    TrainingRecord,
)
from alignstudy.records.robustness import Sensitivity
from alignstudy.report.inputs import FigureFile

AXES = ("harmless", "helpful")

MARK = "benignmark"
_FIGURES = (
    "rates", "differences", "tradeoff", "threshold_curves", "judge_reliability", "hygiene",
    "length_scores", "divergence", "training_curves",
)  # fmt: skip


def everywhere(png, text=MARK):
    """Return inputs whose every free text is, or holds, the given one."""
    made = _retold(_marked(png), text)
    return replace(made, figures=_figures(png, text))


def _figures(png, text):
    names = (*_FIGURES, text)
    return tuple(
        FigureFile(name=name, title=text, caption=text, png=png, svg=png, csv=png) for name in names
    )


def _retold(value, text):
    """Replace the mark in every text inside a value."""
    if isinstance(value, Enum):
        return value
    if isinstance(value, str):
        return value.replace(MARK, text)
    if is_dataclass(value):
        changed = {f.name: _retold(getattr(value, f.name), text) for f in fields(value) if f.init}
        return replace(value, **changed)
    if isinstance(value, dict):
        return {_retold(key, text): _retold(item, text) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_retold(item, text) for item in value)
    return value


def _rows():
    rows = scored((MARK, f"{MARK}2"), text=MARK)
    return [
        replace(
            row,
            stop_reason=MARK,
            prompt_id=f"{MARK}{row.prompt_id}",
            scores={MARK: row.scores[JUDGE], f"{MARK}3": 0.0},
            raw_response=f"{row.response} and {MARK} beyond" if at % 2 else f"other {MARK}",
            flags={MARK: (MARK,)},
            failures={MARK: MARK},
            prompt_truncated=True,
        )
        for at, row in enumerate(rows)
    ]


def _marked(png):
    rows = _rows()
    first = analysed(rows, judge=MARK, base=MARK)
    shares = tuple(
        Sensitivity(without=MARK, metric="hmr", model=MARK, value=None, full=1.0, n=0)
        for _ in range(2)
    )
    first = replace(first, notes=(MARK,), sensitivities=shares)
    guard = GuardOutcome(guard=MARK, passed=False, detail=MARK)
    training = TrainingRecord(
        stage=MARK, recipe=MARK, method=MARK, seed=0, steps=1, epochs=1.0, num_tokens=1,
        seconds=1.0, final_loss=None, counts={MARK: 1}, guards=(guard,), notes=(MARK,),
    )  # fmt: skip
    audit = Audit(
        part=MARK, read=3, used=1, quarantined=(Quarantined(file=MARK, line=1, reason=MARK),),
        excluded={MARK: 1}, notes={MARK: 1},
    )  # fmt: skip
    return inputs(
        rows,
        study=MARK,
        settings={
            "base": {"path": MARK},
            "recipes": {MARK: [MARK]},
            MARK: {"a": MARK, "b": [MARK]},
            "data": {"source": MARK},
            "judges": [{"name": MARK, "path": f"{MARK}4"}],
        },
        protocol="paper",
        findings=_findings(first, analysed(rows, judge=f"{MARK}3", base=MARK)),
        training=(training,),
        audits=(audit,),
        audit_facts={MARK: MARK},
        calibrations=({MARK: MARK},),
        preview=MARK,
        warnings=(MARK,),
        provenance={MARK: {"x": MARK}},
        costs=({"stage": MARK, "seconds": 3.0, MARK: MARK},),
        partial=MARK,
    )


def _findings(first, second):
    ids = (f"{MARK}harmless-1", f"{MARK}helpful-2", MARK)
    part = Verdict(claim=MARK, verdict="supported", evidence=MARK, prompts=ids)
    return Findings(
        analyses=(first, second),
        verdicts=(
            Verdict(claim=MARK, verdict="contradicted", evidence=MARK, prompts=ids, parts=(part,)),
            Verdict(claim=MARK, verdict="underpowered", evidence=MARK, n_needed=171),
            Verdict(claim=MARK, verdict=MARK, evidence=MARK),
        ),
        qualities=(quality(MARK, below=("harmless",)),),
        agreements=(
            Agreement(axis="helpful", first=MARK, second=MARK, spearman=None, kappa=0.1,
                      same_winner=estimate(50.0), kendall_tau=None, n=3),
        ),
        leave_one_out=tuple(
            LeaveOneOut(axis="helpful", without=without, ranking=(MARK, MARK))
            for without in ("", MARK)
        ),
        divergences=(
            Divergence(model=MARK, seed=0, kl_per_token=None, kl_per_sequence=None,
                       kl_per_sequence_k3=None, entropy_per_token=estimate(2.0),
                       implicit_accuracy=estimate(60.0), n=3, note=MARK),
        ),
    )  # fmt: skip


def quality(judge, *, value=56.4, below=(), subset="all"):
    """A judge with the same accuracy on both axes, below its floor on some."""
    return JudgeQuality(
        judge=judge,
        accuracies=tuple(
            PairAccuracy(axis=axis, subset=subset, accuracy=estimate(value, half=2.0, n=200),
                         ties=0)
            for axis in AXES
        ),
        ece={"harmless": 0.2},
        reliability=(ReliabilityBin(axis="harmless", predicted=0.5, observed=estimate(0.5)),),
        length=(
            LengthPreference(axis="harmless", judge_longer=estimate(80.0),
                             human_longer=estimate(50.0), n=100),
        ),
        probes=(
            ProbeShift(probe=judge, axis="harmless", shift=estimate(-1.0), flipped=None,
                       passed=10.0),
        ),
        below_floor=tuple(below),
        batch_effect=0.01,
        notes=(judge,),
    )  # fmt: skip


class Tags(HTMLParser):
    """Counts tags with the names of their attributes, and keeps what scripts and links hold."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.seen = Counter()
        self.values = []
        self.data = {}
        self.text = []
        self._open = None

    def handle_starttag(self, tag, attrs):
        self.seen[tag, tuple(sorted(name for name, _ in attrs))] += 1
        self.values += [(tag, name, value) for name, value in attrs]
        if tag in {"script", "style"}:
            self._open = (tag, dict(attrs).get("type"))

    def handle_endtag(self, tag):
        self.seen["/" + tag] += 1
        self._open = None

    def handle_comment(self, data):
        self.seen["comment"] += 1

    def handle_decl(self, decl):
        self.seen["declaration"] += 1

    def handle_pi(self, data):
        self.seen["instruction"] += 1

    def handle_data(self, data):
        if self._open:
            self.data[self._open] = self.data.get(self._open, "") + data
        else:
            self.text.append(data)


def parsed(html):
    """Parse a page."""
    parser = Tags()
    parser.feed(html)
    parser.close()
    return parser
