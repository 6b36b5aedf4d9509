"""Where a model runs, and how much it can read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alignstudy.errors import EnvironmentFault, InputError

if TYPE_CHECKING:
    from transformers import PretrainedConfig


NO_MPS = "no Apple GPU is used: what PyTorch's MPS computes was never compared with the CPU here"


def pick_device(asked: str = "auto") -> str:
    """Return the device to run on: "cpu", "cuda" or "cuda:<number>".

    Args:
        asked: "auto" takes a GPU where there is one.

    Raises:
        InputError: If `asked` is no such name.
        EnvironmentFault: If a GPU is asked for and there is none.
    """
    import torch

    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if asked == "cpu":
        return asked
    if asked == "mps":
        raise InputError(NO_MPS, hint="use auto, cpu, cuda or cuda:<number>")
    kind, _, number = asked.partition(":")
    if kind != "cuda" or not (number.isdecimal() or asked == "cuda"):
        raise InputError(f"unknown device '{asked}'", hint="use auto, cpu, cuda or cuda:<number>")
    if int(number or 0) >= torch.cuda.device_count():
        raise EnvironmentFault(
            f"there is no device '{asked}' on this machine",
            why=f"PyTorch sees {torch.cuda.device_count()} GPUs",
            hint="use device: auto, or install a PyTorch that knows your GPU",
        )
    return asked


CONTEXT_NAMES = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
WITHOUT_POSITIONS = frozenset({"bloom"})
"""Architectures that know distances alone (ALiBi): any length can be read."""
UNLIMITED = 2**31 - 1
AFTER_PADDING = frozenset({"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet"})
"""Architectures whose positions begin after the pad token's id: so many rows are never read."""


def context_length(model_config: PretrainedConfig) -> int:
    """Return the most tokens that a model can read at once, by any name that it has.

    Raises:
        InputError: If the configuration doesn't say, and the model needs positions.
    """
    config = model_config.get_text_config()
    lengths = [getattr(config, name, None) for name in CONTEXT_NAMES]
    found = [length for length in lengths if isinstance(length, int) and length > 0]
    if found and config.model_type in AFTER_PADDING:
        return found[0] - int(config.pad_token_id or 0) - 1
    if found:
        return found[0]
    if config.model_type in WITHOUT_POSITIONS:
        return UNLIMITED
    raise InputError(
        f"the {config.model_type} model's config.json gives no context length",
        why=f"it holds none of {', '.join(CONTEXT_NAMES)}",
        hint="use a model whose configuration holds max_position_embeddings",
    )


def device_name(device: str) -> str:
    """Name the accelerator of a device: "NVIDIA H200"."""
    import torch

    return torch.cuda.get_device_name(device)


def set_threads(threads: int) -> None:
    """Let torch compute with so many CPU threads."""
    import torch

    torch.set_num_threads(threads)


def free_device_bytes(device: str) -> int:
    """Return the free bytes of an accelerator."""
    import torch

    return int(torch.cuda.mem_get_info(device)[0])
