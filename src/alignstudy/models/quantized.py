"""bitsandbytes: whether it is there, and how it is imported."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from alignstudy.errors import EnvironmentFault


def check_installed() -> None:
    """Refuse moments in 8 bits where what packs them isn't there; import nothing.

    Raises:
        EnvironmentFault: If it isn't installed.
    """
    if find_spec("bitsandbytes") is None:
        raise EnvironmentFault(
            "bitsandbytes isn't installed: it holds AdamW's moments in 8 bits",
            hint="pip install 'alignstudy[quantized]', or leave out adamw_8bit",
        )


def bitsandbytes() -> Any:  # noqa: ANN401 - a module
    """Import what packs moments.

    Raises:
        EnvironmentFault: If it isn't installed.
    """
    check_installed()
    with _no_fetched_kernels():
        return import_module("bitsandbytes")


def import_before_others() -> None:
    """Import bitsandbytes, if it is there, before TRL or PEFT does."""
    if find_spec("bitsandbytes") is not None:
        bitsandbytes()


@contextmanager
def _no_fetched_kernels() -> Iterator[None]:
    """Keep bitsandbytes from fetching code, which it does on some processors as it is imported.

    It does so by the package `kernels`; without that, it asks the user to install it.
    """
    logger = logging.getLogger("bitsandbytes")
    level, there = logger.level, sys.modules.get("kernels")
    logger.setLevel(logging.CRITICAL)
    sys.modules["kernels"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        logger.setLevel(level)
        del sys.modules["kernels"]
        if there is not None:
            sys.modules["kernels"] = there


def forget_overrides() -> None:
    """Forget which weights' moments an earlier training in this process kept in 32 bits.

    bitsandbytes keeps them by their places in that model, for the same places in any other.
    """
    if "bitsandbytes" in sys.modules:
        bitsandbytes().optim.GlobalOptimManager.get_instance().initialize()
