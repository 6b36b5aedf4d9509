"""Stages of rounds: parts of the rows, prompts to sample after, rows built of samples."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from alignstudy.data.audit.audit import length_facts
from alignstudy.errors import GuardError
from alignstudy.formatting import plural
from alignstudy.generation.hf import too_long_prompts
from alignstudy.methods.rounds.drafts import with_drafts
from alignstudy.methods.rounds.rules import EMPTY, RULES, TRUNCATED, Draw
from alignstudy.records import Audit, Pair, Prompt, StopReason, write_rows
from alignstudy.study.cost.token_lengths import NotCountableError
from alignstudy.study.graph.fingerprint import not_in_key
from alignstudy.study.graph.stage import FolderOf, Stage, StageJob
from alignstudy.study.stages.data import AUDITS, FACTS, read_audits, write_json
from alignstudy.study.stages.generate import (
    Generate,
    ScoreResponses,
    read_responses,
    read_scores,
)
from alignstudy.study.stages.sources import (
    PROMPTS,
    ROWS,
    PromptSource,
    RowSource,
    read_part,
    read_prompts,
)

SAMPLED = "sampled"
"""The axis of prompts that are sampled after: they test nothing."""
SHOUT, REFUSE = 0.05, 0.5
"""Shares of rows without a sample to learn from, above which it is said, or refused."""
LAST_ROUND = "of the round before"


@dataclass(frozen=True, kw_only=True)
class Slice(RowSource):
    """Take one part of the rows; rows with one prompt stay together.

    Attributes:
        of: All rows.
        number: Which part, from 0.
        parts: How many there are, of as many prompts each as can be.
    """

    of: RowSource
    number: int
    parts: int

    @property
    def most(self) -> int | None:
        """A part of all."""
        return None if self.of.most is None else -(-self.of.most // self.parts)

    def run(self, job: StageJob) -> dict[str, Any]:
        """Write rows.jsonl.

        Raises:
            GuardError: If there are fewer prompts than parts.
        """
        kept = self._of(read_part(self.of, job.folder_of(self.of)))
        write_rows(job.out / ROWS, kept)
        return {"rows": len(kept)}

    def ahead(self, folder_of: FolderOf) -> list[Any]:
        """Divide the rows, or those that are expected."""
        return self._of(self.of.ahead(folder_of))

    def _of(self, rows: list[Any]) -> list[Any]:
        prompts = sorted({row.prompt for row in rows}, key=_shuffled)
        mine = set(prompts[self.number :: self.parts])
        if not mine:
            raise GuardError(
                f"{plural(len(prompts), 'prompt')} can't be divided into {self.parts} parts",
                hint="set fewer iterations (or slices), or take more rows",
            )
        return [row for row in rows if row.prompt in mine]


def _shuffled(prompt: str) -> str:
    return hashlib.sha256(prompt.encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class AskedRows(PromptSource):
    """Take the rows' prompts, to be sampled after: one for each row."""

    kind: ClassVar[str] = "asked"
    rows: RowSource

    @property
    def expected(self) -> int | None:
        """As many as there are rows."""
        return self.rows.most

    def run(self, job: StageJob) -> dict[str, Any]:
        """Write prompts.jsonl."""
        prompts = _asked(read_part(self.rows, job.folder_of(self.rows)))
        write_rows(job.out / PROMPTS, prompts)
        return {"prompts": len(prompts)}

    def ahead(self, folder_of: FolderOf) -> list[Prompt]:
        """Take the prompts of the rows, or of those that are expected."""
        return _asked(self.rows.ahead(folder_of))


def _asked(rows: list[Any]) -> list[Prompt]:
    return [Prompt(id=row.id, axis=SAMPLED, text=row.prompt) for row in rows]


@dataclass(frozen=True, kw_only=True)
class BuildRows(RowSource):
    """Make rows of rows and samples.

    Attributes:
        part: Its name in the audit.
        of: The rows whose prompts were sampled after.
        samples: After each prompt.
        scores: A judge's of each sample; None where the rule heeds none.
        rule: Name of it, in `RULES`.
        last: The round before, whose rows are trained on as well.
    """

    part: str = not_in_key()
    of: RowSource
    samples: Generate
    scores: ScoreResponses | None
    rule: str
    last: BuildRows | None

    @property
    def most(self) -> int | None:
        """As many as there are prompts, and those of the round before."""
        own = self.of.most
        return None if own is None else own * (1 + (self.last is not None))

    @property
    def sampler(self) -> Stage:
        """Who wrote the samples."""
        return self.samples.model

    def run(self, job: StageJob) -> dict[str, Any]:
        """Write rows.jsonl and why prompts have no row.

        Raises:
            GuardError: If most have none.
        """
        rows, draws = read_part(self.of, job.folder_of(self.of)), self._draws(job)
        built, left_out = list[Pair](), Counter[str]()
        for row in rows:
            made = RULES[self.rule](row, draws[row.id])
            if isinstance(made, str):
                left_out[made] += 1
            else:
                built.append(made)
        if len(rows) - len(built) > REFUSE * len(rows):
            raise _most_are_lost(self.part, left_out, len(rows))
        if len(rows) - len(built) > SHOUT * len(rows):
            said = ", ".join(f"{number} {why}" for why, number in left_out.most_common())
            job.progress.note(f"warning: {self.part}: of {len(rows)} prompts left out: {said}")
        notes = self._notes(draws)
        kept = [] if self.last is None else read_own(self.last, job)
        if kept:
            notes[f"rows {LAST_ROUND}"] = len(kept)
        write_rows(job.out / ROWS, [*built, *kept])
        audit = Audit(
            part=self.part,
            read=len(rows),
            used=len(built),
            excluded=dict(left_out),
            notes=notes,
        )
        write_rows(job.out / AUDITS, [audit])
        write_json(job.out / FACTS, length_facts([*built, *kept]))
        return {"rows": len(built) + len(kept)}

    def ahead(self, folder_of: FolderOf) -> list[Any]:
        """Read the rows; before, take every prompt's for built, samples as long as responses."""
        try:
            return super().ahead(folder_of)
        except NotCountableError:
            rows = [self._expected(row) for row in self.of.ahead(folder_of)]
            last = [] if self.last is None else self.last.of.ahead(folder_of)
            return [*rows, *map(self._expected, last)]

    def _expected(self, row: Pair) -> Pair:
        """Return a row as long as one that will be built of it."""
        other = row.rejected or f"{row.chosen} ."
        drawn = Draw(text=other.strip(), score=0.0), Draw(text=f"{other.strip()} .", score=1.0)
        number = self.samples.settings.num_samples
        made = RULES[self.rule](row, (*drawn, *drawn[:1] * number)[:number])
        return row if isinstance(made, str) else made

    def _draws(self, job: StageJob) -> dict[str, list[Draw]]:
        """Return the samples after each prompt, in their order, with their scores."""
        scores = {}
        if self.scores is not None:
            given = read_scores(job.folder_of(self.scores))
            scores = {(score.prompt_id, score.sample): score.score for score in given}
        found = defaultdict(list)
        for response in read_responses(job.folder_of(self.samples)):
            found[response.prompt_id].append(
                Draw(
                    text=response.text,
                    ended=response.stop_reason != StopReason.CAP,
                    fits=response.stop_reason != StopReason.TOO_LONG,
                    score=scores.get((response.prompt_id, response.sample)),
                )
            )
        return found

    def _notes(self, draws: dict[str, list[Draw]]) -> dict[str, int]:
        """Count the samples, and those of them that nothing can be learnt from."""
        faults = Counter(draw.fault for all_ in draws.values() for draw in all_)
        found = {"samples": faults.total()}
        return found | {
            f"samples of which {why}": faults[why] for why in (TRUNCATED, EMPTY) if faults[why]
        }


def read_own(stage: BuildRows, job: StageJob) -> list[Pair]:
    """Read the rows that a finished round built itself, their ids marked."""
    (audit,) = read_audits(job.folder_of(stage))
    rows: list[Pair] = read_part(stage, job.folder_of(stage))
    return [replace(row, id=f"{row.id} ({LAST_ROUND})") for row in rows[: audit.used]]


def _most_are_lost(part: str, left_out: Counter[str], rows: int) -> GuardError:
    said = ", ".join(f"{why}: {number}" for why, number in left_out.most_common())
    hint = "start from a model that had SFT"
    if left_out[TRUNCATED] + left_out[EMPTY] < left_out.total() / 2:
        hint = "sample at a higher temperature, or more often"
    elif left_out[TRUNCATED]:
        hint += ", or raise sampling.max_new_tokens"
    return GuardError(
        f"{part}: {left_out.total()} of {rows} prompts have no sample to learn from",
        why=f"{said}; what is left would teach something else than the method's name says",
        hint=hint,
    )


@dataclass(frozen=True, kw_only=True)
class Aggregate(Generate):
    """Generate responses that draw on drafts of them (AFT).

    A prompt that leaves no room for all drafts is asked with the first of them that fit.

    Attributes:
        drafts: Responses to the same prompts.
    """

    drafts: Generate

    @property
    def shown(self) -> int:
        """As many as drafts may have."""
        return self.drafts.settings.num_samples * self.drafts.settings.max_new_tokens

    def asked(self, folder_of: FolderOf) -> list[Prompt]:
        """Read the prompts, each with its drafts."""
        drafts = defaultdict(list)
        for response in read_responses(folder_of(self.drafts)):
            if response.stop_reason != StopReason.TOO_LONG:
                drafts[response.prompt_id].append(response.text)
        prompts = read_prompts(folder_of(self.prompts))
        most = max(map(len, drafts.values()), default=0)
        found: dict[str, Prompt] = {}
        for number in range(most, 0, -1):
            rest = [prompt for prompt in prompts if prompt.id not in found and drafts[prompt.id]]
            shown = {
                p.id: replace(p, text=with_drafts(p.text, drafts[p.id][:number])) for p in rest
            }
            new, folder = self.settings.max_new_tokens, self.tokenizer(folder_of)
            long = too_long_prompts(list(shown.values()), folder, new, template=self.template)
            found |= {key: each for key, each in shown.items() if each not in long}
        return [found.get(prompt.id, prompt) for prompt in prompts]
