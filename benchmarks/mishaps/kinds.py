"""The kinds of trials; the i-th of a kind is the same whenever it is made."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from mishaps import damage, trees
from mishaps.bench import Bench, Verdict
from mishaps.disk import Mishap
from mishaps.together import beside, workers


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of trial.

    Attributes:
        trial: Makes the i-th.
        number: How many there are; None: as the operations of the study have it.
        sample: How many of them a quick run makes.
        about: In words, for the table.
        bench: Which bench it is made on.
        stride: Of the operations that it is made at.
        skipped: Kinds of operations that it isn't made at.
    """

    trial: Callable[[Bench, int], Verdict]
    number: int | None
    sample: int
    about: str
    bench: str = "forks"
    stride: int = 1
    skipped: frozenset[str] = frozenset()

    def trials(self, bench: Bench) -> list[int]:
        """List which there are: twice as many as operations, where they are made at these."""
        if self.number is not None:
            return [*range(self.number)]
        return [
            2 * number + after
            for number, (kind, _) in enumerate(bench.operations)
            if number % self.stride == 0 and kind not in self.skipped
            for after in (0, 1)
        ]


def kill(bench: Bench, i: int) -> Verdict:
    """Kill a run at a random time; of every fifth, the run that recovers from it, too."""
    drawn = random.Random(f"kill {i}")
    share, at_work = drawn.random(), False
    while not at_work:
        bench.begin()
        killed = bench.run(kill_after=share * bench.seconds)
        at_work = killed.code != 0
        if not at_work:  # the machine is faster than it was
            bench.seconds = killed.seconds
    times = [drawn.random() for _ in range(drawn.randint(1, 3))] if i % 5 == 4 else []
    for again in times:
        bench.run(kill_after=again * bench.seconds)
    more = f", and {len(times)} of its recoveries" if times else ""
    verdict = bench.judge(f"killed after {100 * share:.1f} % of a run's time{more}")
    if len(bench.ends) == 2:  # or slower: both together are about a run
        bench.seconds = max(bench.seconds, sum(ended.seconds for ended in bench.ends) / 1.3)
    return verdict


def at_operation(fault: str) -> Callable[[Bench, int], Verdict]:
    """Return what fails before (even i) or after (odd i) operation i // 2, in the one way."""

    def trial(bench: Bench, i: int) -> Verdict:
        kind, path = bench.operations[i // 2]
        bench.begin()
        bench.run(Mishap(at=1 + i // 2, after=bool(i % 2), fault=fault))
        when = "after" if i % 2 else "before"
        return bench.judge(f"{fault} {when} operation {1 + i // 2}: {kind} {path}")

    return trial


def flip(bench: Bench, i: int) -> Verdict:
    """Flip one bit of a manifest, a seal, or a record."""
    drawn = random.Random(f"flip {i}")
    bench.begin(bench.halfway if i % 4 == 3 else bench.finished)
    names = [*filter(damage.describes, trees.files_of(bench.place.root))]
    if i % 4 == 3:
        names = [name for name in names if name.startswith("home/work/")] or names
    done = damage.flip(bench.place.root, drawn.choice(names), drawn)
    return bench.judge(done.what, done)


def fault(bench: Bench, i: int) -> Verdict:
    """Damage a file of any kind."""
    drawn = random.Random(f"fault {i}")
    bench.begin(bench.halfway if i % 5 == 4 else bench.finished)
    action = damage.ACTIONS[i % len(damage.ACTIONS)]
    done = damage.do(action, bench.place.root, drawn)
    return bench.judge(done.what, done)


def scattered(fault: str) -> Callable[[Bench, int], Verdict]:
    """Return what fails at operations drawn at random: for runs too slow to try them all."""

    def trial(bench: Bench, i: int) -> Verdict:
        drawn = random.Random(f"{fault} {i}")
        return at_operation(fault)(bench, drawn.randrange(2 * len(bench.operations)))

    return trial


KINDS = {
    "kill": Kind(trial=kill, number=1000, sample=8, about="killed at a random time"),
    "crash": Kind(trial=at_operation("crash"), number=None, sample=8,
                  skipped=frozenset({"flush"}),  # it leaves what the operation before it left
                  about="crash before and after every operation"),
    "full": Kind(trial=at_operation("full"), number=None, sample=8,
                 about="disk full (ENOSPC) from before and after every operation"),
    "io": Kind(trial=at_operation("io"), number=None, stride=7, sample=4,
               about="EIO before and after every seventh operation"),
    "denied": Kind(trial=at_operation("denied"), number=None, stride=11, sample=4,
                   about="EACCES before and after every eleventh operation"),
    "flip": Kind(trial=flip, number=3000, sample=16, about="one bit of a manifest flipped"),
    "fault": Kind(trial=fault, number=500, sample=16, about="a file of any kind damaged"),
    "beside": Kind(trial=beside, number=60, sample=2, about="two runs at once, one perhaps killed"),
    "figures": Kind(trial=kill, number=40, sample=0, about="killed, figures drawn",
                    bench="figures"),
    "workers": Kind(trial=workers, number=20, sample=0,
                    about="two workers, one of them or the run killed", bench="workers"),
    "fresh-kill": Kind(trial=kill, number=50, sample=1, about="fresh command: killed",
                       bench="fresh"),
    "fresh-crash": Kind(trial=scattered("crash"), number=50, sample=0,
                        about="fresh command: crash at an operation", bench="fresh"),
    "fresh-full": Kind(trial=scattered("full"), number=50, sample=1,
                       about="fresh command: disk full at an operation", bench="fresh"),
    "fresh-flip": Kind(trial=flip, number=50, sample=0, about="fresh command: a bit flipped",
                       bench="fresh"),
    "fresh-fault": Kind(trial=fault, number=50, sample=0, about="fresh command: a file damaged",
                        bench="fresh"),
}  # fmt: skip
"""By name, in the order in which they are made."""
