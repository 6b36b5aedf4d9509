"""Which judge a critic may start as, and what a critic costs."""

from pathlib import Path

import pytest

from alignstudy.errors import InputError
from alignstudy.judges.kinds.length import LengthSettings
from alignstudy.judges.kinds.seqcls import SeqClsSettings
from alignstudy.methods.base import WorkDone
from alignstudy.methods.online.ppo import PPOSettings
from alignstudy.methods.online.rloo import RLOOSettings
from alignstudy.sources import ResolvedSource, Source
from alignstudy.study.cost.model_shape import ModelShape
from alignstudy.study.cost.training import training_flops
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


def shape(layers):
    return ModelShape(
        hidden=32, layers=layers, heads=2, ffn=64, keys=32, vocabulary=100, embedding=32
    )


def test_its_passes_cost_what_its_own_shape_says():
    ran = {"rows": 8, "real_tokens": 400, "processed_tokens": 400, "scored_tokens": 80}
    policy, small, large = shape(2), shape(1), shape(4)
    without = training_flops(WorkDone(**ran), PPOSettings(), policy)
    work = WorkDone(**ran, critic_tokens=300, critic_read_tokens=100)

    def added(critic):
        return training_flops(work, PPOSettings(), policy, critic=critic) - without

    # Three passes' work to learn, one to foretell; no vocabulary.
    each = small.forward_flops(tokens=1, context=50, scored=0, passes=0)
    assert added(small) == pytest.approx(each * (3 * 300 + 100))
    assert added(large) == pytest.approx(4 * added(small))
    assert training_flops(work, PPOSettings(), policy, critic=None) is None
