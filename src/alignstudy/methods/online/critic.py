"""PPO's critic: a second model that learns what the rest of a sample will earn."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import pad
from transformers import set_seed

from alignstudy.errors import InputError
from alignstudy.methods.base import TrainJob
from alignstudy.methods.batches.pieces import rows_of
from alignstudy.methods.online.ppo import PPOSettings
from alignstudy.methods.online.surrogates import value_losses
from alignstudy.methods.scoring.layout_check import labels_of
from alignstudy.methods.scoring.reading import unwrapped
from alignstudy.methods.scoring.shared_forward import ScoringRoute, Tally, install
from alignstudy.methods.scoring.token_scores import put_back
from alignstudy.methods.trainer import Trainer
from alignstudy.methods.weights.initial import initial_causal_lm, initial_classifier
from alignstudy.models.tokenizers import load_tokenizer
from alignstudy.runtime.device import context_length

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

WEIGHTS = "critic.safetensors"
MOMENTS = "critic_optimizer.pt"


class Critic:
    """Foretells, before each token of a sample, what it and the tokens after it will earn.

    The body of a language model, with a linear head of one output on every position; all of it is
    trained, by an AdamW of its own. A head of zeros begins at the first samples' mean reward: see
    `begin_at`.

    Args:
        model: Whose body it is; not used for anything else.
        head: From a hidden state to its value.
        route: How the body reads batches: the policy's.
        samples: After each prompt: texts that may lie on it together.

    Attributes:
        tally: What its passes with gradients computed.
        read_tokens: Positions that went through it without.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        head: torch.nn.Linear,
        route: ScoringRoute,
        *,
        samples: int,
    ) -> None:
        self.model: Any = model.requires_grad_(False)
        self.head = head
        self.tally, self.read_tokens, self._samples = Tally(), 0, samples
        self._starts_at_zero = not bool(head.weight.any())
        model.base_model.requires_grad_(True)
        install(model, route, tally=self.tally)
        named = {f"body.{name}": weight for name, weight in model.base_model.named_parameters()}
        named |= {f"head.{name}": weight for name, weight in head.named_parameters()}
        self._weights: dict[str, torch.nn.Parameter] = named
        self._optimizer = torch.optim.AdamW(named.values(), lr=0.0, weight_decay=0.0)

    def begin_at(self, reward: float) -> None:
        """Foretell a reward of every token, if the head is of zeros and nothing was learnt yet.

        By gradients alone the body learns the mean first, and forgets to tell states apart: of a
        model of 20,000 weights whose loss fell from 0.73 to 0.16 in 40 updates nothing of the
        returns' variance was foretold then, and nothing 100 updates later.
        """
        if self._starts_at_zero and not self._optimizer.state:
            torch.nn.init.constant_(self.head.bias, reward)

    def values(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the (R, T) values of a batch's written tokens, 0 elsewhere, in points of reward.

        A token's is read where the policy chose it: at the token before.
        """
        labels = labels_of(dict(batch))
        texts = {name: batch[name] for name in ("input_ids", "attention_mask")}
        said = self.model(**texts, labels=labels, use_cache=False, fused_lm_head=True, states=True)
        with torch.autocast(said.hidden.device.type, enabled=False):
            found = self.head(said.hidden.to(self.head.weight.dtype))[:, 0]
        return pad(put_back(found, said.put, labels), (1, 0))

    def differentiate(
        self,
        batch: Mapping[str, Tensor],
        pieces: Sequence[Sequence[int]],
        *,
        cliprange: float | None,
        autocast: Any,  # noqa: ANN401
    ) -> float:
        """Add up the gradients of an update; return its loss, a mean over the tokens learnt from.

        Args:
            batch: Of samples; (R, T) each: "old_values", what was foretold; "returns", what should
                have been; "learns", 1 at tokens of samples that have a score.
            pieces: Which rows (prompts) go through it together.
            cliprange: See `value_losses`.
            autocast: Returns a context that computes in the precision of training.
        """
        self._optimizer.zero_grad()
        tokens = batch["learns"].sum().clamp(min=1)
        total = 0.0
        for rows in pieces:
            piece = rows_of(dict(batch), rows, self._samples)
            with autocast():
                values = self.values(piece)
            losses = value_losses(
                values,
                piece["old_values"],
                piece["returns"],
                piece["learns"].bool(),
                cliprange=cliprange,
            )
            loss = losses.sum() / tokens
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        return total

    def step(self, learning_rate: float, *, max_grad_norm: float) -> float:
        """Update the weights by the gradients, if finite; return their norm, not yet clipped."""
        norm = float(torch.nn.utils.clip_grad_norm_(self._weights.values(), max_grad_norm))
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        if math.isfinite(norm):
            self._optimizer.step()
        return norm

    @property
    def work(self) -> dict[str, int]:
        """What it computed, in earlier runs of the job too, by the names of `WorkDone`."""
        return {
            "critic_tokens": self.tally.processed_tokens,
            "critic_read_tokens": self.read_tokens,
        }

    def go_on_from(self, work: Mapping[str, int]) -> None:
        """Count on from what earlier runs computed."""
        self.tally.processed_tokens = work["critic_tokens"]
        self.read_tokens = work["critic_read_tokens"]

    def save(self, folder: Path) -> None:
        """Write it into a checkpoint's folder."""
        named = {name: weight.detach().contiguous() for name, weight in self._weights.items()}
        save_file(named, folder / WEIGHTS)
        torch.save(self._optimizer.state_dict(), folder / MOMENTS)

    def load(self, folder: Path) -> None:
        """Go on as it was in a checkpoint's folder."""
        device = self.head.weight.device
        kept = load_file(folder / WEIGHTS, device=str(device))
        with torch.no_grad():
            for name, weight in self._weights.items():
                weight.copy_(kept[name])
        moments = torch.load(folder / MOMENTS, map_location=device, weights_only=True)
        self._optimizer.load_state_dict(moments)


def explained(batch: Mapping[str, Tensor]) -> float:
    """Return the share of returns' variance that was foretold, at most 1; 0 where they are alike.

    Args:
        batch: As `Critic.differentiate` takes it.
    """
    learns = batch["learns"].bool()
    returns, missed = batch["returns"][learns], (batch["returns"] - batch["old_values"])[learns]
    spread = float(returns.var(correction=0)) if len(returns) else 0.0
    return 1 - float(missed.var(correction=0)) / spread if spread else 0.0


def critic_of(job: TrainJob, trainer: Trainer) -> Critic | None:
    """Return the critic of a training that is about to begin; None where its method has none.

    Raises:
        InputError: If it is to start as a judge that can't be one.
    """
    settings, ports = job.settings, job.ports
    if not isinstance(settings, PPOSettings) or ports is None:
        return None
    if ports.critic is None:
        set_seed(job.seed)  # weights that the folder doesn't hold are drawn as the policy's were
        model, _ = initial_causal_lm(job.parent, device=job.device, dropout="off")
        head = _head(model.get_output_embeddings().weight.shape[1], model)
    else:
        model, head = _judge(ports.critic, job)
    model.set_attn_implementation(unwrapped(trainer.model).config._attn_implementation)
    assert trainer.route is not None
    return Critic(model, head, trainer.route, samples=settings.num_generations)


def _head(width: int, model: PreTrainedModel) -> torch.nn.Linear:
    """Return a head of zeros."""
    head = torch.nn.Linear(width, 1, device=model.device)
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    return head


def _judge(folder: Path, job: TrainJob) -> tuple[PreTrainedModel, torch.nn.Linear]:
    """Load a classifier as a critic: its body, and its head with a bias of 0.

    Raises:
        InputError: If it reads otherwise than the policy writes.
    """
    model, _ = initial_classifier(folder, device=job.device, dropout="off")
    scores, length = getattr(model, "score", None), context_length(model.config)
    if _sees_what_follows(model):
        why = "it reads both ways: what it makes of a token depends on the tokens after it"
    elif not isinstance(scores, torch.nn.Linear) or scores.out_features != 1:
        why = f"{type(model).__name__} has no linear head of one score"
    elif load_tokenizer(folder).get_vocab() != load_tokenizer(job.parent).get_vocab():
        why = "its vocabulary isn't the policy's"
    elif length < job.settings.max_length:
        why = f"it reads {length} tokens, and max_length is {job.settings.max_length}"
    else:
        head = _head(scores.in_features, model)
        with torch.no_grad():
            head.weight.copy_(scores.weight)
        return model, head
    raise InputError(
        f"the judge in {folder} can't be the critic's beginning",
        why=why,
        hint="set critic: {init: policy}, or train a reward model on the policy's own base",
    )


def _sees_what_follows(model: Any) -> bool:  # noqa: ANN401
    """Return whether a text's last token changes what is made of the tokens before it."""
    one = torch.arange(8, device=model.device)[None] % model.config.vocab_size
    other = one.clone()
    other[0, -1] = 0
    with torch.no_grad():
        first, second = (model.base_model(ids).last_hidden_state[:, :-1] for ids in (one, other))
    return not torch.allclose(first, second, atol=1e-4)
