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
from typing import TYPE_CHECKING, Any

from alignstudy.formatting import listing, plural
from alignstudy.report.html.sections import sections, titles
from alignstudy.report.html.untrusted import visible, visible_values
from alignstudy.report.html.viewer import viewer_data
from alignstudy.report.inputs import ReportInputs
from alignstudy.report.tables.run import facts_table
from alignstudy.report.text.answer import answer
from alignstudy.report.text.cautions import cautions
from alignstudy.report.text.known_defects import Defect, known_defects
from alignstudy.report.text.limitations import limitations
from alignstudy.report.text.stamps import run_stamp
from alignstudy.report.text.words import study_in_words
from alignstudy.settings import as_yaml

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from jinja2 import Environment

    from alignstudy.analysis.claims.claims import Verdict

_NUM_STATIC_PROMPTS = 20
_LONG_FACTS = 12


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
        loader=PackageLoader("alignstudy.report.html", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":")}
    environment.filters["picture"] = _picture
    return environment


def _finalize(value: Any) -> Any:  # noqa: ANN401 - any value a template writes
    """Make text visible; what the engine itself made (`tojson`, macros) is left as it is."""
    return visible(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _csp_hash(text: str) -> str:
    """Return the hash by which a content security policy admits an inline text."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def _picture(path: Path) -> str:
    """Return a PNG file as a data URI."""
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"


def _context(inputs: ReportInputs) -> dict[str, Any]:
    """Gather what the template lays out."""
    linked = _linked(inputs.findings.verdicts)
    viewer = visible_values(viewer_data(inputs.responses, inputs.analyses, first=linked))
    found = sections(inputs)
    given = {
        "study": inputs.study,
        "stamps": tuple(filter(None, [run_stamp(inputs)])),
        "words": study_in_words(inputs),
        "in_short": _in_short(inputs),
        "answer": answer(inputs.findings),
        "sections": found,
        "cautions": cautions(inputs),
        "limitations": limitations(inputs),
        "defects": _defects(inputs),
        "preview": inputs.preview,
        "viewer": viewer,
        "static_prompts": viewer["prompts"][:_NUM_STATIC_PROMPTS],
        "provenance": facts_table(inputs.provenance, "What", title="Where these numbers come from"),
        "settings": as_yaml(inputs.settings) if inputs.settings else "",
        "long_facts": _LONG_FACTS,
    }
    return given | {"contents": _contents(given, found)}


def _contents(given: dict[str, Any], found: Iterable[str]) -> list[tuple[str, str]]:
    """Return id and title of each section that the page has."""
    there = {
        *found,
        "limitations",
        *(("responses",) if given["viewer"]["prompts"] else ()),
        *(("data",) if given["preview"] else ()),
        *(("provenance",) if given["provenance"].rows or given["settings"] else ()),
    }
    return [(name, title) for name, title in titles().items() if name in there]


def _linked(verdicts: Iterable[Verdict]) -> set[str]:
    """Return the ids of the prompts that verdicts point to."""
    return {
        prompt_id
        for verdict in verdicts
        for item in (verdict, *verdict.parts)
        for prompt_id in item.prompts
    }


def _in_short(inputs: ReportInputs) -> str:
    """Say in a line what was compared: models, prompts, judges."""
    first = inputs.findings.first
    ids = Counter(axis for axis, _ in {(row.axis, row.prompt_id) for row in inputs.responses})
    sets = [
        plural(ids[axis.name], f"{axis.prompts} prompt") for axis in first.axes if ids[axis.name]
    ]
    judges = [analysis.judge for analysis in inputs.analyses]
    parts = (
        plural(len(first.models), "model"),
        listing(sets),
        f"{'judge' if len(judges) == 1 else 'judges'} {listing(judges)}",
        f"protocol {inputs.protocol}" if inputs.protocol else "",
    )
    return " \u00b7 ".join(filter(None, parts))


def _defects(inputs: ReportInputs) -> tuple[Defect, ...]:
    """Return the protocol's known defects; the rigorous protocol fixes them."""
    if inputs.protocol != "paper":
        return ()
    ids: dict[str, set[str]] = {}
    for row in inputs.responses:
        ids.setdefault(row.axis, set()).add(row.prompt_id)
    num_prompts = max((len(found) for found in ids.values()), default=0)
    return known_defects(inputs.settings, num_prompts=num_prompts)
