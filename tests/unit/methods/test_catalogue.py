"""The list of methods says of each what the papers' table says, and the page is the list."""

import re
from pathlib import Path

import pytest

from alignstudy.methods import LOSSES, METHODS, ROUND_METHODS, WEIGHT_METHODS
from alignstudy.methods.catalogue import as_page, entries

PAGE = Path(__file__).parents[3] / "docs" / "methods.md"
FOUND = {each.name: each for each in entries()}

# Written down from the papers and their authors' code: source, whether a reference is needed, and
# settings as the authors have them.
PUBLISHED = {
    "dpo": ("2305.18290", True, {"beta": 0.1}),
    "cdpo": ("2305.18290", True, {"label_smoothing": 0.1}),
    "robust": ("2403.00409", True, {"label_smoothing": 0.1}),
    "ipo": ("2310.12036", True, {"beta": 0.1}),
    "ipo_sum": ("2310.12036", True, {"beta": 0.1}),
    "hinge": ("2309.06657", True, {"beta": 0.1}),
    "sigmoid_norm": ("2411.15124", True, {"beta": 5.0}),
    "exo_pair": ("2402.00856", True, {"beta": 0.5, "label_smoothing": 1e-3}),
    "nca_pair": ("2402.05369", True, {"beta": 0.01}),
    "bco_pair": ("2404.04656", True, {"beta": 0.1}),
    "bco": ("2404.04656", True, {"beta": 0.1}),
    "sppo_hard": ("2405.00675", True, {"beta": 1e-3}),
    "aot": ("2406.05882", True, {"beta": 0.1}),
    "aot_unpaired": ("2406.05882", True, {"beta": 0.1}),
    "apo_zero": ("2408.06266", True, {"beta": 0.1}),
    "apo_down": ("2408.06266", True, {"beta": 0.1}),
    "discopop": ("2406.08414", True, {"discopop_tau": 0.05}),
    "rpo": ("2404.19733", True, {"rpo_alpha": 1.0}),
    "dpop": ("2402.13228", True, {"beta": 0.3, "dpop_lambda": 50.0}),
    "flex": ("2406.07327", True, {"beta": 0.1, "beta_rejected": 0.08}),
    "rdpo": ("2403.19159", True, {"length_alpha": 0.01}),
    "beta_dpo": ("2407.08639", True, {"beta_dpo_alpha": 0.6, "beta_dpo_drop": 0.2}),
    "cal_dpo": ("2412.14516", True, {"beta": 1e-3}),
    "dpo_reference_free": ("2509.09055", False, {"beta": 0.1}),
    "simpo": ("2405.14734", False, {"beta": 2.0, "simpo_gamma": 1.0, "cpo_alpha": 0.0}),
    "alphapo": ("2501.03884", False, {"alphapo_alpha": 0.25}),
    "cpo": ("2401.08417", False, {"beta": 0.1, "cpo_alpha": 1.0}),
    "slic": ("2305.10425", False, {"slic_delta": 1.0, "slic_lambda": 0.1}),
    "orpo": ("2403.07691", False, {"beta": 0.1}),
    "asft": ("2409.10571", False, {"beta": 1.0, "asft_lambda": 1.0}),
    "wpo": ("2406.11827", True, {"beta": 0.1}),
    "tdpo1": ("2404.11999", True, {"beta": 0.1}),
    "tdpo2": ("2404.11999", True, {"beta": 0.1, "tdpo_alpha": 0.5}),
    "irft_linear": ("2405.17888", True, {"beta": 0.1}),
    "tpo": ("2405.16681", False, {"beta": 0.01, "tpo_alpha": 1.0}),
    "tpo_l": ("2405.16681", False, {}),
    "kto": ("2402.01306", True, {"beta": 0.1}),
    "apo_zero_unpaired": ("2408.06266", True, {"beta": 0.1}),
    "bco_unpaired": ("2404.04656", True, {"beta": 0.1}),
    "rloo": ("2402.14740", True, {"num_generations": 4, "beta": 0.05}),
    "grpo": ("2402.03300", True, {"num_generations": 4, "beta": 0.04}),
    "ppo": (
        "2307.04964",
        True,
        {
            "beta": 0.01,
            "lam": 0.95,
            "gamma": 1.0,
            "cliprange": 0.2,
            "cliprange_value": 0.2,
            "reward_scaling": True,
            "reward_normalization": False,
            "whiten_advantages": False,
            "critic.learning_rate": 1.5e-6,
        },
    ),
    "best_of_n": ("2304.06767", False, {"samples": 4}),
    "sdpo": ("2403.19270", True, {"slices": 2}),
    "spin": ("2401.01335", True, {"iterations": 3, "sampling.temperature": 1.0}),
    "irft": ("2405.17888", True, {"iterations": 5, "sampling.max_new_tokens": 256}),
    "rft": ("2405.17888", True, {"iterations": 1, "reward_model.loss_on": "positions"}),
    "iterative_dpo": ("2405.07863", True, {"iterations": 3, "samples": 4}),
    "sppo": ("2405.00675", True, {"beta": 1e-3, "samples": 5, "sampling.top_p": 0.9}),
    "aft": ("2501.11877", False, {"drafts": 5, "layers": 2, "sampling.temperature": 0.7}),
    "expo": ("2404.16792", False, {"alpha": 0.5}),
    "sft": ("2203.02155", False, {}),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_is_said_of_a_method_is_what_is_published(name):
    source, reference, settings = PUBLISHED[name]
    said = FOUND[name]
    assert source in said.source
    assert ("a reference" in said.needs) == reference
    assert said.settings | settings == said.settings
    assert (said.cost == 0.75) == (
        not reference and "pairs" in said.needs and "third" not in said.needs
    )


def test_every_method_and_loss_is_in_the_list_and_has_a_paragraph():
    named = {name for name in METHODS if METHODS.load(name).in_recipes}
    named |= {*WEIGHT_METHODS, *ROUND_METHODS}
    assert set(FOUND) == (named | set(LOSSES)) - {"sigmoid"}  # which is called dpo
    assert set(FOUND) == {*PUBLISHED, "sft_seq"}  # a term, and no method
    for said in FOUND.values():
        assert len(said.text.split()) >= 12, said.name
        assert re.search(r"arXiv \d{4}\.\d{5}", said.source), said.name


def test_the_page_is_current():
    assert PAGE.read_text(encoding="utf-8") == as_page(), "run `make docs`"
