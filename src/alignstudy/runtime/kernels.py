"""The fastest route for float32 products on this CPU: measured once, kept, used.

A route other than torch's own is taken only if it computes float32, which is measured against
float64, and pays. What was measured lies in a JSON file by processor, torch version and threads.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path

from alignstudy.runtime import kernel_probe as probe
from alignstudy.runtime.machine_file import keep_entry, kept_entries, processor

ROUTES = ("default", "onednn")
LEAST_GAIN = 1.1
"""How many times faster a route must be: less is the noise of a shared machine."""
ERROR_FACTOR = 4.0
"""Most times the default route's error on the same product. Two right float32 routes differ by
their order of summation, seen: by a factor of 2; bfloat16 is off ten thousandfold, TF32
thousandfold."""
ERROR_CAP = 1e-5
"""Largest error of any product, as a share of its largest value; TF32's is 5e-4."""

_ROUNDING = 2.0**-23
"""No route need be more exact than a float32 number's last digit."""
_SECTION, _FORMAT = "kernels", 1


@dataclass(frozen=True, kw_only=True)
class Kernels:
    """What was measured of this CPU.

    Attributes:
        route: "default" or "onednn": the fastest float32 route within float32's error.
        float32: GF/s of a wide product by that route, all `threads` at work.
        default: GF/s of it by torch's default route.
        bfloat16: GF/s of a wide product of bfloat16 tensors.
        small: GF/s of a float32 product of 8 rows by that route.
        error: Largest error of the route against float64, as a share of the largest value.
        bandwidth: GB/s at which one row meets float32 weights that no cache holds.
        dispatch: Seconds that a small operation takes whatever its size.
        threads: CPU threads that torch computed with.
    """

    route: str
    float32: float
    default: float
    bfloat16: float
    small: float
    error: float
    bandwidth: float
    dispatch: float
    threads: int


def choose_route(seconds: Mapping[str, float], errors: Mapping[str, Mapping[str, float]]) -> str:
    """Return the route to take: "onednn" if it gains a tenth and is as exact, else "default".

    Args:
        seconds: Of one wide product, by route.
        errors: By route, then product: largest error as a share of the largest value.
    """
    gain = seconds["default"] / seconds["onednn"]
    exact = within_float32(errors["onednn"], than=errors["default"])
    return "onednn" if exact and gain >= LEAST_GAIN else "default"


def within_float32(errors: Mapping[str, float], *, than: Mapping[str, float]) -> bool:
    """Return whether every product's error is float32's, judged by the default route's error."""
    return all(
        error <= min(ERROR_CAP, ERROR_FACTOR * max(than[name], _ROUNDING))
        for name, error in errors.items()
    )


def measure_kernels() -> Kernels:
    """Measure this CPU with the threads that torch has now; takes about a second.

    Medians of the processor's own time, the routes in turns: what else runs hardly matters. The
    route in use and torch's random numbers are left as they were.
    """
    import torch

    with torch.inference_mode():
        errors, differ = _compared_routes()
        seconds = probe.wide_seconds(["default", "onednn"] if differ else ["default"])
        route = choose_route(seconds, errors) if differ else "default"
        with probe.by_route(route):
            small = probe.few_rows_speed()
        return Kernels(
            route=route,
            float32=probe.speed(seconds[route]),
            default=probe.speed(seconds["default"]),
            bfloat16=probe.bfloat16_speed(),
            small=small,
            error=max(errors[route].values()),
            bandwidth=probe.streaming_bandwidth(),
            dispatch=probe.dispatch_seconds(),
            threads=torch.get_num_threads(),
        )


def _compared_routes() -> tuple[dict[str, dict[str, float]], bool]:
    """Return errors by route and product, and whether the routes differ at all.

    A switch that changes no bit switches nothing on this machine: there is nothing to time then,
    and noise can't choose between a thing and itself.
    """
    asked = probe.products()
    outputs = {"default": probe.outputs_of("default", asked)}
    if probe.onednn_at_hand():
        outputs["onednn"] = probe.outputs_of("onednn", asked)
    other = outputs.get("onednn", {})
    differ = any(not value.equal(outputs["default"][name]) for name, value in other.items())
    return {route: probe.errors_of(given, asked) for route, given in outputs.items()}, differ


def machine_kernels(file: Path | None) -> Kernels:
    """What is kept of this CPU, torch version and threads; measure and keep it if nothing is.

    A file that can't be read is measured over; one that can't be written costs a second's
    measurement the next time, and nothing else. Other sections of the file are left alone.

    Args:
        file: A JSON file; None: measured, not kept.
    """
    import torch

    kept = kept_kernels(file).get(torch.get_num_threads())
    return kept or _measured_and_kept(file)


def _measured_and_kept(file: Path | None) -> Kernels:
    kernels = measure_kernels()
    if file is not None:
        key = _key(processor(), kernels.threads)
        keep_entry(file, _SECTION, key, {"format": _FORMAT, **asdict(kernels)})
    return kernels


def settle_kernels(file: Path | None) -> Kernels:
    """Send this process's float32 products by the fastest route from now on.

    A kept route that isn't within float32's error (the file came from elsewhere) is measured
    anew. Where the default route is the one, nothing is switched.

    Args:
        file: As for `machine_kernels`.
    """
    kernels = machine_kernels(file)
    if kernels.route != "default" and not _is_float32(kernels.route):
        kernels = _measured_and_kept(file)
    probe.use_route(kernels.route)
    return kernels


def _is_float32(route: str) -> bool:
    """Measure whether a route is within float32's error on this machine."""
    import torch

    with torch.inference_mode():
        errors, _ = _compared_routes()
    return route in errors and within_float32(errors[route], than=errors["default"])


@contextmanager
def narrow_products() -> Iterator[None]:
    """Take torch's default route inside: it is the faster one for products of under 8 rows."""
    with probe.by_route("default"):
        yield


def kept_kernels(file: Path | None) -> dict[int, Kernels]:
    """Return what a file holds of this CPU and torch version, by threads; torch isn't imported."""
    here = processor()
    found = {key: _revived(entry) for key, entry in kept_entries(file, _SECTION).items()}
    return {
        kernels.threads: kernels
        for key, kernels in found.items()
        if kernels is not None and key == _key(here, kernels.threads)
    }


def _key(processor: str, threads: int) -> str:
    return f"{processor}, torch {version('torch')}, {threads} threads"


def _revived(entry: object) -> Kernels | None:
    """Make what was kept into what it was; None if it can't have been."""
    if not isinstance(entry, dict) or entry.get("format") != _FORMAT:
        return None
    values = {name: value for name, value in entry.items() if name != "format"}
    if set(values) != {field.name for field in fields(Kernels)}:
        return None
    numbers = [value for name, value in values.items() if name != "route"]
    sound = all(type(n) in {int, float} and math.isfinite(n) and n > 0 for n in numbers)
    if not sound or values["route"] not in ROUTES or type(values["threads"]) is not int:
        return None
    return Kernels(**values)
