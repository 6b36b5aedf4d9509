"""A study file for data of one's own, short, and sound as it is written."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from alignstudy.data.files.layout import default_splits, find_files
from alignstudy.data.files.reading import PLAIN, Reading, read
from alignstudy.data.formats.answers import rated_of
from alignstudy.data.formats.parsing import parse_row, recognised
from alignstudy.data.formats.row import Answers, RawRow, UnusableRow
from alignstudy.data.select.selection import RowSelection
from alignstudy.errors import AlignstudyError, DataError, InputError, NotFetchedError
from alignstudy.judges import JUDGES
from alignstudy.judges.presets import PRESETS
from alignstudy.metrics.axes import HELPFUL
from alignstudy.records import Document, Pair, Quarantined
from alignstudy.sources import Source, home_path, resolve
from alignstudy.study.settings.load import settings_of
from alignstudy.study.settings.yaml_file import parse_yaml

BASE = "HuggingFaceTB/SmolLM2-135M-Instruct"
JUDGE = "oa-deberta-v2"
LOOKED_AT = 2_000
"""Rows by which a file's format is known."""
MEANT = {
    "prompt": ("question", "query", "instruction", "input", "user", "context", "ask", "title"),
    "chosen": ("preferred", "better", "win", "winner", "accepted", "positive", "good", "best"),
    "rejected": ("dispreferred", "worse", "lose", "loser", "refused", "negative", "bad", "worst"),
}
"""Other names of columns, in small letters; a column that holds one of the words is meant."""
BALANCE = 1.15
"""Weight of all good responses to that of all bad ones: KTO's authors advise 1 to 1.33."""
CUTS = {JUDGE: -2.0, "rules": 0.5, "length": 20.0}
"""Where scores begin to count if no pairs are there to choose it by, by judge; 0 for others."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a source holds, by its first rows.

    Attributes:
        format: The format of most of them.
        rows: What they come to: "pairs", "rated responses", "demonstrations" or "texts".
        columns: What had to be named.
        good: Of rated responses, those that are good.
        bad: Those that are not.
        unseen: Why a hub data set couldn't be looked at.
    """

    format: str
    rows: str
    columns: Mapping[str, str]
    good: int = 0
    bad: int = 0
    unseen: str = ""


def own_study(data: str, *, base: str = BASE, judge: str = JUDGE) -> str:
    """Write a study file for a source of one's own.

    Args:
        data: A file or folder of this machine, or a hub id; it is fetched if it isn't here.
        base: The model to start from: a folder, or a hub id.
        judge: A name of `alignstudy list judges`, a folder, or a hub id.

    Raises:
        DataError: If the source can't be read, or holds nothing to train on.
        InputError: If it isn't there.
        SettingsError: If base or judge are nothing that a study can name.
    """
    try:
        found = look_at(resolve(Source(name=data, kind="dataset"), offline=False).path)
    except NotFetchedError as error:
        found = Found(format="", rows="pairs", columns={}, unseen=error.why)
    for what, name in (("base", base), ("judge", judge)):
        known = home_path(name).exists() or (what == "judge" and name in JUDGES)
        if not known and name not in PRESETS and Source(name=name, kind="model").is_local:
            raise InputError(
                f"the {what} '{name}' isn't there",
                hint="name a folder of this machine, a hub id such as owner/name, or a judge of"
                " `alignstudy list judges`",
            )
    text = "\n".join(_lines(data, base, judge, found)) + "\n"
    settings_of(parse_yaml(text, "the study file for your data"))
    return text


def look_at(source: Path) -> Found:
    """Tell a source's format by its first rows, and name columns that go by other names.

    Raises:
        DataError: If the source can't be read, or no format fits.
    """
    train, _ = default_splits(find_files(source, parted=True))
    rows = list(_first_rows(source, train, PLAIN))
    kinds, formats, reasons, ratings = _tried(rows, PLAIN)
    columns: dict[str, str] = {}
    if 2 * sum(kinds.values()) < len(rows):
        columns = _meant_columns(rows[0].fields)
        renamed = list(_first_rows(source, train, Reading(columns=columns)))
        if columns:
            kinds, formats, reasons, ratings = _tried(renamed, PLAIN)
    if not kinds:
        names = ", ".join(sorted(rows[0].fields)[:8]) if rows else "none"
        raise DataError(
            f"{source}: nothing to train on was found in its first {len(rows)} rows",
            why=f"columns: {names}; {reasons.most_common(1)[0][0] if reasons else 'no rows'}",
            hint="`alignstudy list formats` shows what is read; name your columns in a study file:"
            " data: {source: ..., columns: {prompt: ..., chosen: ..., rejected: ...}}",
        )
    (kind, _), (name, _) = kinds.most_common(1)[0], formats.most_common(1)[0]
    if kind == "texts":
        raise DataError(
            f"{source} holds plain texts",
            why="there is no answer in them to prefer, or to imitate",
            hint="give rows of prompt, chosen and rejected; texts only pretrain a base from"
            " scratch (see `alignstudy init --preset demo`)",
        )
    good, bad = ratings[True], ratings[False]
    return Found(format=name, rows=kind, columns=columns, good=good, bad=bad)


def _first_rows(source: Path, split: str, how: Reading) -> Iterator[RawRow]:
    selection = RowSelection(split=split)
    rows = read(source, selection, how=how.model_copy(update={"parted": True}))
    return (row for row in islice(rows, LOOKED_AT) if not isinstance(row, Quarantined))


def _tried(
    rows: list[RawRow], how: Reading
) -> tuple[Counter[str], Counter[str], Counter[str], Counter[bool]]:
    """Return what rows come to, their formats, why others can't be used, and all ratings."""
    rated: dict[str, list[bool]] = {}
    kinds: Counter[str] = Counter()
    formats: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for row in rows:
        try:
            record = parse_row(row, fmt=how.format).record
            if isinstance(record, Answers) and record.labelled:
                one = rated_of(record)
                rated.setdefault(one.prompt, []).append(one.desirable)
        except UnusableRow as unusable:
            reasons[str(unusable)] += 1
            continue
        formats[recognised(row.fields) or ""] += 1
        demonstration = isinstance(record, Pair) and record.rejected is None
        texts = isinstance(record, Document)
        if not (isinstance(record, Answers) and record.labelled):
            kinds["texts" if texts else "demonstrations" if demonstration else "pairs"] += 1
    ratings = Counter(each for of_prompt in rated.values() for each in of_prompt)
    if ratings and not ratings[True]:
        reasons["every response is labelled bad: none shows what to write"] += ratings.total()
    elif ratings:
        kinds[_kind_of(rated.values(), ratings)] += ratings.total()
    return kinds, formats, reasons, ratings


def _kind_of(rated: Collection[list[bool]], ratings: Counter[bool]) -> str:
    """Return what responses with labels come to: pairs, where prompts have both kinds."""
    if not ratings[False]:
        return "demonstrations"
    both = sum(len(set(of_prompt)) == 2 for of_prompt in rated)
    no_pair = any(all(of_prompt) for of_prompt in rated)  # a demonstration, which DPO can't use
    return "rated responses" if no_pair or 2 * both < len(rated) else "pairs"


def _meant_columns(fields: Mapping[str, object]) -> dict[str, str]:
    """Guess which columns are prompt, chosen and rejected; none unless all three are found."""
    left = [name for name, value in fields.items() if isinstance(value, str | list)]
    found: dict[str, str] = {}
    for ours in ("rejected", "chosen", "prompt"):
        words = (ours, *MEANT[ours])
        name = next((n for n in left if set(re.split(r"[\W_]+", n.lower())) & set(words)), None)
        if name is not None:
            found[ours] = name
            left.remove(name)
    return dict(reversed(found.items())) if len(found) == 3 else {}


def _lines(data: str, base: str, judge: str, found: Found) -> Iterator[str]:
    stem = re.sub(r"[^A-Za-z0-9]+", "-", Path(data).name.split(".")[0]).strip("-") or "own"
    read_as = f"{found.rows}, read as '{found.format}'"
    what = f"not looked at yet: {found.unseen}"[:80] if found.unseen else read_as
    columns = "".join(f", {ours}: {_quoted(name)}" for ours, name in found.columns.items())
    columns = f", columns: {{{columns[2:]}}}" if columns else ""
    yield f"# {data}: {what}. Every setting: alignstudy explain"
    yield f"study: {stem[:40]}"
    yield f"base: {_quoted(base)}"
    yield f"data: {{source: {_quoted(data)}{columns}}}"
    length, new = _lengths(base)
    yield "methods:"
    yield f"  sft: {{num_train_epochs: 1, learning_rate: 2e-5, loss_on: response{length}}}"
    if found.rows == "pairs":
        yield f"  dpo: {{num_train_epochs: 1, learning_rate: 1e-6, beta: 0.1{length}}}"
        yield "recipes: {base: [], sft: [sft], dpo: [dpo], sft_dpo: [sft, dpo]}"
    elif found.rows == "rated responses":
        yield (
            "  kto: {rows: rated, num_train_epochs: 1, learning_rate: 1e-6, beta: 0.1"
            f"{_weights(found.good, found.bad)}{length}}}"
        )
        yield "recipes: {base: [], sft: [sft], kto: [kto], sft_kto: [sft, kto]}"
    else:
        yield "recipes: {base: [], sft: [sft]}"
    yield "seeds: [0]"
    yield f"generation: {{max_new_tokens: {new}}}"
    named = f"{{use: {judge}{_measures(judge)}}}" if judge in JUDGES else _quoted(judge)
    others = "" if judge == "length" else ", {use: length}"
    yield f"judges: [{named}{others}]"
    if found.rows == "pairs":
        yield "thresholds: calibrated"
    else:
        yield f"thresholds: {{{HELPFUL.prompts}: {CUTS.get(judge, 0.0):g}}}"


def _weights(good: int, bad: int) -> str:
    """Return the weight that brings good responses and bad ones into balance, where they aren't."""
    if 1 <= good / bad <= 4 / 3:
        return ""
    if good < bad:
        return f", desirable_weight: {BALANCE * bad / good:.2f}"
    return f", undesirable_weight: {good / (BALANCE * bad):.2g}"


def _measures(judge: str) -> str:
    return f", measures: {HELPFUL.manner}" if judge == "rules" else ""


def _lengths(base: str) -> tuple[str, int]:
    """Return `max_length`, where the default is too long for a base, and tokens of a response."""
    from alignstudy.models.folder import read_json

    folder = home_path(base)
    most = 2048
    try:
        config = read_json(folder / "config.json")
        named = (config.get(n) for n in ("max_position_embeddings", "n_positions", "n_ctx"))
        most = next((number for number in named if isinstance(number, int)), most)
    except AlignstudyError:
        pass  # on the hub, or no model: `check` will say so
    return (f", max_length: {most}" if most < 512 else ""), min(256, most // 4)


def _quoted(text: str) -> str:
    """Write a text so that YAML reads it as one, also within braces."""
    plain = re.fullmatch(r"[A-Za-z0-9_./~@-][\w./~@ -]*", text) and not text.endswith(" ")
    return text if plain else "'" + text.replace("'", "''") + "'"
