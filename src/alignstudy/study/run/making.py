"""What a run makes and shows, and the weights that it lets go of on the way."""

from __future__ import annotations

from collections.abc import Sequence

from alignstudy.formatting import quantity
from alignstudy.study.graph.build import Graph
from alignstudy.study.graph.stage import Stage, in_order
from alignstudy.study.run.known_runs import KnownRuns, RunAtWork
from alignstudy.study.run.parallel import make_in_parallel
from alignstudy.study.run.publishing import StudyTexts, place_all, with_bases
from alignstudy.study.run.run_folder import RunFolder
from alignstudy.study.run.runner import Runner


def make_and_show(
    runner: Runner, graph: Graph, goals: Sequence[Stage], folder: RunFolder, texts: StudyTexts
) -> None:
    """Make goals of a study, and show them in its run folder.

    Args:
        runner: What makes them.
        graph: The study's.
        goals: Those that are asked for.
        folder: Held by this process.
        texts: The study, as its run folder shows it.

    Raises:
        AlignstudyError: As a stage raised it.
    """
    keys = {goal.key for goal in goals}
    exports = with_bases([each for each in graph.exports if each.stage.key in keys])
    folder.refuse_links(each.target for each in exports)
    runner.store.sweep()
    runs = KnownRuns(runner.store)
    with runs.using(graph.goals, folder=folder.path, progress=runner.progress) as run:
        released = Released(runner, in_order(graph.goals), run)
        runner.after = released.drop
        make_in_parallel(runner, goals)
        for goal in goals:
            runner.make(goal)
        whole = all(each.stage.key in keys for each in graph.exports)
        place_all(folder, exports, runner, texts, whole=whole)
        released.drop(again=True)


class Released:
    """Drops the weights that stages release, as soon as nothing that is yet to be made reads them.

    Args:
        runner: Of this run.
        stages: All of the study, whether or not this run makes them.
        run: What knows the other runs.
    """

    def __init__(self, runner: Runner, stages: Sequence[Stage], run: RunAtWork) -> None:
        self._runner, self._run = runner, run
        self._releasing = [s for s in stages if type(s).releases is not Stage.releases]
        self._readers: dict[str, list[Stage]] = {}
        self._tried: set[str] = set()
        for stage in stages if self._releasing else ():
            for needed, whole in stage.needed():
                if whole:
                    self._readers.setdefault(needed.key, []).append(stage)

    def drop(self, *, again: bool = False) -> None:
        """Drop what can be dropped now.

        Args:
            again: Whether what another run kept is tried again.
        """
        if again:
            self._tried.clear()
        for stage in self._releasing:
            made = self._runner.store.peek(stage.kind, stage.key)
            for each in stage.releases(made.folder) if made is not None else ():
                if each.key not in self._tried and self._is_free(each):
                    self._tried.add(each.key)
                    if freed := self._run.drop_weights(each):
                        self._runner.forget(each)
                        size = quantity(freed, "B")
                        self._runner.progress.note(f"{each.name}: weights dropped, {size} freed")

    def _is_free(self, stage: Stage) -> bool:
        """Whether its weights lie there, and this run has no more use for them."""
        peek = self._runner.store.peek
        made = peek(stage.kind, stage.key)
        if made is None or not made.is_whole or stage.key in self._run.shown:
            return False
        return all(peek(each.kind, each.key) for each in self._readers.get(stage.key, ()))
