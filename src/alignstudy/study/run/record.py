"""provenance.json: what a run was asked, did and left, however it ended."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from alignstudy.errors import InterruptedRunError
from alignstudy.redaction import redacted_in
from alignstudy.study.devices import device_class
from alignstudy.study.graph.fingerprint import digest
from alignstudy.study.graph.stage import Stage
from alignstudy.study.provenance import machine, versions
from alignstudy.study.run.run_folder import PROVENANCE, RunFolder
from alignstudy.study.run.runner import Runner
from alignstudy.study.run.store import Store
from alignstudy.study.settings.locate import Located
from alignstudy.study.settings.study import StudySettings


@dataclass
class RunRecord:
    """What provenance.json will hold, however the run ends."""

    settings: StudySettings
    overrides: Sequence[str]
    store: Store
    folder: RunFolder
    located: Located | None = None
    stages: Sequence[Stage] = ()
    runner: Runner | None = None

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Write the record when the block ends."""
        started = datetime.now(UTC)
        status, last = "failed", self.folder.provenance()
        try:
            yield
            status = "complete"
        except (InterruptedRunError, KeyboardInterrupt) as error:
            status = "interrupted"
            if isinstance(error, KeyboardInterrupt):
                raise InterruptedRunError(
                    "interrupted",
                    hint="run the same command again: it goes on from the last checkpoint",
                    kept="every finished stage, and the last checkpoint of the one at work",
                ) from error
            raise
        finally:
            self.folder.write(PROVENANCE, self._text(status, started, last))

    def _text(self, status: str, started: datetime, last: dict[str, Any]) -> str:
        settings, runner = self.settings, self.runner
        # A stage that was not reached keeps the last run's line.
        former = {line["stage"]: line for line in last.get("stages", []) if "stage" in line}
        lines = []
        for stage in self.stages:
            artefact = self.store.peek(stage.kind, stage.key)
            if artefact is not None:
                facts = {k: v for k, v in artefact.facts.items() if k != "work"}
                lines.append({"stage": stage.name, "key": stage.key, **facts})
            elif stage.name in former:
                lines.append(former[stage.name])
        found = self.located.found if self.located else {}
        record = {
            "study": settings.study,
            "status": status,
            "command": sys.argv,
            "overrides": list(self.overrides),
            "started": started.isoformat(timespec="seconds"),
            "ended": datetime.now(UTC).isoformat(timespec="seconds"),
            "settings_sha256": digest(settings.model_dump(mode="json")),
            "seeds": list(settings.seeds),
            "device": device_class(settings),
            "versions": versions(),
            "machine": machine() | ({"workers": runner.workers} if runner else {}),
            "sources": {
                role: {"name": item.source.name, "commit": item.commit, "digest": item.digest}
                for role, item in found.items()
            },
            "executed": list(runner.executed) if runner else [],
            "notes": list(runner.notes) if runner else [],
            "stages": lines or list(former.values()),
        }
        return json.dumps(redacted_in(record), indent=2, ensure_ascii=False) + "\n"
