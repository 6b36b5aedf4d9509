"""The notebooks' way: stock TRL trainers, one prompt at a time, one scored pair at a time.

Nothing of alignstudy is used. TRL's trainers are as they come: only what is stated in the
notebooks is set (two samples at once, four times accumulated, float32, LoRA of rank 8), logging is
TRL's default, nothing is evaluated or saved on the way, and no network is touched.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness import Sample, stopwatch

LORA = {"r": 8, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"}

NOTEBOOK = {
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 4,
    "bf16": False,
    "gradient_checkpointing": False,
}
"""What the notebooks' trainers were told; gradient checkpointing was off by default then."""

TRL_DEFAULTS = {
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 1,
    "gradient_checkpointing": True,
}
"""TRL 1.16 left alone, at the same eight samples an update; bf16 is said by the caller."""


def train(
    method: str,
    parent: Path,
    rows: Sequence[Any],
    *,
    work: Path,
    options: Mapping[str, Any] = NOTEBOOK,
    lora_dropout: float = 0.05,
    device: str = "cpu",
    save_to: Path | None = None,
) -> Sample:
    """Train by TRL; the seconds are `trainer.train()`'s.

    Args:
        method: "dpo": an adapter, with beta 0.1; "sft": all weights, on whole texts.
        parent: Folder of the model.
        rows: Pairs with `prompt`, `chosen` and `rejected`.
        work: The trainer's folder.
        options: What the trainer is told beyond that; see NOTEBOOK.
        lora_dropout: Dropout on the adapter's input.
        device: "cpu" or "cuda".
        save_to: Save the weights there, the adapter merged.

    Returns:
        Also, as `found`: the clock at the start and after every update ("marks"); no reference
        and no checkpoint are made outside of updates.
    """
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import PrinterCallback
    from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

    model, tokenizer = _load(parent, device)
    quiet = {"report_to": "none", "save_strategy": "no", "disable_tqdm": True, "log_level": "error"}
    common = {"output_dir": str(work), "use_cpu": device == "cpu", "seed": 42, **quiet, **options}
    if method == "dpo":
        args, kind = DPOConfig(beta=0.1, **common), DPOTrainer
        adapter = LoraConfig(**LORA, lora_dropout=lora_dropout)
        parts = ("prompt", "chosen", "rejected")
        given = [{name: getattr(row, name) for name in parts} for row in rows]
    else:
        args, kind, adapter = SFTConfig(dataset_text_field="text", **common), SFTTrainer, None
        given = [{"text": row.prompt + row.chosen} for row in rows]
    if device != "cpu":
        args._n_gpu = 1  # one process, one GPU, also where there are several
    trainer = kind(
        model=model,
        args=args,
        train_dataset=Dataset.from_list(given),
        processing_class=tokenizer,
        peft_config=adapter,
    )
    trainer.remove_callback(PrinterCallback)
    sample = Sample(found={"marks": [], "reference": 0.0, "checkpoint": 0.0})
    trainer.add_callback(_clock(sample.found["marks"]))
    with counted(trainer, sample), stopwatch(sample):
        trainer.train()
    sample.counters["optimizer steps"] = trainer.state.global_step
    if save_to is not None:
        trained = trainer.model.merge_and_unload() if adapter else trainer.model
        trained.save_pretrained(save_to)
        tokenizer.save_pretrained(save_to)
    return sample


def _load(parent: Path, device: str) -> tuple[Any, Any]:
    import datasets
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    datasets.disable_progress_bars()
    model = AutoModelForCausalLM.from_pretrained(parent, dtype=torch.float32).to(device)
    return model, AutoTokenizer.from_pretrained(parent)


def _clock(marks: list[float]) -> Any:
    """Return a callback that keeps the clock at the start and after every update."""
    import torch
    from transformers import TrainerCallback

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            marks.append(time.perf_counter())

        def on_step_end(self, *_: Any, **__: Any) -> None:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            marks.append(time.perf_counter())

    return Clock()


@contextmanager
def counted(trainer: Any, sample: Sample) -> Iterator[None]:
    """Count what goes through a language model's decoder; a reference pass has no gradients.

    Off a GPU, TRL computes the vocabulary at every position but a row's last.
    """
    import torch

    tally: Counter[str] = Counter({"reference pairs": 0})

    def count(_: Any, __: Any, given: Mapping[str, Any]) -> None:
        ids, mask = given["input_ids"], given["attention_mask"]
        # With LoRA the adapter is switched off for the reference; its pass is under no_grad.
        if not torch.is_grad_enabled():
            tally["reference pairs"] += ids.shape[0] // 2
            return
        tally["micro-batches"] += 1
        tally["real tokens"] += mask.sum()
        tally["processed tokens"] += ids.numel()
        tally["scored tokens"] += ids.shape[0] * (ids.shape[1] - 1)

    model = trainer.model
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    hook = inner.base_model.register_forward_pre_hook(count, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()
    counts = {name: int(value) for name, value in tally.items()}
    share = counts["processed tokens"] / max(counts["real tokens"], 1)
    sample.counters |= {**counts, "processed / real": share}


def generate(
    folder: Path, prompts: Sequence[str], *, max_new_tokens: int = 50, device: str = "cpu"
) -> Sample:
    """Let the model answer one prompt at a time; `found` is (tokens, text) a prompt.

    The seconds include reading the model. A prompt too long for the model loses its beginning:
    with OPT-350M's 2,048 tokens that never happened to the notebooks.
    """
    import torch

    sample = Sample(found=[])
    with stopwatch(sample):
        model, tokenizer = _load(folder, device)
        model.eval()
        for prompt in prompts:
            inputs = tokenizer(prompt, return_tensors="pt").to(device)
            room = model.config.max_position_embeddings - max_new_tokens
            inputs = {name: ids[:, -room:] for name, ids in inputs.items()}
            with torch.no_grad():
                written = model.generate(
                    **inputs,
                    max_new_tokens=max_new_tokens,
                    do_sample=False,
                    pad_token_id=tokenizer.pad_token_id,
                )
            tokens = written[0, inputs["input_ids"].shape[1] :].tolist()
            text = tokenizer.decode(tokens, skip_special_tokens=True)
            sample.found.append((tokens, text))
    count = sum(len(tokens) for tokens, _ in sample.found)
    sample.counters = {"prompts": len(prompts), "new tokens": count}
    return sample


def score(
    folder: Path,
    pairs: Sequence[tuple[str, str]],
    *,
    device: str = "cpu",
    max_length: int | None = 512,
) -> Sample:
    """Score one (prompt, response) pair at a time by a sequence classifier; `found`: the scores.

    Pairs are cut at `max_length` tokens; the notebook named no length.
    """
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    auto = AutoModelForSequenceClassification
    model = auto.from_pretrained(folder, dtype=torch.float32).to(device).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    sample = Sample(found=[])
    with stopwatch(sample):
        for prompt, response in pairs:
            inputs = tokenizer(
                prompt, response, return_tensors="pt", truncation=True, max_length=max_length
            ).to(device)
            with torch.no_grad():
                sample.found.append(float(model(**inputs).logits[0].item()))
    sample.counters = {"pairs": len(pairs)}
    return sample
