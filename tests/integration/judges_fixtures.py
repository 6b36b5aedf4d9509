"""Tiny decoders as reward models, laid out like the hub's chat judges."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from models_fixtures import CORPUS

QWEN_TEMPLATE = """\
{%- for message in messages %}
    {%- set content = message.content %}
    {%- if message.role == 'assistant' and '</think>' in content %}
        {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
    {%- endif %}
    {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
{%- endfor %}"""
"""As Qwen3 has it: what an assistant writes before `</think>` isn't shown."""

LLAMA_TEMPLATE = """\
{{- bos_token }}
{%- if not date_string is defined %}{% set date_string = strftime_now("%d %b %Y") %}{% endif %}
{{- '<|start_header_id|>system<|end_header_id|>\\n\\nToday Date: ' + date_string + '<|eot_id|>' }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' }}
    {{- message.content | trim + '<|eot_id|>' }}
{%- endfor %}"""
"""As Llama 3.2 has it: the day's date is part of the text."""

MISTRAL_TEMPLATE = """\
{{- bos_token }}
{%- for message in messages %}
    {%- if (message.role == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('roles must alternate user/assistant') }}
    {%- endif %}
    {%- if message.role == 'user' %}{{- '[INST] ' + message.content + ' [/INST]' }}
    {%- else %}{{- message.content + eos_token }}{% endif %}
{%- endfor %}"""
"""As the first Mistral models have it: marks of structure are plain words."""


def write_qwen_like_judge(folder: Path, **changes: Any) -> None:
    """Write a folder like Skywork/Skywork-Reward-V2-Qwen3-0.6B: no BOS, Qwen3 with one logit."""
    tokenizer = _bpe(("<|endoftext|>", "<|im_start|>", "<|im_end|>"), plain=("<think>", "</think>"))
    _save_tokenizer(
        tokenizer, folder, QWEN_TEMPLATE, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    from transformers import Qwen3Config, Qwen3ForSequenceClassification

    config = Qwen3Config(**(_shape(tokenizer) | {"pad_token_id": 0, "head_dim": 8} | changes))
    _save_model(Qwen3ForSequenceClassification, config, folder)


def write_llama_like_judge(
    folder: Path, *, template: str | None = LLAMA_TEMPLATE, adds_bos: bool = True, **changes: Any
) -> None:
    """Write a folder like Skywork's Llama judges: template and tokenizer both write the BOS."""
    special = ("<|pad|>", "<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>",
               "<|end_header_id|>")  # fmt: skip
    tokenizer = _bpe(special)
    if adds_bos:
        from tokenizers.processors import TemplateProcessing

        tokenizer.post_processor = TemplateProcessing(
            single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", 1)]
        )
    _save_tokenizer(
        tokenizer, folder, template, bos_token="<|begin_of_text|>", eos_token="<|eot_id|>",
        pad_token="<|pad|>",
    )  # fmt: skip
    from transformers import LlamaConfig, LlamaForSequenceClassification

    config = LlamaConfig(**(_shape(tokenizer) | {"pad_token_id": 0, "bos_token_id": 1} | changes))
    _save_model(LlamaForSequenceClassification, config, folder)


def _bpe(special: Sequence[str], plain: Sequence[str] = ()) -> Any:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=list(special), show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_tokens([AddedToken(text, normalized=False, special=False) for text in plain])
    return tokenizer


def _save_tokenizer(tokenizer: Any, folder: Path, template: str | None, **named: str) -> None:
    from transformers import PreTrainedTokenizerFast

    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named)
    fast.chat_template = template
    fast.save_pretrained(folder)


def _shape(tokenizer: Any) -> dict[str, Any]:
    return {
        "vocab_size": tokenizer.get_vocab_size(), "hidden_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 2, "intermediate_size": 32,
        "max_position_embeddings": 512, "num_labels": 1,
    }  # fmt: skip


def _save_model(kind: Any, config: Any, folder: Path) -> None:
    import torch

    torch.manual_seed(0)
    model = kind(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, 0.3)
    model.save_pretrained(folder)
