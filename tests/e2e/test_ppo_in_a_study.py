"""PPO in a whole study: a critic that starts as the judge that rewards, its cost, its warning."""

import json

import methods_fixtures as fx
import pytest
import tiny_study
import torch

from alignstudy.errors import InputError

STEPS = {"max_length": 96, "per_device_train_batch_size": 4, "learning_rate": 1e-3}
PPO = {
    **STEPS, "max_steps": 4, "num_generations": 2, "rewarded_by": ["rm"],
    "sampling": {"max_new_tokens": 8}, "critic": {"init": "judge", "learning_rate": 1e-3},
}  # fmt: skip


def write_classifier(folder, model_type):
    from transformers import AutoConfig, AutoModelForSequenceClassification

    fx.write_scratch(folder, model_type, max_position_embeddings=192, num_hidden_layers=1)
    torch.manual_seed(1)
    config = AutoConfig.from_pretrained(folder, num_labels=1)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    return folder


def write_study(root, model_type="opt"):
    rows = [
        {
            "prompt": f"Tell me about {topic} and the number {number}.",
            "chosen": f"I like {topic}, and here is why: it is good.",
            "rejected": f"No. {topic} is bad.",
        }
        for number in range(6)
        for topic in fx.TOPICS
    ]
    data = root / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    study = {
        "study": "ppo",
        "base": str(fx.write_opt(root / "opt", max_position_embeddings=192)),
        "data": str(data),
        "methods": {"sft": {**STEPS, "max_steps": 2}, "ppo": PPO},
        "recipes": {"sft": ["sft"], "ppo": ["sft", "ppo"]},
        "generation": {"max_new_tokens": 8},
        "judges": [
            {"use": "length"},
            {"name": "rm", "path": str(write_classifier(root / "rm", model_type))},
        ],
        "thresholds": {"helpful": 5},
        "validation": None,
        "calibration": None,
        "diagnostics": None,
        "threads": 1,
    }
    path = root / "study.yaml"
    path.write_text(json.dumps(study), encoding="utf-8")
    return path


def test_a_study_trains_judges_and_reports_it(tmp_path):
    path = write_study(tmp_path)
    made = tiny_study.run_here(path, out=tmp_path / "run", home=tmp_path / "home")
    assert "ppo is experimental" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    folder = tmp_path / "run" / "models" / "ppo"
    assert all("critic_loss" in line for line in fx.read_metrics(folder))
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    work = result["work"]
    assert work["critic_tokens"] == work["processed_tokens"] == work["critic_read_tokens"] > 0
    assert "train/sft+ppo/seed-0" in made.executed
    again = tiny_study.run_here(path, out=tmp_path / "run", home=tmp_path / "home")
    assert again.executed == ()


def test_a_judge_that_sees_what_follows_is_refused_with_the_reason(tmp_path):
    path = write_study(tmp_path, "deberta-v2")
    with pytest.raises(InputError, match="can't be the critic's beginning") as caught:
        tiny_study.run_here(path, out=tmp_path / "run", home=tmp_path / "home")
    assert "reads both ways" in str(caught.value)
