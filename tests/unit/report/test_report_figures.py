import csv
import random
import xml.etree.ElementTree as ET

import pytest
from plot_fixtures import agreement, divergence, probed, quality
from report_fixtures import analysed, scored

from alignstudy.analysis.findings import Findings
from alignstudy.plots import FIGURES
from alignstudy.plots.models.training_curves import labelled
from alignstudy.records.evidence import TrainingRecord
from alignstudy.registry import Registry
from alignstudy.report import figures as report_figures
from alignstudy.report.figures import write_figures

ROWS = scored(("base", "=cmd|sft"))


@pytest.fixture(scope="module")
def findings():
    """Findings in which every figure has something to show."""
    return Findings(
        analyses=(analysed(ROWS),),
        qualities=(quality("a/judge", random.Random(0)),),
        agreements=(agreement("a/judge", "=b"),),
        divergences=(divergence("base", 0, None), divergence("=cmd|sft", 0, 2.0)),
    )


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
        probe=probed(steps=(0, 2)),
    )


@pytest.fixture(scope="module")
def written(findings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("figures")
    return folder, write_figures(findings, ROWS, [training()], folder)


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


@pytest.mark.e2e
def test_the_same_input_gives_the_same_bytes(written, findings, tmp_path):
    folder, _ = written
    write_figures(findings, ROWS, [training()], tmp_path)
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


def test_numbers_beside_a_figure_are_those_of_the_analysis(written, findings):
    folder, _ = written
    analysis = findings.first
    with (folder / "rates.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    shown = {(row["metric"], row["model"]): float(row["value"]) for row in rows}
    assert shown["cas", "base"] == analysis.models[0].estimates["cas"].value
    assert shown["hpr", "'=cmd|sft"] == analysis.models[1].estimates["hpr"].value


def test_a_text_that_a_spreadsheet_would_run_is_quoted(written):
    folder, _ = written
    for path in folder.glob("*.csv"):
        with path.open(encoding="utf-8") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        assert not any(cell.startswith("=") for cell in cells)


ONLY_RATINGS = (
    "rates", "differences", "tradeoff", "threshold_curves", "paired_scores", "score_distributions",
    "length_scores", "hygiene", "win_rates", "power_curve", "mean_scores", "score_histograms",
    "score_boxes",
)  # fmt: skip


def test_figures_without_anything_to_show_are_left_out(tmp_path):
    files = write_figures(Findings(analyses=(analysed(ROWS),)), ROWS, [], tmp_path)
    assert tuple(file.name for file in files) == ONLY_RATINGS
    assert {path.stem for path in tmp_path.iterdir()} == set(ONLY_RATINGS)


def test_a_figure_that_fails_is_not_taken_for_one_with_nothing_to_show(
    findings, tmp_path, monkeypatch
):
    table = Registry("figure", {"rates": "test_report_figures:broken"})
    monkeypatch.setattr(report_figures, "FIGURES", table)
    with pytest.raises(ZeroDivisionError):
        write_figures(findings, ROWS, [], tmp_path)


def broken(data):
    raise ZeroDivisionError


def test_the_seed_is_named_only_where_there_are_several():
    assert [label for label, _ in labelled([training(0)])] == ["sft > dpo"]
    labels = [label for label, _ in labelled([training(0), training(1)])]
    assert labels == ["sft > dpo (seed 0)", "sft > dpo (seed 1)"]


def test_differences_beside_the_figure_are_those_of_the_analysis(written, findings):
    made = {c.metric: c for c in findings.first.comparisons}
    with (written[0] / "differences.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["metric"] for row in rows} == set(made)
    for row in rows:
        comparison = made[row["metric"]]
        assert float(row["p_corrected"]) == comparison.p_holm
        assert row["shown"] == str(comparison.is_shown)


def test_hygiene_beside_the_figure_is_as_it_was_counted(written, findings):
    counted = {model.model: model.hygiene for model in findings.first.models}
    with (written[0] / "hygiene.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            hygiene = counted[row["model"].lstrip("'")][row["axis"]]
            assert float(row["percent"]) == getattr(hygiene, row["flag"])
