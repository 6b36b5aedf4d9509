"""How compared models are asked to write."""

from __future__ import annotations

import shlex
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from alignstudy.settings import Many, Settings

NEW_TOKENS = {"paper": 50, "rigorous": 256}
"""Most tokens of a response where the study sets none, by protocol."""

API_KEY = "ALIGNSTUDY_API_KEY"
"""Environment variable of the key that a server asks for, if it asks for one."""

PLACES = ("{model}", "{port}")
"""What a command that starts a server must name."""

_OF_SERVERS = ("base_url", "serve", "request_timeout", "parallel_requests")
_OF_BATCHES = ("batch_size", "max_batch_tokens")


class GenerationSettings(Settings):
    """How responses are generated; greedy unless `do_sample` says otherwise.

    Names as in transformers' GenerationConfig, but for `num_samples`, `batch_size`,
    `max_batch_tokens`, `dtype`, `engine`, `base_url`, `serve`, `request_timeout`,
    `parallel_requests`.
    """

    not_in_key = frozenset({"request_timeout"})

    engine: Literal["transformers", "openai"] = Field(
        "transformers",
        description="Who generates the compared models' responses. transformers: this process;"
        " openai: a server of OpenAI's completions API (docs/servers.md). Samples that methods"
        " learn from, and log-probabilities, are always computed here.",
    )
    base_url: str | None = Field(
        None,
        description="A running server that loads the folder which a request names as its model:"
        " http://host:port/v1.",
    )
    serve: str | None = Field(
        None,
        description="Command that serves one model, started and stopped for each; {model} stands"
        " for its folder, {port} for a free port: vllm serve {model} --port {port}. It isn't run"
        " by a shell.",
    )
    request_timeout: float = Field(
        600.0, gt=0, description="Seconds that one request, or a server's start, may take."
    )
    parallel_requests: int = Field(
        16, ge=1, description="Most requests that a server is sent at once."
    )

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
        description="Most tokens at once, padding and responses included; on a CPU at most 8192.",
    )
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        "float32",
        description="Precision of the weights in memory; only float32 gives the same responses"
        " whatever the batch, but for mixtures of experts, where rounding may pick another expert."
        " A server's responses are held to it.",
    )

    @field_validator("base_url")
    @classmethod
    def _address(cls, given: str | None) -> str | None:
        """Refuse what is no address of a server, and secrets in it."""
        if given is None:
            return None
        parts = urlsplit(given)
        plain = f"{parts.path}{parts.netloc}".isascii() and given.isprintable() and " " not in given
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or not plain:
            raise ValueError("must be an address such as http://localhost:8000/v1")
        parts.hostname.encode("idna")  # raises UnicodeError, a ValueError, where it is no name
        if parts.username is not None:
            raise ValueError(f"must hold no login; a key is read from the environment: {API_KEY}")
        _ = parts.port  # raises ValueError where it is no port
        return given.rstrip("/")

    @field_validator("serve")
    @classmethod
    def _command(cls, given: str | None) -> str | None:
        """Refuse a command that names no model or no port, or can't be split into words."""
        missing = [place for place in PLACES if given is not None and place not in given]
        if missing:
            raise ValueError(f"must name {' and '.join(missing)}")
        shlex.split(given or "")
        return given

    @model_validator(mode="after")
    def _one_engine(self) -> Self:
        """Refuse what the engine would ignore, and one without a server."""
        served = self.engine == "openai"
        others = _OF_BATCHES if served else _OF_SERVERS
        fields = type(self).model_fields
        idle = [name for name in others if getattr(self, name) != fields[name].default]
        if idle:
            verb = "has" if len(idle) == 1 else "have"
            raise ValueError(f"{' and '.join(idle)} {verb} no effect with engine: {self.engine}")
        if served and (self.base_url is None) == (self.serve is None):
            raise ValueError(
                "engine: openai takes either base_url (a server that loads models by name) or"
                " serve (the command that starts one for each model)"
            )
        return self

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
