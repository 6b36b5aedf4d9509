"""What a training does outside its updates: each file is read once, and nothing written in vain."""

import time
from collections import Counter
from dataclasses import replace

import methods_fixtures as fx
import pytest
import torch

from alignstudy import sources
from alignstudy.errors import GuardError
from alignstudy.methods import LoRASettings
from alignstudy.methods.dpo import DPOSettings
from alignstudy.methods.loop import callback
from alignstudy.methods.loop.train import train
from alignstudy.methods.sft import SFTSettings
from alignstudy.methods.weights import initial

SMALL = {"max_length": 64, "per_device_train_batch_size": 2, "num_train_epochs": 1}


@pytest.fixture
def opt(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "LARGE", 1)
    monkeypatch.setattr(sources, "SETTLED", 0)
    folder = fx.write_opt(tmp_path / "opt")
    time.sleep(0.02)
    return folder


@pytest.fixture
def counted(monkeypatch):
    """Count what is read: files hashed and models loaded, by name."""
    found, hashed, loaded = Counter(), sources.hashlib.file_digest, initial.load_causal_lm

    def digest(stream, kind):
        found[stream.name.rpartition("/")[2]] += 1
        return hashed(stream, kind)

    def load(*given, **more):
        found["loaded"] += 1
        return loaded(*given, **more)

    monkeypatch.setattr(sources.hashlib, "file_digest", digest)
    monkeypatch.setattr(initial, "load_causal_lm", load)
    return found


def test_weights_are_read_once_to_be_trained_and_once_to_be_named(opt, tmp_path, counted):
    """Three things ask for the parent's hash: the reference, the adapter's record, the stage."""
    from alignstudy.models.digests import weights_digest

    settings = DPOSettings(**SMALL, lora=LoRASettings())
    job = fx.make_job(settings, opt, tmp_path, references=tmp_path / "references.sqlite")
    weights_digest(opt)
    train(job)
    assert counted["loaded"] == 1
    assert counted["model.safetensors"] == 1


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_model_that_keeps_packed_documents_apart_is_the_one_that_is_trained(
    precision, opt, tmp_path, counted
):
    llama = fx.write_llama(tmp_path / "llama", tokenizer_from=opt)
    settings = SFTSettings(**SMALL, packing=True, precision=precision)
    train(fx.make_job(settings, llama, tmp_path))
    assert counted["loaded"] == 1


@pytest.mark.parametrize("seconds", [0.0, 1e9])
def test_no_checkpoint_is_written_after_the_last_step_unless_much_hangs_on_it(
    seconds, opt, tmp_path, monkeypatch
):
    monkeypatch.setattr(callback, "LAST_SECONDS", seconds)
    result = train(fx.make_job(SFTSettings(**SMALL), opt, tmp_path))
    written = [path.name for path in (tmp_path / "work").glob("checkpoint-*")]
    assert written == ([] if seconds else [f"checkpoint-{result.steps}"])


def test_who_says_when_checkpoints_are_to_be_written_gets_the_last_one(opt, tmp_path):
    result = train(fx.make_job(SFTSettings(**SMALL, save_steps=3), opt, tmp_path))
    written = {path.name for path in (tmp_path / "work").glob("checkpoint-*")}
    assert f"checkpoint-{result.steps}" in written


@pytest.mark.parametrize("kind", ["another dtype", "tied", "of another name", "changed"])
def test_that_the_parent_is_what_its_files_hold_is_read_from_them(kind, opt, tmp_path, counted):
    """Without a second model, where the files have the model's own names."""
    from safetensors.torch import load_file, save_file

    from alignstudy.records import Weights

    path = opt / "model.safetensors"
    tensors = load_file(path)
    if kind == "another dtype":
        tensors = {name: value.to(torch.bfloat16) for name, value in tensors.items()}
    if kind == "of another name":
        tensors = {name.removeprefix("model."): value for name, value in tensors.items()}
    save_file(tensors, path, metadata={"format": "pt"})
    model = initial.load_causal_lm(Weights(folder=opt), device="cpu")
    before = counted["loaded"]
    if kind == "changed":
        with torch.no_grad():
            model.model.decoder.layers[1].fc2.bias[3] += 1e-6
        with pytest.raises(GuardError, match="not the model that training starts from") as caught:
            initial.check_is_filed(model, opt, device="cpu")
        assert "layers.1.fc2.bias" in caught.value.why
        return
    initial.check_is_filed(model, opt, device="cpu")
    assert counted["loaded"] - before == (1 if kind == "of another name" else 0)


@pytest.fixture
def passes(monkeypatch):
    """Note the shape of what a model reads without learning from it."""
    from transformers.models.opt import modeling_opt

    found, read = [], modeling_opt.OPTDecoder.forward

    def noted(self, *given, **more):
        if not torch.is_grad_enabled():
            found.append(tuple(more["input_ids"].shape))
        return read(self, *given, **more)

    monkeypatch.setattr(modeling_opt.OPTDecoder, "forward", noted)
    return found


def lengths_of(settings, opt, tmp_path):
    """Of the rows' texts: prompt and response, or the whole."""
    from alignstudy.models.tokenizers import load_tokenizer

    columns = fx.encode(fx.make_job(settings, opt, tmp_path), load_tokenizer(opt)).columns
    if "input_ids" in columns:
        return [(0, len(ids)) for ids in columns["input_ids"]]
    sides = [columns[name] for name in ("prompt_ids", "chosen_ids", "rejected_ids")]
    return [tuple(map(len, row)) for row in zip(*sides, strict=True)]


def extremes(rows):
    """The longest and the shortest row, the first and the last of several."""
    order = sorted(
        range(len(rows)), key=lambda row: (-(2 * rows[row][0] + sum(rows[row][1:])), row)
    )
    return [rows[order[0]], rows[order[-1]]]


def test_what_is_asked_of_a_model_before_it_is_fine_tuned(opt, tmp_path, passes):
    settings = SFTSettings(**SMALL, max_steps=1, dropout="off")
    (_, longest), (_, shortest) = extremes(lengths_of(settings, opt, tmp_path))
    train(fx.make_job(settings, opt, tmp_path))
    by_both_routes = [(1, longest), (1, shortest), (1, longest + shortest)]
    widest = max(length for _, length in lengths_of(settings, opt, tmp_path)[:8])
    beginnings = [(2, min(32, widest))] * 2
    assert passes == [*by_both_routes, *beginnings, (1, longest + shortest)]


def test_what_is_asked_of_a_model_before_it_learns_preferences(opt, tmp_path, passes):
    """Both readings of the first rows, as policy and as reference, serve all who want them."""
    settings = DPOSettings(**SMALL, lora=LoRASettings(), probe_pairs=0)
    kept = tmp_path / "references.sqlite"
    first = train(fx.make_job(settings, opt, tmp_path / "first", references=kept))
    assert first.work.reference_pairs == 10
    rows = lengths_of(settings, opt, tmp_path)
    passes.clear()
    train(fx.make_job(settings, opt, tmp_path / "again", references=kept))
    chosen = [(1, prompt + ids) for prompt, ids, _ in extremes(rows)]
    rejected = [(1, prompt + ids) for prompt, _, ids in extremes(rows)]
    assert passes[:4] == chosen + rejected
    joined, *beginnings = passes[4:7]
    widest = max(prompt + max(sides) for prompt, *sides in rows[:8])
    assert beginnings == [(2, min(32, widest))] * 2
    as_policy, as_reference, first_loss = passes[7:]
    assert as_policy == as_reference
    assert first_loss == joined
    assert joined[1] < sum(length for _, length in chosen + rejected)
    assert joined[1] < as_policy[1] <= sum(map(sum, rows[:8]))


def test_what_reaches_over_from_a_neighbour_shows_in_the_shortest_row(opt, tmp_path, monkeypatch):
    """Whichever the longest row is: the first text of a joined row has none before it."""
    from alignstudy.methods.scoring import shared_forward

    joined_mask = shared_forward.joined_mask

    def leaking(layout):
        mask = joined_mask(layout)
        mask.texts = [sum(mask.texts[0])], [None]
        return mask

    monkeypatch.setattr(shared_forward, "joined_mask", leaking)
    result = train(fx.make_job(SFTSettings(**SMALL, max_steps=1), opt, tmp_path))
    assert result.notes[0].startswith("rows are not joined: log-probabilities would differ by")


def test_a_mean_over_rows_in_the_place_of_one_over_targets_is_refused(tmp_path, monkeypatch):
    """Two rows are enough, as they are of different lengths."""
    from alignstudy.methods.loop import trl_adapter as _trl

    opt = fx.write_opt(tmp_path / "opt", std=1.5)  # which finds some rows much likelier than others

    def by_rows(self, model, inputs, *_, **__):
        said, _ = self.read(model, inputs)
        return (said.nll / said.targets).mean()

    monkeypatch.setattr(_trl._LM, "compute_loss", by_rows)
    with pytest.raises(GuardError, match="the trainer's loss is not what its formula gives"):
        train(fx.make_job(SFTSettings(**SMALL, max_steps=1), opt, tmp_path))


@pytest.mark.parametrize("value", ["another row's", "none"])
@pytest.mark.parametrize("branch", ["chosen", "rejected"])
@pytest.mark.parametrize("own", [True, False])
def test_one_kept_reference_that_is_wrong_is_refused(
    own, branch, value, opt, tmp_path, monkeypatch
):
    from alignstudy.methods.reference import ahead

    known = ahead.reference_logps

    def exchanged(*given, **more):
        found = known(*given, **more)
        values = list(found.sums[branch])
        values[6] = values[7] if value != "none" else float("nan")
        return replace(found, sums={**found.sums, branch: tuple(values)})

    monkeypatch.setattr(ahead, "reference_logps", exchanged)
    changes = {} if own else {"reference": opt}
    settings = DPOSettings(**SMALL, max_steps=5, lora=LoRASettings())
    with pytest.raises(GuardError, match="reference log-probabilities are not those of the model"):
        train(fx.make_job(settings, opt, tmp_path, **changes))
