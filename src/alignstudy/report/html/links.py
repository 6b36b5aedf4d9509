"""Links from tables and figures to the samples of the same page: `#sample=...`, `#samples?...`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from urllib.parse import quote

from alignstudy.analysis.results import Comparison
from alignstudy.metrics.axes import axis_named
from alignstudy.metrics.metric import Metric
from alignstudy.report.html.untrusted import visible


def prompt_names(keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Number the prompts of each axis in their order, by the word for them."""
    counts: Counter[str] = Counter()
    found = {}
    for axis, prompt_id in dict.fromkeys(keys):
        counts[axis] += 1
        found[axis, prompt_id] = f"{axis_named(axis).prompts.capitalize()} {counts[axis]}"
    return found


def sample_link(axis: str, prompt_id: str) -> str:
    """Return the fragment that leads to a prompt in the viewer: `#sample=<axis>/<id>`."""
    return f"#sample={axis}/{_quoted(prompt_id)}"


def pair_link(item: Comparison, metric: Metric) -> str:
    """Return the fragment that shows the prompts on which two models differ most.

    For rates, those where they get different labels; for scores, the largest differences first.
    """
    axis = f"axis={metric.axes[0]}&" if len(metric.axes) == 1 else ""
    show, order = ("pair", "given") if metric.is_rate else ("every", "gap")
    names = f"a={_quoted(item.model)}&b={_quoted(item.reference)}"
    return f"#samples?{axis}show={show}&order={order}&{names}"


def _quoted(text: str) -> str:
    """Write text for an address, as the page shows it: `visible` is what its data hold too."""
    return quote(visible(text), safe="")
