"""Every method of the field in one study: trained, answered, judged, compared; and gone on with."""

import csv
import json

import methods_fixtures as fx
import pytest
import tiny_study

from alignstudy.errors import InterruptedRunError
from alignstudy.methods import LOSSES, METHODS, ROUND_METHODS, named
from alignstudy.methods.loop.train import train
from alignstudy.methods.losses import ADDED

SHORT = {"max_steps": 2, "learning_rate": 1e-3, "max_length": 96, "per_device_train_batch_size": 4}
METHODS_BY_NAME = {*METHODS, *ROUND_METHODS, "sigmoid"}
LABELS = [name for name in LOSSES if name not in ADDED | METHODS_BY_NAME]
VARIANTS = {
    "rpo_by_parts": {**SHORT, "method": "dpo", "loss_type": ["sigmoid", "sft_seq"]},
    "mpo": {**SHORT, "method": "dpo", "loss_type": ["sigmoid", "bco_pair", "sft"]},
    "ld_dpo": {**SHORT, "method": "dpo", "ld_alpha": 0.5},
    "sppo_on_pairs": {**SHORT, "method": "dpo", "loss_type": "sppo"},
    "kto_rated": {**SHORT, "method": "kto", "rows": "rated"},
}
OTHERS = {
    "expo": ["sft", "dpo", "expo"],
    "soup": {"average": ["dpo", "simpo"]},
    "arc": {"slerp": ["dpo", "simpo"]},
}


def write_rows(path):
    """Write pairs with a third, best response."""
    rows = []
    for number in range(60):
        topic = f"{fx.TOPICS[number % 10]} and the number {number}"
        rows.append(
            {
                "prompt": f"Tell me about {topic}.",
                "chosen": f"I like {topic}, and here is why: it is good.",
                "rejected": f"No. {topic} is bad" + ", bad" * (number % 3) + ".",
                "reference": f"Of {topic} much could be said: it is good, and it is old.",
            }
        )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    root = tmp_path_factory.mktemp("every")
    methods = {label: dict(SHORT) for label in ("sft", "dpo", "kto", "tpo", *LABELS)}
    recipes = {"base": [], "sft": ["sft"]}
    recipes |= {label: ["sft", label] for label in methods if label != "sft"}
    recipes |= {name: ["sft", name] for name in VARIANTS}
    study = {
        "study": "every",
        "base": str(fx.write_opt(root / "opt")),
        "data": str(write_rows(root / "rows.jsonl")),
        "methods": methods | VARIANTS | {"expo": {}},
        "recipes": recipes | OTHERS,
        "generation": {"max_new_tokens": 8},
        "judges": [{"use": "length"}],
        "thresholds": {"helpful": 5},
        "validation": None,
        "calibration": None,
        "diagnostics": None,
        "threads": 1,
    }
    path = root / "study.yaml"
    path.write_text(json.dumps(study), encoding="utf-8")
    made = tiny_study.run_here(path, out=root / "run", home=root / "home")
    return root / "run", study, made


def results(run):
    found = {}
    for path in run.glob("models/*/result.json"):
        found[path.parent.name] = json.loads(path.read_text(encoding="utf-8"))
    return found


def test_every_method_is_trained_asked_judged_and_compared(finished):
    run, study, made = finished
    with (run / "tables" / "metrics.csv").open(encoding="utf-8") as file:
        assert [row["model"] for row in csv.DictReader(file)] == list(study["recipes"])
    for label in study["methods"]:
        if label not in ("sft", "expo"):
            assert f"train/sft+{label}/seed-0" in made.executed, label
            steps = fx.read_metrics(run / "models" / label)
            assert [line["step"] for line in steps] == [1, 2]
    page = (run / "report.md").read_text(encoding="utf-8")
    for label in study["recipes"]:
        assert label in page


def test_a_second_run_executes_nothing(finished):
    run, _, _ = finished
    again = tiny_study.run_here(run.parent / "study.yaml", out=run, home=run.parent / "home")
    assert again.executed == ()


def test_equal_work(finished):
    """All losses of pairs process the same tokens; those without a reference ask none."""
    run, study, _ = finished
    found = results(run)
    pairs = [
        label
        for label in study["methods"]
        if label in found and named(label).get("method", "dpo") == "dpo" and label in LOSSES
    ]
    assert len(pairs) >= 30
    whole = {"real_tokens", "processed_tokens", "scored_tokens"}
    for label in pairs:
        work, same = found[label]["work"], found["dpo"]["work"]
        assert {name: work[name] for name in whole} == {name: same[name] for name in whole}, label
        coupled = LOSSES[label].couples_rows
        assert coupled or work["micro_batches"] == same["micro_batches"], label
        asked = work["reference_pairs"] + work["reference_reused"]
        assert asked == (8 if LOSSES[label].needs_reference else 0), label


def settings_of(label):
    meant = VARIANTS.get(label) or {**named(label), **SHORT}
    return METHODS.load(meant["method"]).settings_type(
        **{**meant, "max_steps": 4, "save_steps": 1, "learning_rate": 1e-2}
    )


@pytest.mark.parametrize("label", ["sft", "dpo", "kto", "tpo", *LABELS, *VARIANTS])
def test_a_training_that_was_stopped_goes_on_with_the_same_bits(label, tmp_path_factory, opt):
    root = tmp_path_factory.mktemp(label)

    def job(name, **changes):
        settings, kept = settings_of(label), root / "references.sqlite"
        rows = fx.rows_for(settings)
        return fx.make_job(settings, opt, root / name, rows=rows, references=kept, **changes)

    asked = []
    train(job("whole"))
    with pytest.raises(InterruptedRunError, match="step 2 of 4"):
        train(job("cut", should_stop=lambda: asked.append(1) or len(asked) >= 2))
    result = train(job("cut"))
    assert result.notes[0] == "went on from the checkpoint of step 2"
    files = {
        name: {
            path.name: path.read_bytes()
            for path in (root / name / "out").iterdir()
            if path.suffix in (".safetensors", ".jsonl")
        }
        for name in ("whole", "cut")
    }
    assert files["whole"] == files["cut"]


@pytest.fixture(scope="module")
def opt(tmp_path_factory):
    return fx.write_opt(tmp_path_factory.mktemp("parent") / "opt")
