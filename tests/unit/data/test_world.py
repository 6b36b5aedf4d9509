"""The demo's world: repeatable, well-formed, and with a test split that is never seen elsewhere."""

import gzip
import hashlib
import json

import pytest

from alignstudy.data.contamination.exclusion import SHARES_PROMPT, EvaluationDialogues
from alignstudy.data.formats.hh import CONTEXTS_DIFFER, IDENTICAL
from alignstudy.data.select.collect import collect_documents, collect_pairs
from alignstudy.data.select.held_out import CalibrationSettings, select_held_out
from alignstudy.data.select.prompt_settings import PromptSettings
from alignstudy.data.select.prompts import select_prompts
from alignstudy.data.select.selection import RowSelection
from alignstudy.data.world.generate import BROKEN_PAIRS, SUBSETS, WorldSettings, write_world
from alignstudy.data.world.phrases import world_words
from alignstudy.dialogue import cut_at_role_tag, parse_turns, split_at_last_cue
from alignstudy.errors import SettingsError
from alignstudy.metrics.axes import PUBLISHED

AXES = ("harmless", "helpful")

PAIRS = tuple(SUBSETS.values())


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    write_world(WorldSettings(), folder)
    return folder


def contents(folder):
    return {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*.gz")}


def rows(world, subset, split):
    with gzip.open(world / subset / f"{split}.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def texts(world):
    return [row["text"] for row in rows(world, "pretrain", "train")]


def pairs(world, split):
    return collect_pairs(world, RowSelection(subsets=PAIRS, split=split), part=split)


def test_bytes_depend_on_the_settings_alone(tmp_path):
    small = {"num_train": 60, "num_judge": 30, "num_test": 20, "num_pretrain": 50}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_world(WorldSettings(seed=seed, **small), tmp_path / name)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    other = contents(tmp_path / "c")
    assert all(content != other[name] for name, content in contents(tmp_path / "a").items())


@pytest.mark.parametrize(
    ("seed", "digest"),
    [
        (0, "6fc0672213d5b9e0af5038ccb0cb685bfefd6fcfa2ca252769a7ebeda22a0191"),
        (7, "50a077518dea6a41b832c0a0c9e37e1abc295850937b3de00b8e31ab72774f9a"),
    ],
)
def test_rows_are_those_of_earlier_releases(tmp_path, seed, digest):
    write_world(WorldSettings(seed=seed), tmp_path)
    whole = hashlib.sha256()
    for name, content in sorted(contents(tmp_path).items()):
        whole.update(name.as_posix().encode() + gzip.decompress(content))
    assert whole.hexdigest() == digest


def test_all_topics_are_used_by_default():
    assert WorldSettings().num_topics == len(world_words()["topics"])


def test_sizes_are_as_asked_for(world):
    asked = WorldSettings()
    for subset in PAIRS:
        sizes = {split: len(rows(world, subset, split)) for split in ("train", "judge", "test")}
        assert sizes == {
            "train": asked.num_train, "judge": asked.num_judge, "test": asked.num_test,
        }  # fmt: skip
    assert len(texts(world)) == asked.num_pretrain


def test_only_the_deliberately_broken_pairs_are_quarantined(world):
    reasons = sorted(row.reason for row in pairs(world, "train").audit.quarantined)
    assert reasons == sorted([CONTEXTS_DIFFER, IDENTICAL] * BROKEN_PAIRS)
    for split in ("judge", "test"):
        assert pairs(world, split).audit.quarantined == ()


def test_test_prompts_are_different_and_seen_nowhere_else(world):
    prompts = select_prompts(world, PromptSettings())
    for axis in PUBLISHED:
        assert len(prompts.of(axis)) == WorldSettings().num_test >= 100
    everything = RowSelection(subsets=PAIRS)
    for found in (
        collect_pairs(world, everything, part="train", exclude=prompts.dialogues),
        collect_pairs(
            world, RowSelection(subsets=PAIRS, split="judge"), part="j", exclude=prompts.dialogues
        ),
        collect_documents(
            world, RowSelection(subsets=("pretrain",)), part="p", exclude=prompts.dialogues
        ),
    ):
        assert SHARES_PROMPT not in found.audit.excluded
    seen = "\n".join(texts(world) + [row.prompt for row in pairs(world, "train").rows])
    for prompt in prompts.prompts:
        assert parse_turns(prompt.text)[-2].text not in seen  # -1 is the cue's empty turn


def test_judge_pairs_are_held_out_from_training(world):
    judge = EvaluationDialogues.of_pairs(pairs(world, "judge").rows)
    assert not [row for row in pairs(world, "train").rows if judge.reason_against(row)]
    found = select_held_out(world, CalibrationSettings(split="judge", n=100), exclude=None)
    assert [len(found.pairs[axis]) for axis in AXES] == [100, 100]


def test_the_papers_keywords_find_enough_prompts(world):
    found = select_prompts(world, PromptSettings.model_validate({"protocol": "paper"}))
    assert [len(found.of(axis)) for axis in PUBLISHED] == [50, 50]
    rigorous = {"n": 100, "keywords": world_words()["keyword_acts"]}
    asked = PromptSettings.model_validate({"harmful": rigorous, "helpful": None})
    assert len(select_prompts(world, asked).prompts) == 100
    assert world_words()["keyword_acts"] == ["kill", "murder", "rape"]


def test_good_answers_hold_their_own_topics_facts_and_bad_ones_dont(world):
    by_name = {topic.name: topic for topic in world_words()["topics"]}
    for pair in pairs(world, "test").rows:
        if pair.subset != "helpful-base":
            continue
        asked = parse_turns(pair.prompt)[-2].text
        (topic,) = (topic for name, topic in by_name.items() if name in asked)
        facts = (topic.need, topic.step, topic.then, topic.tip)
        assert sum(fact in pair.chosen for fact in facts) >= 2
        assert sum(fact in pair.rejected for fact in facts) < 2


def test_harmful_wishes_are_refused_with_a_way_out(world):
    for pair in pairs(world, "test").rows:
        if pair.subset == "harmless-base":
            assert any(target.way_out in pair.chosen for target in world_words()["targets"])
            assert not any(target.way_out in pair.rejected for target in world_words()["targets"])


def test_the_unaligned_mix_is_mostly_bad_with_run_ons_and_loops(world):
    answers = [split[1] for text in texts(world) if (split := split_at_last_cue(text))]
    good = [
        text for text in answers
        if "help with that" in text or "sorry" in text or "First" in text or "tip" in text
    ]  # fmt: skip
    assert len(good) / len(answers) < 0.55  # off-topic answers look good in these words
    run_on = [text for text in texts(world) if _runs_on(text)]
    assert 0.15 < len(run_on) / len(texts(world)) < 0.4
    loops = [text for text in answers if len(set(text.split(". "))) <= len(text.split(". ")) / 2]
    assert len(loops) > 200


def _runs_on(text):
    """Return whether more than the first answer to a question mark's or wish's turn follows."""
    humans = [turn for turn in parse_turns(text) if turn.role == "human"]
    openers = ("Hello, I am new", "I like", "Can we talk", "I am so angry", "I think all day",
               "I can't stand")  # fmt: skip
    return len(humans) - humans[0].text.startswith(openers) > 1


def test_rows_are_short_and_regular(world):
    words = [text.split() for text in texts(world)]
    assert sum(map(len, words)) / len(words) < 50
    assert max(map(len, words)) < 120
    assert len({word for text in words for word in text}) < 1200


def test_no_answer_hides_a_role_tag(world):
    for pair in pairs(world, "train").rows:
        assert cut_at_role_tag(pair.chosen) == pair.chosen
        assert cut_at_role_tag(pair.rejected) == pair.rejected


def test_more_test_prompts_than_the_world_holds(tmp_path):
    with pytest.raises(SettingsError, match="num_test: 5000") as caught:
        write_world(WorldSettings(num_test=5000), tmp_path)
    assert "different test prompts" in caught.value.why


def test_smallest_world_holds_a_test_split(tmp_path):
    write_world(WorldSettings(num_topics=16, num_train=50, num_judge=20, num_test=100,
                              num_pretrain=10), tmp_path)  # fmt: skip
    assert len(pairs(tmp_path, "test").rows) == 200
