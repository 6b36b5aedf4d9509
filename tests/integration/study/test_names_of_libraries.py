"""Where a setting is said to have a library's name, that library's class has it."""

import dataclasses

import pytest

from alignstudy.study.tools.explain import every_setting


def fields(kind):
    return {field.name for field in dataclasses.fields(kind)}


@pytest.mark.filterwarnings("ignore")
def test_names_are_those_of_the_libraries():
    import peft
    import transformers
    import trl
    from trl.experimental.cpo import CPOConfig
    from trl.experimental.kto import KTOConfig
    from trl.experimental.tpo import TPOConfig

    opt, deberta = transformers.OPTConfig(), transformers.DebertaV2Config()
    there = {
        "transformers' TrainingArguments": fields(transformers.TrainingArguments),
        "transformers' GenerationConfig": set(vars(transformers.GenerationConfig())),
        "TRL's SFTConfig": fields(trl.SFTConfig),
        "TRL's DPOConfig": fields(trl.DPOConfig),
        "TRL's DPOConfig and CPOConfig": fields(trl.DPOConfig) | fields(CPOConfig),
        "TRL's KTOConfig": fields(KTOConfig),
        "TRL's TPOConfig": fields(TPOConfig),
        "TRL's RLOOConfig": fields(trl.RLOOConfig),
        "TRL's GRPOConfig": fields(trl.GRPOConfig),
        "TRL's RLOOConfig and GRPOConfig": fields(trl.RLOOConfig) & fields(trl.GRPOConfig),
        # Gone from TRL 1.16; of 0.24's.
        "TRL's former PPOConfig": {"cliprange", "cliprange_value", "gamma", "lam", "learning_rate"},
        "TRL's RewardConfig": fields(trl.RewardConfig),
        "PEFT's LoraConfig": fields(peft.LoraConfig),
        "OPT's and DeBERTa-v2's configs": {*opt.to_dict(), *deberta.to_dict()},
    }
    named = [
        (source, each.key.rpartition(".")[2])
        for each in every_setting()
        for source in each.source.split("; ")
        if not source.startswith("arXiv") and source != "alignstudy's own" and source[0].isalpha()
    ]
    assert {source for source, _ in named} == set(there)
    assert not [(source, name) for source, name in named if name not in there[source]]
