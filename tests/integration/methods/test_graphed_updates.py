"""Updates as a GPU makes them: rows padded to few shapes, passes recorded, numbers read later.

Here a recording is a function that is called again on the same tensors: all but CUDA's own part is
the real thing. That part is tested where a GPU is (`tests/integration/methods/test_on_a_gpu.py`).
"""

from dataclasses import dataclass, field

import methods_fixtures as fx
import pytest
import torch

from alignstudy.errors import GuardError, InterruptedRunError
from alignstudy.methods import LoRASettings
from alignstudy.methods.dpo import DPOSettings
from alignstudy.methods.kto import KTOSettings
from alignstudy.methods.loop import graphed, guarded, ledger
from alignstudy.methods.loop.train import train
from alignstudy.methods.pretrain import PretrainSettings
from alignstudy.methods.reward_model import RewardModelSettings
from alignstudy.methods.sft import SFTSettings
from alignstudy.methods.tpo import TPOSettings

COMMON = {
    "max_length": 64,
    "per_device_train_batch_size": 3,
    "learning_rate": 2e-4,
    "dropout": "off",
}
CASES = {
    "sft": SFTSettings(**COMMON, num_train_epochs=3),
    "sft, dialogues": SFTSettings(**COMMON, loss_on="dialogue", num_train_epochs=3),
    "sft, two pieces an update": SFTSettings(
        **COMMON, gradient_accumulation_steps=2, num_train_epochs=4
    ),
    "sft lora": SFTSettings(**COMMON, lora=LoRASettings(), num_train_epochs=3),
    "dpo": DPOSettings(**COMMON, num_train_epochs=3),
    "dpo lora": DPOSettings(**COMMON, lora=LoRASettings(), num_train_epochs=3),
    "simpo": DPOSettings(**COMMON, loss_type="simpo", num_train_epochs=3),
    "kto": KTOSettings(**COMMON, num_train_epochs=3),
    "kto rated": KTOSettings(**COMMON, rows="rated", num_train_epochs=3),
    "tpo": TPOSettings(**COMMON, num_train_epochs=3),
    "pretrain": PretrainSettings(**COMMON, num_train_epochs=3),
}


@dataclass
class Rehearsal:
    """In the place of CUDA's part.

    Attributes:
        recorded: Functions that were recorded.
        launches: How often any was launched.
    """

    recorded: int = 0
    launches: int = 0
    fails: list[Exception] = field(default_factory=list)
    changes: float = 1.0

    def __call__(self, run, pool):
        if self.fails:
            raise self.fails.pop()
        self.recorded += 1

        def launch():
            self.launches += 1
            loss, figures = run()
            return loss * self.changes, figures

        return launch


@pytest.fixture
def rehearsal(monkeypatch):
    found = Rehearsal()
    monkeypatch.setitem(graphed.RECORDERS, "cpu", found)
    return found


@pytest.fixture(scope="module")
def opt(tmp_path_factory):
    return fx.write_opt(tmp_path_factory.mktemp("parent") / "opt")


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    return fx.write_opt(tmp_path_factory.mktemp("parent") / "noisy", dropout=0.1)


def trained(settings, parent, root, **changes):
    job = fx.make_job(settings, parent, root, rows=fx.rows_for(settings), **changes)
    return train(job), job


def losses(job):
    return [line["loss"] for line in fx.read_metrics(job.out)]


@pytest.mark.parametrize("name", list(CASES))
def test_padding_to_few_shapes_changes_no_loss(name, opt, tmp_path, monkeypatch, rehearsal):
    settings = CASES[name]
    padded, ours = trained(settings, opt, tmp_path / "padded")
    monkeypatch.delitem(graphed.RECORDERS, "cpu")
    plain, theirs = trained(settings, opt, tmp_path / "plain")
    assert losses(ours) == pytest.approx(losses(theirs), rel=1e-6, abs=1e-7)
    for one, other in zip(fx.read_metrics(ours.out), fx.read_metrics(theirs.out), strict=True):
        assert one == pytest.approx(other, rel=1e-3, abs=1e-5)  # norms and margins amplify rounding
    assert rehearsal.launches >= plain.steps
    assert rehearsal.recorded < plain.steps
    assert "CUDA" not in " ".join(padded.notes)
    for count in ("rows", "real_tokens", "scored_tokens", "measured_tokens", "measured_targets"):
        assert getattr(padded.work, count) == getattr(plain.work, count), count


@pytest.mark.parametrize("name", ["sft", "dpo", "dpo lora", "kto"])
def test_a_run_that_was_stopped_goes_on_to_the_bit(name, noisy, tmp_path, rehearsal):
    settings = CASES[name].model_copy(update={"save_steps": 2, "dropout": "keep"})
    kept = tmp_path / "references.sqlite"
    _, whole = trained(settings, noisy, tmp_path / "whole", references=kept)
    asked = iter(range(100))
    with pytest.raises(InterruptedRunError):
        trained(
            settings,
            noisy,
            tmp_path / "cut",
            should_stop=lambda: next(asked) == 4,
            references=kept,
        )
    recorded = rehearsal.recorded
    resumed, cut = trained(settings, noisy, tmp_path / "cut", references=kept)
    assert "went on" in resumed.notes[0]
    assert rehearsal.recorded > recorded  # the graphs are recorded again, in the middle of a run
    ours, theirs = fx.weights_of(cut.out), fx.weights_of(whole.out)
    assert ours.keys() == theirs.keys()
    assert all(ours[name].equal(theirs[name]) for name in ours)
    assert fx.read_metrics(cut.out) == fx.read_metrics(whole.out)


def test_recording_draws_no_random_numbers(noisy, tmp_path, monkeypatch, rehearsal):
    """However often passes are tried out, an update's noise is what it would have been."""
    settings = CASES["sft"].model_copy(update={"dropout": "keep"})
    found = []
    for warm_up in (1, 4):
        monkeypatch.setattr(graphed, "WARM_UP", warm_up)
        _, job = trained(settings, noisy, tmp_path / str(warm_up))
        found.append(fx.weights_of(job.out))
    assert rehearsal.recorded
    assert all(found[0][name].equal(found[1][name]) for name in found[0])


def test_more_shapes_than_are_recorded_are_padded_further(opt, tmp_path, monkeypatch, rehearsal):
    monkeypatch.setattr(graphed, "MOST_GRAPHS", 1)
    settings = CASES["dpo"].model_copy(update={"per_device_train_batch_size": 2})
    result, job = trained(settings, opt, tmp_path / "few")
    monkeypatch.delitem(graphed.RECORDERS, "cpu")
    _, theirs = trained(settings, opt, tmp_path / "plain")
    assert rehearsal.recorded == 1
    assert losses(job) == pytest.approx(losses(theirs), rel=1e-6)
    assert result.steps == 15


def test_a_recording_that_fails_is_told_and_changes_nothing(opt, tmp_path, monkeypatch, rehearsal):
    rehearsal.fails = [RuntimeError("operation not permitted when stream is capturing")]
    result, job = trained(CASES["dpo"], opt, tmp_path / "failed")
    monkeypatch.delitem(graphed.RECORDERS, "cpu")
    _, theirs = trained(CASES["dpo"], opt, tmp_path / "plain")
    assert rehearsal.recorded == 0
    said = "updates are made without CUDA graphs: RuntimeError: operation not permitted"
    assert said in " ".join(result.notes)
    ours, plain = fx.weights_of(job.out), fx.weights_of(theirs.out)
    assert all(ours[name].equal(plain[name]) for name in ours)


def test_a_graph_that_computes_something_else_is_not_believed(
    opt, tmp_path, monkeypatch, rehearsal
):
    rehearsal.changes = 1.01
    result, job = trained(CASES["sft"], opt, tmp_path / "wrong")
    monkeypatch.delitem(graphed.RECORDERS, "cpu")
    _, theirs = trained(CASES["sft"], opt, tmp_path / "plain")
    assert "loss or gradients of a graph differed by 0.01" in " ".join(result.notes)
    assert losses(job) == losses(theirs)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (SFTSettings(**COMMON, packing=True), "packed rows are read as they come"),
        (DPOSettings(**COMMON, loss_type="tdpo2"), "whole distributions are compared"),
        (DPOSettings(**COMMON, loss_type="bco"), "its loss remembers figures"),
    ],
    ids=["packed", "tdpo2", "bco"],
)
def test_what_cannot_be_recorded_goes_without_and_says_why(
    settings, why, tmp_path, opt, rehearsal, request
):
    parent = opt
    if settings.method == "sft":
        parent = fx.write_llama(tmp_path / "llama", tokenizer_from=opt)
    result, _ = trained(settings, parent, tmp_path)
    said = f"updates are made without CUDA graphs: {why}"
    if "packed" not in request.node.name:  # packed rows never come to pieces
        assert said in " ".join(result.notes)
    assert rehearsal.launches == 0


def test_a_classifier_goes_without(tmp_path, rehearsal):
    parent = fx.write_scratch(tmp_path / "judge", "deberta-v2")
    result, _ = trained(RewardModelSettings(**COMMON), parent, tmp_path)
    assert "without CUDA graphs: a classifier's rows are padded" in " ".join(result.notes)
    assert rehearsal.recorded == 0


class TestNumbersAreReadLater:
    @pytest.mark.parametrize("name", ["sft", "dpo", "kto"])
    def test_what_is_logged_is_the_same_whenever_it_is_read(self, name, opt, tmp_path, monkeypatch):
        settings = CASES[name].model_copy(update={"save_steps": 5})
        _, at_once = trained(settings, opt, tmp_path / "once")
        monkeypatch.setitem(ledger.READ_EVERY, "cpu", 4)
        _, later = trained(settings, opt, tmp_path / "later")
        assert fx.read_metrics(at_once.out) == fx.read_metrics(later.out)
        ours, theirs = fx.weights_of(later.out), fx.weights_of(at_once.out)
        assert all(ours[name].equal(theirs[name]) for name in ours)

    @pytest.mark.parametrize("at", [1, 6, 10])
    @pytest.mark.parametrize("what", ["loss", "gradient norm"])
    def test_a_number_that_is_none_is_told_of_its_own_update(
        self, what, at, opt, tmp_path, monkeypatch
    ):
        """Four updates are made before anyone looks; the wrong one is named, with its rows."""
        monkeypatch.setitem(ledger.READ_EVERY, "cpu", 4)
        plain, noted, made = guarded.GuardedTrainer._passes, [], []

        def poisoned(self, model, batch, number):
            loss, figures = plain(self, model, batch, number)
            made.append(self.step_rows)
            if len(made) == at:
                if what == "loss":
                    loss = loss * float("nan")
                else:
                    next(model.parameters()).grad.fill_(float("inf"))
            return loss, figures

        def note(self, update, **given):
            noted.append(update)
            return kept(self, update, **given)

        kept = ledger.Ledger.note
        monkeypatch.setattr(guarded.GuardedTrainer, "_passes", poisoned)
        monkeypatch.setattr(ledger.Ledger, "note", note)
        settings = CASES["sft"].model_copy(update={"save_steps": 5})
        with pytest.raises(GuardError, match=rf"the {what} is (nan|inf) in step {at}") as caught:
            trained(settings, opt, tmp_path)
        rows = [f"small/train:{row + 1}" for row in made[at - 1]]
        assert caught.value.why == f"the step's rows are {', '.join(rows)}"
        assert caught.value.kept == ("the checkpoint of step 5" if at > 5 else "no checkpoint yet")
        assert len(noted) <= at + 3
        steps = {path.name for path in (tmp_path / "work").glob("checkpoint-*")}
        assert steps == ({"checkpoint-5"} if at > 5 else set())


def test_shapes_are_few():
    from alignstudy.methods.scoring.buckets import rounded, rounded_targets

    found = {rounded(number) for number in range(1, 4097)}
    assert len(found) == 24
    for number in range(1, 20_000):
        length = rounded(number)
        assert number <= length <= max(number + 127, 1.13 * number)
        for targets in (1, number // 3 + 1, number, number + 3):
            held = rounded_targets(targets, length)
            assert targets <= held <= targets + length // 4


def test_the_padding_is_nobodys_context_or_target(opt):
    """Whatever stands in it, results stay."""
    from alignstudy.methods.scoring.layout import lay_out, may_attend, padded_layout

    ids = torch.tensor([[5, 6, 7, 8], [5, 6, 9, 0]])
    seen, labels = (ids > 0).long(), ids.masked_fill(ids == 0, -100)
    plain = lay_out(ids, seen, labels, sharing=2, flat=True)
    wide = padded_layout(plain, 16, 12)
    length = plain.input_ids.shape[1]
    assert may_attend(wide)[0, :length, :length].equal(may_attend(plain)[0])
    assert not may_attend(wide)[0, :length, length:].any()
    assert wide.put.max() == 2 * 3
    assert (wide.put == 6).sum() == 12 - len(plain.targets)
