"""A training that was stopped, killed or damaged ends as if nothing had happened, to the bit."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import methods_fixtures as fx
import pytest

from alignstudy.errors import InterruptedRunError
from alignstudy.methods import LoRASettings
from alignstudy.methods.dpo import DPOSettings
from alignstudy.methods.kto import KTOSettings
from alignstudy.methods.loop.train import train
from alignstudy.methods.pretrain import PretrainSettings
from alignstudy.methods.reward_model import RewardModelSettings
from alignstudy.methods.sft import SFTSettings
from alignstudy.methods.tpo import TPOSettings

COMMON = {"max_length": 64, "per_device_train_batch_size": 2, "learning_rate": 1e-3}
CASES = {
    "sft full, dropout, accumulation, grouped": SFTSettings(
        **COMMON,
        num_train_epochs=3,
        gradient_accumulation_steps=2,
        group_by_length=True,
        save_steps=2,
        logging_steps=2,
    ),
    "sft lora": SFTSettings(**COMMON, num_train_epochs=2, save_steps=3, lora=LoRASettings()),
    "dpo lora": DPOSettings(**COMMON, num_train_epochs=2, save_steps=3, lora=LoRASettings()),
    "dpo full": DPOSettings(**COMMON, num_train_epochs=2, save_steps=3),
    "kto lora": KTOSettings(**COMMON, num_train_epochs=2, save_steps=3, lora=LoRASettings()),
    "kto rated": KTOSettings(**COMMON, rows="rated", num_train_epochs=2, save_steps=3),
    "tpo full": TPOSettings(**COMMON, num_train_epochs=2, save_steps=3),
    "tpo_l lora": TPOSettings(
        **COMMON, loss_type="tpo_l", num_train_epochs=2, save_steps=3, lora=LoRASettings()
    ),
    "simpo": DPOSettings(**COMMON, loss_type="simpo", num_train_epochs=2, save_steps=3),
    "bco": DPOSettings(**COMMON, loss_type="bco", num_train_epochs=2, save_steps=3),
    "beta-dpo": DPOSettings(
        **COMMON | {"per_device_train_batch_size": 4},
        loss_type="beta_dpo",
        beta_dpo_drop=0.5,
        num_train_epochs=4,
        save_steps=2,
    ),
    "tdpo2 full": DPOSettings(**COMMON, loss_type="tdpo2", num_train_epochs=2, save_steps=3),
    "tdpo1 lora": DPOSettings(
        **COMMON, loss_type="tdpo1", num_train_epochs=2, save_steps=3, lora=LoRASettings()
    ),
    "pretrain": PretrainSettings(**COMMON, num_train_epochs=2, save_steps=3),
    "reward model": RewardModelSettings(
        **COMMON, num_train_epochs=2, save_steps=3, dropout="keep", lr_scheduler_type="cosine"
    ),
}


@pytest.fixture(scope="module")
def parents(tmp_path_factory):
    root = tmp_path_factory.mktemp("parents")
    opt = fx.write_opt(root / "opt")
    return {
        "sft": opt,
        "dpo": opt,
        "kto": opt,
        "tpo": opt,
        "pretrain": fx.write_scratch(root / "scratch"),
        "reward_model": fx.write_scratch(root / "judge", "deberta-v2"),
    }


class Counter:
    """Counts steps, and says stop (or pulls the plug) at some of them."""

    def __init__(self, stops=()):
        self.steps, self.stops, self.told = 0, set(stops), []

    def start(self, what, total=None):
        self.steps = 0
        self.told.append((what, total))

    def advance(self, done, **figures):
        self.steps += done
        self.told.append((done, figures))

    def finish(self):
        self.told.append("finish")

    def note(self, text): ...


def job_of(settings, parents, root, **changes):
    rows = fx.rows_for(settings)
    return fx.make_job(settings, parents[settings.method], root, rows=rows, **changes)


def files(out):
    return {path.name: path.read_bytes() for path in out.iterdir()}


def stop_after(steps):
    """Answer the question that is asked after every step."""
    asked = iter(range(1, 10**6))
    state = {"stop": False}

    def should_stop():
        state["stop"] = state["stop"] or next(asked) == steps
        return state["stop"]

    return should_stop


ELSEWHERE = {"simpo", "bco", "tpo full", "tdpo2 full", "kto rated"}
"""Cases of kinds that `tests/e2e/test_every_method.py` stops and goes on with, each of them."""


@pytest.mark.parametrize("name", [name for name in CASES if name not in ELSEWHERE])
def test_stopped_and_continued_is_the_same_to_the_bit(name, parents, tmp_path):
    settings, kept = CASES[name], tmp_path / "references.sqlite"
    whole = job_of(settings, parents, tmp_path / "whole", references=kept)
    straight = train(whole)
    for steps in (1, straight.steps // 2):  # the second stop lies in a later epoch
        stopped = job_of(
            settings, parents, tmp_path / "cut", should_stop=stop_after(steps), references=kept
        )
        with pytest.raises(InterruptedRunError, match="run the same command again") as caught:
            train(stopped)
        assert "the checkpoint of step" in caught.value.kept
        assert not list(stopped.out.iterdir())
    resumed = train(job_of(settings, parents, tmp_path / "cut"))
    assert files(tmp_path / "cut" / "out") == files(whole.out)
    assert resumed.notes[0].startswith("went on from the checkpoint of step")
    for name_ in ("steps", "epochs", "num_tokens", "final_loss", "guards", "counts"):
        assert getattr(resumed, name_) == getattr(straight, name_), name_
    assert resumed.seconds > 0


def test_progress_is_told_step_by_step_and_starts_where_it_went_on(parents, tmp_path):
    settings = CASES["sft lora"]
    progress = Counter()
    with pytest.raises(InterruptedRunError):
        train(job_of(settings, parents, tmp_path, progress=progress, should_stop=stop_after(4)))
    assert progress.told[0] == ("training (10 steps)", 10)
    assert set(progress.told[1][1]) == {"loss", "tokens_per_second"}
    assert progress.steps == 4
    again = Counter()
    train(job_of(settings, parents, tmp_path, progress=again))
    assert again.told[1] == (4, {})
    assert again.steps == 10
    assert again.told[-1] == "finish"


def test_a_damaged_checkpoint_costs_its_steps_but_not_the_result(parents, tmp_path):
    settings, kept = CASES["dpo lora"], tmp_path / "references.sqlite"
    whole = job_of(settings, parents, tmp_path / "whole", references=kept)
    train(whole)
    job = job_of(settings, parents, tmp_path / "cut", should_stop=stop_after(7), references=kept)
    with pytest.raises(InterruptedRunError):
        train(job)
    assert sorted(p.name for p in job.work.iterdir()) == ["checkpoint-6", "checkpoint-7"]
    file = job.work / "checkpoint-7" / "optimizer.pt"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    resumed = train(job_of(settings, parents, tmp_path / "cut"))
    assert resumed.notes[0] == (
        "checkpoint of step 7 not used: optimizer.pt changed since it was written"
    )
    assert resumed.notes[1] == "went on from the checkpoint of step 6"
    assert files(tmp_path / "cut" / "out") == files(whole.out)


def test_edge_case_15_a_checkpoint_of_other_settings_is_not_gone_on_from(parents, tmp_path):
    settings = CASES["sft lora"]
    with pytest.raises(InterruptedRunError):
        train(job_of(settings, parents, tmp_path / "cut", should_stop=stop_after(4)))
    changed = settings.model_copy(update={"learning_rate": 5e-3})
    result = train(job_of(changed, parents, tmp_path / "cut", digest="d1"))
    assert "it belongs to other settings" in result.notes[0]
    straight = job_of(changed, parents, tmp_path / "whole", digest="d1")
    train(straight)
    assert files(tmp_path / "cut" / "out") == files(straight.out)


def test_a_finished_training_that_was_not_saved_is_saved_without_more_steps(parents, tmp_path):
    settings = CASES["sft lora"]
    first = job_of(settings, parents, tmp_path)
    done = train(first)
    before = files(first.out)
    for path in first.out.iterdir():
        path.unlink()
    again = train(job_of(settings, parents, tmp_path))
    assert files(first.out) == before
    assert again.steps == done.steps
    assert again.num_tokens == done.num_tokens


MID_EPOCH = {
    "max_steps": (CASES["sft lora"], {"max_steps": 3, "save_steps": 1}),
    "half an epoch": (CASES["dpo full"], {"num_train_epochs": 0.5, "save_steps": 2}),
    "accumulation, second epoch": (
        CASES["sft full, dropout, accumulation, grouped"],
        {"max_steps": 5, "logging_steps": 1},
    ),
}


@pytest.mark.parametrize("name", MID_EPOCH)
def test_killed_after_the_last_step_within_an_epoch_is_the_same_to_the_bit(
    name, parents, tmp_path, monkeypatch
):
    from alignstudy.methods.loop import train as training

    case, changes = MID_EPOCH[name]
    settings = type(case)(**case.model_dump() | changes)
    whole = job_of(settings, parents, tmp_path / "whole")
    straight = train(whole)
    last = straight.steps
    assert straight.epochs != int(straight.epochs)

    class Killed(BaseException): ...

    def die(*_):
        raise Killed

    root = tmp_path / "cut"
    with monkeypatch.context() as patch:
        patch.setattr(training, "save_trained", die)
        for _ in range(2):  # the second time, it is killed again where it had been
            job = job_of(settings, parents, root)
            with pytest.raises(Killed):
                train(job)
            sealed = sorted(int(p.name[11:]) for p in job.work.glob("checkpoint-*"))
            assert sealed[-1] == last
    progress = Counter()
    resumed = train(job_of(settings, parents, root, progress=progress))
    assert files(root / "out") == files(whole.out)
    assert progress.steps == last
    assert f"went on from the checkpoint of step {last}" in resumed.notes
    for name_ in ("steps", "epochs", "num_tokens", "final_loss", "guards", "counts"):
        assert getattr(resumed, name_) == getattr(straight, name_), name_


@pytest.mark.parametrize(
    ("least", "asked", "sealed"),
    [(1e9, None, []), (0.0, None, [1, 2, 3, 4]), (1e9, 2, [2, 4, 5])],
)
def test_checkpoints_come_too_soon_only_where_nobody_asked_for_them(
    least, asked, sealed, parents, tmp_path, monkeypatch
):
    from alignstudy.methods.loop import callback, checkpoints

    monkeypatch.setattr(callback, "SAVE_SECONDS", least)
    steps = []
    monkeypatch.setattr(checkpoints, "seal", lambda *_, step, **__: steps.append(step))
    settings = SFTSettings(**COMMON, max_steps=5, save_steps=asked)
    train(job_of(settings, parents, tmp_path))
    assert steps == sealed


def test_a_stop_is_saved_however_soon_it_comes(parents, tmp_path):
    settings = SFTSettings(**COMMON, max_steps=5)
    with pytest.raises(InterruptedRunError, match="stopped at step 2 of 5"):
        train(job_of(settings, parents, tmp_path / "cut", should_stop=stop_after(2)))
    assert train(job_of(settings, parents, tmp_path / "cut")).notes[0].endswith("step 2")


def test_no_checkpoint_beyond_the_last_step_is_sealed(parents, tmp_path, monkeypatch):
    from types import SimpleNamespace

    from alignstudy.methods.loop import callback, checkpoints

    sealed = []
    monkeypatch.setattr(checkpoints, "seal", lambda folder, **_: sealed.append(folder.name))
    job = job_of(CASES["sft lora"], parents, tmp_path)
    trainer = SimpleNamespace(tokens_read=0, save_beside=lambda folder: None)
    conductor = callback.ProgressAndCheckpointCallback(job, trainer, seconds_before=0.0)
    args = SimpleNamespace(output_dir=str(job.work), max_steps=3)
    for step in (2, 3, 4):
        conductor.on_save(args, SimpleNamespace(global_step=step))
    assert sealed == ["checkpoint-2", "checkpoint-3"]


KILLED = textwrap.dedent("""
    import os, pathlib, signal, sys
    import torch
    sys.path.insert(0, sys.argv[1])
    torch.set_num_threads(1)
    import methods_fixtures as fx
    from alignstudy.methods.loop import checkpoints
    from alignstudy.methods.loop.train import train
    from test_methods_resume import CASES

    name, parent, root, moment = sys.argv[2:]
    settings = CASES[name]

    def die(*_, **__):
        os.kill(os.getpid(), signal.SIGKILL)

    class Plug:
        steps = 0
        def start(self, what, *_, **__):
            self.training = what.startswith("training")
        def finish(self): ...
        def note(self, _): ...
        def advance(self, done, **_):
            self.steps += done * self.training
            if moment == "in a step" and self.steps == 5:
                die()
            if moment == "in a save" and self.steps == 6:
                checkpoints.seal = die  # all files written, not yet sealed

    job = fx.make_job(
        settings, pathlib.Path(parent), pathlib.Path(root), rows=fx.rows_for(settings),
        progress=Plug(),
    )
    train(job)
    print("finished, which it should not")
""")


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("name", "moment", "went_on"),
    [
        ("sft full, dropout, accumulation, grouped", "in a save", 4),
        ("dpo lora", "in a step", 3),
        # A method of each kind: without reference, with a state, over the vocabulary, of single
        # responses, with a third one.
        ("simpo", "in a step", 3),
        ("beta-dpo", "in a step", 4),
        ("tdpo2 full", "in a save", 3),
        ("kto rated", "in a step", 3),
        ("tpo full", "in a save", 3),
    ],
)
def test_killed_by_sigkill_and_continued_is_the_same_to_the_bit(
    name, moment, went_on, parents, tmp_path
):
    settings = CASES[name]
    parent, root = parents[settings.method], tmp_path / "killed"
    here = str(Path(__file__).parent)
    died = subprocess.run(
        [sys.executable, "-c", KILLED, here, name, str(parent), str(root), moment],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert died.returncode == -signal.SIGKILL, died.stderr[-2000:]
    if moment == "in a save":
        assert (root / "work" / "checkpoint-6").is_dir()
    resumed = train(job_of(settings, parents, root))
    assert f"went on from the checkpoint of step {went_on}" in resumed.notes
    whole = job_of(settings, parents, tmp_path / "whole")
    train(whole)
    assert files(root / "out") == files(whole.out)
