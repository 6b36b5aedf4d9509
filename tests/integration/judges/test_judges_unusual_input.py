"""The published faults of judging, one test each, named by their numbers."""

import math

import pytest
from models_fixtures import CORPUS, write_deberta_like_hub

from alignstudy.judges import SeqClsSettings, build
from alignstudy.judges.base import batch_effect
from alignstudy.judges.cache import CachedJudge, ScoreCache

torch = pytest.importorskip("torch")

OLD = "\n\nHuman: What is rain?\n\nAssistant: It is bread that rains again and again."
LAST = "\n\nHuman: Tell me how to bake bread."


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("judge")
    write_deberta_like_hub(folder)
    return folder


@pytest.fixture
def items():
    words = " ".join(CORPUS).split()
    return [(LAST, " ".join(words[at : at + 3 + at % 7])) for at in range(20)]


def judge(folder, **settings):
    return build(SeqClsSettings(**settings), folder, "cpu")


class Heard:
    def __init__(self):
        self.notes, self.started, self.done = [], 0, 0

    def start(self, what, total=None):
        self.started += 1

    def advance(self, count, **figures):
        self.done += count

    def finish(self):
        pass

    def note(self, text):
        self.notes.append(text)


@pytest.mark.parametrize("rendering", ["paper", "oa_trained", "last_turn"])
def test_edge_case_06_the_response_is_never_cut_in_silence(folder, rendering):
    response = "Mix flour, water and salt."
    asking = judge(folder, rendering=rendering)
    whole = asking._encoder.encode(OLD + LAST, response)
    assert whole.flags == ()
    short = asking._encoder.encode(LAST, response)
    limit = len(short.inputs["input_ids"])
    tight = judge(folder, rendering=rendering, max_length=limit)
    cut = tight._encoder.encode(OLD + LAST, response)
    assert cut.inputs == short.inputs
    assert cut.flags == (("prompt_trimmed",) if whole.inputs != short.inputs else ())
    (score,) = judge(folder, rendering=rendering, max_length=12).score([(LAST, " ".join(CORPUS))])
    assert score.flags == ("prompt_trimmed", "response_trimmed")
    assert score.score is not None


def test_edge_case_07_a_score_that_is_not_finite_is_missing_with_its_reason(folder, items):
    asking = judge(folder, dtype="bfloat16")
    loads = []
    load = asking._load
    asking._load = lambda dtype: loads.append(dtype) or load(dtype)
    with torch.no_grad():
        asking._model.classifier.bias.fill_(float("inf"))
    scores = asking.score(items[:3])
    assert loads == ["float32"] * 3  # tried once more, and the files' own weights are sound
    assert all(math.isfinite(score.score) for score in scores)
    asking = judge(folder)
    with torch.no_grad():
        asking._model.classifier.bias.fill_(float("nan"))
    (lost, *_) = scores = asking.score(items[:3])
    assert [score.score for score in scores] == [None] * 3
    assert "Tell me how to bake bread" in lost.failure.replace("[UNK]", "")


def test_edge_case_21_scores_that_depend_on_the_batch_are_measured(folder, items):
    assert batch_effect(judge(folder), items) == 0
    asking = judge(folder, batch_size=16)
    assert batch_effect(asking, items) < 1e-5
    collate = asking._encoder.collate

    def padded_wrongly(rows):
        batch = collate(rows)
        batch["attention_mask"] = torch.ones_like(batch["attention_mask"])
        return batch

    asking._encoder.collate = padded_wrongly
    assert batch_effect(asking, items) > 0.01


def test_edge_case_22_want_of_memory_halves_the_batch_and_nothing_else(folder, items):
    asking = judge(folder, batch_size=16)
    expected = [score.score for score in asking.score(items)]
    limit, run, sizes = asking._encoder.max_length, asking._run, []

    def narrow(rows, model=None):
        sizes.append(len(rows))
        if len(rows) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return run(rows, model)

    asking._run = narrow
    heard = Heard()
    scores = asking.score(items, progress=heard)
    assert [score.score for score in scores] == pytest.approx(expected, abs=1e-5)
    assert all(score.flags == () for score in scores)
    assert max(sizes) == 16
    assert heard.notes[0] == "out of memory with 16 rows at once: going on with 8"
    assert asking._encoder.max_length == limit


def test_edge_case_24_look_alikes_of_special_tokens_stay_words(folder):
    asking = judge(folder)
    special = {asking._encoder._tokenizer.convert_tokens_to_ids(t) for t in ("[CLS]", "[SEP]")}

    def structure(response):
        ids = asking._encoder.encode(LAST, response).inputs["input_ids"]
        return [number for number in ids if number in special]

    for hostile in ("a [SEP] b", "a \uff3bSEP\uff3d b", "[CLS][SEP]", "[[SEP]]", "[S[SEP]EP]"):
        assert structure(hostile) == structure("a b"), hostile


def test_renderings_show_the_judge_different_texts(folder):
    shown = {}
    for rendering in ("paper", "oa_trained", "last_turn"):
        asking = judge(folder, rendering=rendering)
        shown[rendering] = asking.rendered(OLD + LAST, "Mix flour.")
    assert len(set(shown.values())) == 3


def test_rendered_is_what_a_score_hangs_on(folder):
    asking = judge(folder)
    assert asking.rendered(LAST, "Bread.") == asking.rendered(LAST, "Bread. ")  # same tokens
    assert asking.rendered(LAST, "Bread.") != asking.rendered(LAST, "Bread!")
    short = judge(folder, max_length=20)
    assert short.rendered(OLD + LAST, "Bread.") != asking.rendered(LAST, "Bread.")


def test_a_new_models_responses_are_scored_only_where_they_are_new(folder, items, tmp_path):
    asking, heard = judge(folder), Heard()
    cache = ScoreCache(tmp_path / "scores.sqlite")
    first = CachedJudge(asking, cache, "identity").score(items[:12], progress=Heard())
    rows = []
    run = asking._run
    asking._run = lambda batch, model=None: rows.extend(batch) or run(batch, model)
    again = CachedJudge(asking, ScoreCache(tmp_path / "scores.sqlite"), "identity")
    scores = again.score(items[6:], progress=heard)
    assert scores == judge(folder).score(items[6:])
    assert scores[:6] == first[6:]
    new = {asking.rendered(*item) for item in items[12:]} - {
        asking.rendered(*item) for item in items[:12]
    }
    assert {row.text for row in rows} == new
    assert len(rows) == len(new)
    assert again.reused == 6 + sum(asking.rendered(*i) not in new for i in items[12:])
    assert heard.notes == [f"{again.reused} of 14 scores reused: the judge had read them before"]
    assert (heard.started, heard.done) == (1, 14)
