"""What a training computes is known from its rows alone: the numbers that the trainer counts."""

from dataclasses import asdict, replace

import methods_fixtures as fx
import pytest

from alignstudy.methods import LoRASettings
from alignstudy.methods.dpo import DPOSettings
from alignstudy.methods.kto import KTOSettings
from alignstudy.methods.loop.ahead import work_ahead
from alignstudy.methods.loop.renderings import rendering_for
from alignstudy.methods.loop.train import train
from alignstudy.methods.sft import SFTSettings
from alignstudy.methods.tpo import TPOSettings

COMMON = {"max_length": 64, "per_device_train_batch_size": 4, "learning_rate": 1e-3}
LORA = {"lora": LoRASettings()}
QUICK = {"sft", "dpo", "sft packed"}
CASES = {
    "sft": SFTSettings(**COMMON),
    "sft whole dialogues": SFTSettings(**COMMON, loss_on="dialogue"),
    "sft grouped": SFTSettings(**COMMON, group_by_length=True),
    "sft cut": SFTSettings(**COMMON | {"max_length": 24}),
    "sft packed": SFTSettings(**COMMON | {"per_device_train_batch_size": 2}, packing=True),
    "dpo": DPOSettings(**COMMON),
    "dpo grouped": DPOSettings(**COMMON, group_by_length=True),
    "dpo noised adapter": DPOSettings(**COMMON, dropout="keep", **LORA),
    "dpo as published": DPOSettings(
        **COMMON | {"max_length": 24}, encoding="published", truncation="keep_end"
    ),
    "dpo prompts apart": DPOSettings(**COMMON, prefix_sharing="off", probe_pairs=0),
    "simpo": DPOSettings(**COMMON, loss_type="simpo", probe_pairs=3),
    "orpo": DPOSettings(**COMMON, loss_type="orpo"),
    "tdpo2 adapter": DPOSettings(**COMMON, loss_type="tdpo2", **LORA),
    "kto": KTOSettings(**COMMON),
    "kto rated": KTOSettings(**COMMON, rows="rated"),
    "tpo": TPOSettings(**COMMON),
}


@pytest.fixture(scope="module")
def opt(tmp_path_factory):
    return fx.write_opt(tmp_path_factory.mktemp("opt") / "opt", dropout=0.1)


@pytest.fixture(scope="module")
def llama(opt, tmp_path_factory):
    return fx.write_llama(tmp_path_factory.mktemp("llama") / "llama", tokenizer_from=opt)


def ahead_of(job):
    return work_ahead(
        job.settings,
        job.rows,
        rendering_for(job.parent, job.settings, job.template),
        job.parent,
        seed=job.seed,
        own_reference=job.reference is None,
        held_out=job.held_out,
    )


@pytest.mark.parametrize(
    "name",
    [each if each in QUICK else pytest.param(each, marks=pytest.mark.e2e) for each in CASES],
)
def test_counts_are_the_trainers_own(name, opt, llama, tmp_path):
    """Three rows more than two updates an epoch; stopped inside the second epoch."""
    settings = CASES[name].model_copy(update={"max_steps": 4})
    rows = fx.rows_for(settings)
    if "rated" not in name:
        rows = [*fx.make_triples(10), replace(fx.make_triples(1)[0], id="a copy")]
    parent = llama if "packed" in name else opt
    job = fx.make_job(
        settings, parent, tmp_path, rows=rows, seed=5,
        held_out=fx.make_pairs(3), references=tmp_path / "references.sqlite",
    )  # fmt: skip
    done = asdict(train(job).work)
    expected = asdict(ahead_of(job).after(4))
    left_out = {"micro_batches"} | ({"rows"} if settings.model_dump().get("packing") else set())
    assert {n: v for n, v in expected.items() if n not in left_out} == {
        n: v for n, v in done.items() if n not in left_out
    }
