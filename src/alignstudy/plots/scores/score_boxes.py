"""Box plots of the judge's scores, as the published study's figure 3 shows them."""

from __future__ import annotations

import numpy as np

from alignstudy.plots.base import FigureData, NothingToShow, Plot, columns
from alignstudy.plots.panels import axis_panels
from alignstudy.plots.style import (
    label_rows,
    model_styles,
    not_measured,
    row_height,
    threshold_line,
)


def draw(data: FigureData) -> Plot:
    """Box plots: median, quartiles and range of the scores, by model and axis."""
    rows = [
        columns(row, "axis", "model", "seed", "prompt_id") | {"score": score}
        for axis in data.axes
        for model in data.models
        for row, score in data.scores(axis, model)
    ]
    if not rows:
        raise NothingToShow(f"score boxes: the judge {data.judge} gave no score")
    height = 1.6 + row_height(data.models) * len(data.models)
    figure, panels = axis_panels(data.axes, height, sharey=True)
    styles = model_styles(data.models)
    for axis, axes in panels.items():
        axes.set_xlabel("score")
        if not data.all_scores(axis):
            not_measured(axes)
            continue
        for place, (model, style) in enumerate(styles.items()):
            scores = np.array([score for _, score in data.scores(axis, model)])
            if not scores.size:
                continue
            drawn = axes.boxplot(
                scores,
                positions=[place],
                orientation="horizontal",
                widths=0.55,
                patch_artist=True,
                flierprops={"marker": ".", "markersize": 3, "markeredgecolor": "0.45"},
                medianprops={"color": "black", "linewidth": 1.4},
            )
            drawn["boxes"][0].set(facecolor=style.colour, alpha=0.55, edgecolor="0.3")
        threshold_line(axes, data.threshold(axis))
    label_rows(next(iter(panels.values())), data.models)
    return Plot(
        figure=figure,
        data=rows,
        title="Scores as box plots",
        caption=(
            "The distribution of scores, with no test of it. Box: quartiles; line in it: median;"
            " whiskers: the farthest scores within 1.5 times the box's length; points: beyond."
            " Dashed line: the threshold. Boxes show how scores are spread, not how sure a"
            f" difference is: see the paired comparisons. Judge: {data.judge}; responses for each"
            f" model and axis: {data.numbers_of_scores()}."
        ),
    )
