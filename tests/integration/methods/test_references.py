import json
import random
import signal
import sqlite3
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models_fixtures import opt_like_config

from alignstudy.errors import GuardError, InterruptedRunError
from alignstudy.methods.batches.encode import Encoded
from alignstudy.methods.reference import cache as module
from alignstudy.methods.reference.cache import Reference, reference_logps
from alignstudy.methods.reference.values import padded_batch, pair_keys
from alignstudy.progress import SILENT
from alignstudy.runtime.keyed_file import KeyedFile

torch = pytest.importorskip("torch")

PAD, VOCABULARY = 1, 60


class Tiny:
    """A reference: a tiny OPT by plain transformers; remembers what it was given."""

    def __init__(self, model):
        self.model, self.batches = model, []

    @torch.no_grad()
    def __call__(self, batch):
        self.batches.append(batch)
        logits = self.model(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
        ).logits
        logps = logits[:, :-1].float().log_softmax(-1)
        chosen = logps.gather(-1, batch["input_ids"][:, 1:, None])[..., 0]
        return chosen * batch["completion_mask"][:, 1:]

    @property
    def pairs(self):
        return sum(len(batch["input_ids"]) // 2 for batch in self.batches)


class Heard:
    def __init__(self):
        self.started, self.done, self.finished, self.notes = [], 0, 0, []

    def start(self, what, total=None):
        self.started.append((what, total))

    def advance(self, done, **figures):
        self.done += done

    def finish(self):
        self.finished += 1

    def note(self, text):
        self.notes.append(text)


@pytest.fixture(scope="module")
def model():
    from transformers import OPTForCausalLM

    torch.manual_seed(3)
    return OPTForCausalLM(opt_like_config(VOCABULARY, dropout=0.0)).eval()


def drawn(count, seed=0, longest=20):
    source = random.Random(seed)

    def ids(shortest):
        return [source.randrange(4, VOCABULARY) for _ in range(source.randint(shortest, longest))]

    return [(ids(1), ids(0), ids(0)) for _ in range(count)]


def encoded(pairs):
    names = ("prompt_ids", "chosen_ids", "rejected_ids")
    return Encoded(
        columns={name: [list(pair[at]) for pair in pairs] for at, name in enumerate(names)},
        row_ids=tuple(f"row {number}" for number in range(len(pairs))),
        truncated=(False,) * len(pairs),
        counts={},
    )


def texts(pairs):
    """Prompt, chosen and rejected as two texts."""
    return [((prompt, chosen), (prompt, rejected)) for prompt, chosen, rejected in pairs]


def opened(path):
    return KeyedFile(path, what="reference log-probabilities")


def asked(
    log_probs,
    pairs,
    path=None,
    *,
    identity="tiny",
    pad_token_id=PAD,
    rows_at_once=1,
    most_tokens=10_000,
    **changes,
):
    reference = Reference(
        log_probs=log_probs,
        identity=identity,
        pad_token_id=pad_token_id,
        device="cpu",
        rows_at_once=rows_at_once,
        most_tokens=most_tokens,
    )
    given = {"path": path, "ld_alpha": None, "progress": SILENT, "should_stop": lambda: False}
    return reference_logps(reference, encoded(pairs), **given | changes)


def sums(found):
    return list(zip(found.sums["chosen"], found.sums["rejected"], strict=True))


def in_float64(model, prompt, response, weights=None):
    """One response alone, in float64, token by token."""
    twin = type(model)(model.config).double().eval()
    twin.load_state_dict(model.state_dict())
    ids = torch.tensor([[*prompt, *response]])
    with torch.no_grad():
        logps = twin(input_ids=ids).logits.log_softmax(-1)[0]
    scored = [
        logps[len(prompt) + at - 1, token].item()
        for at, token in enumerate(response)
        if len(prompt) + at > 0
    ]
    return sum(w * x for w, x in zip(weights or [1.0] * len(scored), scored, strict=True))


def test_sums_are_those_of_a_float64_brute_force(model):
    pairs = [*drawn(8), ([5], [7], []), ([], [8, 9, 10], [11]), (list(range(4, 50)), [6] * 40, [9])]
    found = asked(Tiny(model), pairs)
    for row, (prompt, chosen, rejected) in enumerate(pairs):
        assert found.sums["chosen"][row] == pytest.approx(
            in_float64(model, prompt, chosen), rel=2e-6
        )
        assert found.sums["rejected"][row] == pytest.approx(
            in_float64(model, prompt, rejected), rel=2e-6
        )
    assert found.sums["rejected"][8] == 0.0
    assert all(np.float32(each) == each for pair in sums(found) for each in pair)


def test_a_sum_is_the_stored_tokens_added_exactly_and_rounded_once(model, tmp_path):
    pairs, tiny, cache = drawn(6), Tiny(model), opened(tmp_path / "file")
    found = asked(tiny, pairs, tmp_path / "file")
    keys = pair_keys(texts(pairs), "alone tiny")
    for key, pair, both in zip(keys, pairs, sums(found), strict=True):
        kept = np.frombuffer(cache.get([key])[key], dtype="<f4")
        tokens, start = tiny(padded_batch(texts([pair]), PAD)).numpy(), len(pair[0]) - 1
        parts = kept[: len(pair[1])], kept[len(pair[1]) :]
        for row, (part, total) in enumerate(zip(parts, both, strict=True)):
            assert part.tolist() == tokens[row, start : start + len(pair[1 + row])].tolist()
            assert total == np.float32(sum(part.astype(np.float64).tolist(), 0.0))


@pytest.mark.parametrize("ld_alpha", [None, 0.0, 0.35, 1.0])
def test_sums_are_trls(model, ld_alpha, tmp_path):
    """Against TRL's own method, on the batch that its own collator makes."""
    from types import SimpleNamespace

    from trl.trainer.dpo_trainer import DataCollatorForPreference, DPOTrainer

    pairs = [pair for pair in drawn(12, seed=5) if pair[1] and pair[2]]
    rows = encoded(pairs).columns
    batch = DataCollatorForPreference(pad_token_id=PAD)(
        [dict(zip(rows, values, strict=True)) for values in zip(*rows.values(), strict=True)]
    )
    mine = padded_batch(texts(pairs), PAD)
    assert set(mine) == set(batch)
    for name, value in mine.items():
        assert value.dtype == batch[name].dtype
        assert value.equal(batch[name])

    class Fused(Tiny):
        def __call__(self, *, labels, use_cache, fused_lm_head, **inputs):
            return SimpleNamespace(log_probs=Tiny.__call__(self, {**inputs, **masks(labels)}))

    def masks(labels):
        return {"completion_mask": (labels != -100).long()}

    from contextlib import nullcontext

    trainer = SimpleNamespace(
        accelerator=SimpleNamespace(device="cpu", autocast=nullcontext),
        ref_model=model, model=model, ld_alpha=ld_alpha,
        args=SimpleNamespace(gradient_checkpointing_kwargs=None),
    )  # fmt: skip
    theirs = DPOTrainer.compute_ref_log_probs(trainer, Fused(model), batch)
    asked(Tiny(model), pairs, tmp_path / "file")
    silent = Tiny(model)
    found = asked(silent, pairs, tmp_path / "file", ld_alpha=ld_alpha)
    assert silent.pairs == 0  # every weight is served by the same values
    for ours, trls in zip((found.sums["chosen"], found.sums["rejected"]), theirs, strict=True):
        assert ours == pytest.approx(trls.tolist(), rel=1e-6)


def test_ld_alpha_weights_the_tail_of_the_longer_response(model):
    prompt, chosen, rejected = [5, 6], [7, 8, 9, 10, 11], [12, 13]
    found = asked(Tiny(model), [(prompt, chosen, rejected)], ld_alpha=0.25)
    weights = [1.0, 1.0, 0.25, 0.25, 0.25]
    expected = in_float64(model, prompt, chosen, weights)
    assert found.sums["chosen"][0] == pytest.approx(expected, rel=2e-6)
    assert abs(expected - in_float64(model, prompt, chosen)) > 0.1
    assert found.sums["rejected"][0] == pytest.approx(in_float64(model, prompt, rejected), rel=2e-6)


def test_a_second_run_computes_nothing_and_says_so(model, tmp_path):
    pairs = drawn(70)
    pairs += pairs[:5]
    first, again, heard = Tiny(model), Tiny(model), Heard()
    before = asked(first, pairs, tmp_path / "deep" / "file", progress=heard)
    assert (before.computed, before.reused, first.pairs) == (70, 0, 70)
    assert (heard.started, heard.done, heard.finished) == ([("reference", 75)], 75, 1)
    assert heard.notes == []
    heard = Heard()
    after = asked(again, [*pairs, ([9], [8], [7])], tmp_path / "deep" / "file", progress=heard)
    assert (after.computed, after.reused, again.pairs) == (1, 75, 1)
    assert sums(after)[:-1] == sums(before)
    assert (heard.started, heard.done, heard.finished) == ([("reference", 76)], 76, 1)
    assert heard.notes == ["reference log-probabilities of 75 of 76 pairs reused: computed before"]


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_results_depend_on_nothing_but_the_pair(data, model, tmp_path_factory):
    """Not on order, copies, or what was kept: bit for bit."""
    pairs = drawn(9, seed=8)
    alone = {str(pair): sums(asked(Tiny(model), [pair]))[0] for pair in pairs}
    path = tmp_path_factory.mktemp("kept") / "file"
    for _ in range(3):
        rows = data.draw(st.lists(st.sampled_from(pairs), max_size=14))
        found = asked(Tiny(model), rows, path)
        assert sums(found) == [alone[str(row)] for row in rows]


def test_what_one_identity_kept_no_other_reads(model, tmp_path):
    pairs, path = drawn(3), tmp_path / "file"
    asked(Tiny(model), pairs, path)
    for change in ({"identity": "tiny2"}, {"rows_at_once": 2}):
        other = Tiny(model)
        asked(other, pairs, path, **change)
        assert other.pairs == 3
    padded_otherwise = Tiny(model)
    asked(padded_otherwise, pairs, path, pad_token_id=3)
    assert padded_otherwise.pairs == 0


def test_another_max_length_is_another_pair(model, tmp_path):
    path = tmp_path / "file"
    pair = ([5, 6], list(range(10, 30)), list(range(30, 50)))
    whole = asked(Tiny(model), [pair], path)
    cut = (pair[0], pair[1][:8], pair[2][:8])
    tiny = Tiny(model)
    found = asked(tiny, [cut], path)
    assert tiny.pairs == 1
    assert sums(found) == sums(asked(Tiny(model), [cut]))
    assert sums(found) != sums(whole)


IDS = st.lists(st.integers(0, 3) | st.sampled_from([255, 256, 50271, 2**32 - 1]), max_size=5)
PAIRS = st.tuples(IDS, IDS, IDS)


@given(one=PAIRS, other=PAIRS)
def test_two_pairs_never_share_a_key(one, other):
    same = pair_keys(texts([one]), "x") == pair_keys(texts([other]), "x")
    assert same == (one == other)
    assert pair_keys(texts([one]), "x") != pair_keys(texts([one]), "y")


@given(st.lists(st.integers(0, 3), max_size=6))
def test_no_border_can_be_shifted_without_another_key(ids):
    cuts = [(a, b) for a in range(len(ids) + 1) for b in range(a, len(ids) + 1)]
    pairs = [(ids[:a], ids[a:b], ids[b:]) for a, b in cuts]
    assert len(set(pair_keys(texts(pairs), "x"))) == len(cuts)


def test_a_stop_keeps_what_was_computed(model, tmp_path):
    pairs, path, tiny, heard = drawn(100), tmp_path / "file", Tiny(model), Heard()
    with pytest.raises(InterruptedRunError, match=r"of 70 of 100 pairs") as stopped:
        asked(tiny, pairs, path, should_stop=lambda: tiny.pairs == 70, progress=heard)
    assert stopped.value.kept == "those of 70 pairs"
    assert (heard.done, heard.finished) == (70, 1)
    rest = Tiny(model)
    assert sums(asked(rest, pairs, path)) == sums(asked(Tiny(model), pairs))
    assert rest.pairs == 30
    with pytest.raises(InterruptedRunError) as stopped:
        asked(Tiny(model), pairs, should_stop=lambda: True)
    assert stopped.value.kept == "none of them"


def test_a_fault_keeps_what_was_computed(model, tmp_path):
    class Failing(Tiny):
        def __call__(self, batch):
            if self.pairs == 10:
                raise KeyboardInterrupt
            return super().__call__(batch)

    with pytest.raises(KeyboardInterrupt):
        asked(Failing(model), drawn(20), tmp_path / "file")
    rest = Tiny(model)
    asked(rest, drawn(20), tmp_path / "file")
    assert rest.pairs == 10


@pytest.mark.parametrize("wrong", [float("nan"), float("-inf")])
def test_what_is_no_number_is_refused_and_not_kept(model, tmp_path, wrong):
    class Wrong(Tiny):
        def __call__(self, batch):
            given = super().__call__(batch)
            given[batch["input_ids"][:, 1:] == 59] = wrong
            return given

    pairs = [([5], [6], [7]), ([8], [9], [10, 59, 11])]
    with pytest.raises(GuardError, match="row 1 a log-probability that is not finite"):
        asked(Wrong(model), pairs, tmp_path / "file")
    found = asked(Tiny(model), pairs, tmp_path / "file")
    assert found.computed >= 1
    assert sums(found) == sums(asked(Tiny(model), pairs))


@pytest.mark.parametrize("wrong", [lambda x: x[:, 1:], lambda x: x.double(), lambda x: x[:1]])
def test_a_reference_of_another_shape_is_an_error(model, wrong):
    with pytest.raises(ValueError, match="not float32 of shape"):
        asked(lambda batch: wrong(Tiny(model)(batch)), [([5], [6, 7], [8])])


def test_several_at_once_are_the_same_numbers_up_to_rounding(model):
    pairs, tiny = drawn(30), Tiny(model)
    many = asked(tiny, pairs, rows_at_once=8)
    assert [len(batch["input_ids"]) for batch in tiny.batches] == [16, 16, 16, 12]
    widths = [batch["input_ids"].shape[1] for batch in tiny.batches]
    assert widths == sorted(widths, reverse=True)  # of like length, the longest first
    alone = asked(Tiny(model), pairs)
    assert many.sums["chosen"] == pytest.approx(alone.sums["chosen"], rel=1e-5, abs=1e-5)
    assert many.sums["rejected"] == pytest.approx(alone.sums["rejected"], rel=1e-5, abs=1e-5)


def test_batches_are_of_so_many_tokens_whatever_the_number_of_pairs(model):
    """Tokens are what memory sets a limit to."""
    pairs, tiny = drawn(30), Tiny(model)
    many = asked(tiny, pairs, rows_at_once=30, most_tokens=100)
    shapes = [tuple(batch["input_ids"].shape) for batch in tiny.batches]
    assert sum(rows // 2 for rows, _ in shapes) == 30
    assert all(rows // 2 * width <= 100 for rows, width in shapes)
    assert all((rows // 2 + 1) * width > 100 for rows, width in shapes[:-1])
    assert many.sums["chosen"] == pytest.approx(
        asked(Tiny(model), pairs).sums["chosen"], rel=1e-5, abs=1e-5
    )


def test_lack_of_memory_halves_the_batch(model):
    class Small(Tiny):
        def __call__(self, batch):
            if len(batch["input_ids"]) > 4:
                raise torch.OutOfMemoryError("too much")
            return super().__call__(batch)

    heard = Heard()
    found = asked(Small(model), drawn(8), rows_at_once=8, progress=heard)
    assert found.sums["chosen"] == pytest.approx(
        asked(Tiny(model), drawn(8)).sums["chosen"], rel=1e-5, abs=1e-5
    )
    assert heard.notes[0] == "out of memory with 8 rows at once: going on with 4"
    assert heard.done == 8


def test_what_another_process_stores_meanwhile_is_used(model, tmp_path, monkeypatch):
    """Also where it is not what we would have computed: both must go on with one value."""
    monkeypatch.setattr(module, "CHUNK", 4)
    pairs, path = drawn(12), tmp_path / "file"
    keys = dict(zip(pair_keys(texts(pairs), "alone tiny"), pairs, strict=True))
    foreign = {
        key: np.full(len(pair[1]) + len(pair[2]), -0.5, "<f4").tobytes()
        for key, pair in keys.items()
    }

    class Overtaken(Tiny):
        def __call__(self, batch):
            opened(path).put(foreign)
            return super().__call__(batch)

    tiny = Overtaken(model)
    found = asked(tiny, pairs, path)
    assert sums(found) == [(-0.5 * len(chosen), -0.5 * len(rej)) for _, chosen, rej in pairs]
    assert (found.computed, found.reused, tiny.pairs) == (4, 8, 4)


def test_damage_is_noticed_and_recomputed(model, tmp_path):
    pairs, path, source = drawn(60), tmp_path / "file", random.Random(2)
    right = sums(asked(Tiny(model), pairs, path))
    content, again, noted = path.read_bytes(), 0, 0
    for count in [1, 1, 3, 3, 10, 10, 100, 1000]:
        torn = bytearray(content)
        for at in source.choices(range(len(torn)), k=count):
            torn[at] ^= 1 << source.randrange(8)
        path.write_bytes(torn)
        tiny, heard = Tiny(model), Heard()
        assert sums(asked(tiny, pairs, path, progress=heard)) == right
        again += tiny.pairs
        noted += any("damaged" in note for note in heard.notes)
    assert again > 60
    assert noted
    path.write_bytes(content)
    with sqlite3.connect(path) as base:
        base.execute("UPDATE kept SET value = zeroblob(length(value)) WHERE key < '8'")
        (damaged,) = base.execute("SELECT changes()").fetchone()
    base.close()
    tiny = Tiny(model)
    assert sums(asked(tiny, pairs, path)) == right
    assert tiny.pairs == damaged > 10


PROCESS = """
import json, os, signal, sys, time
from pathlib import Path
from alignstudy.methods.reference import cache as references
from alignstudy.methods.batches.encode import Encoded
from alignstudy.methods.reference.cache import Reference, reference_logps
from alignstudy.progress import SILENT

path, given, kill_after = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
references.CHUNK = 8
calls = 0

def log_probs(batch):
    global calls
    calls += 1
    if calls == kill_after:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.004)
    ids = batch["input_ids"].float()
    return (-(ids[:, 1:] + ids[:, :-1] / 7)) * batch["completion_mask"][:, 1:]

print("ready", flush=True)
sys.stdin.readline()
found = reference_logps(
    Reference(log_probs=log_probs, identity="sums", pad_token_id=1, device="cpu", rows_at_once=1),
    Encoded(columns=given, row_ids=tuple(map(str, range(len(given["prompt_ids"])))),
    truncated=(), counts={}), path=Path(path), ld_alpha=None, progress=SILENT,
    should_stop=lambda: False,
)
print(json.dumps([found.sums["chosen"], found.sums["rejected"], found.computed, found.reused]))
"""


def begun(path, pairs, kill_after=-1):
    process = subprocess.Popen(
        [sys.executable, "-c", PROCESS, str(path), json.dumps(encoded(pairs).columns),
         str(kill_after)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "ready\n"
    return process


def expected_of(pairs):
    def one(prompt, response):
        ids = np.array([*prompt, *response], dtype=np.float32)
        given = -(ids[1:] + ids[:-1] / np.float32(7))
        scored = given[len(prompt) - 1 :] if response else given[:0]
        return float(np.float32(scored.astype(np.float64).sum()))

    return [[one(p, c) for p, c, _ in pairs], [one(p, r) for p, _, r in pairs]]


@pytest.mark.e2e
def test_two_processes_share_the_work(tmp_path):
    pairs = drawn(200, seed=4)
    workers = [begun(tmp_path / "file", rows) for rows in (pairs[:150], pairs[50:])]
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    results = [json.loads(worker.communicate(timeout=120)[0]) for worker in workers]
    for rows, (*found, computed, reused) in zip((pairs[:150], pairs[50:]), results, strict=True):
        assert found == expected_of(rows)
        assert computed + reused == 150
    assert 200 <= results[0][2] + results[1][2] <= 290
    silent = begun(tmp_path / "file", pairs)
    *found, computed, reused = json.loads(silent.communicate("go\n", timeout=120)[0])
    assert (found, computed, reused) == (expected_of(pairs), 0, 200)
    assert not (tmp_path / "file.damaged").exists()


@pytest.mark.e2e
def test_a_killed_process_loses_at_most_a_chunk(tmp_path):
    pairs = drawn(60, seed=6)
    killed = begun(tmp_path / "file", pairs, kill_after=45)
    killed.communicate("go\n", timeout=120)
    assert killed.returncode == -signal.SIGKILL
    rest = begun(tmp_path / "file", pairs)
    *found, computed, reused = json.loads(rest.communicate("go\n", timeout=120)[0])
    assert found == expected_of(pairs)
    assert 44 - 8 < reused <= 44
    assert computed == 60 - reused


@pytest.mark.e2e
def test_a_large_file_is_read_in_no_time(tmp_path):
    """Twenty thousand pairs of the usual length; the published training has eight times as many."""
    source = np.random.default_rng(0)
    ids = source.integers(4, 50_000, size=(20_000, 280)).tolist()
    pairs = [(row[:160], row[160:220], row[220:]) for row in ids]
    keys = pair_keys(texts(pairs), "alone tiny")
    values = {key: bytes(120 * 4) for key in keys}
    cache = opened(tmp_path / "file")
    for start in range(0, 20_000, 2_000):
        cache.put({key: values[key] for key in keys[start : start + 2_000]})

    def never(batch):
        raise AssertionError

    began = time.process_time()
    found = asked(never, pairs, tmp_path / "file")
    seconds = time.process_time() - began
    assert (found.reused, found.computed) == (20_000, 0)
    assert seconds < 15  # hashing included; 1.4 where this was written
    assert (tmp_path / "file").stat().st_size < 20_000 * 1_000
