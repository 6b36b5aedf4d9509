"""Which judge a critic may start as: the one that rewards, a classifier with a single score."""

from pathlib import Path

import pytest

from alignstudy.errors import InputError
from alignstudy.judges.kinds.length import LengthSettings
from alignstudy.judges.kinds.seqcls import SeqClsSettings
from alignstudy.methods.online.ppo import PPOSettings
from alignstudy.methods.online.rloo import RLOOSettings
from alignstudy.sources import ResolvedSource, Source
from alignstudy.study.stages.online import critic_judge
from alignstudy.study.stages.score import JudgeSpec

FOLDER = Path("/models/judge")
FROM_JUDGE = PPOSettings(critic={"init": "judge"})


def spec(**settings):
    source = ResolvedSource(source=Source(name="judge", kind="model"), path=FOLDER, digest="x")
    return JudgeSpec(settings=SeqClsSettings(**settings), model=source, axes=("sampled",))


def test_it_starts_as_the_policy_unless_told_otherwise():
    assert critic_judge(PPOSettings(), (spec(),), Path) is None
    assert critic_judge(RLOOSettings(), (spec(),), Path) is None
    assert critic_judge(FROM_JUDGE, (spec(),), Path) == FOLDER


@pytest.mark.parametrize(
    "judges",
    [
        (spec(), spec()),
        (spec(better="lower"),),
        (spec(output=1),),
        (spec(read="rewards[2]"),),
        (JudgeSpec(settings=LengthSettings(), model=None, axes=("sampled",)),),
    ],
)
def test_another_reward_than_one_plain_score_is_refused(judges):
    with pytest.raises(InputError, match="one judge that rewards") as caught:
        critic_judge(FROM_JUDGE, judges, Path)
    assert "init: policy" in str(caught.value)
