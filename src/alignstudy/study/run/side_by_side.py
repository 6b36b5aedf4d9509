"""Stages that don't need each other, made at the same time in several processes.

Each process makes a stage as a run of its own would: the store's locks, checkpoints and hashes see
to it that nothing is made twice and nothing is lost, however a process ends. What a stage makes
doesn't depend on the process that makes it, nor on what is made meanwhile.
"""

from __future__ import annotations

import pickle
import threading
from collections.abc import Sequence
from functools import partial
from typing import Any

from alignstudy.errors import AlignstudyError, InterruptedRunError, WorkerEndedError
from alignstudy.progress import Progress, beside
from alignstudy.runtime.workers import WorkerPool
from alignstudy.study.cost.outlook import Outlook, chores_of, outlook, room_for_stages
from alignstudy.study.graph.stage import Stage
from alignstudy.study.run.runner import Runner
from alignstudy.study.run.schedule import Agenda, Chore
from alignstudy.study.run.stage_worker import StageMade, StageOrder, stage_maker

GLANCE = 0.2
"""Seconds between looks at whether a stop was asked for."""


def make_side_by_side(runner: Runner, goals: Sequence[Stage]) -> None:
    """Make what the goals need in several processes, where that pays; else do nothing.

    Args:
        runner: Which has processes to spread work over; afterwards it knows what was made.
        goals: Stages whose artefacts are wanted.

    Raises:
        AlignstudyError: As a stage raised it. Stages at work beside it were stopped in good order.
    """
    if runner.workers < 2 or runner.device != "cpu":
        return
    stages = runner.missing(goals)
    if sum(stage.numeric for stage in stages) < 2:
        return
    runner.settle()
    try:
        plan = outlook(
            stages, runner.store, device=runner.device, threads=runner.threads,
            workers=runner.workers,
        )  # fmt: skip
    except AlignstudyError:
        return  # what is wrong with its input a stage says itself, and better
    if plan.hands > 1:
        _Crew(runner, stages, plan).work()


class _Crew:
    """This process, which makes stages too, and a worker process a thread.

    Args:
        runner: Makes stages here.
        stages: All that are to be made, each after those that it needs.
        plan: In how many processes.
    """

    def __init__(self, runner: Runner, stages: Sequence[Stage], plan: Outlook) -> None:
        self._runner, self._plan = runner, plan
        self._stages = {stage.key: stage for stage in stages}
        self._agenda = Agenda(chores_of(stages, plan.stages), room_for_stages())
        self._sendable = {stage.key for stage in stages if _can_be_sent(stage)}
        self._changed = threading.Condition()
        self._over = threading.Event()
        self._fault: BaseException | None = None
        self._asked = runner.should_stop
        self._pools: list[WorkerPool[StageOrder, StageMade]] = []

    def work(self) -> None:
        """Make all; raise what went wrong first, when every process has stopped."""
        leads = [threading.Thread(target=self._lead) for _ in range(self._plan.hands - 1)]
        watch = threading.Thread(target=self._watch)
        self._runner.should_stop = self._stops
        for thread in (*leads, watch):
            thread.start()
        try:
            self._work_here()
            for thread in leads:
                thread.join()
        except BaseException as error:  # a second Ctrl-C ends at once
            self._fail(error)
            self._end_workers()
        finally:
            self._over.set()
            for thread in (*leads, watch):
                thread.join()
            self._runner.should_stop = self._asked
            self._runner.spread, self._runner.beside = None, False
        if self._fault is not None:
            raise self._fault

    def _work_here(self) -> None:
        while (taken := self._next(here=True)) is not None:
            chore, alone = taken
            stage = self._stages[chore.key]
            self._runner.spread = self._spread(alone=alone)
            self._runner.beside = not alone
            try:
                self._runner.make(stage)
            except Exception as error:
                self._fail(error, stage)
            else:
                self._finish(chore)

    def _lead(self) -> None:
        """Have stages made by one worker until none is left, or the worker is lost."""
        pool: WorkerPool[StageOrder, StageMade] | None = None
        shown = beside(self._runner.progress)
        try:
            while (taken := self._next(here=False)) is not None:
                pool = self._new_pool() if pool is None else pool
                if not self._have_made(pool, *taken, shown):
                    return
        except BaseException as error:
            self._fail(error)
        finally:
            if pool is not None:
                pool.close()

    def _have_made(
        self,
        pool: WorkerPool[StageOrder, StageMade],
        chore: Chore,
        alone: bool,
        shown: Progress,
    ) -> bool:
        """Have a stage made; tell whether the worker can take another."""
        runner, stage = self._runner, self._stages[chore.key]
        order = StageOrder(
            stage=stage, executed=tuple(runner.executed), made=runner.made,
            spread=self._spread(alone=alone), beside=not alone,
        )  # fmt: skip
        try:
            ((_, made),) = pool.run([order], note=partial(_show, shown))
        except WorkerEndedError as error:
            shown.finish()
            if not self._stops():
                self._keep_here(chore, f"{stage.name}: {error.what} ({error.why}); made here")
            return False
        except Exception as error:
            shown.finish()
            self._fail(error, stage)
            return False
        runner.executed.extend(made.executed)
        runner.notes.extend(made.notes)
        runner.count_as_made(made.made)
        if runner.adopt(stage):
            self._finish(chore)
        else:
            self._keep_here(chore, f"{stage.name}: what its process left is damaged; made here")
        return True

    def _new_pool(self) -> WorkerPool[StageOrder, StageMade]:
        load = partial(stage_maker, self._runner.store.root, self._runner.threads)
        pool: WorkerPool[StageOrder, StageMade] = WorkerPool(load, workers=1)
        self._pools.append(pool)
        return pool

    def _spread(self, *, alone: bool) -> int:
        return self._runner.workers if alone else self._plan.spread

    def _next(self, *, here: bool) -> tuple[Chore, bool] | None:
        """Wait for a stage that can be begun: it, and whether nothing else will be at work.

        None: nothing is left, or all are to stop.
        """
        with self._changed:
            while not self._stops() and (self._agenda.at_work or not self._agenda.is_empty):
                chore = self._agenda.take(None if here else self._sendable)
                if chore is not None:
                    return chore, len(self._agenda.at_work) == 1 and not self._agenda.ready
                self._changed.wait()
        return None

    def _finish(self, chore: Chore) -> None:
        with self._changed:
            self._agenda.finish(chore.key)
            self._changed.notify_all()

    def _keep_here(self, chore: Chore, note: str) -> None:
        """Leave a stage that another process did not bring to its end to this one."""
        self._runner.notes.append(note)
        self._runner.progress.note(note)
        with self._changed:
            self._sendable.discard(chore.key)
            self._agenda.put_back(chore.key)
            self._changed.notify_all()

    def _fail(self, error: BaseException, stage: Stage | None = None) -> None:
        """Keep the first fault; that others were stopped because of it is only a note."""
        with self._changed:
            was_stopped = isinstance(self._fault, InterruptedRunError)
            if self._fault is None or (was_stopped and not isinstance(error, InterruptedRunError)):
                self._fault = error
            elif isinstance(error, AlignstudyError) and stage is not None:
                self._runner.progress.note(f"{error.what}; kept: {error.kept}")
            self._changed.notify_all()

    def _stops(self) -> bool:
        return self._fault is not None or self._asked()

    def _watch(self) -> None:
        """Pass a request to stop on to those at work."""
        told: set[int] = set()
        while not self._over.wait(GLANCE):
            if not self._stops():
                continue
            for pool in tuple(self._pools):
                if id(pool) not in told:
                    pool.ask_to_stop()
                    told.add(id(pool))
            with self._changed:
                self._changed.notify_all()

    def _end_workers(self) -> None:
        for pool in tuple(self._pools):
            pool.close()


def _can_be_sent(stage: Stage) -> bool:
    """Whether another process can read a stage: not what the user's script itself defines."""
    try:
        return b"__main__" not in pickle.dumps(stage)
    except (pickle.PicklingError, TypeError, AttributeError):
        return False


def _show(shown: Progress, told: tuple[str, tuple[Any, ...], dict[str, Any]]) -> None:
    name, given, figures = told
    getattr(shown, name)(*given, **figures)
