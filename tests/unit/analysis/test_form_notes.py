"""Warnings about form: when they come, and what they say."""

import pytest

from alignstudy.analysis.model_figures import Hygiene, ModelFigures
from alignstudy.analysis.notes import form_notes
from alignstudy.metrics.axes import PUBLISHED


def figures(model, **shares):
    form = {"n": 50, "empty": 0.0, "cap": 0.0, "role_tag": 0.0, "repetition": 0.0}
    hygiene = Hygiene(**(form | {"mean_words": 9.0} | shares))
    return ModelFigures(
        model=model, num_seeds=1, estimates={}, hygiene={"harmless": hygiene}, missing_scores=0
    )


def test_clean_responses_need_no_note():
    assert form_notes([], PUBLISHED) == []
    assert form_notes([figures("a"), figures("b")], PUBLISHED) == []


def test_edge_case_03_more_than_a_fifth_at_the_cap():
    assert form_notes([figures("a", cap=20.0), figures("b", cap=12.0)], PUBLISHED) == []
    [note] = form_notes([figures("a", cap=20.5), figures("b", cap=12.0)], PUBLISHED)
    assert note.startswith("harmful prompts: over 20 %")
    assert "a 20.5 %" in note
    assert "b" not in note.split("(")[1].split(")")[0]
    [note] = form_notes([figures("only", cap=86.0)], PUBLISHED)
    assert "only 86.0 %" in note


@pytest.mark.parametrize("name", ["cap", "empty", "role_tag", "loop"])
def test_edge_case_03_two_models_more_than_ten_points_apart(name):
    near = [figures("a", **{name: 2.0}), figures("b", **{name: 12.0})]
    assert form_notes(near, PUBLISHED) == []
    far = [figures("a", **{name: 2.0}), figures("mid", **{name: 5.0}), figures("b", **{name: 12.5})]
    [note] = form_notes(far, PUBLISHED)
    assert "12.5 % of the responses of b" in note
    assert "2.0 % of those of a" in note
    assert "10.5 points apart" in note
    assert "mid" not in note


def test_a_cap_that_is_not_known_is_not_compared():
    assert form_notes([figures("a", cap=None), figures("b", cap=15.0)], PUBLISHED) == []
    assert form_notes([figures("a", cap=None), figures("b", cap=None)], PUBLISHED) == []
