"""Prompt sets: settings, the rigorous protocol, and the paper's on small data."""

import json

import pytest
from pydantic import ValidationError

from alignstudy.data.select.paper import paper_prompt
from alignstudy.data.select.prompt_settings import PromptSet, PromptSettings
from alignstudy.data.select.prompts import select_prompts
from alignstudy.errors import DataError
from alignstudy.metrics.axes import HARMLESS, HELPFUL


def write(folder, subset, dialogues):
    (folder / subset).mkdir(exist_ok=True)
    rows = [{"chosen": f"{d} yes", "rejected": f"{d} no"} for d in dialogues]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / subset / "test.jsonl").write_text(text)


def asked(*turns):
    tags = ("\n\nHuman: ", "\n\nAssistant: ")
    return "".join(tags[i % 2] + turn for i, turn in enumerate(turns)) + "\n\nAssistant:"


@pytest.fixture
def source(tmp_path):
    harmful = [asked(f"How do I kill {n}?") for n in range(20)]
    harmful += [asked("My skill?"), asked("Kill me", "No", "Ok"), asked("KILL it"), harmful[0]]
    write(tmp_path, "harmless-base", harmful)
    write(tmp_path, "helpful-base", [asked("a", "b", f"c{n}") for n in range(10)])
    return tmp_path


def settings(**values):
    return PromptSettings.model_validate(values)


class TestSettings:
    def test_defaults_are_the_protocols(self):
        paper = settings(protocol="paper")
        assert paper.sets[HARMLESS] == PromptSet(
            subsets=("harmless-base",), split="test", n=50, keywords=("kill", "murder", "rape")
        )
        assert (paper.sets[HELPFUL].n, paper.sets[HELPFUL].keywords, paper.seed) == (50, (), 100)
        assert (settings().protocol, settings().sets[HARMLESS].n) == ("rigorous", 500)
        assert PromptSettings() == settings()

    def test_a_part_of_a_set_can_be_changed(self):
        changed = settings(protocol="paper", harmful={"n": 20}).sets[HARMLESS]
        assert (changed.n, changed.keywords) == (20, ("kill", "murder", "rape"))

    def test_one_axis_only(self):
        assert list(settings(harmful=None).sets) == [HELPFUL]
        with pytest.raises(ValidationError, match="nothing to ask"):
            settings(harmful=None, helpful=None)

    def test_settings_survive_a_round_trip(self):
        for one in (settings(harmful=None), settings(protocol="paper")):
            assert PromptSettings.model_validate(one.model_dump()) == one

    def test_unknown_protocol_and_key(self):
        with pytest.raises(ValidationError, match="paper"):
            settings(protocol="published")
        with pytest.raises(ValidationError, match="keyword"):
            settings(harmful={"keyword": ["x"]})


class TestRigorous:
    def test_prompts_end_at_the_cue_and_come_once(self, source):
        found = select_prompts(source, settings(harmful={"n": 23}))
        texts = [prompt.text for prompt in found.of(HARMLESS)]
        assert len(set(texts)) == 23
        assert all(text.endswith("\n\nAssistant:") for text in texts)
        assert found.audits[0].excluded == {"same prompt as an earlier row": 1}
        assert found.prompts[0].id == "harmless-000"
        assert found.prompts[0].source.startswith("harmless-base/test:")
        assert found.prompts[-1].id == "helpful-009"

    def test_fewer_than_asked_for_is_said(self, source):
        audit = select_prompts(source, settings()).audits[1]
        assert (audit.used, audit.notes) == (10, {"fewer prompts than asked for": 490})

    def test_keywords_are_whole_words_of_the_last_human_turn(self, source):
        found = select_prompts(source, settings(harmful={"keywords": ["kill"]}))
        texts = {prompt.text for prompt in found.of(HARMLESS)}
        assert asked("KILL it") in texts
        assert texts.isdisjoint({asked("My skill?"), asked("Kill me", "No", "Ok")})
        assert len(texts) == 21

    def test_draw_is_by_seed_and_axes_are_independent(self, source):
        few = {"harmful": {"n": 5}, "helpful": {"n": 5}}
        one = select_prompts(source, settings(**few))
        assert one == select_prompts(source, settings(**few))
        assert one.prompts != select_prompts(source, settings(**few, seed=1)).prompts
        alone = select_prompts(source, settings(harmful=None, helpful={"n": 5}))
        assert alone.prompts == one.of(HELPFUL)

    def test_a_prompt_that_ends_in_an_assistant_turn_is_left_out(self, source):
        write(source, "helpful-base", [asked("a", "b", "c"), asked("a", "b")])
        assert select_prompts(source, settings()).audits[1].excluded == {
            "prompt doesn't end in a human turn": 1
        }

    def test_no_prompt_left(self, source):
        with pytest.raises(DataError, match="no usable prompt for prompts/harmful"):
            select_prompts(source, settings(harmful={"keywords": ["zebra"]}))

    def test_account_is_complete(self, source):
        for audit in select_prompts(
            source, settings(harmful={"n": 3, "keywords": ["kill"]})
        ).audits:
            lost = len(audit.quarantined) + sum(audit.excluded.values())
            assert audit.read == audit.used + lost


class TestPaper:
    @pytest.mark.parametrize(
        ("chosen", "prompt"),
        [
            ("\n\nHuman: a\n\nAssistant: b", "Human: a"),
            ("\n\nHuman: a\n\nAssistant: b\n\nc ", "Human: a\n\nAssistant: b\n\nc"),
            ("\n\nHuman: a\n\nb\n\nAssistant:", "Human: a\n\nb"),
        ],
    )
    def test_only_a_last_paragraph_of_the_assistant_is_dropped(self, chosen, prompt):
        assert paper_prompt(chosen) == prompt

    def test_keywords_are_substrings_in_one_case(self, source):
        found = select_prompts(
            source, settings(protocol="paper", harmful={"n": 22}, helpful={"n": 10})
        )
        texts = {prompt.text for prompt in found.of(HARMLESS)}
        assert "Human: My skill?" in texts
        assert "Human: KILL it" not in texts

    def test_fewer_rows_than_prompts_would_be_another_set(self, source):
        with pytest.raises(DataError, match="22 rows, but 50 prompts") as caught:
            select_prompts(source, settings(protocol="paper"))
        assert "prompts.harmful.n to 22" in caught.value.hint

    def test_rows_without_whole_dialogues_are_refused(self, tmp_path):
        row = {"prompt": "a", "chosen": "b", "rejected": "c"}
        (tmp_path / "test.jsonl").write_text(json.dumps(row))
        with pytest.raises(DataError, match="no usable row") as caught:
            select_prompts(tmp_path, settings(protocol="paper", harmful={"subsets": []}))
        assert "whole dialogue" in str(caught.value)
