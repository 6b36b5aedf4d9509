"""Many rows written at once: every token is the one that each row gets alone."""

import random
from functools import cache, partial, wraps

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models_fixtures import CORPUS, write_opt_like_hub, write_opt_tokenizer

from alignstudy.dialogue import CUE
from alignstudy.generation import GenerationSettings, choosing, continuing, generate, slots
from alignstudy.generation import packed as packed_module
from alignstudy.generation.choosing import Choice
from alignstudy.generation.continuing import write_on
from alignstudy.generation.packed import pack
from alignstudy.generation.rules import Rules, Text
from alignstudy.generation.ways import way_of
from alignstudy.models.load import load_causal_lm
from alignstudy.records import Prompt, Weights
from alignstudy.runtime import pool as loading_pool

torch = pytest.importorskip("torch")

EOS, PAD, NEW = 2, 1, 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Random weights whose texts vary; some end by themselves."""
    folder = tmp_path_factory.mktemp("opt")
    write_opt_like_hub(folder, std=0.2, seed=2)
    return folder


@pytest.fixture(scope="module")
def network(folder):
    return load_causal_lm(Weights(folder=folder))


@pytest.fixture(scope="module")
def prompts():
    source = random.Random(0)
    words = " ".join(CORPUS).split()
    texts = [" ".join(source.choices(words, k=source.randint(2, 50))) for _ in range(20)]
    return [
        Prompt(id=str(n), axis="harmless", text=f"\n\nHuman: {text}{CUE}")
        for n, text in enumerate(texts)
    ]


def rules(**changes):
    return Rules(**({
        "max_new_tokens": NEW, "eos": frozenset({EOS}), "pad": PAD, "stops": None,
        "choose": lambda seeds: Choice(), "rewrite": True,
        "rows": 8, "most_tokens": 4096, "note": pytest.fail,
    } | changes))  # fmt: skip


def written_on(model, texts, asked):
    """Return continuations in the texts' order."""
    found = dict(write_on(model, texts, asked))
    return [found[number] for number in range(len(texts))]


@cache
def greedy(model, tokens, new=NEW, ends=frozenset({EOS})):
    """The plainest loop: one row, no padding, no cache; the end token included."""
    ids = torch.tensor([tokens])
    with torch.no_grad():
        for _ in range(new):
            token = model(input_ids=ids, use_cache=False).logits[:, -1].argmax(-1)
            ids = torch.cat([ids, token[None]], dim=1)
            if int(token) in ends:
                break
    return tuple(ids[0, len(tokens) :].tolist())


@cache
def packed(model):
    """Pack small matrices, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packed_module, "_LEAST_NUMBERS", 0)
        products = pack(model)
    assert products is None or products._layers
    return products


def until_end(tokens, ends=frozenset({EOS})):
    at = next((at for at, token in enumerate(tokens) if token in ends), len(tokens))
    return tokens[: at + 1]


def texts_of(lengths, seed=0):
    source = random.Random(seed)
    return [Text(tokens=tuple(source.randrange(4, 300) for _ in range(n))) for n in lengths]


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=16),
    seed=st.integers(0, 10**6),
    packs=st.booleans(),
    rows=st.integers(1, 7),
    most_tokens=st.integers(1, 300),
    new=st.integers(1, 40),
    as_gpus_read=st.booleans(),
)
def test_every_token_is_that_of_the_row_alone_whoever_is_beside_it(
    network, lengths, seed, packs, rows, most_tokens, new, as_gpus_read
):
    """Rows come and go, room is made for more and for fewer, and columns are used up."""
    texts = texts_of(lengths, seed)
    ends = frozenset(range(2, 26))  # a row ends after about sixteen tokens
    asked = rules(
        products=packed(network) if packs else None,
        eos=ends,
        rows=rows,
        most_tokens=most_tokens,
        max_new_tokens=new,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slots, "_READ_TOKENS", 100)
        if as_gpus_read:
            patch.setattr(slots, "reads_alone", lambda model: False)
        written = written_on(network, texts, asked)
    for text, row in zip(texts, written, strict=True):
        assert row.tokens == greedy(network, text.tokens, new, ends)


def test_a_gpu_reads_many_texts_at_once_and_not_for_each_that_ends(network, monkeypatch):
    reads, read = [], slots.read

    def counted(model, texts):
        reads.append(len(texts))
        return read(model, texts)

    way_of(network, texts_of([30]), rules())
    monkeypatch.setattr(slots, "read", counted)
    monkeypatch.setattr(slots, "reads_alone", lambda model: False)
    ends = frozenset(range(2, 42))
    texts = texts_of([30] * 100)
    written = dict(write_on(network, texts, rules(rows=32, most_tokens=10**6, eos=ends)))
    assert sorted(written) == [*range(100)]
    assert reads[:2] == [1, 31], "the first alone, to measure what rounding does"
    assert sum(reads) == 100
    assert min(reads[2:-1]) >= 4


@pytest.mark.parametrize("top_p", [None, 0.8])
def test_draws_are_those_of_the_row_alone_and_of_each_sample(network, top_p):
    texts = [
        Text(tokens=text.tokens, seed=seed) for text in texts_of([40, 9, 21]) for seed in range(4)
    ]
    asked = rules(choose=partial(Choice, top_p=top_p), rows=3, eos=frozenset(range(2, 26)))
    alone = [written_on(network, [text], asked)[0] for text in texts]
    assert [row.whole(asked.eos) for row in alone] == [
        row.tokens for row in written_on(network, texts, asked)
    ]
    assert len({row.whole(asked.eos) for row in alone}) > len(texts) / 2


def test_waiting_texts_take_the_places_of_ended_rows(network, monkeypatch):
    """Counted in rows that the model computes a token of."""
    computed, forward = [], type(network).forward

    @wraps(forward)
    def counted(self, input_ids=None, **others):
        computed.append(tuple(input_ids.shape))
        return forward(self, input_ids=input_ids, **others)

    texts, ends = texts_of(range(20, 60)), frozenset(range(2, 42))
    lengths = [len(greedy(network, text.tokens, 60, ends)) for text in texts]
    way_of(network, texts, rules())  # asked once
    monkeypatch.setattr(type(network), "forward", counted)
    written = dict(write_on(network, texts, rules(eos=ends, max_new_tokens=60)))
    steps = sum(rows for rows, tokens in computed if tokens == 1)
    assert [len(written[number].tokens) for number in range(40)] == lengths
    in_fixed_batches = sum(8 * max(lengths[at : at + 8]) for at in range(0, 40, 8))
    assert sum(lengths) <= steps < 1.5 * sum(lengths) < in_fixed_batches
    reads = [tokens for _, tokens in computed if tokens > 1]
    assert sorted(reads) == [len(text.tokens) - 1 for text in texts]


def test_what_is_written_is_told_at_once(network):
    texts, ends = texts_of(range(20, 40)), frozenset(range(2, 42))
    told = [number for number, _ in write_on(network, texts, rules(rows=2, eos=ends))]
    assert sorted(told) == [*range(20)]
    assert told[-1] < 4, "the longest come first"
    assert max(told[:4]) > 15


@pytest.mark.parametrize("sampled", [False, True])
@pytest.mark.parametrize("rounding", [1e-6, 3e-5])
def test_where_rounding_could_choose_the_row_is_written_again_alone(
    network, monkeypatch, sampled, rounding
):
    """Two tokens of one embedding have equal logits: any batch's rounding would decide.

    The larger one is above the tolerance of every model: it is measured.
    """
    model = type(network)(network.config).eval()
    model.load_state_dict(network.state_dict())
    with torch.no_grad():
        table = model.get_input_embeddings().weight
        table[200:260] = table[140:200]
    forward = type(network).forward

    def rounded(self, input_ids=None, position_ids=None, **others):
        output = forward(self, input_ids=input_ids, position_ids=position_ids, **others)
        if len(input_ids) > 1:
            output.logits[:, :, 200:260] *= 1 + rounding
        return output

    monkeypatch.setattr(type(network), "forward", rounded)
    choose = partial(Choice, top_p=0.3) if sampled else (lambda seeds: Choice())
    texts = texts_of(range(3, 23))
    asked = rules(choose=choose)
    alone = [written_on(model, [text], asked)[0] for text in texts]
    together = written_on(model, texts, asked)
    assert [until_end(row.tokens) for row in together] == [until_end(r.tokens) for r in alone]
    if not sampled:
        careless = written_on(model, texts, rules(rewrite=False))
        assert [until_end(r.tokens) for r in careless] != [until_end(r.tokens) for r in alone]


def test_only_near_things_are_written_again(network, monkeypatch):
    alone, generate = [], continuing.generate

    def counted(model, texts, *others, **named):
        alone.extend(texts)
        return generate(model, texts, *others, **named)

    monkeypatch.setattr(continuing, "generate", counted)
    texts = texts_of(range(3, 23))
    usual = written_on(network, texts, rules())
    assert len(alone) < 3
    alone.clear()
    monkeypatch.setattr(choosing, "TOLERANCE", 1e9)
    again = written_on(network, texts, rules())
    assert sorted(len(text.tokens) for text in alone) == [*range(3, 23)]
    assert [until_end(r.tokens) for r in again] == [until_end(r.tokens) for r in usual]


def test_rounding_stays_far_below_what_counts_as_near(network):
    """Logits of a row in a batch against the row alone, as shares of the largest."""
    texts = texts_of([9, 30, 55, 12, 41, 7])
    longest = 55
    ids = torch.tensor([[PAD] * (longest - len(t.tokens)) + list(t.tokens) for t in texts])
    with torch.no_grad():
        batch = network(input_ids=ids, attention_mask=(ids != PAD).long()).logits[:, -1]
        alone = torch.stack(
            [network(input_ids=torch.tensor([t.tokens])).logits[0, -1] for t in texts]
        )
    error = (batch - alone).abs().amax(-1) / alone.abs().amax(-1)
    assert 0 < error.max() < choosing.TOLERANCE / 8


SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
         "num_attention_heads": 4}  # fmt: skip
ARCHITECTURES = {
    "GPT2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256, "eos_token_id": EOS},
    "Llama": SMALL | {"num_key_value_heads": 2},
    "GPTNeoX": SMALL,
    "Falcon": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "alibi": True,
    },
    "Gemma": SMALL | {"num_key_value_heads": 1, "head_dim": 8},
    "Mistral": SMALL | {"num_key_value_heads": 2, "sliding_window": 8},
    "Bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4},
}
"""Learned, rotary and no positions, distances in their place, shared heads, a window of keys."""


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_other_architectures_write_the_same_too(tmp_path, kind):
    import transformers

    size = write_opt_tokenizer(tmp_path)
    torch.manual_seed(3)
    config = getattr(transformers, f"{kind}Config")(vocab_size=size, **ARCHITECTURES[kind])
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, 0.25)
    model.eval()
    for lengths in ([2, 30, 17, 5, 24, 1, 11], [2, 30, 17, 5, 24], [9, 9, 9]):
        texts = texts_of(lengths)
        written = written_on(model, texts, rules())
        for text, row in zip(texts, written, strict=True):
            assert until_end(row.tokens) == greedy(model, text.tokens)
        assert len({row.tokens for row in written}) > 1


@pytest.mark.parametrize(("inputs", "bias"), [(64, True), (301, True), (512, False)])
def test_packed_products_are_the_plain_ones_but_for_rounding(monkeypatch, inputs, bias):
    monkeypatch.setattr(packed_module, "_LEAST_NUMBERS", 0)
    torch.manual_seed(1)
    layer = torch.nn.Linear(inputs, 96, bias=bias).eval()
    products = pack(layer)
    if products is None:
        pytest.skip("this torch can't pack weights")
    double = torch.nn.Linear(inputs, 96, bias=bias).double()
    double.load_state_dict(layer.state_dict())
    with torch.inference_mode(), products.used():
        for count in (1, 2, 3, 8, 17, 32, 33):
            wide = torch.randn(count, 1, 2 * inputs)
            for rows in (wide[..., :inputs].contiguous(), wide[..., ::2]):
                product, true = layer(rows), double(rows.double())
                assert product.shape == (count, 1, 96)
                assert (product - true).abs().max() <= 2e-6 * true.abs().max()
    assert "forward" not in vars(layer)


@pytest.mark.parametrize("want", ["operation", "equality", "memory", "float32"])
def test_without_what_it_takes_nothing_is_packed(network, monkeypatch, want):
    model = network
    if want == "operation":
        monkeypatch.setattr(packed_module, "_packed", lambda weight: torch.ops.mkldnn.missing)
    elif want == "equality":
        monkeypatch.setattr(packed_module, "_product", lambda rows, *_: rows[:, :8] * 2)
    elif want == "memory":
        monkeypatch.setattr(packed_module, "free_memory", lambda: 1000)
    else:
        model = torch.nn.Linear(8, 8, dtype=torch.bfloat16)
    before = torch.get_rng_state()
    assert pack(model) is None
    assert torch.equal(before, torch.get_rng_state())


@pytest.fixture
def two_cores(monkeypatch):
    monkeypatch.setattr(loading_pool, "usable_cores", lambda: 2 * torch.get_num_threads())
    monkeypatch.setattr(loading_pool, "free_memory", lambda: 10**11)


class Listener:
    def __init__(self):
        self.done, self.notes = 0, []

    def start(self, what, total=None):
        self.total = total

    def advance(self, done, **figures):
        self.done += done

    def finish(self):
        self.notes.append("finished")

    def note(self, text):
        self.notes.append(text)


@pytest.mark.usefixtures("two_cores")
@pytest.mark.e2e
def test_responses_are_the_same_in_two_processes(folder, prompts, monkeypatch):
    from alignstudy.generation import hf

    def run(**spread):
        sampling = GenerationSettings(max_new_tokens=NEW, do_sample=True, top_p=0.9)
        return generate(
            Weights(folder=folder), prompts, sampling, protocol="rigorous", device="cpu", seed=3,
            **spread,
        )  # fmt: skip

    pools = []

    begin = hf.WorkerPool.__init__

    def counted(self, load, *, workers, threads):
        pools.append(workers)
        begin(self, load, workers=workers, threads=threads)

    monkeypatch.setattr(hf.WorkerPool, "__init__", counted)
    heard = Listener()
    with monkeypatch.context() as patch:
        patch.setattr(hf, "workers_that_pay", partial(hf.workers_that_pay, start_up=0.0))
        spread = run(workers=2, progress=heard)
    assert pools == [2]
    assert (heard.total, heard.done, heard.notes) == (20, 20, ["finished"])
    assert spread == run(workers=2)  # so small a job isn't worth the start
    assert spread == run()
    assert pools == [2]
