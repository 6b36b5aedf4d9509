"""The report: one HTML file that opens anywhere, asks nothing of the network, runs no model text.

Everything that a model, a data set or a study file wrote is escaped by the template engine
(autoescape is on, `visible` deals with controls and marks of direction), or lies in a JSON island
that the page's script writes out as text. The content security policy admits this file's own
style and script by their hashes, and pictures that are embedded; nothing else.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any

from alignstudy.report import result_tables, run_tables
from alignstudy.report.analysis import Analysis
from alignstudy.report.answer import answer
from alignstudy.report.cautions import cautions
from alignstudy.report.inputs import FigureFile, ReportInputs
from alignstudy.report.known_defects import Defect, known_defects
from alignstudy.report.untrusted import visible, visible_values
from alignstudy.report.viewer import viewer_data
from alignstudy.report.words import study_in_words

if TYPE_CHECKING:
    from jinja2 import Environment

_LONG_TABLE = 12
_NUM_STATIC_PROMPTS = 20


def render_report(inputs: ReportInputs) -> str:
    """Render the report; the same inputs give the same text.

    Args:
        inputs: All that it says; of the figures, the PNG files are read.

    Returns:
        An HTML document that can be encoded as UTF-8.
    """
    environment = _environment()
    style = environment.get_template("report.css").render()
    script = environment.get_template("viewer.js").render()
    return environment.get_template("report.html").render(
        **_context(inputs), style_hash=_csp_hash(style), script_hash=_csp_hash(script)
    )


def _environment() -> Environment:
    """Make the template engine: everything escaped, a name that isn't there is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("alignstudy.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":")}
    return environment


def _finalize(value: Any) -> Any:  # noqa: ANN401 - any value a template writes
    """Make text visible; what the engine itself made (`tojson`, macros) is left as it is."""
    return visible(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _csp_hash(text: str) -> str:
    """Give the hash by which a content security policy admits an inline text."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def _context(inputs: ReportInputs) -> dict[str, Any]:
    """Gather what the template lays out."""
    first = inputs.analyses[0]
    viewer = visible_values(viewer_data(inputs.responses, inputs.analyses))
    return {
        "study": inputs.study,
        "words": study_in_words(inputs),
        "answer": answer(inputs.analyses),
        "judges": [_judge_tables(analysis) for analysis in inputs.analyses],
        "hygiene": result_tables.hygiene_table(first),
        "figures": [_figure(file) for file in inputs.figures],
        "cautions": cautions(inputs),
        "defects": _defects(inputs),
        "guards": run_tables.guards_table(inputs.training),
        "thresholds": result_tables.thresholds_table(inputs.analyses),
        "calibrations": run_tables.calibrations_table(inputs.calibrations),
        "audit": run_tables.audit_table(inputs.audits),
        "exclusions": run_tables.exclusions_table(inputs.audits),
        "audit_facts": run_tables.facts_table(inputs.audit_facts, "Fact"),
        "preview": inputs.preview,
        "training": run_tables.training_table(inputs.training),
        "viewer": viewer,
        "static_prompts": viewer["prompts"][:_NUM_STATIC_PROMPTS],
        "provenance": run_tables.facts_table(inputs.provenance, "What"),
        "settings": run_tables.settings_text(inputs.settings),
        "long_table": _LONG_TABLE,
    }


def _judge_tables(analysis: Analysis) -> dict[str, Any]:
    """Give the tables of one judge."""
    return {
        "name": analysis.judge,
        "base": analysis.base,
        "merits": result_tables.merits_table(analysis),
        "improvements": result_tables.improvement_table(analysis),
        "scores": result_tables.scores_table(analysis),
        "comparisons": result_tables.comparisons_table(analysis.comparisons),
    }


def _defects(inputs: ReportInputs) -> tuple[Defect, ...]:
    """Give the protocol's known defects; the rigorous protocol mends them."""
    if inputs.protocol != "paper":
        return ()
    ids: dict[str, set[str]] = {}
    for row in inputs.responses:
        ids.setdefault(str(row.axis), set()).add(row.prompt_id)
    num_prompts = max((len(found) for found in ids.values()), default=0)
    return known_defects(inputs.settings, num_prompts=num_prompts)


def _figure(file: FigureFile) -> dict[str, str]:
    """Give a figure with its picture as a data URI."""
    picture = base64.b64encode(file.png.read_bytes()).decode("ascii")
    return {
        "name": file.name,
        "title": file.title,
        "caption": file.caption,
        "uri": f"data:image/png;base64,{picture}",
    }
