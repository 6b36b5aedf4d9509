"""Model folders in, models in memory out: the only place that reads weights.

A folder is in Hugging Face layout. Nothing of it is trusted: no code of it runs, pickles are read
as plain tensors, the precision is what the caller says, and a weight that the folder does not
hold is an error, never a random number.
"""

from alignstudy.loading.device import context_length, pick_device
from alignstudy.loading.digests import parameter_digest, weights_digest
from alignstudy.loading.folder import ADAPTER_RECORD
from alignstudy.loading.models import load_causal_lm, load_classifier, output_index
from alignstudy.loading.tokenizers import load_tokenizer

__all__ = [
    "ADAPTER_RECORD",
    "context_length",
    "load_causal_lm",
    "load_classifier",
    "load_tokenizer",
    "output_index",
    "parameter_digest",
    "pick_device",
    "weights_digest",
]
