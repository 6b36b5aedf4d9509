"""Is it our model that answers? A server's greedy text, held against the model's own forward.

A server may have other weights, or write prompts by another template, cut them, compute in another
precision, or stop elsewhere. Its text shows it: every token must be what our weights say, or as
good within the precision's rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from alignstudy.errors import GuardError, shortened
from alignstudy.generation.choosing import Choice
from alignstudy.generation.continuing import write_on
from alignstudy.generation.decoding import decode
from alignstudy.generation.rules import Rules, Text
from alignstudy.generation.served.completion import Completion
from alignstudy.generation.writer import Asked, Task
from alignstudy.models.load import load_plain_lm
from alignstudy.models.rendering import Rendering
from alignstudy.models.tokenizers import padding_id
from alignstudy.progress import SILENT

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PROBES, PROBE_TOKENS = 4, 24
"""Prompts that are asked, from the shortest to the longest, and tokens of each answer at most."""

ROUNDING = 2.0**-14
"""Of the largest logit: by so much two float32 kernels may differ (ours differ by 2**-17)."""

_DEVICE = "cpu"
"""A server fills the GPU; and here nothing but the definition of float32 decides."""

_TIMES, _LIKELIEST = 2.0, 5
"""Times what rounding to the served precision moves, here, the likeliest tokens' logits against one
another: other kernels may round otherwise."""

_BRANCHES = 8
"""Ways to write one text in tokens that are followed at most."""


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What a server showed.

    Attributes:
        detail: In words.
        counts_end: Whether its count of tokens has the one that ends a response.
    """

    detail: str
    counts_end: bool


def probes_of(asked: Sequence[Asked]) -> list[Asked]:
    """Return prompts of all lengths, the longest among them: it would be cut first."""
    by_length = sorted(asked, key=lambda item: len(item.tokens or ()))
    last = len(by_length) - 1
    return [by_length[at] for at in sorted({last * step // (PROBES - 1) for step in range(PROBES)})]


def prove(
    task: Task,
    rendering: Rendering,
    probes: Sequence[Asked],
    ask: Callable[[Asked, int], Completion],
) -> Proof:
    """Hold a server's greedy answers against the model.

    Args:
        task: What is asked, of which model.
        rendering: How prompts are written, and what ends a response.
        probes: The prompts.
        ask: Gets the server's greedy answer to a prompt, of so many tokens at most.

    Raises:
        GuardError: If an answer isn't the model's.
    """
    most = min(task.settings.max_new_tokens, PROBE_TOKENS)
    answers = [ask(item, most) for item in probes]
    model = load_plain_lm(task.weights, dtype="float32", device=_DEVICE)
    rules = Rules(
        max_new_tokens=most,
        eos=rendering.ends,
        pad=padding_id(rendering.tokenizer),
        stops=None,
        choose=lambda _: Choice(),
        rewrite=True,
        rows=1,
        most_tokens=1,
        note=SILENT.note,  # one row can't be halved
    )
    texts = [Text(tokens=item.tokens or ()) for item in probes]
    written = [row for text in texts for _, row in write_on(model, [text], rules)]
    equal, tolerance, ended = 0, None, set[bool]()
    for item, answer, row in zip(probes, answers, written, strict=True):
        own = row.whole(rendering.ends)
        end = own[-1:] and own[-1] in rendering.ends
        bare = own[:-1] if end else own
        if _same(decode(rendering.tokenizer, bare), answer.text) and _ends_as(own, end, answer):
            equal += 1
            ended |= {answer.num_tokens == len(own)} if end and answer.finish == "stop" else set()
            continue
        if tolerance is None:
            tolerance = _tolerance(model, task, probes)
        if not _follows(model, item, answer, rendering, tolerance):
            raise _not_ours(task, item, answer, decode(rendering.tokenizer, bare))
    how = f"{equal} of {len(probes)} greedy answers are this process' own"
    if tolerance is not None:
        how += f", the others within rounding ({tolerance:.2g} of a logit)"
    if len(ended) > 1:
        raise GuardError(
            "the server counts the token that ends a response at times, and at times not",
            hint="use another server, or engine: transformers",
        )
    return Proof(detail=f"{how} ({task.settings.dtype})", counts_end=ended != {False})


def _same(ours: str, theirs: str) -> bool:
    """Whether texts are the same but for what servers leave out while they write piece by piece.

    That is a first token's space, and the bytes of a letter whose other bytes never came.
    """
    return _plain(ours) == _plain(theirs)


def _plain(text: str) -> str:
    return text.lstrip(" ").rstrip("\N{REPLACEMENT CHARACTER}")


def _ends_as(own: Sequence[int], end: object, answer: Completion) -> bool:
    """Whether an answer's count and reason are those of our tokens; an end may be counted."""
    counts = (len(own), len(own) - 1) if end else (len(own),)
    return answer.num_tokens in counts and (bool(end) or answer.finish == "length")


def _tolerance(model: PreTrainedModel, task: Task, probes: Sequence[Asked]) -> float:
    """Return by how much the best logit may exceed that of a token that was chosen.

    What rounding does to the choice is measured where the likeliest tokens of each position stand.
    """
    import torch

    def logits(of: PreTrainedModel, item: Asked) -> torch.Tensor:
        found: torch.Tensor = of(input_ids=torch.tensor([item.tokens])).logits[0]
        return found.float()

    with torch.inference_mode():
        exact = [logits(model, item) for item in probes]
        allowed = ROUNDING * max(float(each.abs().max()) for each in exact)
        if task.settings.dtype == "float32":
            return allowed
        other = load_plain_lm(task.weights, dtype=task.settings.dtype, device=_DEVICE)
        moved = 0.0
        for item, each in zip(probes, exact, strict=True):
            best = each.topk(_LIKELIEST, dim=-1)
            rounded = logits(other, item).gather(-1, best.indices)
            gaps = best.values[:, :1] - best.values, rounded[:, :1] - rounded
            moved = max(moved, float((gaps[0] - gaps[1]).abs().max()))
    return max(allowed, _TIMES * moved)


def _follows(
    model: PreTrainedModel,
    item: Asked,
    answer: Completion,
    rendering: Rendering,
    tolerance: float,
) -> bool:
    """Whether some tokens that spell an answer are all as good as the best, within a tolerance.

    Of the ways to spell it those are followed that lose least.
    """
    import torch

    prompt, tokenizer, ends = list(item.tokens or ()), rendering.tokenizer, rendering.ends
    text = _plain(answer.text)
    ways: list[tuple[float, list[int]]] = [(0.0, [])]
    for number in range(answer.num_tokens + 1):
        if not ways:
            return False
        whole = [_plain(decode(tokenizer, way)) == text for _, way in ways]
        if number == answer.num_tokens and answer.finish == "length":
            return any(whole)
        with torch.inference_mode():
            ids = torch.tensor([[*prompt, *way] for _, way in ways])
            logits = model(input_ids=ids, logits_to_keep=1).logits[:, -1].float()
        lost = logits.amax(dim=-1, keepdim=True) - logits
        near = [row.nonzero()[:, 0].tolist() for row in lost <= tolerance]
        if answer.finish == "stop" and answer.num_tokens in (number, number + 1):
            may_end = (not ends.isdisjoint(each) for each in near)
            if any(is_whole and may for is_whole, may in zip(whole, may_end, strict=True)):
                return True
        grown = [
            (so_far + float(lost[row, token]), [*way, token])
            for row, (so_far, way) in enumerate(ways)
            for token in near[row]
            if token not in ends and text.startswith(_plain(decode(tokenizer, [*way, token])))
        ]
        ways = sorted(grown)[:_BRANCHES]
    return False


def _not_ours(task: Task, item: Asked, answer: Completion, own: str) -> GuardError:
    settings = task.settings
    return GuardError(
        f"the server doesn't write what the model in {task.weights.folder} writes",
        why=f"after the prompt {item.prompt.id} ({answer.prompt_tokens} tokens) the model's"
        f" likeliest text is {shortened(own, 120)!r}, the server's {shortened(answer.text, 120)!r}"
        f" ({answer.num_tokens} tokens, {answer.finish})",
        hint="it has other weights, reads another prompt, stops elsewhere, or computes in another"
        f" precision than generation.dtype, {settings.dtype}: make it load the folder that a"
        " request names, and give both the same precision",
    )
