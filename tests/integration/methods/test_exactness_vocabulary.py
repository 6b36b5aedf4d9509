"""Distances between whole distributions, and likelihood weights: those of every text alone."""

import weakref
from contextlib import nullcontext
from copy import deepcopy

import architectures
import methods_fixtures as fx
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.nn.functional import logsigmoid
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForCausalLM
from trl.trainer.utils import add_fused_lm_head

from alignstudy.errors import GuardError
from alignstudy.methods.faults import quiet_libraries
from alignstudy.methods.loop.readers import ReadsTexts
from alignstudy.methods.scoring import shared_forward, vocabulary
from alignstudy.methods.scoring.own_forward import head_logits
from alignstudy.methods.scoring.reading import unwrapped
from alignstudy.methods.scoring.shared_forward import (
    ScoringRoute,
    Tally,
    install,
    use_joined_attention,
)

PROMPTS = ((5, 6, 7, 8), (9, 10), (11,))
CHOSEN = ((20, 21, 22, 23, 24, 2), (30, 31, 2), (40, 2))
REJECTED = ((20, 25, 2), (32, 33, 34, 35, 36, 37, 2), (41, 42, 43))
ROUTES = {
    "padded": ScoringRoute(),
    "shared": ScoringRoute(sharing=2),
    "joined": ScoringRoute(sharing=2, flat=True),
    "own": ScoringRoute(own=True),
}
FIELDS = ("log_probs", "ref_log_probs", "kl", "log_sum_sq_probs")
HEADS = ("OPT", "GPT2", "Llama", "Gemma2", "Granite", "Bert", "ModernBertDecoder", "Mixtral")
"""Projected states, plain, capped, scaled, of several layers; with experts."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    opt = fx.write_opt(root / "small")
    with quiet_libraries():
        return {
            name: architectures.write_architecture(root / name, name, tokenizer_from=opt)
            for name in HEADS
        }


def loaded(folder, *, dtype=torch.float32, moved=0.0):
    """Load a model, without noise; its weights moved a little."""
    with quiet_libraries():
        model = AutoModelForCausalLM.from_pretrained(folder).to(dtype).eval()
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=moved)
    return model


def batch_of():
    """Chosen before rejected, padded on the right."""
    texts = [(p, r) for side in (CHOSEN, REJECTED) for p, r in zip(PROMPTS, side, strict=True)]
    width = max(len(p + r) for p, r in texts)
    rows = {name: torch.zeros(len(texts), width, dtype=torch.int64) for name in ("ids", "on", "in")}
    for row, (prompt, response) in enumerate(texts):
        stop = len(prompt + response)
        rows["ids"][row, :stop] = torch.tensor(prompt + response)
        rows["on"][row, :stop] = 1
        rows["in"][row, len(prompt) : stop] = 1
    names = ("input_ids", "attention_mask", "completion_mask")
    return dict(zip(names, rows.values(), strict=True))


def reader(model, route, *, reference=None, head=True):
    """Read with a model as a trainer does."""
    route = ScoringRoute(**vars(route))
    for each in (model, reference):
        if each is not None:
            if head:
                add_fused_lm_head(unwrapped(each))
            if route.flat:
                assert use_joined_attention(unwrapped(each))
            install(unwrapped(each), route, tally=Tally())
    found = ReadsTexts()
    found.model, found.route, found.reference = model, route, reference
    found.autocast = nullcontext
    return found


def by_brute_force(policy, reference):
    """Each text alone and unpadded, whole distributions in float64; fields at places (R, T-1)."""
    batch = batch_of()
    found = {name: [] for name in FIELDS}
    for ids, seen, scored in zip(*batch.values(), strict=True):
        stop = int(seen.sum())
        log_p, ref = (
            model(input_ids=ids[None, :stop], use_cache=False)
            .logits[0, :-1]
            .double()
            .log_softmax(1)
            for model in (policy, reference)
        )
        wanted = ids[1:stop, None]
        alone = {
            "log_probs": log_p.gather(1, wanted)[:, 0],
            "ref_log_probs": ref.detach().gather(1, wanted)[:, 0],
            "kl": torch.nn.functional.kl_div(
                log_p, ref.detach(), log_target=True, reduction="none"
            ).sum(1),
            "log_sum_sq_probs": log_p.detach().exp().square().sum(1).log(),
        }
        for name, values in alone.items():
            padding = (0, batch["input_ids"].shape[1] - stop)
            found[name].append(torch.nn.functional.pad(values * scored[1:stop], padding))
    return {name: torch.stack(rows) for name, rows in found.items()}


@pytest.mark.parametrize("name", HEADS)
def test_whole_distributions_are_compared_whatever_the_head(name, folders):
    policy, reference = loaded(folders[name]), loaded(folders[name], moved=0.05)
    with torch.no_grad():
        truth = by_brute_force(policy, reference)
    assert truth["kl"].sum() > 0.1
    for route in (ROUTES["padded"], ROUTES["own"]):
        with torch.no_grad():
            found = reader(policy, route, reference=reference)._side_by_side(
                policy, batch_of(), squares=True
            )
        for field in FIELDS:
            ours = getattr(found, field).double()
            torch.testing.assert_close(ours, truth[field], rtol=1e-4, atol=1e-5)
        assert found.log_probs.dtype == torch.float32


def tdpo(fields, *, alpha, beta=0.1):
    """arXiv 2404.11999: TDPO1 where alpha is None, else TDPO2."""
    (c, r), (rc, rr), (k_c, k_r) = (
        fields[name].sum(1).chunk(2) for name in ("log_probs", "ref_log_probs", "kl")
    )
    shift = k_r - k_c if alpha is None else alpha * (k_r - k_c.detach())
    return -logsigmoid(beta * (c - rc - (r - rr) - shift)).mean()


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def adapted(model):
    """Put an adapter on a model that already does something."""
    wrapped = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "v_proj", "k_proj"]))
    torch.manual_seed(2)
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn_like(parameter) * 0.2)
    return wrapped.double().eval()


@pytest.mark.parametrize(
    ("route", "positions", "lora"),
    [
        ("padded", 4, False),
        ("shared", 10**6, False),
        ("shared", 4, True),
        ("joined", 4, False),
        ("joined", 10**6, True),
        ("own", 4, True),
    ],
)
def test_a_whole_loss_and_its_gradients_are_automatic_differentiation_s(
    route, positions, lora, folders, monkeypatch
):
    """In float64, over all logits at once; ours a few positions at a time, or all."""
    base = loaded(folders["OPT"], dtype=torch.float64)
    size = base.get_output_embeddings().weight.shape[0]
    monkeypatch.setattr(vocabulary, "MOST_LOGITS_AT_ONCE", size * positions)
    reference = loaded(folders["OPT"], dtype=torch.float64, moved=0.0 if lora else 0.05)
    policy, plain = ((adapted if lora else deepcopy)(deepcopy(base)) for _ in range(2))
    asked = reader(policy, ROUTES[route], reference=None if lora else deepcopy(reference))
    for alpha in (None, 0.5):
        found, truth = (
            asked._side_by_side(policy, batch_of(), squares=True),
            by_brute_force(plain, reference),
        )
        for field in FIELDS:
            torch.testing.assert_close(getattr(found, field), truth[field], rtol=1e-9, atol=1e-9)
        ours = gradients(policy, tdpo(vars(found), alpha=alpha))
        theirs = gradients(plain, tdpo(truth, alpha=alpha))
        assert ours.keys() == theirs.keys()
        for name, gradient in ours.items():
            torch.testing.assert_close(gradient, theirs[name], rtol=1e-7, atol=1e-10)
        assert max(float(gradient.abs().max()) for gradient in ours.values()) > 1e-3


class Logits(TorchDispatchMode):
    """Counts the rows of a vocabulary's width that are alive at once; no weights or gradients."""

    def __init__(self, models):
        super().__init__()
        self.size, self.hidden = models[0].get_output_embeddings().weight.shape
        held = (parameter for model in models for parameter in model.parameters())
        self.weights = {parameter.untyped_storage().data_ptr() for parameter in held}
        self.alive, self.most = {}, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        for each in found if isinstance(found, tuple | list) else (found,):
            if isinstance(each, torch.Tensor) and each.shape[-1:] == (self.size,):
                self.note(each)
        return found

    def note(self, tensor):
        storage = tensor.untyped_storage()
        at = storage.data_ptr()
        rows = tensor.numel() // self.size
        if at in self.weights or at in self.alive or rows == self.hidden:
            return
        self.alive[at] = rows
        weakref.finalize(storage, self.alive.pop, at, None)
        self.most = max(self.most, sum(self.alive.values()))


def test_neither_model_s_logits_are_ever_held_whole(folders, monkeypatch):
    """Whatever there is to score: five rows a position at once."""
    policy, reference = loaded(folders["Llama"]), loaded(folders["Llama"], moved=0.05)
    asked, batch = reader(policy, ROUTES["shared"], reference=reference), batch_of()
    number, most = int(batch["completion_mask"].sum()), {}
    for positions in (1, 4, number):
        size = policy.get_output_embeddings().weight.shape[0]
        monkeypatch.setattr(vocabulary, "MOST_LOGITS_AT_ONCE", size * positions)
        with Logits([policy, reference]) as counted:
            tdpo(vars(asked._side_by_side(policy, batch, squares=True)), alpha=0.5).backward()
        most[positions] = counted.most
    assert most[number] > 2 * number
    assert most[1] <= 5
    assert most[4] <= 5 * 4


def test_a_head_that_cannot_be_asked_by_itself_is_refused(folders, monkeypatch):
    model = loaded(folders["Llama"])
    other = torch.nn.Identity()
    monkeypatch.setattr(type(model), "base_model", property(lambda _: other))
    with pytest.raises(GuardError, match="LlamaForCausalLM has a head that can't be asked"):
        head_logits(model, torch.zeros(2, 32))
    assert "forward" not in vars(other)


def test_responses_without_a_token_are_no_distance_apart(folders):
    policy, reference = loaded(folders["OPT"]), loaded(folders["OPT"], moved=0.05)
    batch = batch_of()
    batch["completion_mask"].zero_()
    for route in ROUTES.values():
        model = deepcopy(policy)
        found = reader(model, route, reference=deepcopy(reference))._side_by_side(
            model, batch, squares=True
        )
        assert not any(getattr(found, field).any() for field in FIELDS)
        found.log_probs.sum().backward()


def test_a_router_s_loss_is_the_model_s_own_beside_the_distances(folders):
    policy = loaded(folders["Mixtral"])
    batch = batch_of()
    with torch.no_grad():
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
        truth = deepcopy(policy)(**inputs, output_router_logits=True).aux_loss
        asked = reader(policy, ScoringRoute(own=True, router=True), reference=deepcopy(policy))
        found = asked._side_by_side(policy, batch, squares=True)
    assert float(found.aux_loss) == pytest.approx(float(truth), rel=1e-6)
    assert not found.kl.any()  # a policy that is its reference, to the bit


@pytest.mark.parametrize("theirs", [True, False], ids=["TRL's head", "our head"])
@pytest.mark.parametrize("route", ROUTES)
def test_squares_are_measured_where_asked_and_only_there(route, theirs, folders, monkeypatch):
    if theirs:
        monkeypatch.setattr(shared_forward, "holds_logits", lambda *_: False)
    model = loaded(folders["OPT"])
    asked = reader(model, ROUTES[route])
    with torch.no_grad():
        assert asked._scored(model, batch_of()).log_sum_sq_probs is None
        truth = by_brute_force(loaded(folders["OPT"]), model)["log_sum_sq_probs"]
        model = loaded(folders["OPT"])
        add_fused_lm_head(model, outputs=("log_probs", "log_sum_sq_probs", "is_top1"))
        asked = reader(model, ROUTES[route], head=False)
        found = asked._scored(model, batch_of(), squares=True).log_sum_sq_probs
    torch.testing.assert_close(found.double(), truth, rtol=1e-5, atol=1e-5)
