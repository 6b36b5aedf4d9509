"""AdamW's moments in the processor's memory, where the device's runs out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from alignstudy.models.batching import is_out_of_memory

KINDS = {"cuda"}
"""Kinds of devices that have a memory of their own."""
_MOMENTS = ("exp_avg", "exp_avg_sq")


class OffloadingAdamW(torch.optim.AdamW):
    """AdamW that updates weight by weight once its moments don't fit the device.

    Its moments then lie in the processor's memory, and visit the device while their weight is
    updated: each update is the same, and takes as long as they take to come and go.

    Attributes:
        offloaded: Whether they lie there.
    """

    offloaded = False

    @classmethod
    def of(cls, optimizer: Any) -> Any:  # noqa: ANN401 - any optimizer
        """Have an optimizer do so, if it is AdamW on such a device."""
        device = optimizer.param_groups[0]["params"][0].device
        if type(optimizer) is torch.optim.AdamW and device.type in KINDS:
            optimizer.__class__ = cls
        return optimizer

    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # noqa: ANN401
        """Update the weights; where memory runs out, no weight of a group was changed before."""
        assert closure is None
        groups = self.param_groups
        try:
            for group in groups:
                self._step(group)
        finally:
            self.param_groups = groups

    def _step(self, group: dict[str, Any]) -> None:
        if not self.offloaded:
            self.param_groups = [group]
            try:
                super().step()
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                self.offload()
            else:
                return
        for weight in group["params"]:
            if weight.grad is not None:
                self._move(weight, weight.device)
                self.param_groups = [{**group, "params": [weight]}]
                super().step()
                self._move(weight, torch.device("cpu"))

    def offload(self) -> bool:
        """Move the moments to the processor's memory; return whether there were any to move."""
        there = not self.offloaded and bool(self.state)
        self.offloaded = True
        for weight, state in [*self.state.items()]:
            if _MOMENTS[-1] in state:
                self._move(weight, torch.device("cpu"))
            else:  # memory ran out between the two
                del self.state[weight]
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return there

    def _move(self, weight: torch.Tensor, device: torch.device) -> None:
        state = self.state.get(weight, {})
        for name in _MOMENTS:
            if name in state:
                state[name] = state[name].to(device)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from kept moments, on the device if they fit."""
        try:
            if not self.offloaded:
                super().load_state_dict(dict(state_dict))
                return
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        self.state.clear()
        self.offload()
        super().load_state_dict({**state_dict, "state": {}})
        kept = state_dict["state"]
        names = [name for group in state_dict["param_groups"] for name in group["params"]]
        weights = [weight for group in self.param_groups for weight in group["params"]]
        for name, weight in zip(names, weights, strict=True):
            if name in kept:
                self.state[weight] = {
                    key: value if key in _MOMENTS else value.to(weight.device)
                    for key, value in kept[name].items()
                }
