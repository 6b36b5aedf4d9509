"""What is in a source of preference data, before anybody trains on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from statistics import median

from alignstudy.data.audit.rows import (
    DataAudit,
    NearDuplicates,
    PromptFacts,
    SplitFacts,
    SplitOverlap,
)
from alignstudy.data.audit.suspicion import Kind, Suspicion, kind_of_reason, suspicions_of
from alignstudy.data.contamination.near_duplicates import cluster_prompts
from alignstudy.data.contamination.overlap import overlap_of_texts
from alignstudy.data.files.layout import MADE_SPLITS, find_files
from alignstudy.data.files.reading import PLAIN, Reading
from alignstudy.data.files.records import JOINED, NO_PREFERENCE, Usable, read_records
from alignstudy.data.formats.row import RawRow
from alignstudy.data.select.prompt_settings import PromptSettings
from alignstudy.data.select.prompts import select_prompts
from alignstudy.data.select.selection import Draw, RowSelection
from alignstudy.errors import DataError
from alignstudy.records import Document, Pair, Quarantined
from alignstudy.stats.intervals import wilson

MAX_CLUSTERED = 10_000
"""Different prompts that are compared with each other for near-duplicates, at most."""
MAX_LOOKED_FOR = 2_000
"""Prompts of a held-out split that are looked for in the training split, at most."""
MAX_REVIEW = 50
MAX_OF_A_KIND = 10
"""Rows of one kind that come before every other kind had its turn in the review list."""
MAX_EXAMPLES = 5
TRAIN = "train"


def audit_data(
    source: Path, *, how: Reading = PLAIN, prompts: PromptSettings | None = None
) -> DataAudit:
    """Read all of a source, and say what is wrong with it and what it holds.

    Counting is complete; near-duplicates and the overlap of splits are looked for in a sample of
    at most `MAX_CLUSTERED` and `MAX_LOOKED_FOR` prompts, and the audit says of how many.

    Args:
        source: Folder or file, of any layout that a study reads.
        how: What columns mean, and which pairs come of scored answers.
        prompts: The evaluation prompts that a study would draw; None: not looked at.

    Raises:
        DataError: If the source can't be read.
        UnknownNameError: If there is no such format.
    """
    files = find_files(source)
    if files[0].split is None:
        parts = [_Part("", split, RowSelection(split=split)) for split in MADE_SPLITS]
    else:
        names = dict.fromkeys((file.subset, file.split or "") for file in files)
        parts = [
            _Part(subset, split, RowSelection(subsets=(subset,), split=split))
            for subset, split in names
        ]
    survey = _Survey()
    splits = tuple(_read_part(source, part, how, survey) for part in parts)
    return DataAudit(
        source=str(source),
        format=how.format,
        splits=splits,
        near_duplicates=_near_duplicates(survey),
        overlaps=tuple(_overlaps(source, parts, how)),
        prompts=() if prompts is None else tuple(_prompt_facts(source, prompts, how)),
        review=_review(survey.suspicions),
        num_suspicious=len({(found.file, found.line) for found in survey.suspicions}),
    )


@dataclass(frozen=True)
class _Part:
    subset: str
    split: str
    selection: RowSelection


@dataclass
class _PartAccount:
    """Counts the rows of one split of one subset, and measures the responses.

    Attributes:
        num_rows: Rows read.
        reasons: Reason -> rows that can't be used.
        counts: Kind of suspicion (in small letters) -> rows.
        kinds: "pairs", "demonstrations", "texts" -> usable rows.
    """

    num_rows: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    chosen_words: list[int] = field(default_factory=list)
    rejected_words: list[int] = field(default_factory=list)

    def measure(self, row: Usable[Pair | Document]) -> None:
        """Count one usable row, and the words of its responses where there are two."""
        self.num_rows += 1 + row.joined
        if row.joined:
            self.kinds[JOINED] += row.joined
        first = row.records[0] if row.records else None
        if first is None:
            self.kinds[NO_PREFERENCE] += 1
        elif isinstance(first, Document):
            self.kinds["texts"] += 1
        else:
            self.kinds["demonstrations" if first.rejected is None else "pairs"] += 1
        for pair in row.records:
            if isinstance(pair, Pair) and pair.rejected is not None:
                self.chosen_words.append(len(pair.chosen.split()))
                self.rejected_words.append(len(pair.rejected.split()))

    def facts(self, *, subset: str, split: str) -> SplitFacts:
        """Close the account."""
        words = zip(self.chosen_words, self.rejected_words, strict=True)
        longer = [chosen > rejected for chosen, rejected in words if chosen != rejected]
        return SplitFacts(
            subset=subset,
            split=split,
            rows=self.num_rows,
            used=dict(self.kinds),
            quarantined=sum(self.reasons.values()),
            reasons=dict(self.reasons.most_common()),
            counts={kind.name.lower(): self.counts[kind.name.lower()] for kind in Kind},
            longer_chosen=wilson(sum(longer), len(longer)) if longer else None,
            median_chosen=float(median(self.chosen_words)) if self.chosen_words else None,
            median_rejected=float(median(self.rejected_words)) if self.rejected_words else None,
        )


@dataclass
class _Survey:
    """What is known about all rows read so far."""

    seen: dict[bytes, str] = field(default_factory=dict)
    asked: dict[bytes, None] = field(default_factory=dict)
    prompts: Draw[tuple[str, str, str]] = field(default_factory=lambda: Draw(MAX_CLUSTERED, seed=0))
    suspicions: list[Suspicion] = field(default_factory=list)


def _read_part(source: Path, part: _Part, how: Reading, survey: _Survey) -> SplitFacts:
    """Read one part; what has to do with other parts goes into the survey."""
    account = _PartAccount()
    for row in read_records(source, part.selection, how=how):
        if isinstance(row, Quarantined):
            account.num_rows += 1
            account.reasons[row.fault] += 1
            kind = kind_of_reason(row.reason)
            detail = row.reason if kind is Kind.UNUSABLE else ""
            found = [Suspicion(kind=kind, file=row.file, line=row.line, detail=detail)]
        else:
            account.measure(row)
            found = [each for record in row.records for each in _looked_at(row, record, survey)]
        account.counts.update({suspicion.kind.name.lower() for suspicion in found})
        survey.suspicions += found
    return account.facts(subset=part.subset, split=part.split)


def _looked_at(
    row: Usable[Pair | Document], record: Pair | Document, survey: _Survey
) -> Iterator[Suspicion]:
    """Look at one record by itself, and beside all earlier ones."""
    file, line = row.row.file, row.row.line
    by_itself: Iterable[tuple[Kind, str]] = ()
    if isinstance(record, Pair):
        by_itself = suspicions_of(record)
        # A prompt that no earlier row asks is searched for near-duplicates.
        digest, where = _digest([record.prompt]), f"{file}:{line}"
        if digest not in survey.asked:
            survey.asked[digest] = None
            survey.prompts.offer(where, (where, row.row.split, record.prompt))
    for kind, detail in (*_repeated(row.row, record, survey), *by_itself):
        yield Suspicion(kind=kind, file=file, line=line, detail=detail)


def _repeated(raw: RawRow, record: Pair | Document, survey: _Survey) -> Iterator[tuple[Kind, str]]:
    """Compare a row with all earlier ones; white space at the ends doesn't count."""
    here = f"{raw.file}:{raw.line}"
    if isinstance(record, Document):
        texts, swapped = [record.text], None
    else:
        texts = [record.prompt, record.chosen, record.rejected or "", record.gold or ""]
        swapped = survey.seen.get(_digest([texts[0], texts[2], texts[1], texts[3]]))
    if swapped is not None:
        yield Kind.CONTRADICTION, swapped
    before = survey.seen.setdefault(_digest(texts), here)
    if before != here:
        yield Kind.DUPLICATE, before


def _digest(texts: Sequence[str]) -> bytes:
    whole = blake2b(digest_size=16)
    for text in texts:
        content = text.strip().encode()
        whole.update(len(content).to_bytes(8) + content)
    return whole.digest()


def _near_duplicates(survey: _Survey) -> NearDuplicates:
    drawn = survey.prompts.items()
    clusters = cluster_prompts({where: text for where, _, text in drawn})
    members: dict[str, list[str]] = {}
    splits: dict[str, set[str]] = {}
    for where, split, _ in drawn:
        members.setdefault(clusters[where], []).append(where)
        splits.setdefault(clusters[where], set()).add(split)
    several = sorted(
        (rows for rows in members.values() if len(rows) > 1), key=lambda rows: -len(rows)
    )
    return NearDuplicates(
        looked_at=len(drawn),
        prompts=len(survey.asked),
        clusters=len(several),
        clustered=sum(map(len, several)),
        across_splits=sum(len(found) > 1 for found in splits.values()),
        examples=tuple(tuple(rows[:MAX_EXAMPLES]) for rows in several[:MAX_EXAMPLES]),
    )


def _overlaps(source: Path, parts: Sequence[_Part], how: Reading) -> Iterator[SplitOverlap]:
    """Look for the prompts of every split but train in the rows of train, over all subsets."""
    train = [part for part in parts if part.split == TRAIN]
    held_out = dict.fromkeys(part.split for part in parts if part.split != TRAIN)
    for split in held_out if train else ():
        draw: Draw[tuple[str, str]] = Draw(MAX_LOOKED_FOR, seed=0)
        for row in _records(source, [part for part in parts if part.split == split], how):
            if isinstance(row, Pair):
                draw.offer(row.id, (row.id, row.prompt))
        texts = dict(draw.items())
        found = overlap_of_texts(texts, _records(source, train, how))
        yield SplitOverlap(
            held_out=split,
            against=TRAIN,
            prompts=len(texts) + draw.num_left_out,
            looked_for=len(texts),
            rows=found.checked,
            exact=len(found.exact),
            dialogue=len(found.dialogue),
            ngram13=len(found.ngram13),
            examples=tuple(name for name in texts if name in found.prompt_ids)[:MAX_EXAMPLES],
        )


def _records(source: Path, parts: Sequence[_Part], how: Reading) -> Iterator[Pair | Document]:
    for part in parts:
        for row in read_records(source, part.selection, how=how):
            if not isinstance(row, Quarantined):
                yield from row.records


def _prompt_facts(source: Path, settings: PromptSettings, how: Reading) -> Iterator[PromptFacts]:
    """Return what each axis of a study would ask; what is wrong, where it could not."""
    for axis in settings.sets:
        alone = settings.model_copy(update={"axes": {axis.prompts: settings.sets[axis]}})
        try:
            selected = select_prompts(source, alone, how=how)
        except DataError as error:
            fault = f"{error.what}: {error.why}" if error.why else error.what
            yield PromptFacts(axis=axis, drawn=0, notes={}, excluded={}, fault=fault)
            continue
        (audit,) = selected.audits
        yield PromptFacts(axis=axis, drawn=audit.used, notes=audit.notes, excluded=audit.excluded)


def _review(suspicions: Sequence[Suspicion]) -> tuple[Suspicion, ...]:
    """List rows to look at, worst kind first; each kind has its turn before one fills the list."""
    worst: dict[tuple[str, int], Suspicion] = {}
    rank = {kind: place for place, kind in enumerate(Kind)}
    for found in sorted(suspicions, key=lambda found: rank[found.kind]):
        worst.setdefault((found.file, found.line), found)
    num_of_kind: Counter[Kind] = Counter()
    turns = []
    for found in worst.values():
        turns.append((num_of_kind[found.kind] // MAX_OF_A_KIND, rank[found.kind], found))
        num_of_kind[found.kind] += 1
    turns.sort(key=lambda turn: turn[:2])
    listed = sorted(turns[:MAX_REVIEW], key=lambda turn: turn[1])
    return tuple(found for _, _, found in listed)
