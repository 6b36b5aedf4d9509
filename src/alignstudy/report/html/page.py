"""The report: one HTML file that opens anywhere, asks nothing of the network, runs no model text.

Everything that a model, a data set or a study file wrote is escaped by the template engine
(autoescape is on, `visible` deals with controls and marks of direction), or lies in a JSON island
that the page's script writes out as text. The content security policy admits this file's own
style and script by their hashes, and pictures that are embedded; nothing else.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alignstudy.formatting import listing, plural
from alignstudy.report.html.sections import FOLDED, TITLES, opening, ranking, sections
from alignstudy.report.html.viewer import viewer_data
from alignstudy.report.inputs import ReportInputs
from alignstudy.report.text.answer import answer
from alignstudy.report.text.cautions import cautions
from alignstudy.report.text.glossary import Explained
from alignstudy.report.text.limitations import known_defects, limitations
from alignstudy.report.text.stamps import run_stamp
from alignstudy.report.text.words import study_in_words
from alignstudy.report.untrusted import visible, visible_values
from alignstudy.settings import as_yaml

_NUM_STATIC_PROMPTS = 20
_MOST_CAUTIONS, _MOST_ANSWERS = 6, 6


def render_report(inputs: ReportInputs) -> str:
    """Render the report; the same inputs give the same text.

    Args:
        inputs: All that it says; of the figures, the PNG files are read.

    Returns:
        An HTML document that can be encoded as UTF-8.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    def shown(value: Any) -> Any:  # noqa: ANN401 - any value a template writes
        # What the engine itself made (`tojson`, macros) is left as it is.
        is_text = isinstance(value, str) and not hasattr(value, "__html__")
        return visible(value) if is_text else value

    def picture(path: Path) -> str:
        return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"

    environment = Environment(
        loader=PackageLoader("alignstudy.report.html", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":")}
    environment.filters["picture"] = picture
    style = environment.get_template("report.css").render()
    script = environment.get_template("viewer.js").render()
    return environment.get_template("report.html").render(
        **_context(inputs), style_hash=_csp_hash(style), script_hash=_csp_hash(script)
    )


def _csp_hash(text: str) -> str:
    """Return the hash by which a content security policy admits an inline text."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def _context(inputs: ReportInputs) -> dict[str, Any]:
    """Gather what the template lays out."""
    judged = [item for verdict in inputs.findings.verdicts for item in (verdict, *verdict.parts)]
    linked = {prompt_id for item in judged for prompt_id in item.prompts}
    viewer = visible_values(viewer_data(inputs.responses, inputs.analyses, first=linked))
    found, words = sections(inputs), study_in_words(inputs)
    there = {
        *found,
        "limitations",
        *(("responses",) if viewer["prompts"] else ()),
        *(("methods",) if words else ()),
        *(("data",) if inputs.preview else ()),
        *(("provenance",) if inputs.settings else ()),
    }
    num_prompts = Counter(axis for axis, _ in {(r.axis, r.prompt_id) for r in inputs.responses})
    most = max(num_prompts.values(), default=0)
    judges = [analysis.judge for analysis in inputs.analyses]
    in_short = (
        plural(len(inputs.findings.first.models), "model"),
        f"{'judge' if len(judges) == 1 else 'judges'} {listing(judges)}",
        f"protocol {inputs.protocol}" if inputs.protocol else "",
    )
    # The rigorous protocol fixes the published study's defects.
    is_paper = inputs.protocol == "paper"
    found_out = answer(inputs.findings)
    return {
        "study": inputs.study,
        "stamps": tuple(filter(None, [run_stamp(inputs), *found_out.alarms])),
        "words": words,
        "contents": [(name, title) for name, title in TITLES.items() if name in there],
        "folded": FOLDED,
        "in_short": " \u00b7 ".join(filter(None, in_short)),
        "answer": found_out,
        "opening": opening(inputs),
        "ranking": ranking(inputs),
        "sections": found,
        "explain": Explained(),
        "cautions": cautions(inputs),
        "most_cautions": _MOST_CAUTIONS,
        "limitations": limitations(inputs),
        "defects": known_defects(inputs.settings, num_prompts=most) if is_paper else (),
        "preview": inputs.preview,
        "viewer": viewer,
        "examples": _examples(viewer),
        "static_prompts": viewer["prompts"][:_NUM_STATIC_PROMPTS],
        "settings": as_yaml(inputs.settings) if inputs.settings else "",
    }


def _examples(viewer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the first prompt of every axis that may be read unasked, with some answers.

    The first is the one that was drawn first: nobody chose it for what the models said.
    """
    found = []
    for axis in viewer["axes"]:
        prompt = next((p for p in viewer["prompts"] if p["axis"] == axis["name"]), None)
        if prompt is not None and not axis["veiled"]:
            found.append({**prompt, "answers": prompt["answers"][:_MOST_ANSWERS]})
    return found
