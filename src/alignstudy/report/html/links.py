"""Links from tables and figures to the samples of the same page: `#sample=...`, `#samples?...`."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote

from alignstudy.analysis.results import Comparison
from alignstudy.records import Axis
from alignstudy.report.html.untrusted import visible
from alignstudy.report.text.stamps import AXIS_OF_METRIC

_BY_SCORE = ("score_harmless", "score_helpful")


def prompt_names(keys: Iterable[tuple[Axis, str]]) -> dict[tuple[Axis, str], str]:
    """Number the prompts of each axis in their order: `Harmful 3`."""
    counts = dict.fromkeys(Axis, 0)
    found = {}
    for axis, prompt_id in dict.fromkeys(keys):
        counts[axis] += 1
        found[axis, prompt_id] = f"{axis.prompts_name.capitalize()} {counts[axis]}"
    return found


def sample_link(axis: Axis, prompt_id: str) -> str:
    """Return the fragment that leads to a prompt in the viewer: `#sample=harmless/harmless-3`."""
    return f"#sample={axis}/{_quoted(prompt_id)}"


def pair_link(item: Comparison) -> str:
    """Return the fragment that shows the prompts on which two models differ most.

    For rates, those where they get different labels; for scores, the largest differences first.
    """
    axes = AXIS_OF_METRIC.get(item.metric, ())
    axis = f"axis={axes[0]}&" if len(axes) == 1 else ""
    show, order = ("every", "gap") if item.metric in _BY_SCORE else ("pair", "given")
    names = f"a={_quoted(item.model)}&b={_quoted(item.reference)}"
    return f"#samples?{axis}show={show}&order={order}&{names}"


def _quoted(text: str) -> str:
    """Write text for an address, as the page shows it: `visible` is what its data hold too."""
    return quote(visible(text), safe="")
