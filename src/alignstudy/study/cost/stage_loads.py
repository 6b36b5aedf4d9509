"""The work of each stage of a study, counted before it runs; or why it can't be known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from alignstudy.judges.encoders.renderings import RENDERINGS
from alignstudy.judges.quality.probes import PROBES
from alignstudy.study.cost.counting import Counter, Part
from alignstudy.study.cost.model_roots import place_of, root_of
from alignstudy.study.cost.model_shape import ModelShape, read_shape, shape_of_architecture
from alignstudy.study.cost.rulers import Ruler, by_characters, ruler_of_folder, ruler_of_sample
from alignstudy.study.cost.train_load import row_sizes, train_load
from alignstudy.study.cost.workload import Load, decode, forward
from alignstudy.study.graph.stage import Stage
from alignstudy.study.run.store import Store
from alignstudy.study.stages.compare import Compare
from alignstudy.study.stages.data import CollectRows, SelectPrompts, WriteWorld
from alignstudy.study.stages.divergence import Diagnose
from alignstudy.study.stages.generate import Generate, ScoreResponses
from alignstudy.study.stages.preview import Preview
from alignstudy.study.stages.publish import Publish
from alignstudy.study.stages.score import AUTO, Assess, Calibrate, JudgeModel, JudgeSpec
from alignstudy.study.stages.train import ImportBase, Merge, ScratchModel, Train

ROW_SECONDS = 2e-4
"""Of reading, parsing, comparing and writing one row of data."""
RULE_SECONDS = 1e-4
"""Of a rule's score of one text."""
RESPONSE_SECONDS = 4e-3
"""Of all tests, intervals, tables and figures, a response."""
REPORT_SECONDS = 8.0
"""Of figures and report, whatever the study's size."""
READ_SECONDS = 0.5
"""Of making a model ready, besides streaming its weights."""
WRITTEN = 0.7
"""Share of the tokens that responses may have which they have: some end by themselves."""
TEXT_BYTES = 5.0
"""On the disk, a token of a text."""
TOKENIZER_BYTES = 3e6


class Unknown(Exception):
    """Why a stage's work can't be counted."""


class StageLoads:
    """Counts the work of stages.

    Args:
        store: Where what was made before lies.
        device: "cpu" or "cuda": it decides how many texts go through at once.
    """

    def __init__(self, store: Store, device: str) -> None:
        self._counter = Counter(store)
        self._store, self._device = store, device
        self._rulers: dict[str, Ruler] = {}
        self._referred: set[tuple[str, str]] = set()

    def of(self, stage: Stage, *, refers: bool | None = None) -> Load:
        """Count a stage's work; ask in the order in which stages run.

        Args:
            stage: The stage.
            refers: Whether a training makes the reference's pass over its rows; None: of trainings
                with the same parent and rows the first does, for all.

        Raises:
            Unknown: If something that decides it isn't on this machine, or the kind is foreign.
        """
        count: Callable[..., Load] | None = getattr(self, f"_count_{stage.kind}", None)
        if count is None:
            raise Unknown(f"stages of the kind '{stage.kind}' aren't counted")
        if isinstance(stage, Train):
            return self._count_train(stage, refers)
        return count(stage)

    def _count_world(self, stage: WriteWorld) -> Load:
        asked = stage.settings
        rows = 2 * (asked.num_train + asked.num_judge + asked.num_test) + asked.num_pretrain
        return Load(seconds=rows * ROW_SECONDS / 4, disk=rows * 60.0, exact=True)

    def _count_prompts(self, stage: SelectPrompts) -> Load:
        asked = [part for part in (stage.calibration, stage.validation) if part is not None]
        number = self._counter.num_prompts(stage) + sum(2.0 * part.n for part in asked)
        return Load(seconds=0.1 + 2 * number * ROW_SECONDS, disk=number * 1500.0)

    def _count_rows(self, stage: CollectRows) -> Load:
        part = self._part(stage)
        characters = sum(len("".join(texts)) for texts in part.sample) / len(part.sample)
        share = max(0.02, stage.selection.share[1] - stage.selection.share[0])
        return Load(
            seconds=0.1 + part.rows / share * ROW_SECONDS,
            disk=part.rows * (characters + 100.0),
            memory=part.rows * (3.0 * characters + 2000.0),
            exact=part.exact,
        )

    def _count_scratch(self, stage: ScratchModel) -> Load:
        part = self._part(stage.rows)
        return Load(seconds=0.2 + part.rows * 1e-4, disk=1e6, exact=part.exact)

    def _count_base(self, stage: ImportBase) -> Load:
        shape = self._shape(stage)
        size = shape.weight_bytes
        return Load(
            seconds=READ_SECONDS, bytes=10.0 * size, memory=2.0 * size, exact=True,
            disk=size + TOKENIZER_BYTES,
        )  # fmt: skip

    def _count_train(self, stage: Train, refers: bool | None) -> Load:
        part, ruler = self._part(stage.rows), self._ruler(stage)
        sizes = row_sizes(stage.settings, part, ruler)
        mark = (stage.parent.key, stage.rows.key)
        live = stage.settings.dropout == "keep" and stage.is_adapter  # asked anew in every step
        if refers is None:
            refers = live or mark not in self._referred
        load = train_load(
            stage.settings, self._shape(stage), part, sizes, refers=refers, device=self._device
        )
        if sizes.referenced and not live:
            self._referred.add(mark)
        return replace(load, disk=load.disk + TOKENIZER_BYTES)

    def _count_merge(self, stage: Merge) -> Load:
        size = self._shape(stage).weight_bytes
        return Load(
            seconds=2 * READ_SECONDS, bytes=12.0 * size, memory=3.0 * size, exact=True,
            disk=size + TOKENIZER_BYTES,
        )  # fmt: skip

    def _count_generate(self, stage: Generate) -> Load:
        shape = self._shape(stage.model)
        number = self._counter.num_prompts(stage.prompts)
        context = self._prompt_tokens(stage.prompts, self._ruler(stage.model))
        asked = stage.settings
        batch = asked.batch_size or (8 if self._device == "cpu" else 64)
        load = decode(shape, prompts=number, context=context, new=asked.max_new_tokens, batch=batch)
        tokens = number * (context + 2 * asked.max_new_tokens)
        return replace(load + self._reading(shape), disk=TEXT_BYTES * tokens)

    def _count_score(self, stage: ScoreResponses) -> Load:
        answers = stage.responses
        number = self._counter.num_prompts(answers.prompts, stage.judge.axes)
        ruler = self._judge_ruler(stage.judge)
        length = self._prompt_tokens(answers.prompts, ruler)
        length += WRITTEN * answers.settings.max_new_tokens
        return replace(self._judged(stage.judge, number, length), disk=100.0 * number)

    def _count_calibrate(self, stage: Calibrate) -> Load:
        assert stage.prompts.calibration is not None
        part = self._counter.held_out(
            stage.prompts, stage.prompts.calibration, tuple(stage.judge.axes)
        )
        auto = getattr(stage.judge.settings, "rendering", "") == AUTO
        return self._pairs_judged(stage.judge, part, times=1 + len(RENDERINGS) * auto)

    def _count_assess(self, stage: Assess) -> Load:
        assert stage.prompts.validation is not None
        axes = tuple(stage.judge.axes)
        part = self._counter.held_out(stage.prompts, stage.prompts.validation, axes)
        pairs = self._pairs_judged(stage.judge, part, times=1)
        extra = len(axes) * stage.settings.probes * len(PROBES) + 2 * stage.settings.batch_check
        length = self._pair_length(stage.judge, part)
        return pairs + self._judged(stage.judge, extra, length) + Load(seconds=0.1)

    def _count_diagnose(self, stage: Diagnose) -> Load:
        shape, ruler = self._shape(stage.model), self._ruler(stage.model)
        number = float(stage.settings.n * len(stage.prompts.settings.sets))
        context = self._prompt_tokens(stage.prompts, ruler)
        new = WRITTEN * stage.max_new_tokens
        load = decode(shape, prompts=number, context=context, new=new, batch=8)
        load += self._reading(shape)
        whole = context + new
        models = 1 if stage.base is None else 2
        load += forward(
            shape, tokens=models * number * whole, context=whole, scored=models * number * new,
            passes=models * number / 4,
        )  # fmt: skip
        load += self._reading(shape)
        if stage.reference is not None and stage.prompts.validation is not None:
            part = self._counter.held_out(
                stage.prompts,
                stage.prompts.validation,
                [axis.name for axis in stage.prompts.settings.sets],
            )
            load += self._pairs_read(shape, ruler, part) + self._reading(shape)
        return load

    def _count_compare(self, stage: Compare) -> Load:
        number = self._responses(stage)
        return Load(seconds=0.5 + RESPONSE_SECONDS * number / 2, disk=3000.0 * number)

    def _count_preview(self, stage: Preview) -> Load:
        return Load(seconds=0.3 * len(stage.trainings), disk=1e5)

    def _count_report(self, stage: Publish) -> Load:
        number = self._responses(stage.compare)
        seconds = REPORT_SECONDS + RESPONSE_SECONDS * number
        return Load(seconds=seconds, disk=6e6 + 6000.0 * number)

    def _responses(self, stage: Compare) -> float:
        return self._counter.num_prompts(stage.prompts) * len(stage.compared)

    def _judged(self, judge: JudgeSpec, number: float, length: float) -> Load:
        """Count a judge's reading of texts, one by one on a CPU."""
        if judge.model is None:
            return Load(seconds=number * RULE_SECONDS)
        shape = self._shape(judge.model)
        length = min(length, float(getattr(judge.settings, "max_length", None) or length))
        passes = number if self._device == "cpu" else number / 64
        load = forward(shape, tokens=number * length, context=length, passes=passes)
        return load + self._reading(shape)

    def _pairs_judged(self, judge: JudgeSpec, part: Part | None, *, times: int) -> Load:
        number = 2.0 * times * _there(part).rows
        return self._judged(judge, number, self._pair_length(judge, part))

    def _pair_length(self, judge: JudgeSpec, part: Part | None) -> float:
        ruler = self._judge_ruler(judge)
        texts = [prompt + chosen for prompt, chosen, _ in _there(part).sample]
        return _mean(ruler.lengths(texts))

    def _pairs_read(self, shape: ModelShape, ruler: Ruler, part: Part | None) -> Load:
        texts = [prompt + chosen for prompt, chosen, _ in _there(part).sample]
        answers = [chosen for _, chosen, _ in _there(part).sample]
        number, length = 4.0 * _there(part).rows, _mean(ruler.lengths(texts))
        return forward(
            shape, tokens=number * length, context=length, passes=number / 4,
            scored=number * _mean(ruler.lengths(answers)),
        )  # fmt: skip

    def _reading(self, shape: ModelShape) -> Load:
        return Load(seconds=READ_SECONDS, bytes=4.0 * shape.weight_bytes)

    def _part(self, stage: CollectRows) -> Part:
        found = self._counter.part(stage)
        if found is None:
            asked = stage.selection.max_rows
            most = f" (at most {asked})" if asked else ""
            raise Unknown(f"the data isn't on this machine: rows not known{most}")
        return _there(found)

    def _prompt_tokens(self, stage: SelectPrompts, ruler: Ruler) -> float:
        texts = self._counter.prompts(stage)
        if not texts:
            raise Unknown("the data isn't on this machine: prompts not known")
        return _mean(ruler.lengths(texts)) + 1

    def _shape(self, model: JudgeModel) -> ModelShape:
        """Return the shape that a model stage's weights have, from the root of its chain."""
        root = root_of(model)
        if isinstance(root, ScratchModel):
            return shape_of_architecture(root.architecture, vocabulary=root.tokenizer.vocab_size)
        shape = read_shape(place_of(root))
        if shape is None:
            raise Unknown(
                f"{place_of(root)}: its config.json isn't on this machine, or says no size"
            )
        return shape

    def _judge_ruler(self, judge: JudgeSpec) -> Ruler:
        return by_characters() if judge.model is None else self._ruler(judge.model)

    def _ruler(self, model: JudgeModel) -> Ruler:
        root = root_of(model)
        name = root.key if isinstance(root, Stage) else str(place_of(root))
        if name not in self._rulers:
            self._rulers[name] = self._new_ruler(root)
        return self._rulers[name]

    def _new_ruler(self, root: JudgeModel) -> Ruler:
        if not isinstance(root, ScratchModel):
            return ruler_of_folder(place_of(root))
        made = self._store.peek(root.kind, root.key)
        if made is not None:
            return ruler_of_folder(made.folder)
        texts = [text for row in self._part(root.rows).sample for text in row if text]
        return ruler_of_sample(texts, vocabulary=root.tokenizer.vocab_size)


def _there(part: Part | None) -> Part:
    if part is None:
        raise Unknown("the data isn't on this machine")
    if not part.sample:
        raise Unknown("no row of the data could be read")
    return part


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
