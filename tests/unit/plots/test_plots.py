"""What every figure of the table has to do, and how they look alike."""

import inspect
import io
import math
import re
import time
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.text import Text
from plot_fixtures import METRICS, RATES, data, draw, estimate, nothing

import alignstudy.plots
from alignstudy.plots import FIGURES
from alignstudy.plots.base import NothingToShow
from alignstudy.plots.comparisons.matrix import shade
from alignstudy.plots.style import (
    INK,
    LABEL_WIDTH,
    house_style,
    legend_height,
    model_style,
    wrap_label,
)

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
CERTAIN = {m: {"base": estimate(100.0, half=0), "sft": estimate(0.0, half=0)} for m in RATES}
CASES = {
    "one model": data(("only",)),
    "two models, no base": data(("base", "sft"), base=None),
    "all scores equal": data(score=1.0),
    "rates of 0 and 100": data(
        ("base", "sft"),
        thresholds=(-99.0, 99.0),
        estimates=CERTAIN,
    ),
    "seeds and missing scores": data(seeds=(0, 1, 2), missing=0.3),
    "one axis": data(
        axes=("helpful",),
        thresholds=(None, 0.2),
        estimates={
            metric: {
                model: None if metric in ("hmr", "cas", "score_harmless") else estimate(50.0)
                for model in ("base", "sft", "dpo")
            }
            for metric in METRICS
        },
    ),
}
LEFT_OUT = {
    "one model": {"differences", "paired_scores", "win_rates", "power_curve"},
    "all scores equal": {"power_curve"},
    "rates of 0 and 100": {"power_curve"},
    "one axis": {"tradeoff"},
}
"""Figures that have nothing to show of a case; all others draw it."""


@pytest.fixture(scope="module")
def heavy():
    """Eight models with awkward names on 5,000 prompts an axis."""
    return data(LONG_NAMES, n=5_000)


def texts(figure):
    return [text for text in figure.findobj(Text) if text.get_visible() and text.get_text()]


def svg(plot):
    file = io.BytesIO()
    with house_style():
        FigureCanvasSVG(plot.figure).print_svg(file, metadata={"Date": None, "Creator": None})
    return file.getvalue()


@pytest.mark.parametrize("name", FIGURES)
class TestEveryFigure:
    def test_gives_a_figure_with_data_title_and_caption(self, name):
        plot = draw(name, data())
        assert isinstance(plot.figure.canvas, FigureCanvasAgg)
        assert plot.title
        assert plot.caption.endswith(".")
        assert plot.data
        assert len({tuple(row) for row in plot.data}) == 1

    def test_captions_state_n_and_method(self, name):
        caption = draw(name, data()).caption
        if name != "training_curves":
            assert "n\u00a0=\u00a0" in caption
        methods = ("interval", "bootstrap", "test", "bins", "distribution")
        assert any(word in caption.lower() for word in methods)

    def test_has_a_summary_for_the_list_of_figures(self, name):
        assert len(FIGURES.summary(name)) > 20

    def test_with_nothing_to_show_says_so(self, name):
        with pytest.raises(NothingToShow, match=r".: ."):
            draw(name, nothing())

    @pytest.mark.parametrize("case", CASES)
    def test_draws_odd_studies(self, name, case):
        if name in LEFT_OUT.get(case, ()):
            with pytest.raises(NothingToShow):
                draw(name, CASES[case])
            return
        plot = draw(name, CASES[case])
        numbers = [v for row in plot.data for v in row.values() if isinstance(v, float)]
        assert plot.data
        assert all(math.isfinite(number) for number in numbers)
        with house_style():
            plot.figure.set_layout_engine("none")
            plot.figure.set_dpi(30)
            plot.figure.canvas.draw()

    def test_clips_nothing_and_stays_light_with_eight_long_names_and_5000_prompts(
        self, name, heavy
    ):
        started = time.process_time()
        plot = draw(name, heavy)
        with house_style():
            plot.figure.draw_without_rendering()
            plot.figure.set_layout_engine("none")
            box = plot.figure.get_tightbbox(plot.figure.canvas.get_renderer())
            edges = [text.get_window_extent() for text in texts(plot.figure) if text.axes]
        # Texts within cells take no part in the layout, and so not in that box.
        assert all(edge.x0 >= 0 and edge.x1 <= plot.figure.bbox.width for edge in edges)
        width, height = plot.figure.get_size_inches()
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= width
        assert box.y1 <= height
        # Half of it is what a page with two columns leaves: 4.5 points can still be read.
        assert min(text.get_fontsize() for text in texts(plot.figure)) * 0.5 >= 4.5
        plot.figure.set_dpi(96)
        assert len(svg(plot)) < 1_000_000
        assert time.process_time() - started < 15

    def test_leaves_matplotlib_as_it_was(self, name):
        before = dict(mpl.rcParams)
        draw(name, data())
        assert dict(mpl.rcParams) == before

    def test_neither_saves_nor_shows_nor_uses_pyplot(self, name):
        source = inspect.getsource(inspect.getmodule(FIGURES.load(name)))
        assert not any(word in source for word in ("pyplot", "savefig", ".show("))


def test_the_table_holds_every_figure_of_the_folder():
    folder = Path(alignstudy.plots.__file__).parent
    with_draw = {
        path.stem for path in folder.rglob("*.py") if "\ndef draw(" in path.read_text("utf-8")
    }
    assert with_draw == set(FIGURES)


@pytest.mark.parametrize("name", FIGURES)
def test_an_axis_that_nobody_was_asked_on_has_no_panel(name):
    try:
        plot = draw(name, CASES["one axis"])
    except NothingToShow:
        return
    said = " ".join(text.get_text() for text in texts(plot.figure))
    assert "not measured" not in said
    assert not re.search(r"harmful|HmR|CAS", said)


def test_models_keep_apart_by_colour_and_marker():
    models = [f"m{i}" for i in range(40)]
    styles = [model_style(models, model) for model in models]
    assert len(set(styles)) == 40
    assert len({style.colour for style in styles[:8]}) == 8
    assert len({style.marker for style in styles[:8]}) == 8


def test_a_model_looks_the_same_in_another_figure_of_the_study():
    assert model_style(("base", "sft"), "sft") == model_style(("base", "sft", "dpo"), "sft")


def luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_the_palette_stays_apart_in_grey_or_by_marker():
    """The first four, which most studies have, differ in lightness from white by enough to see."""
    models = ("a", "b", "c", "d")
    for model in models:
        contrast = 1.05 / (luminance(model_style(models, model).colour) + 0.05)
        assert contrast >= 3.0


@pytest.mark.parametrize("strength", np.linspace(-1.2, 1.2, 13))
def test_text_in_a_shaded_cell_can_be_read(strength):
    assert (luminance(shade(strength)) + 0.05) / (luminance(INK) + 0.05) >= 4.5


def test_shades_grow_with_their_strength_from_white():
    assert shade(0.0) == "#ffffff"
    for sign in (-1, 1):
        steps = [luminance(shade(sign * size)) for size in (0.0, 0.25, 0.5, 1.0)]
        assert steps == sorted(steps, reverse=True)


@pytest.mark.parametrize("name", LONG_NAMES)
def test_labels_are_wrapped_within_their_width(name):
    lines = wrap_label(name).split("\n")
    assert len(lines) <= 3
    assert all(len(line) <= LABEL_WIDTH for line in lines)


def test_a_short_label_is_left_as_it_is():
    assert wrap_label("sft_dpo") == "sft_dpo"


def test_a_label_breaks_after_a_joint():
    assert wrap_label("sft_last_response_only") == "sft_last_response_\nonly"


def test_a_legend_gets_room_for_its_rows_and_lines():
    assert legend_height([]) == 0
    assert legend_height(["a"] * 4) == legend_height(["a"])
    assert legend_height(["a"] * 5) > legend_height(["a"] * 4)
    assert legend_height(LONG_NAMES) > legend_height(["a"] * 8)


def test_a_legend_names_every_model_whatever_it_is_called():
    plot = draw("threshold_curves", data(LONG_NAMES))
    assert [text.get_text() for text in plot.figure.legends[0].get_texts()] == [
        wrap_label(name) for name in LONG_NAMES
    ]
