"""A leaner layout gives the same numbers as every text alone, unpadded, through the stock model."""

import math
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache, wraps
from types import SimpleNamespace

import methods_fixtures as fx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM, OPTConfig, OPTForCausalLM
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from trl.trainer.utils import add_fused_lm_head

from alignstudy.methods.batches.encode import encode_preferences
from alignstudy.methods.reference.values import padded_batch
from alignstudy.methods.scoring import shared_forward, token_scores
from alignstudy.methods.scoring.layout import may_attend
from alignstudy.methods.scoring.shared_forward import (
    JOINED,
    ScoringRoute,
    Tally,
    install,
    use_joined_attention,
)
from alignstudy.methods.scoring.token_scores import score_targets
from alignstudy.models.rendering import rendering_of
from alignstudy.models.tokenizers import load_tokenizer
from alignstudy.records import Pair

VOCABULARY = 61
IGNORED = -100
KINDS = ("opt", "llama")
MASKED = [(sharing, flat) for sharing in (2, 3, 1) for flat in (True, False)]
LAYOUTS = [*MASKED, *((sharing, JOINED) for sharing in (2, 3, 1))]
"""Texts on their shared prompt, or each alone; rows joined under one mask, text by text, or padded.
"""
FIELDS = ("log_probs", "entropy", "mean_logits", "is_top1")
MEASURED = {"ours": ("log_probs", "is_top1"), "theirs": FIELDS}
"""What the heads tell; ours, for a CPU, leaves out what is never shown."""

RELATIVE = {torch.float32: 1e-6, torch.float64: 1e-10}
ABSOLUTE = {torch.float32: 1e-5, torch.float64: 1e-11}


@dataclass(frozen=True)
class Text:
    """Token ids, of which those from `border` on are targets."""

    ids: tuple[int, ...]
    border: int

    def cut(self, length):
        return Text(self.ids[:length], self.border)


@pytest.fixture(scope="module", autouse=True)
def double_all_the_way():
    """Some layers compute in float32 whatever they are given: a float64 proof wants float64."""
    softmax, norm = torch.nn.functional.softmax, LlamaRMSNorm.forward

    def own_softmax(scores, dim=None, _stacklevel=3, dtype=None):
        dtype = torch.float64 if scores.dtype == torch.float64 else dtype
        return softmax(scores, dim, _stacklevel, dtype)

    def own_norm(layer, hidden):
        if hidden.dtype != torch.float64:
            return norm(layer, hidden)
        variance = hidden.pow(2).mean(-1, keepdim=True)
        return layer.weight * hidden * torch.rsqrt(variance + layer.variance_epsilon)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.functional, "softmax", own_softmax)
        patch.setattr(LlamaRMSNorm, "forward", own_norm)
        yield


@pytest.fixture(params=MEASURED)
def head(request, monkeypatch):
    """Score with our head, or with TRL's, as on a GPU."""
    if request.param == "theirs":
        monkeypatch.setattr(shared_forward, "holds_logits", lambda *_: False)
    return request.param


@lru_cache
def stock(kind, dtype, attention="sdpa"):
    """A tiny model whose every weight matters: OPT post-LN like the 350M, or Llama."""
    torch.manual_seed(0)
    shape = {
        "vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2,
        "max_position_embeddings": 96, "attn_implementation": attention,
    }  # fmt: skip
    if kind == "opt":
        config = OPTConfig(
            **shape, ffn_dim=64, word_embed_proj_dim=16, num_attention_heads=2,
            do_layer_norm_before=False, dropout=0.0, attention_dropout=0.0,
        )  # fmt: skip
        model = OPTForCausalLM(config)
    else:
        config = LlamaConfig(
            **shape, intermediate_size=64, num_attention_heads=4, num_key_value_heads=2
        )
        model = LlamaForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.15)
    return model.to(dtype).eval()


def plain_seam(model):
    """Return a model TRL's seam in its own precision; TRL's own head always answers in float32."""
    original = model.forward

    @wraps(type(model).forward)
    def forward(*args, fused_lm_head=False, labels=None, shift_labels=None, **given):
        if not fused_lm_head:
            return original(*args, labels=labels, **given)
        hidden = model.base_model(*args, **given).last_hidden_state
        if shift_labels is None:
            hidden, shift_labels = hidden[:, :-1], labels[:, 1:]
        logits = model.get_output_embeddings()(hidden)
        return results(logits, shift_labels)

    model.forward = forward


def results(logits, labels):
    """Return what TRL's head says, by the textbook; (R, T, V) logits and (R, T) labels."""
    log_p = logits.log_softmax(-1)
    mask = labels != IGNORED
    targets = labels.clamp(min=0)[..., None]
    fields = {
        "log_probs": log_p.gather(-1, targets)[..., 0],
        "entropy": -(log_p.exp() * log_p).sum(-1),
        "mean_logits": logits.mean(-1),
        "is_top1": logits.argmax(-1) == targets[..., 0],
        "log_sum_sq_probs": (2 * log_p).logsumexp(-1),
    }
    fields = {name: value.masked_fill(~mask, 0) for name, value in fields.items()}
    loss = -fields["log_probs"].sum() / mask.sum().clamp(min=1)
    return SimpleNamespace(loss=loss, label_mask=mask, **fields)


def seamed(kind, dtype, *, attention="sdpa", sharing, flat):
    model = deepcopy(stock(kind, dtype, attention))
    if dtype is torch.float64:
        plain_seam(model)
    else:
        add_fused_lm_head(model, outputs=FIELDS)
    if flat == JOINED:
        assert use_joined_attention(model)
    tally = Tally()
    install(model, ScoringRoute(sharing=sharing, flat=bool(flat)), tally=tally)
    return model, tally


def batch_of(texts):
    """Pad on the right; labels at their own places, one at place 0 too where there is no prompt."""
    width = max(2, *(len(text.ids) for text in texts))
    ids = torch.full((len(texts), width), 1)
    seen = torch.zeros_like(ids)
    labels = torch.full_like(ids, IGNORED)
    for row, text in enumerate(texts):
        stop = len(text.ids)
        ids[row, :stop], seen[row, :stop] = torch.tensor(text.ids), 1
        labels[row, text.border : stop] = ids[row, text.border : stop]
    return {"input_ids": ids, "attention_mask": seen, "labels": labels}


def one_by_one(model, texts):
    """Each text alone and unpadded through the stock model; results at their places (R, T-1)."""
    width = batch_of(texts)["input_ids"].shape[1] - 1
    empty = dict.fromkeys(FIELDS, torch.zeros(width, dtype=torch.float64))
    rows = [{**empty, "gap": torch.full((width,), math.inf)} for _ in texts]
    for row, text in zip(rows, texts, strict=True):
        if len(text.ids) < 2:
            continue
        logits = model(input_ids=torch.tensor([text.ids]), use_cache=False).logits.double()[:, :-1]
        places = torch.arange(1, len(text.ids))
        labels = torch.tensor([text.ids[1:]]).masked_fill(places < text.border, IGNORED)
        found = vars(results(logits, labels))
        top = logits.detach().topk(2, -1).values
        found["gap"] = top[..., 0] - top[..., 1]
        for name in row:
            padding = (0, width - len(places))
            row[name] = torch.nn.functional.pad(found[name][0].double(), padding)
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def check(model, texts, *, dtype, reference, head="ours"):
    """Compare the whole (R, T-1) arrays, and the sums over each text."""
    batch = batch_of(texts)
    with torch.no_grad():
        ours = model(**batch, use_cache=False, fused_lm_head=True)
        theirs = one_by_one(reference, texts)
    wanted = batch["labels"][:, 1:] != IGNORED
    assert torch.equal(ours.label_mask, wanted)
    for name in FIELDS:
        values = getattr(ours, name)
        assert values.shape == wanted.shape
        if name in MEASURED[head] or not wanted.any():
            assert not values[~wanted].any(), f"{name}: something where there is no target"
            tolerance = {"rtol": 0, "atol": ABSOLUTE[dtype]}
            if name != "is_top1":
                torch.testing.assert_close(values.double(), theirs[name], **tolerance)
        else:
            assert values.isnan().all(), f"{name}: a number that nothing measured"
    sums, alone = ours.log_probs.double().sum(1), theirs["log_probs"].sum(1)
    torch.testing.assert_close(sums, alone, rtol=RELATIVE[dtype], atol=1e-12)
    clear = wanted & (theirs["gap"] > 1e-4)
    assert torch.equal(ours.is_top1[clear].double(), theirs["is_top1"][clear])


tokens = st.integers(3, VOCABULARY - 1)


def some(least, most):
    return st.lists(tokens, min_size=least, max_size=most).map(tuple)


@st.composite
def texts_on_a_prompt(draw, number):
    """Texts with a common beginning (perhaps none) and perhaps a border token of their own."""
    common = draw(some(0, 9))
    kind = draw(st.sampled_from(["any", "same", "prefix", "one-token prompt", "own border"]))
    responses = [draw(some(0, 8)) for _ in range(number)]
    if kind == "same":
        responses[-1] = responses[0]
    elif kind == "prefix":
        responses[1] = responses[0] + responses[1]
    elif kind == "one-token prompt":
        common = common[:1] or (5,)
    texts = []
    for response in responses:
        border = draw(some(1, 2)) if kind == "own border" else ()
        ids = common + border + response or (7,)
        texts.append(Text(ids, len(common + border)))
    return tuple(texts)


EXAMPLES = {1: 10, 2: 20, 3: 12}


def as_rows(groups):
    """All chosen before all rejected, and these before all third texts."""
    return [text for side in zip(*groups, strict=True) for text in side]


def check_law(kind, dtype, *, attention, sharing, flat, examples, head="ours"):
    model, tally = seamed(kind, dtype, attention=attention, sharing=sharing, flat=flat)

    @settings(max_examples=examples, deadline=None, derandomize=True)
    @given(st.lists(texts_on_a_prompt(max(2, sharing)), min_size=1, max_size=4))
    def law(drawn):
        check(model, as_rows(drawn), dtype=dtype, reference=stock(kind, dtype), head=head)

    law()
    assert tally == Tally()  # without gradients nothing counts as training


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("sharing", "flat"), LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_any_texts_are_as_each_alone(kind, sharing, flat, dtype, head):
    check_law(
        kind,
        dtype,
        attention="sdpa",
        sharing=sharing,
        flat=flat,
        examples=EXAMPLES[sharing],
        head=head,
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("sharing", "flat"), MASKED)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_eager_attention_sees_the_same(kind, sharing, flat, dtype):
    """There a boolean mask would be added to the scores."""
    check_law(kind, dtype, attention="eager", sharing=sharing, flat=flat, examples=8)


PAIRS = [
    (Text((5, 6, 7, 8, 9, 10, 11), 4), Text((5, 6, 7, 8, 12, 13, 14, 15, 16), 4)),
    (Text((5, 20, 21, 22), 1), Text((5, 20, 21, 23), 1)),  # responses begin alike
    (Text((30, 31, 32), 2), Text((30, 31), 2)),  # one response is empty
    (Text((40, 41, 42, 43), 2), Text((44, 45, 46, 47, 48), 2)),  # nothing in common
    (Text((50, 51, 52), 0), Text((50, 53), 0)),  # no prompt: the first token is no target
]
THIRDS = [
    Text((5, 6, 7, 8, 17, 18), 4),
    Text((5, 20, 24), 1),
    Text((30, 31, 32), 2),  # as chosen
    Text((40, 41, 49), 2),
    Text((50, 51), 0),
]
GROUPS = {
    1: PAIRS,
    2: PAIRS,
    3: [(*pair, third) for pair, third in zip(PAIRS, THIRDS, strict=True)],
}
"""By how many texts share a prompt."""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("sharing", "flat"), LAYOUTS)
def test_truncation_at_every_boundary(kind, sharing, flat):
    for dtype in (torch.float64, torch.float32):
        model, _ = seamed(kind, dtype, sharing=sharing, flat=flat)
        for length in range(2, 10):
            cut = [tuple(text.cut(length) for text in group) for group in GROUPS[sharing]]
            for rows in ([group] for group in cut if sharing == 2):
                check(model, as_rows(rows), dtype=dtype, reference=stock(kind, dtype))
            check(model, as_rows(cut), dtype=dtype, reference=stock(kind, dtype))


@pytest.mark.parametrize(("sharing", "flat"), LAYOUTS)
def test_responses_without_a_token_score_zero(sharing, flat, head):
    model, _ = seamed("opt", torch.float64, sharing=sharing, flat=flat)
    texts = as_rows([(Text((5, 6, 7), 3),) * max(2, sharing)] * 2)
    check(model, texts, dtype=torch.float64, reference=stock("opt", torch.float64), head=head)


def test_texts_whose_border_token_merges_with_the_response(tmp_path, monkeypatch, head):
    """As tokenizers do: the prompt's last token becomes part of the response's first."""
    monkeypatch.setattr(fx, "TEXTS", [*fx.TEXTS, *["Assistant:::"] * 50])
    tokenizer = load_tokenizer(fx.write_scratch(tmp_path))
    rows = [
        Pair(id=f"a/b:{at}", prompt="\n\nHuman: Hi.\n\nAssistant:", chosen=one, rejected=other)
        for at, (one, other) in enumerate(
            [(" tea is good.", " snow."), (": tea", ":::"), ("tea", " I like bread"), ("", " a")]
        )
    ]
    encoded = encode_preferences(rows, rendering_of(tokenizer), max_length=64)
    assert encoded.counts["merged_at_border"] > 0
    ids = [
        tuple(tuple(token % VOCABULARY for token in part) for part in parts)
        for parts in zip(*(encoded.columns[n] for n in encoded.columns), strict=True)
    ]
    drawn = [
        tuple(Text(prompt + response, len(prompt)) for response in both) for prompt, *both in ids
    ]
    laid_out = padded_batch([((p, c), (p, r)) for p, c, r in ids], 1)
    assert torch.equal(laid_out["input_ids"], batch_of(as_rows(drawn))["input_ids"])
    for kind in KINDS:
        for dtype in (torch.float32, torch.float64):
            model, _ = seamed(kind, dtype, sharing=2, flat=False)
            check(model, as_rows(drawn), dtype=dtype, reference=stock(kind, dtype), head=head)


# Gradients.


def adapted(model):
    """Wrap a model in an adapter that already does something."""
    wrapped = get_peft_model(
        model, LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "k_proj"])
    )
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn_like(parameter) * 0.1)
    return wrapped


def weights_of_targets(texts):
    generator = torch.Generator().manual_seed(2)
    width = batch_of(texts)["input_ids"].shape[1] - 1
    return torch.randn(len(texts), width, generator=generator, dtype=torch.float64)


def gradient(model, log_probs, texts):
    (log_probs.double() * weights_of_targets(texts)).sum().backward()
    parts = [p.grad.flatten().double() for p in model.parameters() if p.grad is not None]
    assert parts
    return torch.cat(parts)


@pytest.mark.parametrize("lora", [True, False], ids=["lora", "full"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("sharing", "flat"), LAYOUTS)
def test_gradients_are_as_each_text_alone(kind, sharing, flat, lora, head):
    for dtype, bound in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
        model, tally = seamed(kind, dtype, sharing=sharing, flat=flat)
        reference = deepcopy(stock(kind, dtype))
        if lora:
            model, reference = adapted(model), adapted(reference)
        texts = as_rows(GROUPS[sharing])
        batch = batch_of(texts)
        ours = gradient(model, model(**batch, fused_lm_head=True).log_probs, texts)
        theirs = gradient(reference, one_by_one(reference, texts)["log_probs"], texts)
        assert ours.shape == theirs.shape
        assert (ours - theirs).norm() <= bound * theirs.norm()
        assert theirs.norm() > 0.1
        assert tally.scored_tokens == int((batch["labels"][:, 1:] != IGNORED).sum())
        assert tally.passes == 1
        assert tally.processed_tokens == positions(sharing=sharing, flat=flat)


def positions(*, sharing, flat):
    """Count by hand what groups take: pairs on shared beginnings 7 + 5, 4 + 3, 3 + 0, 4 + 5, 3 + 1.

    A third text adds 2, 2, 1, 3, 1.
    """
    counted = {2: [12, 7, 3, 9, 4], 3: [14, 9, 4, 12, 5]}
    lengths = counted.get(sharing) or [len(text.ids) for text in as_rows(PAIRS)]
    if flat == JOINED:
        return sum(lengths)
    if flat:
        return -(-sum(lengths) // shared_forward.BLOCK) * shared_forward.BLOCK
    return len(lengths) * max(lengths)


# The head.


def scored(hidden, weight, bias, targets):
    """Score N hidden states as one text of N + 1 tokens."""
    linear = torch.nn.Linear(*weight.shape[::-1], bias=bias is not None)
    linear.weight, linear.bias = (
        None if each is None else torch.nn.Parameter(each) for each in (weight, bias)
    )
    model = SimpleNamespace(get_output_embeddings=lambda: linear)
    labels = torch.cat([torch.tensor([IGNORED]), targets])[None]
    put = torch.arange(len(targets))
    return score_targets(model, hidden, targets, put=put, labels=labels), linear


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(0, 2**32), st.integers(1, 5), st.sampled_from([1.0, 30.0]), st.booleans())
def test_the_head_and_its_gradients_are_the_textbook_s(seed, number, spread, biased):
    """In float64 against automatic differentiation; logits of up to hundreds."""
    generator = torch.Generator().manual_seed(seed)
    given = {"generator": generator, "dtype": torch.float64}
    weight, bias = torch.randn(7, 4, **given) * spread, torch.randn(7, **given)
    hidden = torch.randn(number, 4, **given).requires_grad_()
    targets = torch.randint(7, (number,), generator=generator)
    of_each = torch.randn(number, **given)
    found, linear = scored(hidden, weight, bias if biased else None, targets)
    inputs = [hidden, *linear.parameters()]
    logits = torch.nn.functional.linear(*inputs)
    log_p = logits.log_softmax(1).gather(1, targets[:, None])[:, 0]
    torch.testing.assert_close(found.log_probs[0], log_p, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.loss, -log_p.mean(), rtol=1e-12, atol=1e-12)
    assert torch.equal(found.is_top1[0], logits.argmax(1) == targets)
    ours = torch.autograd.grad((found.log_probs[0] * of_each).sum(), inputs)
    theirs = torch.autograd.grad((log_p * of_each).sum(), inputs)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("biased", [True, False])
def test_products_of_a_head_are_rounded_as_autocast_rounds_them_and_sums_are_not(biased):
    """What a GPU computes in mixed precision: held against autocast over torch's own functions."""
    generator = torch.Generator().manual_seed(0)
    weight, bias = (torch.randn(*shape, generator=generator) for shape in ((50, 16), (50,)))
    hidden = torch.randn(9, 16, generator=generator).requires_grad_()
    targets, of_each = torch.arange(9), torch.randn(9, generator=generator)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, linear = scored(hidden, weight, bias if biased else None, targets)
        inputs = [hidden, *linear.parameters()]
        logits = torch.nn.functional.linear(*inputs).float()
        log_p = logits.log_softmax(1).gather(1, targets[:, None])[:, 0]
    assert found.log_probs.dtype == torch.float32
    torch.testing.assert_close(found.log_probs[0], log_p, rtol=1e-6, atol=1e-6)
    ours = torch.autograd.grad((found.log_probs[0] * of_each).sum(), inputs)
    theirs = torch.autograd.grad((log_p * of_each).sum(), inputs)
    for one, other in zip(ours, theirs, strict=True):
        assert one.dtype == torch.float32
        assert float((one - other).norm() / other.norm()) < 0.01  # one rounding more or less


def test_a_target_as_likely_as_another_token_is_told_so():
    """Which of equals comes first says nothing about a model."""
    weight = torch.tensor([[1.0], [2.0], [2.0], [0.0]])
    found, _ = scored(torch.ones(4, 1), weight, None, torch.tensor([0, 1, 2, 3]))
    assert found.is_top1[0].tolist() == [False, True, True, False]


def test_only_a_plain_head_on_a_cpu_is_scored_by_ours(monkeypatch):
    model = deepcopy(stock("llama", torch.float32))
    assert token_scores.holds_logits(model, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not token_scores.holds_logits(model, 5)
    model.config.logit_scale = 0.5
    assert not token_scores.holds_logits(model, 5)
    model.config.logit_scale = 1.0
    monkeypatch.setitem(token_scores.MOST_LOGITS, "cpu", 5 * VOCABULARY - 1)
    assert not token_scores.holds_logits(model, 5)
    assert token_scores.holds_logits(model, 4)


# What these tests would notice.


def test_a_wrong_mask_is_noticed(monkeypatch):
    """Rejected tokens that see the chosen response: far beyond every tolerance above."""
    monkeypatch.setattr(
        shared_forward, "may_attend", lambda layout: may_attend(layout).logical_or(causal(layout))
    )
    model, _ = seamed("opt", torch.float32, sharing=2, flat=False)
    with pytest.raises(AssertionError):
        check(model, as_rows(PAIRS), dtype=torch.float32, reference=stock("opt", torch.float32))


def causal(layout):
    length = layout.document.shape[1]
    return torch.ones(length, length, dtype=torch.bool).tril()


def test_wrong_positions_are_noticed(monkeypatch):
    lay_out = shared_forward.lay_out

    def shifted(*args, **given):
        layout = lay_out(*args, **given)
        layout.position_ids.add_(layout.branch == 2)
        return layout

    monkeypatch.setattr(shared_forward, "lay_out", shifted)
    for kind in KINDS:
        model, _ = seamed(kind, torch.float32, sharing=2, flat=False)
        with pytest.raises(AssertionError):
            check(model, as_rows(PAIRS), dtype=torch.float32, reference=stock(kind, torch.float32))


def test_a_model_that_loses_the_texts_of_a_joined_row_fails(monkeypatch):
    """One that makes a mask of its own of ours must not go on as if nothing were hidden."""
    model, _ = seamed("opt", torch.float32, sharing=2, flat=JOINED)
    known = shared_forward.joined_mask
    monkeypatch.setattr(shared_forward, "joined_mask", lambda *given: known(*given).clone())
    with pytest.raises(RuntimeError, match="must match"):
        model(**batch_of(as_rows(PAIRS)), use_cache=False, fused_lm_head=True)


def test_other_passes_of_a_model_that_attends_text_by_text_are_as_before():
    model, _ = seamed("llama", torch.float32, sharing=2, flat=JOINED)
    batch = batch_of(as_rows(PAIRS))
    del batch["labels"]
    with torch.no_grad():
        assert torch.equal(model(**batch).logits, stock("llama", torch.float32)(**batch).logits)


def test_attention_that_is_not_sdpa_is_left_as_it_is():
    model = deepcopy(stock("opt", torch.float32, "eager"))
    assert not use_joined_attention(model)
    assert shared_forward.attention_of(model) == "eager"


def test_attention_that_takes_no_mask_gets_none():
    model, _ = seamed("opt", torch.float32, sharing=2, flat=True)
    model.config._attn_implementation = "flash_attention_2"
    with pytest.raises(ValueError, match="takes no mask of ours"):
        model(**batch_of(as_rows(PAIRS)), fused_lm_head=True)
