"""Model folders in, models in memory out: the only place that reads weights.

A folder is in Hugging Face layout. Nothing of it is trusted: no code of it runs, pickles are read
as plain tensors, the precision is what the caller says, and a weight that the folder does not
hold is an error, never a random number.
"""

from alignstudy.loading.batching import length_batches, run_halving
from alignstudy.loading.device import context_length, device_name, pick_device, set_threads
from alignstudy.loading.digests import parameter_digest, weights_digest
from alignstudy.loading.folder import ADAPTER_RECORD
from alignstudy.loading.kernel_probe import current_route, use_route
from alignstudy.loading.kernels import (
    Kernels,
    kept_kernels,
    machine_kernels,
    measure_kernels,
    narrow_products,
    settle_kernels,
)
from alignstudy.loading.models import load_causal_lm, load_classifier, output_index
from alignstudy.loading.tokenizers import load_tokenizer, text_stays_open, well_formed

__all__ = [
    "ADAPTER_RECORD",
    "Kernels",
    "context_length",
    "current_route",
    "device_name",
    "kept_kernels",
    "length_batches",
    "load_causal_lm",
    "load_classifier",
    "load_tokenizer",
    "machine_kernels",
    "measure_kernels",
    "narrow_products",
    "output_index",
    "parameter_digest",
    "pick_device",
    "run_halving",
    "set_threads",
    "settle_kernels",
    "text_stays_open",
    "use_route",
    "weights_digest",
    "well_formed",
]
