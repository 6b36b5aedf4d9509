"""Whatever holds ratings: its content decides what it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from alignstudy.data.ratings.folder import read_ratings
from alignstudy.data.ratings.harness import harness_results, read_harness
from alignstudy.data.ratings.inspect_logs import inspect_logs, is_inspect_json, read_inspect
from alignstudy.data.ratings.rated import Rated, TaskLog, rated_of
from alignstudy.errors import InputError


def read_rated(sources: Sequence[Path], metrics: Sequence[str] = ()) -> Rated:
    """Read rated responses: one folder of ratings, or logs of lm-evaluation-harness and Inspect.

    Args:
        sources: A folder of `<model>_<prompts>.json`; or logs, or folders that hold them.
        metrics: Of logs: which scores to take, see `rated_of`.

    Raises:
        InputError: If there is nothing to read, or an option says nothing here.
        DataError: If a file can't be used; the message names it.
        EnvironmentFault: If a file can't be read.
    """
    if not sources:
        raise InputError("nothing to evaluate", hint="name a folder of rated responses, or logs")
    logs: list[TaskLog] = []
    for source in sources:
        logs += _logs(source)
    if logs:
        return rated_of(logs, metrics)
    if len(sources) > 1:
        raise InputError(
            f"{sources[1]}: a second folder of ratings",
            why="the files of one folder are compared; only of logs several can be named",
            hint="put the files into one folder, or give finished runs to `alignstudy compare`",
        )
    if metrics:
        raise InputError(
            "--metric chooses among a log's scores, and these are ratings without a choice",
            hint="leave it out",
        )
    return Rated(rows=read_ratings(sources[0]))


def _logs(source: Path) -> list[TaskLog]:
    """Return the logs that a path names or holds; [] of a folder of ratings.

    Raises:
        InputError: If it is a file that is no log.
    """
    if source.is_dir():
        found = [log for path in harness_results(source) for log in read_harness(path)]
        return found + [read_inspect(path) for path in inspect_logs(source)]
    if not source.is_file():
        raise InputError(
            f"{source}: no such file or folder", hint="name the folder of the rated responses"
        )
    if source.suffix == ".eval" or is_inspect_json(source):
        return [read_inspect(source)]
    if source.name.startswith("results") and source.suffix == ".json":
        return read_harness(source)
    raise InputError(
        f"{source}: neither a folder of ratings nor a log",
        why="a file may be Inspect's log, or results_*.json of lm-evaluation-harness",
        hint="name the folder that it lies in",
    )
