"""What company does to a row hangs on the model: each is written as it bears it."""

import random
import weakref
from functools import wraps

import pytest
import torch
import transformers

from alignstudy.generation import slots, ways
from alignstudy.generation.choosing import Choice
from alignstudy.generation.continuing import write_on
from alignstudy.generation.rules import Rules, Text
from alignstudy.generation.ways import way_of

ENDS = frozenset(range(2, 24))
COMMON = {"vocab_size": 300, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
SMALL = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
}  # fmt: skip
DECODER = {
    "d_model": 32, "decoder_layers": 2, "decoder_attention_heads": 4, "decoder_ffn_dim": 48,
    "max_position_embeddings": 128, "is_decoder": True,
}  # fmt: skip
ROPE = {"rope_theta": 10000.0, "original_max_position_embeddings": 32}
LONG = {
    "rope_type": "longrope", "long_factor": [1.0, 2.0, 4.0, 8.0], "short_factor": [1.0] * 4,
    "partial_rotary_factor": 1.0,
}  # fmt: skip
FAMILIES = {
    "Llama": (SMALL, "side by side"),
    "Mllama": ({**SMALL, "num_key_value_heads": 2, "cross_attention_layers": []}, "side by side"),
    "Phi3": (
        {**SMALL, "original_max_position_embeddings": 32, "max_position_embeddings": 256}
        | {"rope_parameters": {**ROPE, **LONG}},
        "side by side",
    ),
    "Mistral": ({**SMALL, "num_key_value_heads": 2, "sliding_window": 8}, "padded"),
    "Mamba": ({"hidden_size": 32, "num_hidden_layers": 2, "time_step_rank": 4}, "padded"),
    "MiniMax": (
        {**SMALL, "num_key_value_heads": 2, "head_dim": 8, "block_size": 8}
        | {"num_local_experts": 2, "layer_types": ["linear_attention", "full_attention"]},
        "of one length",
    ),
    "Bart": (DECODER, "of one length"),
    "RoFormer": ({**SMALL, "is_decoder": True}, "of one length"),
    "Rwkv": (
        {"hidden_size": 32, "num_hidden_layers": 2, "attention_hidden_size": 32}, "alone"
    ),
}  # fmt: skip


def model_of(family, **changes):
    torch.manual_seed(3)
    kind = {"Mllama": "MllamaText"}.get(family, family)
    config = getattr(transformers, f"{kind}Config")(**COMMON, **FAMILIES[family][0], **changes)
    model = getattr(transformers, f"{family}ForCausalLM")(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, 0.25)
    return model.eval()


def texts_of(lengths):
    source = random.Random(0)
    return [Text(tokens=tuple(source.randrange(40, 300) for _ in range(n))) for n in lengths]


def rules(**changes):
    return Rules(**({
        "max_new_tokens": 16, "eos": ENDS, "pad": 1, "stops": None,
        "choose": lambda seeds: Choice(), "rewrite": True,
        "rows": 4, "most_tokens": 4096, "note": lambda text: None,
    } | changes))  # fmt: skip


def tokens_of(model, texts, asked):
    found = dict(write_on(model, texts, asked))
    return [found[number].whole(asked.eos) for number in range(len(texts))]


def alone(model, texts, asked):
    return [tokens_of(model, [text], asked)[0] for text in texts]


@pytest.mark.parametrize("as_gpus_read", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_written_as_it_bears_it(family, as_gpus_read, monkeypatch):
    """Without another writing of near ties, too: nothing hides behind it."""
    if as_gpus_read:
        monkeypatch.setattr(slots, "reads_alone", lambda model: False)
    model, texts = model_of(family), texts_of([2, 30, 17, 5, 24, 1, 11, 9, 28, 3, 40, 13, 9, 11])
    for asked in (rules(), rules(rewrite=False, rows=5)):
        by_itself = alone(model, texts, asked)
        assert tokens_of(model, texts, asked) == by_itself
        assert len({*by_itself}) > 5
    assert way_of(model, texts, rules()).kind == FAMILIES[family][1]


def test_a_user_is_told_once_where_rows_need_one_length_or_none_beside_them():
    model, texts, notes = model_of("Bart"), texts_of([9, 9, 5, 5]), []
    for _ in range(2):
        tokens_of(model, texts, rules(note=notes.append))
    assert notes == [
        "BartForCausalLM bears no padding: responses are written of one length"
    ]  # fmt: skip


def test_a_rotation_that_follows_the_longest_row_meets_no_longer_ones():
    """Beyond 32 tokens frequencies are others, for all rows that are read at once."""
    model, asked = model_of("Phi3"), rules(max_new_tokens=12)
    for lengths in ([40, 5, 8, 10, 6, 7], [20, 19, 18, 17, 16], [60, 50, 24]):
        texts = texts_of(lengths)
        assert tokens_of(model, texts, asked) == alone(model, texts, asked)


def test_what_was_read_before_changes_nothing():
    """A "dynamic" rotation keeps the frequencies of the longest row it has met."""
    rope = {**ROPE, "rope_type": "dynamic", "factor": 4.0}
    model = model_of("Llama", max_position_embeddings=256, rope_parameters=rope)
    texts, ids = texts_of([60, 40, 36, 8]), torch.tensor([[*range(40, 64)]])
    with torch.no_grad():
        before = model(input_ids=ids).logits
        asked = rules()
        first = alone(model, texts, asked)
        assert alone(model, texts[::-1], asked)[::-1] == first
        assert tokens_of(model, texts, asked) == first
        assert torch.equal(model(input_ids=ids).logits, before)


@pytest.mark.parametrize("family", ["Llama", "Mistral"])
def test_rounding_is_measured_whatever_the_way(family, monkeypatch):
    """Two tokens of one embedding have equal logits: company's rounding would decide."""
    model = model_of(family, tie_word_embeddings=False)
    with torch.no_grad():
        for table in (model.lm_head.weight, model.model.embed_tokens.weight):
            table[200:260] = table[140:200]
    forward = type(model).forward

    @wraps(forward)
    def rounded(self, input_ids=None, **others):
        output = forward(self, input_ids=input_ids, **others)
        if len(input_ids) > 1:
            output.logits[:, :, 200:260] *= 1 + 3e-5
        return output

    monkeypatch.setattr(type(model), "forward", rounded)
    texts = texts_of(range(3, 23))
    assert tokens_of(model, texts, rules()) == alone(model, texts, rules())
    assert tokens_of(model, texts, rules(rewrite=False)) != alone(model, texts, rules())


def test_a_model_that_has_diverged_is_written_as_any_other():
    model, texts = model_of("Llama"), texts_of([9, 5])
    with torch.no_grad():
        model.lm_head.weight.fill_(float("nan"))
    tokens_of(model, texts, rules())
    assert way_of(model, texts, rules()).kind == "side by side"


@pytest.mark.parametrize("family", ["Llama", "Mistral"])
def test_a_lack_of_memory_halves_what_was_tried(family, monkeypatch):
    """One long text that goes alone, then many short ones, of which 16 fit."""
    model, notes = model_of(family, max_position_embeddings=2048), []
    texts, forward = texts_of([600] + [10] * 60), type(model).forward
    whole, rows = tokens_of(model, texts, rules()), []

    @wraps(forward)
    def limited(self, input_ids=None, **others):
        rows.append(len(input_ids))
        if len(input_ids) > 16:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, input_ids=input_ids, **others)

    monkeypatch.setattr(type(model), "forward", limited)
    asked = rules(rows=256, most_tokens=1000, note=notes.append)
    assert tokens_of(model, texts, asked) == whole
    tried = max(rows)
    assert tried > 16
    assert notes[0] == f"out of memory with {tried} rows at once: going on with {tried // 2}"
    assert max(number for number in rows if number <= 16) >= 8


def test_memory_is_given_back_before_the_next_try(monkeypatch):
    model, texts, rooms, alive = model_of("Llama"), texts_of([9] * 8), [], []
    made, release = slots.Room, slots.release_memory

    def make(*given, **more):
        room = made(*given, **more)
        rooms.append(weakref.ref(room))
        return room

    def released():
        alive.append(sum(room() is not None for room in rooms))
        release()

    way_of(model, texts, rules())
    monkeypatch.setattr(slots, "Room", make)
    monkeypatch.setattr(slots, "release_memory", released)
    forward = type(model).forward

    @wraps(forward)
    def limited(self, input_ids=None, **others):
        if len(input_ids) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, input_ids=input_ids, **others)

    monkeypatch.setattr(type(model), "forward", limited)
    assert len(tokens_of(model, texts, rules())) == 8
    assert alive == [0]


def test_the_budget_of_tokens_holds_all_that_is_made_room_for(monkeypatch):
    model, sizes, move = model_of("Llama"), [], slots.Room.move

    def noted(room, *, rows, columns):
        sizes.append(rows * columns)
        return move(room, rows=rows, columns=columns)

    monkeypatch.setattr(slots.Room, "move", noted)
    texts = texts_of([50, 40, 30] + [8] * 60)
    tokens_of(model, texts, rules(rows=64, most_tokens=2000, max_new_tokens=60))
    assert 1000 < max(sizes) <= 2000


def test_a_way_that_a_model_breaks_at_is_not_gone(monkeypatch):
    model, notes, forward = model_of("Llama"), [], transformers.LlamaForCausalLM.forward

    @wraps(forward)
    def fails(self, input_ids=None, past_key_values=None, **others):
        if type(past_key_values).__name__ == "Cache":
            raise ValueError("Llama keeps a cache of its own")
        return forward(self, input_ids=input_ids, past_key_values=past_key_values, **others)

    monkeypatch.setattr(type(model), "forward", fails)
    texts = texts_of([9, 5, 7])
    together = tokens_of(model, texts, rules(note=notes.append))
    assert ways._FOUND[model].kind == "padded"
    assert notes == ["responses aren't written side by side: Llama keeps a cache of its own"]
    assert together == alone(model, texts, rules())
