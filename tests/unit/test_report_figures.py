import csv
import xml.etree.ElementTree as ET

import pytest
from report_fixtures import analysed, scored

from alignstudy.plots import FIGURES
from alignstudy.records import Axis
from alignstudy.report.figures import curves, figure_data, write_figures
from alignstudy.report.inputs import TrainingRecord

ROWS = scored(("base", "=cmd|sft"))


def training(seed=0, recipe="sft > dpo"):
    return TrainingRecord(
        stage="dpo",
        recipe=recipe,
        method="dpo",
        seed=seed,
        steps=2,
        epochs=1.0,
        num_tokens=10,
        seconds=1.0,
        final_loss=0.5,
        curve=({"step": 1, "loss": 0.69}, {"step": 2, "loss": 0.5}),
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("figures")
    return folder, write_figures(analysed(ROWS), ROWS, [training()], folder)


def test_every_figure_is_written_three_times(written):
    folder, files = written
    assert [file.name for file in files] == list(FIGURES)
    expected = {f"{name}.{kind}" for name in FIGURES for kind in ("png", "svg", "csv")}
    assert {path.name for path in folder.iterdir()} == expected


def test_pictures_are_what_their_names_say(written):
    for file in written[1]:
        assert file.png.read_bytes().startswith(b"\x89PNG")
        assert ET.parse(file.svg).getroot().tag.endswith("svg")


def test_no_date_and_no_version_is_in_a_picture(written):
    for file in written[1]:
        assert b"Matplotlib" not in file.png.read_bytes()
        assert "<dc:date>" not in file.svg.read_text("utf-8")


def test_the_same_input_gives_the_same_bytes(written, tmp_path):
    folder, _ = written
    write_figures(analysed(ROWS), ROWS, [training()], tmp_path)
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


def test_numbers_beside_a_figure_are_those_of_the_analysis(written):
    folder, _ = written
    analysis = analysed(ROWS)
    with (folder / "rates.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    shown = {(row["metric"], row["model"]): float(row["value"]) for row in rows}
    assert shown["cas", "base"] == analysis.models[0].cas.value
    assert shown["hpr", "'=cmd|sft"] == analysis.models[1].hpr.value


def test_a_text_that_a_spreadsheet_would_run_is_quoted(written):
    folder, _ = written
    for path in folder.glob("*.csv"):
        with path.open(encoding="utf-8") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        assert not any(cell.startswith("=") for cell in cells)


def test_without_training_there_are_no_training_curves(tmp_path):
    files = write_figures(analysed(ROWS), ROWS, [], tmp_path)
    assert "training_curves" not in {file.name for file in files}
    assert not list(tmp_path.glob("training_curves.*"))


def test_the_seed_is_named_only_where_there_are_several():
    assert [curve.label for curve in curves([training(0)])] == ["sft > dpo"]
    labels = [curve.label for curve in curves([training(0), training(1)])]
    assert labels == ["sft > dpo (seed 0)", "sft > dpo (seed 1)"]


def test_a_difference_is_shown_only_below_the_corrected_level():
    analysis = analysed(ROWS)
    by_metric = {item.metric: item for item in analysis.comparisons}
    for item in figure_data(analysis, ROWS, []).differences:
        assert item.shown == (by_metric[item.metric].p_holm < 0.05)


def test_thresholds_reach_the_figures():
    given = figure_data(analysed(ROWS), ROWS, [])
    assert given.thresholds == {Axis.HARMLESS: -1.0, Axis.HELPFUL: 0.0}
