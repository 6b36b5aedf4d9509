import json
import os
import random

import pytest
from models_fixtures import CORPUS, write_deberta_like_hub, write_opt_like_hub

from alignstudy.errors import GuardError, InputError
from alignstudy.judges import SeqClsSettings, build
from alignstudy.judges.cache import CachedJudge, ScoreCache
from alignstudy.models.load import load_classifier
from alignstudy.models.tokenizers import load_tokenizer
from alignstudy.runtime import pool as loading_pool
from alignstudy.runtime.pool import WorkerPool

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("judge")
    write_deberta_like_hub(folder)
    return folder


@pytest.fixture(scope="module")
def items():
    source = random.Random(0)
    vocabulary = " ".join(CORPUS).split()

    def words(most):
        return " ".join(source.choice(vocabulary) for _ in range(source.randint(1, most)))

    return [(f"Human: {words(12)}", words(12)) for _ in range(24)]


def judge(folder, **settings):
    return build(SeqClsSettings(**settings), folder, "cpu")


def reference(folder, prompt, response, **tokenizing):
    """The published scoring code: one pair, one forward pass."""
    tokenizer, model = load_tokenizer(folder), load_classifier(folder)
    inputs = tokenizer(prompt, response, return_tensors="pt", **tokenizing)
    with torch.no_grad():
        return float(model(**inputs).logits[0, 0])


@pytest.mark.parametrize("truncation", ["paper", "turns"])
def test_scores_are_the_published_codes(folder, items, truncation):
    scores = judge(folder, truncation=truncation).score(items[:8])
    for (prompt, response), score in zip(items, scores, strict=False):
        expected = reference(folder, prompt, response, truncation=True)
        assert score.score == pytest.approx(expected, abs=1e-6)
        assert (score.failure, score.flags) == ("", ())
    assert len({score.score for score in scores}) == 8


@pytest.mark.parametrize("batch_size", [5, 24])
def test_the_rest_of_the_batch_changes_nothing(folder, items, batch_size):
    alone = [score.score for score in judge(folder).score(items)]
    together = [score.score for score in judge(folder, batch_size=batch_size).score(items)]
    assert together == pytest.approx(alone, abs=1e-5)
    assert max(alone) - min(alone) > 0.05


def test_a_decoder_scores_at_its_last_real_token(tmp_path, items):
    from transformers import OPTForSequenceClassification

    write_opt_like_hub(tmp_path)
    config = load_config(tmp_path)
    torch.manual_seed(0)
    OPTForSequenceClassification(config).save_pretrained(tmp_path)
    change_config(tmp_path, pad_token_id=None)
    alone = [score.score for score in judge(tmp_path, batch_size=1).score(items)]
    together = [score.score for score in judge(tmp_path, batch_size=24).score(items)]
    assert together == pytest.approx(alone, abs=1e-5)


def load_config(folder):
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(folder, num_labels=1)


def change_config(folder, **changes):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_equal_pairs_get_equal_scores_and_order_is_kept(folder, items):
    listed = [items[0], items[1], items[0], items[2], items[1]]
    done = []

    class Heard:
        def start(self, what, total=None):
            done.append(-total)

        def advance(self, count, **figures):
            done.append(count)

        def finish(self):
            pass

        def note(self, text):
            pass

    scores = judge(folder, batch_size=2).score(listed, progress=Heard())
    assert scores[0] == scores[2]
    assert scores[1] == scores[4]
    assert sum(done) == 0
    expected = [reference(folder, *item) for item in listed]
    assert [score.score for score in scores] == pytest.approx(expected, abs=1e-5)
    assert judge(folder).score([]) == []


OLD = "\n\nHuman: What is rain?\n\nAssistant: It is bread that rains again and again."
LAST = "\n\nHuman: Tell me how to bake bread."


def test_long_prompts_lose_whole_turns_and_the_answer_nothing(folder):
    tokenizer = load_tokenizer(folder)
    response = "Mix flour, water and salt."
    limit = len(tokenizer(LAST, response)["input_ids"])
    (score,) = judge(folder, max_length=limit).score([(OLD + LAST, response)])
    assert score.score == pytest.approx(reference(folder, LAST, response), abs=1e-6)
    assert score.flags == ("prompt_trimmed",)
    (whole,) = judge(folder).score([(OLD + LAST, response)])
    assert whole.flags == ()
    assert whole.score != score.score


def test_one_turn_too_long_loses_its_beginning(folder):
    tokenizer = load_tokenizer(folder)
    response = "Mix flour, water and salt."
    limit = len(tokenizer(LAST, response)["input_ids"]) - 6
    asking = judge(folder, max_length=limit)
    encoded = asking._encoder.encode(OLD + LAST, response)
    whole = tokenizer(LAST, response)["input_ids"]
    assert encoded.inputs["input_ids"] == [whole[0], *whole[7:]]
    assert encoded.flags == ("prompt_trimmed",)


def test_a_response_too_long_alone_is_scored_by_its_head(folder):
    tokenizer = load_tokenizer(folder)
    response = " ".join(CORPUS)
    asking = judge(folder, max_length=20)
    encoded = asking._encoder.encode(OLD + LAST, response)
    alone = tokenizer("", response)["input_ids"]
    assert encoded.inputs["input_ids"] == [*alone[:19], tokenizer.sep_token_id]
    assert encoded.flags == ("prompt_trimmed", "response_trimmed")
    (score,) = asking.score([(OLD + LAST, response)])
    assert score.flags == encoded.flags


def test_every_length_around_the_response_is_cut_and_flagged(folder):
    tokenizer, response = load_tokenizer(folder), "Mix flour, water and salt."
    alone, whole = (tokenizer(text, response)["input_ids"] for text in ("", LAST))
    num_special = tokenizer.num_special_tokens_to_add(pair=True)
    both = ("prompt_trimmed", "response_trimmed")
    asking = judge(folder)
    for limit in range(num_special + 1, len(alone) + 4):
        asking._encoder.max_length = limit  # the settings allow 8 and more
        asking._encoder._remembered.cache_clear()
        encoded = asking._encoder.encode(OLD + LAST, response)
        room = limit - len(alone)
        if room < 0:
            expected, flags = [*alone[: limit - 1], tokenizer.sep_token_id], both
        else:
            expected, flags = [whole[0], *whole[len(whole) - limit + 1 :]], both[:1]
        assert encoded.inputs["input_ids"] == expected, limit
        assert {len(row) for row in encoded.inputs.values()} == {limit}
        (score,) = asking.score([(OLD + LAST, response)])
        assert score.score is not None
        assert score.flags == encoded.flags == flags
        (bare,) = asking.score([("", response)])
        assert bare.flags == (() if room >= 0 else both[1:])


def test_the_limit_comes_from_the_models_files(tmp_path):
    write_deberta_like_hub(tmp_path, max_position_embeddings=40)
    long = (OLD + LAST, " ".join(CORPUS[:2]))
    turns, paper = judge(tmp_path), judge(tmp_path, truncation="paper")
    assert load_tokenizer(tmp_path).model_max_length > 10**20
    assert (turns._encoder.max_length, paper._encoder.max_length) == (40, None)
    assert turns.score([long])[0].flags != ()
    assert paper.score([long])[0].flags == ()
    file = tmp_path / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"model_max_length": 32}))
    turns, paper = judge(tmp_path), judge(tmp_path, truncation="paper")
    assert (turns._encoder.max_length, paper._encoder.max_length) == (32, 32)
    (score,) = paper.score([long])
    expected = reference(tmp_path, *long, truncation=True)
    assert score.score == pytest.approx(expected, abs=1e-6)
    assert score.flags == ("prompt_trimmed", "response_trimmed")


def test_absolute_positions_bound_max_length(tmp_path):
    write_deberta_like_hub(tmp_path, position_biased_input=True)
    assert judge(tmp_path, truncation="paper")._encoder.max_length == 128
    with pytest.raises(InputError, match="128 positions"):
        judge(tmp_path, max_length=129)


@pytest.mark.parametrize("token", ["[SEP]", "[CLS]", "[PAD]", "[MASK]", "[UNK]"])
def test_special_token_text_is_read_as_plain_text(folder, token):
    asking = judge(folder)
    encoded = asking._encoder.encode(f"Tell me {token} bread", f"Mix{token}water {token}")
    tokenizer = load_tokenizer(folder)
    ids = encoded.inputs["input_ids"]
    assert [tokenizer.cls_token_id, *[tokenizer.sep_token_id] * 2] == [
        id for id in ids if id in {0, 1, 2, tokenizer.mask_token_id}
    ]
    assert encoded.flags == ("special_token_text",)
    (score,) = asking.score([("Tell me", f"Mix {token}")])
    assert score.flags == ("special_token_text",)


def test_special_token_text_that_can_be_split_is_not_altered(tmp_path):
    from transformers import OPTForSequenceClassification

    write_opt_like_hub(tmp_path)
    torch.manual_seed(0)
    OPTForSequenceClassification(load_config(tmp_path)).save_pretrained(tmp_path)
    encoded = judge(tmp_path)._encoder.encode("Tell me </s> bread", "<pad>")
    tokenizer = load_tokenizer(tmp_path)
    ids = encoded.inputs["input_ids"]
    assert tokenizer.decode([id for id in ids if id > 3]) == "Tell me </s> bread<pad>"
    assert 1 not in ids
    assert encoded.flags == ("special_token_text",)


def test_paper_truncation_leaves_special_token_text_but_flags_it(folder):
    (score,) = judge(folder, truncation="paper").score([("Hi [SEP] you", "bread")])
    assert score.score == pytest.approx(reference(folder, "Hi [SEP] you", "bread"), abs=1e-6)
    assert score.flags == ("special_token_text",)


def test_broken_unicode_is_scored_and_flagged(folder):
    scores = judge(folder).score([("Hi \ud800", "bread \U0001f600 \x00"), ("\u202ecaf\u00e9", "")])
    assert all(isinstance(score.score, float) for score in scores)
    assert [score.flags for score in scores] == [("replaced_characters",), ()]


def test_scores_that_are_not_finite_are_missing_and_named(folder, items):
    asking = judge(folder)
    with torch.no_grad():
        asking._model.classifier.bias.fill_(float("nan"))
    scores = asking.score(items[:2])
    assert [score.score for score in scores] == [None, None]
    assert "nan in float32" in scores[0].failure
    assert "[CLS]" in scores[0].failure


def test_overflow_in_half_precision_is_scored_again_in_float32(tmp_path, items):
    tensors = write_deberta_like_hub(tmp_path)
    tensors["classifier.weight"] *= 1e5
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    full = [score.score for score in judge(tmp_path).score(items[:6])]
    assert max(map(abs, full)) > 65504
    half = [score.score for score in judge(tmp_path, dtype="float16").score(items[:6])]
    again = [score for score in half if abs(score) > 65504]
    assert again
    assert set(again) <= set(full)


def test_one_of_several_outputs_is_read(tmp_path, items):
    write_deberta_like_hub(tmp_path, num_labels=2, id2label={0: "bad", 1: "good"})
    with pytest.raises(GuardError, match="2 outputs"):
        judge(tmp_path)
    (by_name,), (by_index,), (other,) = (
        judge(tmp_path, output=output).score(items[:1]) for output in ("good", 1, "bad")
    )
    assert by_name == by_index != other


def test_an_untrained_head_is_refused(tmp_path):
    write_deberta_like_hub(tmp_path, head=False)
    with pytest.raises(GuardError):
        judge(tmp_path)


def test_a_judge_saved_by_the_library_is_the_same_judge(folder, items, tmp_path):
    load_classifier(folder).save_pretrained(tmp_path)
    load_tokenizer(folder).save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").is_file()
    assert judge(tmp_path).score(items[:4]) == judge(folder).score(items[:4])


@pytest.fixture
def pools(monkeypatch):
    """Every pool of workers that is begun, on a machine with room for two."""
    monkeypatch.setattr(loading_pool, "usable_cores", lambda: 2 * torch.get_num_threads())
    monkeypatch.setattr(loading_pool, "free_memory", lambda: 10**11)
    begun, begin = [], WorkerPool.__init__

    def noted(self, load, *, workers, threads):
        begun.append(workers)
        begin(self, load, workers=workers, threads=threads)

    monkeypatch.setattr(WorkerPool, "__init__", noted)
    return begun


@pytest.mark.e2e
def test_scores_in_two_processes_are_the_same_bits(folder, items, pools, tmp_path, monkeypatch):
    monkeypatch.setattr("alignstudy.judges.cache.CHUNK", 9)
    settings = SeqClsSettings(better="lower")
    spread = build(settings, folder, "cpu", workers=2)
    assert spread.score(items) == build(settings, folder, "cpu").score(items)
    assert pools == []  # so few aren't worth the start
    monkeypatch.setattr("alignstudy.judges.quality.spread._FLOPS", 1.0)
    chunks = CachedJudge(spread, ScoreCache(tmp_path / "scores"), "identity").score(items)
    assert chunks == build(settings, folder, "cpu").score(items)
    assert pools == [2]  # one pool for all chunks
    broken = spread.score([*items, ("Hi \ud800", "bread")])
    assert broken == build(settings, folder, "cpu").score([*items, ("Hi \ud800", "bread")])
    processes = list(spread._pool._executor._processes.values())
    assert [process.exitcode for process in processes] == [None, None]
    spread.close()
    for process in processes:
        with pytest.raises(ProcessLookupError):  # gone; the exit code may be another thread's
            os.kill(process.pid, 0)
    assert pools == [2]


def test_rules_are_built_whatever_the_workers(folder):
    from alignstudy.judges import LengthSettings

    assert build(LengthSettings(), None, "cpu", workers=2).score([("a", "b")])
