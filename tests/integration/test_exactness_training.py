"""Our way of training computes what stock TRL computes, with less work, and counts that work."""

import json
import warnings
from collections import Counter
from dataclasses import dataclass, replace

import methods_fixtures as fx
import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    set_seed,
)
from transformers.models.opt.modeling_opt import OPTModel
from trl import (
    DPOConfig,
    DPOTrainer,
    RewardConfig,
    RewardTrainer,
    SFTConfig,
    SFTTrainer,
)
from trl.trainer.utils import add_fused_lm_head

from alignstudy.errors import EnvironmentFault
from alignstudy.loading import load_tokenizer
from alignstudy.methods import METHODS, LoRASettings, _trl, training
from alignstudy.methods.dpo import DPOSettings
from alignstudy.methods.encode import encode_judgements
from alignstudy.methods.pretrain import PretrainSettings
from alignstudy.methods.reward_model import RewardModelSettings, judge_texts
from alignstudy.methods.sft import SFTSettings
from alignstudy.methods.shared_forward import Tally, install
from alignstudy.records import Document, Pair

IGNORED = -100
LORA = LoRASettings(r=4, lora_alpha=8, lora_dropout=0.0)
SMALL = {
    "max_length": 48,
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 4,
    "learning_rate": 3e-3,
    "dropout": "off",
    "save_steps": 100,
}
"""As the published study: 2 rows at once, 8 an update."""


def make_rows(count=20):
    """Dialogues of different lengths, in no order; nine of twenty are cut at 48 tokens."""
    rows = []
    for number in range(count):
        topic = fx.TOPICS[number * 7 % len(fx.TOPICS)]
        rows.append(
            Pair(
                id=f"small/train:{number + 1}",
                prompt=f"\n\nHuman: Tell me about {topic}{', please' * (number % 4)}."
                "\n\nAssistant:",
                chosen=f" I like {topic}, and here is why" + ": it is good" * (number % 3) + ".",
                rejected=f" No. {topic} is bad" + ", bad" * (number * 3 % 11) + ".",
            )
        )
    return rows


def make_documents(count=20):
    return [Document(id=row.id, text=row.prompt + row.chosen) for row in make_rows(count)]


@pytest.fixture(scope="module")
def opt(tmp_path_factory):
    return fx.write_opt(tmp_path_factory.mktemp("opt"))


@pytest.fixture(scope="module")
def deberta(tmp_path_factory):
    return fx.write_scratch(tmp_path_factory.mktemp("deberta"), "deberta-v2")


@dataclass(frozen=True)
class Run:
    """A finished training: a dictionary a step, weights by name; of ours also what it reports."""

    steps: list
    weights: dict
    result: object = None
    start: dict | None = None

    def curve(self, name):
        return [step[name] for step in self.steps]


def ours(settings, parent, root, **changes):
    """Train as a study does; the trainer's whole log is kept aside."""
    job = fx.make_job(settings, parent, root, **({"rows": make_rows()} | changes))
    logged = []
    with pytest.MonkeyPatch.context() as patch:
        write = training.write_metrics
        patch.setattr(
            training, "write_metrics", lambda log, *a, **k: (logged.extend(log), write(log, *a, **k))
        )
        result = METHODS.load(settings.method).train(job)
    steps = [entry for entry in logged if "loss" in entry]
    return Run(steps, fx.weights_of(job.out), result)


# Stock TRL, asked by its own names, reading text.

STOCK = {"dpo": (DPOTrainer, DPOConfig), "sft": (SFTTrainer, SFTConfig),
         "pretrain": (SFTTrainer, SFTConfig), "reward_model": (RewardTrainer, RewardConfig)}  # fmt: skip


def stock(settings, parent, root, *, micro, accumulate, rows=None, seed=0, **changes):
    """Train the notebooks' way."""
    trainer_class, config_class = STOCK[settings.method]
    rows = make_rows() if rows is None else rows
    tokenizer = load_tokenizer(parent)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        args = config_class(
            output_dir=str(root), per_device_train_batch_size=micro,
            gradient_accumulation_steps=accumulate, learning_rate=settings.learning_rate,
            num_train_epochs=settings.num_train_epochs, max_steps=settings.max_steps or -1,
            lr_scheduler_type=settings.lr_scheduler_type, warmup_steps=settings.warmup_steps,
            weight_decay=settings.weight_decay, max_grad_norm=1.0, optim="adamw_torch",
            max_length=settings.max_length, seed=seed, data_seed=seed, use_cpu=True, bf16=False,
            gradient_checkpointing=False, logging_steps=1, save_strategy="no", report_to="none",
            disable_tqdm=True, **changes,
        )  # fmt: skip
        set_seed(seed)
        model = without_dropout(parent, classifier=settings.method == "reward_model")
        extra = {}
        if settings.lora is not None:
            lora = settings.lora
            extra["peft_config"] = LoraConfig(
                r=lora.r, lora_alpha=lora.lora_alpha, lora_dropout=lora.lora_dropout,
                target_modules=list(lora.target_modules), task_type="CAUSAL_LM",
            )  # fmt: skip
        set_seed(seed)
        trainer = trainer_class(
            model=model, args=args, train_dataset=stock_rows(settings, rows, tokenizer),
            processing_class=tokenizer, **extra,
        )  # fmt: skip
        trainer.model.save_pretrained(root / "start")
        set_seed(seed)
        trainer.train()
        trainer.model.save_pretrained(root / "saved")
    steps = [entry for entry in trainer.state.log_history if "loss" in entry]
    return Run(steps, fx.weights_of(root / "saved"), start=fx.weights_of(root / "start"))


def without_dropout(parent, *, classifier=False):
    config = AutoConfig.from_pretrained(parent)
    for name in config.to_dict():
        if "dropout" in name and isinstance(getattr(config, name), float):
            setattr(config, name, 0.0)
    if classifier:
        config.num_labels = 1
        return AutoModelForSequenceClassification.from_config(config)
    return AutoModelForCausalLM.from_pretrained(parent, config=config, dtype=torch.float32)


def stock_rows(settings, rows, tokenizer):
    if settings.method == "pretrain":
        return Dataset.from_list([{"text": row.text} for row in rows])
    if settings.method == "reward_model":  # a pair of texts a row is more than it can encode
        texts = [(row.id, *judge_texts(row, "cue")) for row in rows]
        encoded = encode_judgements(texts, tokenizer, max_length=settings.max_length)
        return Dataset.from_dict(encoded.columns)
    if settings.method == "dpo":
        names = ("prompt", "chosen", "rejected")
        return Dataset.from_list([{name: getattr(row, name) for name in names} for row in rows])
    if settings.loss_on == "dialogue":
        return Dataset.from_list([{"text": row.prompt + row.chosen} for row in rows])
    return Dataset.from_list([{"prompt": row.prompt, "completion": row.chosen} for row in rows])


BY_ROWS = {  # a mean over rows is the same whatever the micro-batches
    "grad_norm": (2e-4, 1e-5),
    "logps/chosen": (1e-5, 0),
    "logps/rejected": (1e-5, 0),
    "rewards/chosen": (0, 3e-5),
    "rewards/rejected": (0, 3e-5),
    "rewards/margins": (0, 3e-5),
    "mean_reward": (0, 1e-5),
    "margin": (0, 1e-5),
    "accuracy": (0, 1e-6),
    "learning_rate": (1e-12, 0),
    "num_tokens": (0, 0),
}
OF_ONE_BATCH = {  # stock averages its micro-batches' values: the same only where there is one
    "entropy": (1e-5, 0),
    "logits/chosen": (1e-4, 1e-5),
    "logits/rejected": (1e-4, 1e-5),
    "mean_token_accuracy": (0, 1e-6),
    "min_reward": (0, 1e-5),
    "max_reward": (0, 1e-5),
}


def assert_equal_runs(one, other, *, whole_updates):
    """Compare losses within 1e-5, all other figures, and the weights."""
    assert len(one.steps) == len(other.steps) >= 10
    assert one.curve("loss") == pytest.approx(other.curve("loss"), rel=0, abs=1e-5)
    assert max(one.curve("loss")) - min(one.curve("loss")) > 0.01  # something was learnt
    compared = BY_ROWS | (OF_ONE_BATCH if whole_updates else {})
    for name in compared.keys() & other.steps[0].keys():
        relative, absolute = compared[name]
        mine, theirs = one.curve(name), other.curve(name)
        assert mine == pytest.approx(theirs, rel=relative, abs=absolute), name
    assert len(compared.keys() & other.steps[0].keys()) >= 3
    difference = distance(one.weights, other.weights)
    assert difference < 1e-3 * distance(other.weights, other.start)


def distance(one, other):
    """Of all weights; keys' biases have no gradient but rounding, which AdamW makes steps of."""
    assert one.keys() == other.keys()
    names = [name for name in one if not name.endswith(("k_proj.bias", "key_proj.bias"))]
    return sum((one[name] - other[name]).double().square().sum() for name in names).sqrt()


PREFERENCES = [
    ("sigmoid", {}, LORA, 2, 4),
    ("sigmoid", {}, LORA, 8, 1),
    ("full weights", {}, None, 2, 4),
    ("ipo", {"loss_type": "ipo"}, LORA, 8, 1),
    ("hinge", {"loss_type": "hinge", "beta": 0.5}, LORA, 2, 4),
    ("sigmoid + sft", {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.3]}, LORA, 2, 4),
    ("robust", {"loss_type": "robust", "label_smoothing": 0.1}, LORA, 8, 1),
    ("exo_pair", {"loss_type": "exo_pair", "label_smoothing": 0.1}, LORA, 2, 4),
    ("aot", {"loss_type": "aot"}, LORA, 4, 2),
    ("ld_alpha", {"ld_alpha": 0.4}, None, 8, 1),
    ("js_divergence", {"f_divergence_type": "js_divergence"}, LORA, 2, 4),
]


@pytest.mark.parametrize(
    ("name", "options", "lora", "micro", "accumulate"),
    PREFERENCES,
    ids=[f"{name} {micro}x{accumulate}" for name, _, _, micro, accumulate in PREFERENCES],
)
def test_ten_steps_of_preferences_are_stock_s(
    name, options, lora, micro, accumulate, opt, tmp_path
):
    settings = DPOSettings(
        **(SMALL | sizes(micro, accumulate) | options | {"learning_rate": 1e-2 if lora else 3e-3}),
        lora=lora, max_steps=10,
    )  # fmt: skip
    mine = ours(settings, opt, tmp_path / "ours")
    theirs = stock_preferences(settings, opt, tmp_path / "stock", micro, accumulate, **options)
    assert_equal_runs(mine, theirs, whole_updates=accumulate == 1)
    assert mine.result.counts["truncated"] == 9
    # Not the first step's accuracy: every margin is then 0, up to rounding.
    accuracies = [run.curve("rewards/accuracies")[1:] for run in (mine, theirs)]
    assert accuracies[0] == pytest.approx(accuracies[1], abs=1e-6)


def sizes(micro, accumulate):
    return {"per_device_train_batch_size": micro, "gradient_accumulation_steps": accumulate}


def stock_preferences(settings, parent, root, micro, accumulate, rows=None, **options):
    options = {"beta": settings.beta, "disable_dropout": True} | options
    return stock(settings, parent, root, micro=micro, accumulate=accumulate, rows=rows, **options)


def test_a_last_update_that_is_not_full_averages_over_its_rows(opt, tmp_path):
    """As stock TRL in one batch; in two, of 2 rows and of 1, stock would weight rows unequally."""
    settings = DPOSettings(**SMALL, lora=LORA, num_train_epochs=4)
    rows = make_rows(19)
    mine = ours(settings, opt, tmp_path / "ours", rows=rows)
    theirs = stock_preferences(settings, opt, tmp_path / "stock", 8, 1, rows=rows)
    assert len(mine.steps) == 12
    assert_equal_runs(mine, theirs, whole_updates=True)


def test_without_shared_prefixes_too(opt, tmp_path):
    settings = DPOSettings(**SMALL, lora=LORA, max_steps=10, prefix_sharing="off")
    mine = ours(settings, opt, tmp_path / "ours")
    shared = ours(settings.model_copy(update={"prefix_sharing": "auto"}), opt, tmp_path / "shared")
    theirs = stock_preferences(settings, opt, tmp_path / "stock", 2, 4)
    assert_equal_runs(mine, theirs, whole_updates=False)
    assert_equal_runs(shared, theirs, whole_updates=False)
    assert mine.result.work.processed_tokens > 1.3 * shared.result.work.processed_tokens


@pytest.fixture
def in_one_row(monkeypatch):
    """Lay everything out as on a GPU: flat, without padding."""
    monkeypatch.setattr(_trl, "install", lambda *a, **given: install(*a, **(given | {"flat": True})))


def test_preferences_in_one_flat_row_too(opt, tmp_path, in_one_row):
    settings = DPOSettings(**SMALL, lora=LORA, max_steps=10)
    mine = ours(settings, opt, tmp_path / "ours")
    theirs = stock_preferences(settings, opt, tmp_path / "stock", 2, 4)
    assert_equal_runs(mine, theirs, whole_updates=False)


# Supervised fine-tuning, pretraining, reward modelling.


@pytest.mark.parametrize(
    ("loss_on", "lora", "micro", "accumulate"),
    [("response", None, 2, 4), ("response", LORA, 8, 1), ("dialogue", None, 8, 1),
     ("dialogue", LORA, 2, 4)],
)  # fmt: skip
def test_fine_tuning_is_stock_s(loss_on, lora, micro, accumulate, opt, tmp_path):
    """18 rows: the last of three updates has 2."""
    settings = SFTSettings(
        **(SMALL | sizes(micro, accumulate)), lora=lora, loss_on=loss_on, num_train_epochs=4
    )
    rows = make_rows(18)
    mine = ours(settings, opt, tmp_path / "ours", rows=rows)
    theirs = stock(
        settings, opt, tmp_path / "stock", micro=micro, accumulate=accumulate, rows=rows,
        packing=False, completion_only_loss=loss_on == "response",
    )  # fmt: skip
    assert_equal_runs(mine, theirs, whole_updates=accumulate == 1)


def test_fine_tuning_in_one_flat_row_too(opt, tmp_path, in_one_row):
    settings = SFTSettings(**SMALL, num_train_epochs=4)
    mine = ours(settings, opt, tmp_path / "ours", rows=make_rows(17))
    theirs = stock(
        settings, opt, tmp_path / "stock", micro=2, accumulate=4, rows=make_rows(17),
        packing=False, completion_only_loss=True,
    )  # fmt: skip
    assert_equal_runs(mine, theirs, whole_updates=False)


def test_pretraining_is_stock_s(opt, tmp_path):
    settings = PretrainSettings(**SMALL, max_steps=10)
    rows = make_documents()
    mine = ours(settings, opt, tmp_path / "ours", rows=rows)
    theirs = stock(settings, opt, tmp_path / "stock", micro=2, accumulate=4, rows=rows)
    assert_equal_runs(mine, theirs, whole_updates=False)


@pytest.mark.parametrize(("micro", "accumulate"), [(2, 4), (8, 1)])
def test_reward_modelling_is_stock_s(micro, accumulate, deberta, tmp_path):
    """Scores are centred: else what shifts them all has no gradient, and wanders by rounding."""
    settings = RewardModelSettings(
        **(SMALL | sizes(micro, accumulate) | {"max_length": 96}),
        max_steps=10, center_rewards_coefficient=0.1,
    )  # fmt: skip
    mine = ours(settings, deberta, tmp_path / "ours")
    theirs = stock(
        settings, deberta, tmp_path / "stock", micro=micro, accumulate=accumulate,
        disable_dropout=True, center_rewards_coefficient=0.1,
    )  # fmt: skip
    assert_equal_runs(mine, theirs, whole_updates=accumulate == 1)


