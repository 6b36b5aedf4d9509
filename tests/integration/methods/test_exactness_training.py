"""Our way of training computes what stock TRL computes, with less work, and counts that work."""

import warnings
from dataclasses import dataclass
from functools import wraps

import methods_fixtures as fx
import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
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
from alignstudy.methods import LoRASettings
from alignstudy.methods.batches.judgements import encode_judgements
from alignstudy.methods.dpo import DPOSettings
from alignstudy.methods.loop import preparing as lean
from alignstudy.methods.loop import train as training
from alignstudy.methods.loop import trl_adapter as _trl
from alignstudy.methods.loop.assembly import assemble
from alignstudy.methods.loop.train import train
from alignstudy.methods.pretrain import PretrainSettings
from alignstudy.methods.reward_model import RewardModelSettings, judge_texts
from alignstudy.methods.scoring import shared_forward
from alignstudy.methods.scoring.shared_forward import BLOCK, ScoringRoute, Tally, install
from alignstudy.methods.sft import SFTSettings
from alignstudy.models.encoders.pairs import PairEncoder
from alignstudy.models.tokenizers import load_tokenizer
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
            training,
            "write_metrics",
            lambda log, *a, **k: (logged.extend(log), write(log, *a, **k)),
        )
        result = train(job)
    steps = [entry for entry in logged if "loss" in entry]
    return Run(steps, fx.weights_of(job.out), result)


# Stock TRL, asked by its own names, reading text.

STOCK = {
    "dpo": (DPOTrainer, DPOConfig),
    "sft": (SFTTrainer, SFTConfig),
    "pretrain": (SFTTrainer, SFTConfig),
    "reward_model": (RewardTrainer, RewardConfig),
}


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
        encoded = encode_judgements(texts, PairEncoder(tokenizer, settings.max_length))
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
    "mean_token_accuracy": (0, 1e-6),
}


def assert_equal_runs(one, other, *, whole_updates):
    """Compare losses within 1e-5, all other figures, and the weights."""
    assert len(one.steps) == len(other.steps) >= 10
    assert one.curve("loss") == pytest.approx(other.curve("loss"), rel=0, abs=1e-5)
    assert max(one.curve("loss")) - min(one.curve("loss")) > 5e-3  # something was learnt
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
    ("full weights", {}, None, 2, 4),
    ("ipo", {"loss_type": "ipo"}, LORA, 8, 1),
    ("hinge", {"loss_type": "hinge", "beta": 0.5}, LORA, 2, 4),
    ("sigmoid + sft", {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.3]}, LORA, 2, 4),
    (
        "robust, js_divergence",
        {"loss_type": "robust", "label_smoothing": 0.1, "f_divergence_type": "js_divergence"},
        LORA,
        8,
        1,
    ),
    ("exo_pair", {"loss_type": "exo_pair", "label_smoothing": 0.1}, LORA, 2, 4),
    ("aot", {"loss_type": "aot", "beta": 0.5}, None, 4, 2),
    ("ld_alpha", {"ld_alpha": 0.4}, None, 8, 1),
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
    theirs = stock_preferences(settings, opt, tmp_path / "stock", 2, 4)
    assert_equal_runs(mine, theirs, whole_updates=False)
    work = mine.result.work
    assert work.processed_tokens >= work.real_tokens


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """Join rows under one mask, and score with TRL's head."""
    monkeypatch.setattr(shared_forward, "holds_logits", lambda *_: False)
    monkeypatch.setattr(lean, "use_joined_attention", lambda _: False)
    monkeypatch.setattr(
        lean, "ScoringRoute", lambda **given: ScoringRoute(**(given | {"flat": True}))
    )


def test_preferences_in_one_flat_row_too(opt, tmp_path, as_on_a_gpu):
    settings = DPOSettings(**(SMALL | sizes(8, 1)), lora=LORA, max_steps=10)
    mine = ours(settings, opt, tmp_path / "ours")
    theirs = stock_preferences(settings, opt, tmp_path / "stock", 8, 1)
    assert_equal_runs(mine, theirs, whole_updates=True)


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


def test_fine_tuning_in_one_flat_row_too(opt, tmp_path, as_on_a_gpu):
    settings = SFTSettings(**(SMALL | sizes(8, 1)), num_train_epochs=4)
    mine = ours(settings, opt, tmp_path / "ours", rows=make_rows(17))
    theirs = stock(
        settings, opt, tmp_path / "stock", micro=8, accumulate=1, rows=make_rows(17),
        packing=False, completion_only_loss=True,
    )  # fmt: skip
    assert_equal_runs(mine, theirs, whole_updates=True)


def test_pretraining_is_stock_s(opt, tmp_path):
    settings = PretrainSettings(**SMALL, max_steps=10, group_by_length=False)
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


# Rows of like length, sizes found, work counted.


@pytest.fixture
def updates(monkeypatch):
    """Note which rows every update is made of."""
    seen = []
    step = _trl.GuardedTrainer.training_step

    def noting(trainer, model, inputs, *args):
        seen.append(inputs["row"].tolist())
        return step(trainer, model, inputs, *args)

    monkeypatch.setattr(_trl.GuardedTrainer, "training_step", noting)
    return seen


STILL = SMALL | {"learning_rate": 1e-12, "group_by_length": True}
"""The weights stay those of the parent, so that every update can be computed apart."""


def alone(parent, ids, border):
    """Log-probabilities of a text's targets, unpadded, by the stock model in float64."""
    model = without_dropout(parent).double().eval()
    with torch.no_grad():
        log_p = model(input_ids=torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
    return log_p.gather(-1, torch.tensor(ids[1:])[:, None])[max(border - 1, 0) :, 0]


def test_fine_tuning_by_length_is_each_row_alone(opt, tmp_path, updates):
    settings = SFTSettings(**STILL, num_train_epochs=1)
    job = fx.make_job(settings, opt, tmp_path, rows=make_rows())
    encoded = fx.encode(job, load_tokenizer(opt))
    run = ours(settings, opt, tmp_path / "ours")
    assert sorted(row for rows in updates for row in rows) == list(range(20))
    assert [len(rows) for rows in updates] == [8, 8, 4]
    ids, labels = encoded.columns["input_ids"], encoded.columns["labels"]
    for rows, loss in zip(updates, run.curve("loss"), strict=True):
        logps = [alone(opt, ids[row], labels[row].count(IGNORED)) for row in rows]
        assert loss == pytest.approx(-float(torch.cat(logps).mean()), rel=1e-6)


def test_preferences_by_length_are_each_row_alone(opt, tmp_path, updates):
    settings = DPOSettings(**STILL, num_train_epochs=1)
    job = fx.make_job(settings, opt, tmp_path, rows=make_rows())
    columns = fx.encode(job, load_tokenizer(opt)).columns
    run = ours(settings, opt, tmp_path / "ours")
    assert sorted(row for rows in updates for row in rows) == list(range(20))
    for side in ("chosen", "rejected"):
        for rows, mean in zip(updates, run.curve(f"logps/{side}"), strict=True):
            texts = [(columns["prompt_ids"][row], columns[f"{side}_ids"][row]) for row in rows]
            sums = [float(alone(opt, [*p, *r], len(p)).sum()) for p, r in texts]
            assert mean == pytest.approx(sum(sums) / len(sums), rel=1e-6)


@pytest.mark.parametrize("method", [DPOSettings, SFTSettings])
def test_sizes_found_are_as_sizes_given(method, opt, tmp_path):
    given = method(**(SMALL | sizes(8, 1)), lora=LORA, max_steps=2)
    found = method(
        **(SMALL | {"per_device_train_batch_size": "auto", "gradient_accumulation_steps": 1}),
        total_train_batch_size=8, lora=LORA, max_steps=2,
    )  # fmt: skip
    assert_same_bits(ours(given, opt, tmp_path / "a"), ours(found, opt, tmp_path / "b"))


def assert_same_bits(one, other):
    assert list(map(repr, one.steps)) == list(map(repr, other.steps))  # NaN != NaN
    assert one.weights.keys() == other.weights.keys()
    for name in one.weights:
        assert torch.equal(one.weights[name], other.weights[name]), name


def columns_of(settings, parent, tmp_path, **changes):
    job = fx.make_job(settings, parent, tmp_path, **({"rows": make_rows()} | changes))
    columns = fx.encode(job, load_tokenizer(parent)).columns
    return [list(map(len, columns[name])) for name in columns], columns


@pytest.mark.parametrize("micro", [1, 8])
def test_work_on_preferences_is_counted(micro, opt, tmp_path):
    settings = DPOSettings(
        **(SMALL | sizes(micro, 8 // micro)), lora=LORA, num_train_epochs=1
    )  # fmt: skip
    lengths, _ = columns_of(settings, opt, tmp_path)
    work = ours(settings, opt, tmp_path / "ours").result.work
    rows = list(zip(*lengths, strict=True))
    least = sum(prompt + chosen + rejected for prompt, chosen, rejected in rows)
    assert work.real_tokens == sum(2 * p + c + r for p, c, r in rows)
    assert work.scored_tokens == sum(c + r for _, c, r in rows)
    assert work.reference_pairs == 20
    assert work.reference_reused == 0
    assert work.out_of_memory == 0
    assert work.processed_tokens == least
    assert work.micro_batches == -(-20 // micro)


def test_padding_is_counted_where_rows_are_not_joined(opt, tmp_path, monkeypatch):
    monkeypatch.setattr(lean, "use_joined_attention", lambda _: False)
    settings = DPOSettings(**(SMALL | sizes(8, 1)), lora=LORA, num_train_epochs=1)
    columns, _ = columns_of(settings, opt, tmp_path)
    work = ours(settings, opt, tmp_path / "ours").result.work
    least = sum(map(sum, columns))
    assert least < work.processed_tokens < 1.3 * least
    assert 3 <= work.micro_batches < 20


@pytest.mark.parametrize("loss_on", ["response", "dialogue"])
def test_work_on_dialogues_is_counted(loss_on, opt, tmp_path):
    settings = SFTSettings(**(SMALL | sizes(1, 8)), loss_on=loss_on, num_train_epochs=1)
    (lengths, _), columns = columns_of(settings, opt, tmp_path)
    work = ours(settings, opt, tmp_path / "ours").result.work
    targets = sum(len(row[1:]) - row[1:].count(IGNORED) for row in columns["labels"])
    assert work.processed_tokens == work.real_tokens == sum(lengths)
    assert work.scored_tokens == targets
    assert work.micro_batches == 20
    assert work.reference_pairs == 0


def test_work_on_a_judge_is_counted(deberta, tmp_path):
    settings = RewardModelSettings(**(SMALL | sizes(1, 8) | {"max_length": 96}), max_steps=1)
    job = fx.make_job(settings, deberta, tmp_path, rows=make_rows(8))
    columns = fx.encode(job, load_tokenizer(deberta)).columns
    pairs = zip(columns["chosen_ids"], columns["rejected_ids"], strict=True)
    lengths = [(len(chosen), len(rejected)) for chosen, rejected in pairs]
    work = ours(settings, deberta, tmp_path / "ours", rows=make_rows(8)).result.work
    assert work.real_tokens == sum(map(sum, lengths))
    assert work.processed_tokens == sum(2 * max(each) for each in lengths)


# References are kept.


def test_references_are_computed_once_for_all_that_share_them(opt, tmp_path):
    kept = tmp_path / "references.sqlite"

    def asked(parent=opt, rows=None, seed=0, **changes):
        settings = DPOSettings(**(SMALL | {"lora": LORA} | changes))
        job = fx.make_job(
            settings, parent, tmp_path / "job",
            rows=rows or make_rows(), seed=seed, references=kept,
        )  # fmt: skip
        tokenizer = load_tokenizer(parent)
        encoded = fx.encode(job, tokenizer)
        found = assemble(job, encoded, tokenizer, precision="fp32").references
        return found.computed, found.reused

    assert asked() == (20, 0)
    assert asked() == (0, 20)
    assert asked(beta=0.5, learning_rate=1e-4) == (0, 20)
    assert asked(seed=3, lora=None) == (0, 20)
    assert asked(loss_type="ipo", **sizes(8, 1)) == (0, 20)
    assert asked(ld_alpha=0.3, group_by_length=True) == (0, 20)
    assert asked(rows=make_rows(24)) == (4, 20)
    assert asked(prefix_sharing="off") == (20, 0)
    assert asked(fx.write_opt(tmp_path / "other", seed=5)) == (20, 0)
    cut = sum(p + max(c, r) > 48 for p, c, r in full_lengths(opt, tmp_path))
    assert 0 < cut < 20
    assert asked(max_length=128) == (cut, 20 - cut)
    assert asked() == (0, 20)


def full_lengths(parent, tmp_path):
    settings = DPOSettings(**(SMALL | {"max_length": 128}))
    return zip(*columns_of(settings, parent, tmp_path)[0], strict=True)


def test_kept_references_change_no_bit(opt, tmp_path):
    kept = tmp_path / "references.sqlite"
    settings = DPOSettings(**SMALL, lora=LORA, max_steps=2, ld_alpha=0.5)
    first, second, apart = (
        ours(settings, opt, tmp_path / str(at), references=file)
        for at, file in enumerate((kept, kept, None))
    )
    assert first.result.work.reference_pairs == apart.result.work.reference_pairs == 16
    assert second.result.work.reference_pairs == 0
    assert_same_bits(first, second)
    assert_same_bits(first, apart)


# Want of memory.

ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"),
    MemoryError(),
]


def texts_in(given):
    """Count the texts of a joined row: each begins at position 0."""
    places = given.get("position_ids")  # not given where each row is a text
    return len(given["input_ids"]) if places is None else int((places == 0).sum())


def limit_memory(monkeypatch, fits, *, error=ERRORS[0]):
    """Let training passes fail that don't fit, as `fits` says of the model and its rows."""
    forward = OPTModel.forward

    @wraps(forward)
    def limited(model, *args, **given):
        if torch.is_grad_enabled() and not fits(model, texts_in(given)):
            raise error
        return forward(model, *args, **given)

    monkeypatch.setattr(OPTModel, "forward", limited)


NOISY = LoRASettings(r=4, lora_alpha=8, lora_dropout=0.2)
"""Whoever begins an update anew must begin with the same random numbers."""


def in_micro_batches(method, micro, **changes):
    given = SMALL | sizes(micro, 8 // micro) | {"lora": NOISY, "max_steps": 2} | changes
    if method is DPOSettings:
        given = {"probe_pairs": 0} | given  # a measurement takes memory, too
    return method(**given)


@pytest.mark.parametrize("error", ERRORS, ids=["gpu", "cpu", "python"])
def test_want_of_memory_makes_pieces_smaller_and_changes_nothing_else(
    error, opt, tmp_path, monkeypatch
):
    small = ours(in_micro_batches(DPOSettings, 2), opt, tmp_path / "small")
    limit_memory(monkeypatch, lambda _, rows: rows <= 2, error=error)
    short = ours(in_micro_batches(DPOSettings, 8), opt, tmp_path / "short")
    assert_same_bits(small, short)
    assert small.result.work.out_of_memory == 0
    assert short.result.work.out_of_memory == 2
    assert small.result.notes == ()
    assert short.result.notes == (
        "memory ran out 2 times: micro-batches have at most 2 rows; the effective batch size"
        " stayed the same",
    )
    assert short.result.work.real_tokens == small.result.work.real_tokens
    assert short.result.num_tokens == small.result.num_tokens


@pytest.mark.parametrize("method", [DPOSettings, SFTSettings])
def test_want_of_memory_in_the_middle_of_an_update_leaves_nothing_behind(
    method, opt, tmp_path, monkeypatch
):
    """It fails on the way back through the second piece: the first one's gradients are there."""
    small = ours(in_micro_batches(method, 2), opt, tmp_path / "small")
    forward, passes = OPTModel.forward, []

    @wraps(forward)
    def failing_once(model, *args, **given):
        output = forward(model, *args, **given)
        if torch.is_grad_enabled():
            passes.append(texts_in(given))
            if len(passes) == 2:
                output.last_hidden_state.register_hook(fail)
        return output

    def fail(_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(OPTModel, "forward", failing_once)
    short = ours(in_micro_batches(method, 4), opt, tmp_path / "short")
    assert passes[:3] == [4, 4, 2]
    assert short.result.work.out_of_memory == 1
    assert_same_bits(small, short)


@pytest.mark.parametrize("options", [{}, {"loss_type": ["sigmoid", "sft"]}])
def test_where_no_smaller_piece_is_left_layers_are_computed_twice(
    options, opt, tmp_path, monkeypatch
):
    """The second: a loss that hangs on who is together in a micro-batch has no smaller pieces."""
    micro = 2 if options else 1
    plain = ours(in_micro_batches(DPOSettings, micro, **options), opt, tmp_path / "plain")
    limit_memory(monkeypatch, lambda model, _: model.is_activation_checkpointing)
    short = ours(in_micro_batches(DPOSettings, 2, **options), opt, tmp_path / "short")
    assert short.result.work.out_of_memory == (1 if options else 2)
    assert "computed again instead of kept" in short.result.notes[0]
    assert_same_bits(plain, short)


def test_memory_that_never_suffices_is_said_in_words(opt, tmp_path, monkeypatch):
    limit_memory(monkeypatch, lambda *_: False)
    with pytest.raises(
        EnvironmentFault, match="out of memory with micro-batches of 1 rows"
    ) as caught:
        ours(in_micro_batches(SFTSettings, 8), opt, tmp_path)
    assert "Tried to allocate 2 GiB" in caught.value.why
    assert "max_length" in caught.value.hint


def test_other_faults_of_a_step_are_not_taken_for_want_of_memory(opt, tmp_path, monkeypatch):
    limit_memory(monkeypatch, lambda *_: False, error=RuntimeError("a bug"))
    with pytest.raises(RuntimeError, match=r"^a bug$"):
        ours(in_micro_batches(SFTSettings, 8), opt, tmp_path)


# Packed rows.


@pytest.mark.parametrize("lora", [LORA, None], ids=["lora", "full"])
def test_packed_dialogues_are_each_alone(lora, opt, tmp_path):
    """One flat row, no padding: loss and gradients as of every dialogue by itself."""
    _, columns = columns_of(SFTSettings(**SMALL), opt, tmp_path)
    models = [without_dropout(opt) for _ in range(2)]
    add_fused_lm_head(models[0])
    tally = Tally()
    install(models[0], ScoringRoute(flat=True), tally=tally)
    if lora:
        models = [adapted(model) for model in models]
    rows = list(zip(columns["input_ids"], columns["labels"], strict=True))
    width = max(len(ids) for ids, _ in rows)
    batch = {
        "input_ids": torch.tensor([ids + [1] * (width - len(ids)) for ids, _ in rows]),
        "attention_mask": torch.tensor([[1] * len(i) + [0] * (width - len(i)) for i, _ in rows]),
        "labels": torch.tensor([each + [IGNORED] * (width - len(each)) for _, each in rows]),
    }
    packed = models[0](**batch, fused_lm_head=True).loss
    targets = int((batch["labels"][:, 1:] != IGNORED).sum())
    read = sum(len(ids) for ids, _ in rows)
    assert tally.scored_tokens == targets
    assert read <= tally.processed_tokens < read + BLOCK
    total = sum(
        models[1](input_ids=torch.tensor([ids]), labels=torch.tensor([labels])).loss
        * (len(labels[1:]) - labels[1:].count(IGNORED))
        for ids, labels in rows
    )
    apart = total / targets
    assert packed.item() == pytest.approx(apart.item(), rel=1e-6)
    one, other = (
        gradient(model, loss) for model, loss in zip(models, (packed, apart), strict=True)
    )
    assert (one - other).norm() <= 1e-5 * other.norm()
    assert other.norm() > 1e-3


def adapted(model):
    wrapped = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "v_proj"]))
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn_like(parameter) * 0.1)
    return wrapped


def gradient(model, loss):
    loss.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
