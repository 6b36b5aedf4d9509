"""How compared models are asked to write."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from alignstudy.settings import Many, Settings

NEW_TOKENS = {"paper": 50, "rigorous": 256}
"""Most tokens of a response where the study sets none, by protocol."""


class GenerationSettings(Settings):
    """How responses are generated; greedy unless `do_sample` says otherwise.

    Names as in transformers' GenerationConfig, but for `num_samples`, `batch_size`,
    `max_batch_tokens`, `dtype`.
    """

    max_new_tokens: int = Field(
        NEW_TOKENS["rigorous"],
        ge=1,
        description="Most tokens of a response; left out under the paper protocol:"
        f" {NEW_TOKENS['paper']}.",
    )
    do_sample: bool = Field(False, description="Draw tokens instead of taking the likeliest.")
    temperature: float | None = Field(
        None, gt=0, description="Divides the logits before drawing; 1 where left out."
    )
    top_p: float | None = Field(
        None, gt=0, le=1, description="Draw only from the likeliest tokens that hold this share."
    )
    num_samples: int = Field(
        1,
        ge=1,
        description="Responses that are drawn after every prompt, each judged by itself; a model's"
        " value on a prompt is their mean.",
    )
    stop_strings: Many[Annotated[str, Field(min_length=1)]] | None = Field(
        None,
        description="Texts that end a response; left out: what the protocol says"
        " (paper: none; rigorous: the role tags).",
    )
    batch_size: int | None = Field(
        None,
        ge=1,
        description="Most prompts at once; left out: 32 on a CPU, 256 on a GPU.",
    )
    max_batch_tokens: int = Field(
        32768,
        ge=1,
        description="Most tokens at once, padding and responses included; on a CPU at most 4096.",
    )
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        "float32",
        description="Precision of the weights in memory; only float32 gives the same responses"
        " whatever the batch.",
    )

    @model_validator(mode="after")
    def _no_idle_options(self) -> Self:
        """Refuse sampling options that greedy decoding would ignore."""
        idle = [name for name in ("temperature", "top_p") if getattr(self, name) is not None]
        if idle and not self.do_sample:
            raise ValueError(f"{' and '.join(idle)} without do_sample: true would have no effect")
        if self.num_samples > 1 and not self.do_sample:
            raise ValueError(
                f"num_samples: {self.num_samples} without do_sample: true would be the same"
                f" response {self.num_samples} times"
            )
        return self
