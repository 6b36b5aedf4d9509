import inspect
import random
from pathlib import Path

import matplotlib as mpl
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

import alignstudy.plots
from alignstudy.plots import FIGURES
from alignstudy.plots.base import RATES, SCORES, Curve, Difference, FigureData
from alignstudy.plots.score_histograms import _edges
from alignstudy.plots.style import LABEL_WIDTH, house_style, model_style, wrap_label
from alignstudy.records import Axis, Estimate, ScoredResponse

LONG_NAMES = (
    "base",
    "sft_last_response_only_lr_1e-5",
    "dpo_beta_0.1_lora_r8_q_proj_v_proj_dropout_kept",
    "a name without any joint: " + "x" * 60,
    "$x_1$ < 2 & <b>",
    "\u65e5\u672c\u8a9e",
    "_hidden",
    "sft+dpo/final",
)


def estimate(value, n=20):
    return Estimate(value=value, low=value - 4, high=value + 4, n=n, method="wilson")


def data(models=("base", "sft", "dpo"), *, axes=tuple(Axis), n=20, **changes):
    rng = random.Random(1)
    given = {
        "judge": "j",
        "models": models,
        "base": models[0],
        "estimates": {
            metric: {model: estimate(rng.uniform(10, 90)) for model in models}
            for metric in (*RATES, *SCORES)
        },
        "differences": [
            Difference(
                metric=metric,
                model=model,
                reference=models[0],
                estimate=estimate(rng.uniform(-30, 30)),
                p_value=0.5,
                shown=False,
            )
            for metric in (*RATES, *SCORES)
            for model in models[1:]
        ],
        "responses": [
            ScoredResponse(
                model=model,
                seed=0,
                prompt_id=f"{axis}-{i}",
                axis=axis,
                prompt="p",
                response="r",
                scores={"j": rng.gauss(0, 1)},
            )
            for model in models
            for axis in axes
            for i in range(n)
        ],
        "thresholds": {Axis.HARMLESS: -0.5, Axis.HELPFUL: None},
        "curves": [
            Curve(
                label=label,
                method=method,
                points=[{"step": i, "loss": 1 / i, "implicit_reward_margin": i / 9} for i in (1, 2)]
                + [{"step": 3, "loss": float("nan")}, {"epoch": 1.0}],
            )
            for label, method in (("sft", "sft"), ("sft > dpo", "dpo"))
        ],
    }
    return FigureData(**(given | changes))


NOTHING = FigureData(judge="j", models=("base", "sft"), base="base")


def texts(figure):
    return [text for text in figure.findobj(Text) if text.get_visible() and text.get_text()]


@pytest.mark.parametrize("name", FIGURES)
class TestEveryFigure:
    def test_gives_a_figure_with_data_title_and_caption(self, name):
        plot = FIGURES.load(name)(data())
        assert isinstance(plot.figure.canvas, FigureCanvasAgg)
        assert plot.title
        assert plot.caption.endswith(".")
        assert plot.data
        assert len({tuple(row) for row in plot.data}) == 1

    def test_has_a_summary_for_the_list_of_figures(self, name):
        assert len(FIGURES.summary(name)) > 20

    def test_says_what_was_not_measured(self, name):
        plot = FIGURES.load(name)(NOTHING)
        assert "not measured" in [text.get_text() for text in texts(plot.figure)]

    def test_draws_one_axis_when_the_other_is_missing(self, name):
        one = data(axes=(Axis.HELPFUL,))
        estimates = dict(one.estimates) | {
            metric: dict.fromkeys(one.models) for metric in ("hmr", "cas", "score_harmless")
        }
        plot = FIGURES.load(name)(data(axes=(Axis.HELPFUL,), estimates=estimates))
        assert plot.data

    def test_clips_nothing_and_writes_large_enough_with_eight_long_names(self, name):
        plot = FIGURES.load(name)(data(LONG_NAMES))
        with house_style():
            plot.figure.canvas.draw()
            box = plot.figure.get_tightbbox(plot.figure.canvas.get_renderer())
        width, height = plot.figure.get_size_inches()
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= width
        assert box.y1 <= height
        assert min(text.get_fontsize() for text in texts(plot.figure)) >= 9

    def test_leaves_matplotlib_as_it_was(self, name):
        before = dict(mpl.rcParams)
        FIGURES.load(name)(data())
        assert dict(mpl.rcParams) == before

    def test_neither_saves_nor_shows_nor_uses_pyplot(self, name):
        source = inspect.getsource(inspect.getmodule(FIGURES.load(name)))
        assert not any(word in source for word in ("pyplot", "savefig", ".show("))


def test_the_table_holds_every_figure_of_the_folder():
    folder = Path(alignstudy.plots.__file__).parent
    with_draw = {
        path.stem for path in folder.glob("*.py") if "\ndef draw(" in path.read_text("utf-8")
    }
    assert with_draw == set(FIGURES)


def test_models_keep_apart_by_colour_and_marker():
    models = [f"m{i}" for i in range(40)]
    styles = [model_style(models, model) for model in models]
    assert len(set(styles)) == 40
    assert len({style.colour for style in styles[:8]}) == 8
    assert len({style.marker for style in styles[:8]}) == 8


def test_a_model_looks_the_same_in_another_figure_of_the_study():
    assert model_style(("base", "sft"), "sft") == model_style(("base", "sft", "dpo"), "sft")


def test_the_palette_stays_apart_in_grey_or_by_marker():
    """The first four, which most studies have, differ in lightness from white by enough to see."""

    def luminance(colour):
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    models = ("a", "b", "c", "d")
    for model in models:
        contrast = 1.05 / (luminance(model_style(models, model).colour) + 0.05)
        assert contrast >= 3.0


@pytest.mark.parametrize("name", LONG_NAMES)
def test_labels_are_wrapped_within_their_width(name):
    lines = wrap_label(name).split("\n")
    assert len(lines) <= 3
    assert all(len(line) <= LABEL_WIDTH for line in lines)


def test_a_short_label_is_left_as_it_is():
    assert wrap_label("sft_dpo") == "sft_dpo"


def test_a_label_breaks_after_a_joint():
    assert wrap_label("sft_last_response_only") == "sft_last_response_\nonly"


def test_rates_data_are_the_estimates():
    given = data()
    rows = FIGURES.load("rates")(given).data
    assert [(row["metric"], row["model"], row["value"]) for row in rows] == [
        (metric, model, given.estimates[metric][model].value)
        for metric in RATES
        for model in given.models
    ]


def test_histograms_count_every_score_once():
    rows = FIGURES.load("score_histograms")(data(n=33)).data
    totals = {}
    for row in rows:
        key = row["axis"], row["model"]
        totals[key] = totals.get(key, 0) + row["responses"]
    assert set(totals.values()) == {33}


def test_histogram_of_equal_scores_has_one_bin():
    assert _edges([2.0, 2.0]) == [1.5, 2.5]


def test_distribution_data_are_the_scores_of_this_judge_only():
    rows = [
        ScoredResponse(
            model="base",
            seed=0,
            prompt_id=str(i),
            axis=Axis.HELPFUL,
            prompt="p",
            response="r",
            scores={"j": score, "other": 9.0},
        )
        for i, score in enumerate((1.0, None, 3.0))
    ]
    plot = FIGURES.load("score_distributions")(data(("base",), responses=rows))
    assert [row["score"] for row in plot.data] == [1.0, 3.0]


def test_per_prompt_scores_are_means_over_seeds_in_rising_order():
    rows = [
        ScoredResponse(
            model="base",
            seed=seed,
            prompt_id=prompt,
            axis=Axis.HELPFUL,
            prompt="p",
            response="r",
            scores={"j": score},
        )
        for prompt, seed, score in (("a", 0, 5.0), ("a", 1, 7.0), ("b", 0, 1.0), ("b", 1, 2.0))
    ]
    plot = FIGURES.load("per_prompt_scores")(data(("base",), responses=rows))
    assert [(row["prompt_id"], row["score"]) for row in plot.data] == [("b", 1.5), ("a", 6.0)]


def test_differences_are_those_to_the_base():
    given = data()
    other = Difference(
        metric="hmr", model="dpo", reference="sft", estimate=estimate(1), p_value=None, shown=False
    )
    rows = FIGURES.load("differences")(data(differences=[*given.differences, other])).data
    assert {row["reference"] for row in rows} == {"base"}
    assert len(rows) == len(given.differences)


def test_training_curves_leave_out_what_is_not_finite():
    rows = FIGURES.load("training_curves")(data()).data
    assert [
        row["step"] for row in rows if row["training"] == "sft" and row["quantity"] == "loss"
    ] == [
        1,
        2,
    ]


def test_captions_state_n_and_method():
    caption = FIGURES.load("rates")(data()).caption
    assert "n\u00a0=\u00a020" in caption
    assert "wilson" in caption


def test_the_same_data_give_the_same_picture(tmp_path):
    names = [tmp_path / "a.png", tmp_path / "b.png"]
    for name in names:
        with house_style():
            FIGURES.load("score_distributions")(data()).figure.savefig(
                name, metadata={"Software": None}
            )
    first, second = (name.read_bytes() for name in names)
    assert first == second
