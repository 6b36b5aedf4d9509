"""Energy that a machine counts by itself: processor packages through Linux, a GPU through NVML."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
SECONDS_BETWEEN_READINGS = 60.0
"""A package's counter runs over after some 15 minutes at full power at the soonest."""


class Counter:
    """One counter of microjoules that begins again at its end.

    Args:
        read: Gives its microjoules.
        most: Where it begins again; None: nowhere.
    """

    def __init__(self, read: Callable[[], int], most: int | None) -> None:
        self._read, self._most = read, most
        self._last, self._total = read(), 0

    def total(self) -> int:
        """Return the microjoules since the start, runs over the end included.

        Asked less often than the counter runs over once, it would miss whole rounds.
        """
        now = self._read()
        gone = now - self._last
        if gone < 0:
            gone = gone + self._most if self._most is not None else now
        self._total, self._last = self._total + gone, now
        return self._total


def package_counters(folder: Path = POWERCAP) -> list[Counter]:
    """Return the processor packages' counters; none where Linux has none or lets only root read.

    Zones inside a package (cores, memory) are part of it and left out, as is the platform's own
    ("psys"), which holds the packages.
    """
    found = []
    for zone in sorted(folder.glob("*-rapl:*")):
        if zone.name.count(":") > 1:
            continue
        try:
            if not (zone / "name").read_text().startswith("package"):
                continue
            most = int((zone / "max_energy_range_uj").read_text())
            found.append(Counter(_reader(zone / "energy_uj"), most))
        except (OSError, ValueError):
            return []  # a part of the packages would pass for all of them
    return found


def _reader(file: Path) -> Callable[[], int]:
    return lambda: int(file.read_text())


def gpu_counters(uuid: str) -> list[Counter]:
    """A GPU's counter by its UUID; none where `pynvml` isn't installed or the GPU has none."""
    try:
        import pynvml  # type: ignore[import-not-found,unused-ignore]

        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        read = pynvml.nvmlDeviceGetTotalEnergyConsumption
        return [Counter(lambda: 1000 * int(read(handle)), None)]
    except ImportError:
        return []
    except pynvml.NVMLError:  # too old a GPU, or a driver that doesn't say
        return []


class EnergyMeter:
    """Adds up what the machine's counters say; read in time, so that no round is missed.

    Attributes:
        of: Whose energy it is, in words; "" where the machine doesn't tell.
    """

    def __init__(self, packages: list[Counter], gpus: list[Counter]) -> None:
        self._counters = packages + gpus
        names = [name for name, there in (("processor", packages), ("GPU", gpus)) if there]
        self.of = " and ".join(names)
        self._lock, self._fault = threading.Lock(), False
        self._runs_over = bool(packages)
        self._timer: threading.Timer | None = None

    def watch(self) -> None:
        """Read the counters now and then until `rest`."""
        if self._runs_over:
            self._timer = threading.Timer(SECONDS_BETWEEN_READINGS, self._look)
            self._timer.daemon = True
            self._timer.start()

    def rest(self) -> None:
        """Read them only when asked."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def joules(self) -> float | None:
        """Return the joules since this meter was made; None where the machine doesn't tell."""
        with self._lock:
            try:
                total = sum(counter.total() for counter in self._counters)
            except (OSError, ValueError):  # a counter that stops telling has told nothing
                self._fault = True
            return None if self._fault or not self._counters else total / 1e6

    def _look(self) -> None:
        if self.joules() is not None and self._timer is not None:
            self.watch()
