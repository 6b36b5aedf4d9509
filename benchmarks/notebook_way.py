"""The notebooks' way: stock TRL trainers, one prompt at a time, one scored pair at a time.

Nothing of alignstudy is used. TRL's trainers are as they come: only what is stated in the
notebooks is set (two samples at once, four times accumulated, float32, LoRA of rank 8), logging is
TRL's default, nothing is evaluated or saved on the way, and no network is touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
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


def train_dpo(
    parent: Path,
    rows: Sequence[Mapping[str, str]],
    work: Path,
    *,
    options: Mapping[str, Any] = NOTEBOOK,
    lora_dropout: float = 0.05,
    device: str = "cpu",
    save_to: Path | None = None,
    steps_apart: int = 0,
) -> Sample:
    """Train with TRL's DPOTrainer; the seconds are `trainer.train()`'s.

    Args:
        parent: Folder of the model.
        rows: prompt, chosen, rejected.
        work: The trainer's folder.
        options: What DPOConfig is told beyond beta 0.1; see NOTEBOOK.
        lora_dropout: Dropout on the adapter's input.
        device: "cpu" or "cuda".
        save_to: Merge the adapter and save the weights there.
        steps_apart: First steps that are not timed.
    """
    from datasets import Dataset
    from peft import LoraConfig
    from trl import DPOConfig, DPOTrainer

    model, tokenizer = _load(parent, device)
    args = DPOConfig(**_arguments(work, device, {"beta": 0.1, **options}))
    trainer = DPOTrainer(
        model=model, args=_one_gpu(args, device), train_dataset=Dataset.from_list(list(rows)),
        processing_class=tokenizer, peft_config=LoraConfig(**LORA, lora_dropout=lora_dropout),
    )  # fmt: skip
    sample = _train(trainer, device, steps_apart)
    if save_to is not None:
        trainer.model.merge_and_unload().save_pretrained(save_to)
        tokenizer.save_pretrained(save_to)
    return sample


def train_sft(
    parent: Path,
    texts: Sequence[str],
    work: Path,
    *,
    options: Mapping[str, Any] = NOTEBOOK,
    device: str = "cpu",
    save_to: Path | None = None,
    steps_apart: int = 0,
) -> Sample:
    """Train all weights on whole texts with TRL's SFTTrainer; see `train_dpo`."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    model, tokenizer = _load(parent, device)
    args = SFTConfig(**_arguments(work, device, {"dataset_text_field": "text", **options}))
    trainer = SFTTrainer(
        model=model, args=_one_gpu(args, device), processing_class=tokenizer,
        train_dataset=Dataset.from_list([{"text": text} for text in texts]),
    )  # fmt: skip
    sample = _train(trainer, device, steps_apart)
    if save_to is not None:
        trainer.model.save_pretrained(save_to)
        tokenizer.save_pretrained(save_to)
    return sample


TRAINERS: Mapping[str, Callable[..., Sample]] = {"dpo": train_dpo, "sft": train_sft}


def _load(parent: Path, device: str) -> tuple[Any, Any]:
    import datasets
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    datasets.disable_progress_bars()
    model = AutoModelForCausalLM.from_pretrained(parent, dtype=torch.float32).to(device)
    return model, AutoTokenizer.from_pretrained(parent)


def _arguments(work: Path, device: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments; quiet ones, and none that costs or saves time."""
    quiet = {"report_to": "none", "save_strategy": "no", "disable_tqdm": True, "log_level": "error"}
    return {"output_dir": str(work), "use_cpu": device == "cpu", "seed": 42, **quiet, **options}


def _one_gpu(args: Any, device: str) -> Any:
    if device != "cpu":
        args._n_gpu = 1  # one process, one GPU, also where there are several
    return args


def _train(trainer: Any, device: str, steps_apart: int) -> Sample:
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    sample = Sample()
    if steps_apart:
        trainer.add_callback(_timer(sample, device, steps_apart))
    with counted(trainer, sample), nullcontext() if steps_apart else stopwatch(sample):
        trainer.train()
    sample.counters["optimizer steps"] = trainer.state.global_step
    return sample


def _timer(sample: Sample, device: str, steps_apart: int) -> Any:
    """Make a callback that times what comes after the first steps."""
    import time

    import torch
    from transformers import TrainerCallback

    class Timer(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, _: Any, state: Any, *__: Any, **___: Any) -> None:
            if device != "cpu":
                torch.cuda.synchronize()
            if state.global_step == steps_apart:
                self.began, self.began_cpu = time.perf_counter(), time.process_time()
            if state.global_step == state.max_steps:
                sample.wall = time.perf_counter() - self.began
                sample.cpu = time.process_time() - self.began_cpu

    return Timer()


@contextmanager
def counted(trainer: Any, sample: Sample) -> Iterator[None]:
    """Count what goes through a language model's decoder; a reference pass has no gradients.

    Off a GPU, TRL computes the vocabulary at every position but a row's last.
    """
    import torch

    tally = dict.fromkeys(("real", "processed", "scored", "forwards", "reference forwards"), 0)

    def count(_: Any, __: Any, given: Mapping[str, Any]) -> None:
        ids, mask = given["input_ids"], given["attention_mask"]
        # With LoRA the adapter is switched off for the reference; its pass is under no_grad.
        if not torch.is_grad_enabled():
            tally["reference forwards"] += ids.shape[0] // 2
            return
        tally["forwards"] += 1
        tally["real"] += mask.sum()
        tally["processed"] += ids.numel()
        tally["scored"] += ids.shape[0] * (ids.shape[1] - 1)

    hook = _decoder(trainer.model).register_forward_pre_hook(count, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()
    counts = {name: int(value) for name, value in tally.items()}
    sample.counters |= {
        "real tokens": counts["real"],
        "processed tokens": counts["processed"],
        "processed / real": counts["processed"] / max(counts["real"], 1),
        "scored tokens": counts["scored"],
        "reference pairs": counts["reference forwards"],
        "micro-batches": counts["forwards"],
    }


def _decoder(model: Any) -> Any:
    """Find the decoder inside adapters and heads."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return inner.base_model


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
                    **inputs, max_new_tokens=max_new_tokens, do_sample=False,
                    pad_token_id=tokenizer.pad_token_id,
                )  # fmt: skip
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
    max_length: int | None = None,
) -> Sample:
    """Score one (prompt, response) pair at a time; `found` is the scores.

    Args:
        folder: A sequence classifier of one output.
        pairs: What to score.
        device: Where.
        max_length: Cuts pairs; the notebook named none.
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
