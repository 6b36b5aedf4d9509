import json

import pytest
from models_fixtures import write_deberta_like_hub

from alignstudy.errors import GuardError
from alignstudy.judges import SeqClsSettings, build
from alignstudy.judges.kinds.heads import Head

torch = pytest.importorskip("torch")

ITEMS = [("Human: Hello", "Bread."), ("Human: Hello", "Rain and rain.")]


def judge(folder, **settings):
    return build(SeqClsSettings(**settings), folder, "cpu")


def scores(folder, **settings):
    return [score.score for score in judge(folder, **settings).score(ITEMS)]


@pytest.fixture
def many_headed(tmp_path, monkeypatch):
    """A model whose class an installed package registered: a gated score, and three rewards."""
    from dataclasses import dataclass

    from transformers import (
        AutoModelForSequenceClassification,
        DebertaV2Config,
        DebertaV2ForSequenceClassification,
    )
    from transformers.utils import ModelOutput

    @dataclass
    class Rewards(ModelOutput):
        logits: torch.Tensor = None
        rewards: torch.Tensor = None
        score: torch.Tensor = None

    class ManyHeaded(DebertaV2ForSequenceClassification):
        def forward(self, **inputs):
            rewards = super().forward(**inputs).logits
            return Rewards(logits=rewards, rewards=rewards, score=rewards.mean(1))

    write_deberta_like_hub(tmp_path, num_labels=3)
    known = AutoModelForSequenceClassification._model_mapping
    monkeypatch.setitem(known._extra_content, DebertaV2Config, ManyHeaded)
    return tmp_path


def test_a_head_is_read_by_name(many_headed):
    columns = [scores(many_headed, read=f"rewards[{column}]") for column in range(3)]
    assert len({tuple(column) for column in columns}) == 3
    assert scores(many_headed, read="logits[1]") == columns[1] == scores(many_headed, output=1)
    mean = [sum(rewards) / 3 for rewards in zip(*columns, strict=True)]
    assert scores(many_headed, read="score") == pytest.approx(mean, abs=1e-6)


@pytest.mark.parametrize("read", ["safety", "rewards", "rewards[3]", "score[0]"])
def test_edge_case_10_a_head_that_is_not_there_lists_names_and_shapes(many_headed, read):
    with pytest.raises(GuardError) as raised:
        judge(many_headed, read=read)
    words = str(raised.value)
    assert read in words
    for listed in ("logits (1, 3)", "rewards (1, 3)", "score (1,)", "LABEL_2"):
        assert listed in words


@pytest.mark.parametrize("labels", [2, 19])
def test_edge_case_10_several_labels_need_a_choice(tmp_path, labels):
    write_deberta_like_hub(tmp_path, num_labels=labels)
    with pytest.raises(GuardError, match=f"{labels} outputs and none is named") as raised:
        judge(tmp_path)
    for label in range(labels):
        assert f"{label}: LABEL_{label}" in raised.value.why
    assert "output" in raised.value.hint
    chosen = scores(tmp_path, read=f"logits[{labels - 1}]")
    assert chosen == scores(tmp_path, output=labels - 1)
    assert chosen != scores(tmp_path, output=0)


def test_edge_case_11_a_newly_initialised_head_is_refused(tmp_path):
    write_deberta_like_hub(tmp_path, head=False)
    with pytest.raises(GuardError, match="DebertaV2ForSequenceClassification") as raised:
        judge(tmp_path)
    assert "classifier" in raised.value.why
    assert "trained head" in raised.value.hint


def test_edge_case_11_a_head_of_another_shape_is_refused(tmp_path):
    write_deberta_like_hub(tmp_path, num_labels=19)
    file = tmp_path / "config.json"
    config = json.loads(file.read_text())
    config |= {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}
    file.write_text(json.dumps(config))
    with pytest.raises(GuardError, match="classifier"):
        judge(tmp_path, read="logits[10]")


def test_a_cost_is_negated(tmp_path):
    write_deberta_like_hub(tmp_path)
    up, down = scores(tmp_path), scores(tmp_path, better="lower")
    assert down == [-score for score in up]
    assert up[0] != up[1]
    read = scores(tmp_path, better="lower", read="logits")
    assert read == down


def test_a_model_with_code_of_its_own_names_the_way_out(tmp_path):
    write_deberta_like_hub(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"auto_map": {"AutoModel": "m.M"}}))
    with pytest.raises(GuardError, match="code of its own") as raised:
        judge(tmp_path)
    assert "use: python" in raised.value.hint


@pytest.mark.parametrize(
    "text", ["", "a b", "a[", "a[-1]", "a[x]", "__import__('os')", "a.b", "a[1][2]", "a[99999]"]
)
def test_an_expression_is_a_name_and_a_number(text):
    with pytest.raises(ValueError, match="no output's name"):
        Head.parse(text)
    assert str(Head.parse("rewards[10]")) == "rewards[10]"
    assert str(Head.parse("score")) == "score"
