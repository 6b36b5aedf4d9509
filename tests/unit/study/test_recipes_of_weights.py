"""Recipes that are computed from weights: what is refused, which stages they are, what is said."""

import json

import pytest

from alignstudy.errors import SettingsError
from alignstudy.methods.weights.mix import Slerp, WeightedSum
from alignstudy.report.text.recipes import existing_models, pooled_models, recipe_in_words
from alignstudy.study.api import Study
from alignstudy.study.graph.stage import in_order
from alignstudy.study.settings.load import load_settings, resolved_yaml
from alignstudy.study.settings.recipes import lineages
from alignstudy.study.stages.preview import Preview
from alignstudy.study.stages.train import Train
from alignstudy.study.stages.weights import Merge, Mix

CHAINS = {"base": [], "sft": ["sft"], "dpo": ["sft", "dpo"], "simpo": ["sft", "simpo"]}
SOUND = {
    "study": "small",
    "data": {"source": "world"},
    "methods": {"sft": {}, "dpo": {"lora": {}}, "simpo": {}},
    "judges": [{"use": "constant"}],
    "thresholds": {"harmless": 0, "helpful": 0},
    "diagnostics": None,
    "seeds": [0, 1],
}


@pytest.fixture
def load(tmp_path):
    """Read a study with further recipes."""
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "README.md").touch()

    def loaded(recipes, **changes):
        study = {**SOUND, "base": str(tmp_path / "base"), "recipes": {**CHAINS, **recipes}}
        path = tmp_path / "s.yaml"
        path.write_text(json.dumps({**study, **changes}, indent=1))
        return Study.load(path, out=tmp_path / "run")

    return loaded


@pytest.fixture
def stages(load):
    """Return a study's stages by name."""

    def found(recipes, **changes):
        study = load(recipes, **changes)
        every = in_order(study.graph(study.located(fetch=True)).goals)
        return {stage.name: stage for stage in every}

    return found


def with_expo(**settings):
    return {**SOUND["methods"], "expo": settings}


@pytest.mark.parametrize(
    ("recipes", "words"),
    [
        ({"x": {"average": ["dpo", "ppo"]}}, "'recipes.x.average[1]': names 'ppo', which is no"),
        ({"x": {"average": ["dpo"]}}, "'recipes.x': the average of one recipe is that"),
        ({"x": {"average": []}}, "'recipes.x.average'"),
        ({"x": {"average": ["dpo", "dpo"]}}, "a recipe stands twice in `average`"),
        ({"x": {"average": ["dpo", "sft"], "weights": [0.5, 0.6]}}, "`weights` sum to 1.1, not"),
        ({"x": {"average": ["dpo", "sft"], "weights": [1.0]}}, "are 1 `weights` of 2 recipes"),
        ({"x": {"average": ["dpo", "sft"], "weights": [1.5, -0.5]}}, "'recipes.x.weights[1]'"),
        ({"x": {"average": ["dpo", "sft"], "over": "prompts"}}, "'recipes.x.over'"),
        ({"x": {"average": ["dpo", "sft"], "wieghts": [1]}}, "did you mean 'weights'?"),
        ({"x": {"average": ["base"], "over": "seeds"}}, "'recipes.x.average': is the base"),
        ({"x": {"slerp": ["dpo"]}}, "'recipes.x.slerp'"),
        ({"x": {"slerp": ["dpo", "dpo"]}}, "between a recipe and itself"),
        ({"x": {"slerp": ["dpo", "sft"], "t": 1.0}}, "'recipes.x.t'"),
        ({"x": {"slerp": ["dpo", "sft"], "over": "seeds"}}, "unknown key 'recipes.x.over'"),
        ({"x": {"slerp": ["dpo", "sft"], "average": ["dpo", "sft"]}}, "one of these and not both"),
        ({"x": {"average": ["dpo", "sft"], "from": "a"}}, "one of these and not both"),
        ({"x": {"average": ["dpo", "sft"]}, "y": {"average": ["x", "sft"]}},
         "'recipes.y.average[0]': names 'x', which isn't a list of methods"),
        ({"x": {"average": ["dpo", "sft"]}, "y": {"average": ["sft", "dpo"]}}, "are the same"),
        ({"x": {"average": ["dpo", "sft"]},
          "y": {"average": ["sft", "dpo"], "weights": [0.5, 0.5]}}, "are the same"),
    ],
)  # fmt: skip
def test_a_mixture_that_makes_no_sense_is_refused_by_its_key(recipes, words, load):
    with pytest.raises(SettingsError) as refused:
        load(recipes)
    assert words in str(refused.value)


def test_all_seeds_are_several(load):
    with pytest.raises(SettingsError, match="over': seeds: there is one seed"):
        load({"x": {"average": ["dpo"], "over": "seeds"}}, seeds=[3])


@pytest.mark.parametrize(
    ("recipe", "settings", "words"),
    [
        (["expo"], {}, "'recipes.x': begins with 'expo', which goes on in the direction"),
        (["sft", "expo", "expo"], {}, "'recipes.x': has 'expo' after 'expo': say in one `alpha`"),
        (["sft", "expo"], {"alpha": 0}, "'methods.expo.alpha': input should be greater than 0"),
        (["sft", "expo"], {"beta": 0.1}, "unknown key 'methods.expo.beta'"),
        (["sft", "expo"], {"learning_rate": 1e-5}, "unknown key 'methods.expo.learning_rate'"),
        (["sft"], {}, "'methods.expo': is in no recipe"),
    ],
)
def test_an_extrapolation_of_nothing_is_refused(recipe, settings, words, load):
    with pytest.raises(SettingsError) as refused:
        load({"x": recipe}, methods=with_expo(**settings))
    assert words in str(refused.value)


def test_what_is_written_out_is_read_again(load, tmp_path):
    study = load(
        {
            "x": ["sft", "further"],
            "soup": {"average": ["dpo", "simpo"], "weights": [0.25, 0.75]},
            "one": {"average": ["dpo"], "over": "seeds"},
            "arc": {"slerp": ["dpo", "simpo"], "t": 0.3},
        },
        methods={**SOUND["methods"], "further": {"method": "expo", "alpha": 0.1}},
    )
    path = tmp_path / "resolved.yaml"
    path.write_text(resolved_yaml(study.settings))
    assert load_settings(str(path))[1] == study.settings
    changed = Study.load(path, ["recipes.arc.t=0.4"])
    assert changed.settings.recipes["arc"].t == 0.4


def test_an_extrapolation_starts_where_its_method_did(stages):
    recipes = {
        "far": ["sft", "expo"], "further": ["sft", "dpo", "expo"],
        "on": ["sft", "expo", "simpo"], "first": ["dpo", "expo"],
    }  # fmt: skip
    found = stages(recipes, methods=with_expo(alpha=0.25))
    base, sft = found["base"], found["train/sft/seed-1"]
    far = found["expo/sft+expo/seed-1"]
    assert isinstance(far, Mix)
    assert [member.key for member in far.members] == [sft.key, base.key]
    assert far.rule == WeightedSum((1.25, -0.25))
    further = found["expo/sft+dpo+expo/seed-1"]  # of an adapter the change itself is scaled
    assert isinstance(further, Merge)
    assert (further.factor, further.adapter.parent.key) == (1.25, sft.key)
    assert found["expo/dpo+expo/seed-0"].adapter.parent.key == base.key
    assert found["train/sft+expo+simpo/seed-1"].parent.key == far.key
    merged = found.get("merge/sft+dpo/seed-1")
    assert merged is None or merged.key != further.key


def test_alpha_decides_the_key(stages):
    keys = set()
    for alpha in (0.1, 0.3):
        found = stages({"x": ["sft", "dpo", "expo"], "y": ["sft", "expo"]},
                       methods=with_expo(alpha=alpha))  # fmt: skip
        keys |= {found[f"expo/{each}/seed-0"].key for each in ("sft+dpo+expo", "sft+expo")}
    assert len(keys) == 4


def test_a_mixture_is_made_seed_by_seed_of_merged_models(stages):
    found = stages({"soup": {"average": ["dpo", "simpo"]}, "arc": {"slerp": ["dpo", "simpo"]}})
    members = {found["merge/sft+dpo/seed-1"].key, found["train/sft+simpo/seed-1"].key}
    assert {member.key for member in found["average/soup/seed-1"].members} == members
    assert found["average/soup/seed-1"].rule == WeightedSum((0.5, 0.5))
    arc = found["slerp/arc/seed-1"]
    assert [member.key for member in arc.members] == [
        found["merge/sft+dpo/seed-1"].key, found["train/sft+simpo/seed-1"].key
    ]  # fmt: skip
    assert arc.rule == Slerp(0.5)
    assert found["average/soup/seed-0"].key != found["average/soup/seed-1"].key


def test_an_average_is_one_artefact_however_it_is_written(stages):
    keys = set()
    for names, weights in ((["dpo", "simpo"], [0.2, 0.8]), (["simpo", "dpo"], [0.8, 0.2])):
        soup = stages({"soup": {"average": names, "weights": weights}})["average/soup/seed-0"]
        keys.add(soup.key)
        shares = dict(zip((m.name for m in soup.members), soup.rule.weights, strict=True))
        assert shares == {"merge/sft+dpo/seed-0": 0.2, "train/sft+simpo/seed-0": 0.8}
    assert len(keys) == 1


def test_one_model_of_all_seeds_is_the_same_under_every_seed(load, stages):
    recipes = {"one": {"average": ["base", "simpo"], "over": "seeds"}}
    found = stages(recipes)
    one = found["average/one"]
    shares = dict(zip((member.name for member in one.members), one.rule.weights, strict=True))
    assert shares == {"base": 0.5, "train/sft+simpo/seed-0": 0.25, "train/sft+simpo/seed-1": 0.25}
    generated = [stage for name, stage in found.items() if name.startswith("generate/one/")]
    assert [stage.model.key for stage in generated] == [one.key]
    study = load(recipes)
    targets = {each.target for each in study.graph(study.located(fetch=True)).exports}
    assert {"models/one", "models/base", "models/sft/seed-0", "models/sft/seed-1"} <= targets


def test_a_mixture_is_kin_of_all_that_it_is_made_of(load):
    recipes = {
        "far": ["sft", "expo"], "orpo": ["simpo"],
        "soup": {"average": ["orpo", "dpo"]}, "arc": {"slerp": ["base", "dpo"]},
        "one": {"average": ["dpo"], "over": "seeds"}, "mine": {"from": "a/b"},
    }  # fmt: skip
    found = lineages(load(recipes, methods=with_expo()).settings.recipes)
    assert found["far"] == (("sft", "expo"),)
    assert found["soup"] == (("simpo",), ("sft", "dpo"))
    assert found["arc"] == (("sft", "dpo"),)
    # No seed changes these: they share none.
    assert [found.get(name, ()) for name in ("base", "one", "mine")] == [(), (), ()]


def test_the_report_says_what_each_model_is(load):
    recipes = {
        "further": ["sft", "dpo", "expo"], "mine": {"from": "a/b"},
        "soup": {"average": ["dpo", "simpo"]},
        "light": {"average": ["dpo", "simpo"], "weights": [0.25, 0.75]},
        "one": {"average": ["dpo", "simpo"], "over": "seeds"},
        "arc": {"slerp": ["dpo", "simpo"], "t": 0.3},
    }  # fmt: skip
    given = load(recipes, methods=with_expo(alpha=0.3)).settings.model_dump(mode="json")
    said = {
        name: recipe_in_words(name, given["recipes"], given["methods"]) for name in given["recipes"]
    }
    assert said == {
        "base": "not trained further",
        "sft": "sft",
        "dpo": "sft, then dpo",
        "simpo": "sft, then simpo",
        "further": "sft, then dpo, then expo (1.3 times what dpo changed, nothing trained)",
        "mine": "not trained here: a/b",
        "soup": "the mean of the weights of dpo and simpo",
        "light": "the mean of the weights of dpo (0.25) and simpo (0.75)",
        "one": "the mean of the weights of dpo and simpo under all seeds: one model",
        "arc": "weights on the arc from dpo to simpo, at 0.3 of it",
    }
    assert recipe_in_words("unknown", {}, {}) == "unknown"
    assert existing_models(given["recipes"]) == ["mine"]
    assert pooled_models(given["recipes"]) == ["one"]


def test_what_trains_nothing_has_no_training_examples(stages):
    found = stages({"x": ["sft", "expo", "dpo"]}, methods=with_expo())
    [preview] = [stage for stage in found.values() if isinstance(stage, Preview)]
    assert sorted(preview.labels) == ["dpo", "sft", "simpo"]
    assert all(isinstance(stage, Train) for stage in preview.trainings)
