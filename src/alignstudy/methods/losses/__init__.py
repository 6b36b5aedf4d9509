"""The preference losses by name: pure functions from log-probabilities to one loss a row.

The function that is read here is the function that trains; TRL's own losses are what the tests
compare it with. What a loss takes beside the rows are the settings that it heeds, by name: a
setting that no chosen loss takes is refused.
"""

from __future__ import annotations

from collections.abc import Mapping

from alignstudy.methods.losses import alone, coupled, gold, measured, referenced, unpaired
from alignstudy.methods.losses.loss import Divergence, F, Loss, divergence_of
from alignstudy.methods.losses.state import LossState

_FLIPPED = ("label_smoothing",)
_BETAS = {"beta": (0.01, 0.1, 0.5)}
_TARGETS = {"beta": (1e-3,)}
_SIMPO = {"beta": (2.0, 10.0), "simpo_gamma": (0.6, 1.0, 1.6)}

LOSSES: Mapping[str, Loss] = {
    "sigmoid": Loss(referenced.sigmoid, "arXiv 2305.18290, eq. 7", grid=_BETAS),
    "cdpo": Loss(
        referenced.cdpo,
        "arXiv 2305.18290 with label smoothing (Mitchell 2023, a note)",
        needs=_FLIPPED,
        defaults={"label_smoothing": 0.1},
        grid={**_BETAS, "label_smoothing": (0.1, 0.2)},
    ),
    "robust": Loss(
        referenced.robust,
        "arXiv 2403.00409",
        needs=_FLIPPED,
        defaults={"label_smoothing": 0.1},
        grid={**_BETAS, "label_smoothing": (0.1, 0.2)},
        unbounded=True,
    ),
    "ipo": Loss(referenced.ipo, "arXiv 2310.12036, eq. 17", grid={"beta": (0.1, 0.5, 2.0)}),
    "ipo_sum": Loss(
        referenced.ipo_sum, "arXiv 2310.12036, eq. 17", grid={"beta": (0.01, 0.03, 0.1)}
    ),
    "hinge": Loss(referenced.hinge, "arXiv 2305.10425; 2309.06657", grid=_BETAS),
    "sigmoid_norm": Loss(
        referenced.sigmoid_norm,
        "arXiv 2411.15124",
        defaults={"beta": 5.0},
        grid={"beta": (2.0, 5.0, 10.0)},
    ),
    "exo_pair": Loss(
        referenced.exo_pair,
        "arXiv 2402.00856, eq. 16",
        needs=_FLIPPED,
        defaults={"beta": 0.5, "label_smoothing": 1e-3},
        grid={"beta": (0.1, 0.5)},
    ),
    "nca_pair": Loss(
        referenced.nca_pair,
        "arXiv 2402.05369",
        defaults={"beta": 0.01},
        grid={"beta": (0.01,)},
    ),
    "bco": Loss(coupled.bco, "arXiv 2404.04656", couples_rows="mean", grid={"beta": (0.1,)}),
    "bco_pair": Loss(referenced.bco_pair, "arXiv 2404.04656", grid={"beta": (0.1,)}),
    "sppo": Loss(
        referenced.sppo, "arXiv 2405.00675, eq. 4.7", defaults={"beta": 1e-3}, grid=_TARGETS
    ),
    "sppo_hard": Loss(
        referenced.sppo_hard, "arXiv 2405.00675, eq. 4.7", defaults={"beta": 1e-3}, grid=_TARGETS
    ),
    "cal_dpo": Loss(referenced.cal_dpo, "arXiv 2412.14516", defaults={"beta": 1e-3}, grid=_TARGETS),
    "aot": Loss(coupled.aot, "arXiv 2406.05882", couples_rows="order", grid={"beta": (0.1,)}),
    "aot_unpaired": Loss(
        coupled.aot_unpaired, "arXiv 2406.05882", couples_rows="order", grid={"beta": (0.1,)}
    ),
    "apo_zero": Loss(referenced.apo_zero, "arXiv 2408.06266, eq. 7", grid={"beta": (0.1,)}),
    "apo_down": Loss(referenced.apo_down, "arXiv 2408.06266, eq. 8", grid={"beta": (0.1,)}),
    "discopop": Loss(
        referenced.discopop, "arXiv 2406.08414, eq. 5", grid={**_BETAS, "discopop_tau": (0.05,)}
    ),
    "rpo": Loss(
        referenced.rpo, "arXiv 2404.19733", grid={**_BETAS, "rpo_alpha": (0.005, 0.2, 1.0)}
    ),
    "dpop": Loss(
        referenced.dpop,
        "arXiv 2402.13228",
        defaults={"beta": 0.3},
        grid={"beta": (0.1, 0.3), "dpop_lambda": (5.0, 50.0)},
    ),
    "flex": Loss(
        referenced.flex,
        "arXiv 2406.07327",
        grid={"beta": (0.1,), "beta_rejected": (0.05, 0.08, 0.1)},
    ),
    "rdpo": Loss(
        referenced.rdpo,
        "arXiv 2403.19159",
        grid={"beta": (0.1,), "length_alpha": (0.005, 0.01, 0.05)},
    ),
    "beta_dpo": Loss(
        coupled.beta_dpo, "arXiv 2407.08639", couples_rows="order", grid={"beta": (0.1,)}
    ),
    "wpo": Loss(measured.wpo, "arXiv 2406.11827, eq. 2", grid=_BETAS, weighs_pairs=True),
    "tdpo1": Loss(
        measured.tdpo1, "arXiv 2404.11999", grid={"beta": (0.1,)}, compares_vocabulary=True
    ),
    "tdpo2": Loss(
        measured.tdpo2,
        "arXiv 2404.11999",
        grid={"beta": (0.1,), "tdpo_alpha": (0.5,)},
        compares_vocabulary=True,
    ),
    "irft_linear": Loss(
        referenced.irft_linear,
        "arXiv 2405.17888",
        needs=("max_steps",),
        grid={"beta": (0.1,)},
        unbounded=True,
    ),
    "simpo": Loss(
        alone.simpo,
        "arXiv 2405.14734, eq. 6",
        needs_reference=False,
        defaults={"beta": 2.0, "simpo_gamma": 1.0, "cpo_alpha": 0.0},
        grid=_SIMPO,
    ),
    "alphapo": Loss(
        alone.alphapo,
        "arXiv 2501.03884",
        needs_reference=False,
        defaults={"beta": 2.0, "simpo_gamma": 1.0},
        grid=_SIMPO,
    ),
    "cpo": Loss(alone.cpo, "arXiv 2401.08417", needs_reference=False, grid={"beta": (0.1,)}),
    "dpo_reference_free": Loss(
        alone.dpo_reference_free,
        "arXiv 2509.09055, as printed",
        needs_reference=False,
        grid={"beta": (0.1,)},
    ),
    "orpo": Loss(alone.orpo, "arXiv 2403.07691", needs_reference=False, grid={"beta": (0.1, 1.0)}),
    "asft": Loss(
        alone.asft,
        "arXiv 2409.10571",
        needs_reference=False,
        defaults={"beta": 1.0},
        grid={"beta": (0.1, 0.3, 1.0), "asft_lambda": (0.1, 0.5, 1.0)},
    ),
    "slic": Loss(
        alone.slic,
        "arXiv 2305.10425",
        needs_reference=False,
        grid={"slic_delta": (1.0,), "slic_lambda": (0.1,)},
    ),
    "sft": Loss(alone.sft, "arXiv 2404.19733 (RPO)", needs_reference=False, couples_rows="mean"),
    "sft_seq": Loss(alone.sft_seq, "arXiv 2404.19733 (RPO)", needs_reference=False),
    "tpo": Loss(
        gold.tpo,
        "arXiv 2405.16681",
        method="tpo",
        needs_reference=False,
        defaults={"beta": 0.01, "tpo_alpha": 1.0},
        grid={"beta": (0.01,), "tpo_alpha": (0.05, 1.0)},
    ),
    "tpo_l": Loss(
        gold.tpo_l,
        "arXiv 2405.16681",
        method="tpo",
        needs_reference=False,
        defaults={"beta": 2.0, "tpo_l_gamma": 1.6, "tpo_alpha": 0.05},
        grid={
            "beta": (0.01, 2.0, 10.0),
            "tpo_l_gamma": (0.3, 1.6, 10.0),
            "tpo_alpha": (0.05, 1.0),
        },
    ),
    "kto": Loss(
        unpaired.kto,
        "arXiv 2402.01306, eq. 8",
        method="kto",
        couples_rows="mean",
        grid={"beta": (0.1,)},
    ),
    "apo_zero_unpaired": Loss(
        unpaired.apo_zero_unpaired, "arXiv 2408.06266, eq. 7", method="kto", grid={"beta": (0.1,)}
    ),
    "bco_unpaired": Loss(
        unpaired.bco_unpaired,
        "arXiv 2404.04656",
        method="kto",
        couples_rows="mean",
        grid={"beta": (0.1,)},
    ),
}
"""Every `loss_type` of TRL 1.16's DPO, and the field's others; an unknown name is refused."""

ADDED = frozenset({"sft", "sft_seq"})
"""Losses of chosen responses alone: they are added to another."""

__all__ = ["ADDED", "LOSSES", "Divergence", "F", "Loss", "LossState", "divergence_of"]
