"""From settings to stages: which there are, what each reads, what the run folder shows."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from alignstudy.methods import TrainingSettings, method_of
from alignstudy.methods.online.settings import OnlineSettings
from alignstudy.methods.preference import PairSettings
from alignstudy.study.graph.budgeting import budget_stages, spent
from alignstudy.study.graph.comparing import compare_stage
from alignstudy.study.graph.exports import model_exports, text_exports
from alignstudy.study.graph.judging import JudgeStages
from alignstudy.study.graph.recipes import RecipeStages
from alignstudy.study.graph.rounds import RoundStages
from alignstudy.study.graph.stage import Stage
from alignstudy.study.graph.tuning import TuningStages
from alignstudy.study.run.pieces import Export
from alignstudy.study.settings.judges import JudgeEntry
from alignstudy.study.settings.locate import Located
from alignstudy.study.settings.own_data import WORLD
from alignstudy.study.settings.recipes import AnyRecipe, ExistingModel
from alignstudy.study.settings.study import StudySettings
from alignstudy.study.settings.template import template_for
from alignstudy.study.stages.base_models import ImportModel, ScratchModel
from alignstudy.study.stages.data import (
    KINDS,
    RATED,
    TRAIN,
    TRAINING_PARTS,
    CollectRows,
    DataSource,
    SelectPrompts,
    WriteWorld,
)
from alignstudy.study.stages.preview import Preview
from alignstudy.study.stages.publish import ChainEnd, Publish
from alignstudy.study.stages.rounds import SAMPLED
from alignstudy.study.stages.score import JudgeModel, JudgeSpec
from alignstudy.study.stages.sources import RowSource
from alignstudy.study.stages.train import Train


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A study's stages, by what they end in, and the run folder's exports."""

    exports: tuple[Export, ...]
    preview: Preview | None
    prompts: SelectPrompts
    parts: tuple[CollectRows, ...]

    @property
    def goals(self) -> tuple[Stage, ...]:
        """The stages whose artefacts the run folder shows."""
        return tuple({export.stage.key: export.stage for export in self.exports}.values())


def build(
    settings: StudySettings, located: Located, device_class: str, folder: Path | None = None
) -> Graph:
    """Build the graph of a study.

    Args:
        settings: The study.
        located: Its sources.
        device_class: "cpu", or the accelerator's name: part of every numeric stage's key.
        folder: Of the study file; None for a preset.
    """
    return _Builder(settings, located, device_class, folder).graph()


@dataclass
class _Builder:
    """Makes each stage once."""

    settings: StudySettings
    located: Located
    device_class: str
    folder: Path | None = None
    parts: dict[str, CollectRows] = field(default_factory=dict)
    ends: dict[str, ChainEnd] = field(default_factory=dict)

    def graph(self) -> Graph:
        settings = self.settings
        self.template = template_for(settings, self.folder)
        world = WriteWorld(name="world", settings=settings.data.world)
        drawn = settings.data.source == WORLD
        self.source: DataSource = world if drawn else self.located.found["data"]
        self.prompts = self._prompts()
        self.base = self._base()
        self.judging = self._judges()
        self.made = self._recipes()
        models = {
            (recipe, seed): self._model(recipe, given, seed)
            for recipe, given in settings.recipes.items()
            for seed in settings.seeds
        }
        compare = compare_stage(
            settings,
            self.located,
            models,
            made=self.made,
            judging=self.judging,
            training=tuple(self.parts[part] for part in TRAINING_PARTS if part in self.parts),
            template=self.template,
        )
        preview = self.made.preview()
        parts, tuning = tuple(self.parts.values()), self.made.tuning
        tuned = () if tuning is None else tuple(tuning.choices.values())
        publish = Publish(
            name="report",
            study=self.settings,
            compare=compare,
            prompts=self.prompts,
            parts=parts,
            built=tuple(self.made.rounds.built.values()),
            trainings=tuple(self.ends.values()),
            computed=tuple(s for s in self.made.computed.values() if not s.in_trial),
            tuned=tuned,
            preview=preview,
            spent=spent(self.made.budget, settings.recipes, models),
            sources={role: source.digest for role, source in self.located.found.items()},
            absent=tuple(f"{name}: {why}" for name, why in self.located.absent.items()),
        )
        trained = {judge.name: self._judge(judge) for judge in settings.judges if judge.train}
        exports = (
            *model_exports(models),
            *(  # folders that another study can name
                Export(stage=stage, source="", target=f"judges/{name}")
                for name, stage in trained.items()
                if isinstance(stage, Stage)
            ),
            *text_exports(self.prompts, compare, publish, preview, tuned=bool(tuned)),
        )
        return Graph(exports=exports, preview=preview, prompts=self.prompts, parts=parts)

    def _prompts(self) -> SelectPrompts:
        settings = self.settings
        return SelectPrompts(
            name="prompts",
            source=self.source,
            reading=settings.whole_reading,
            settings=settings.asked,
            files={
                axis.name: self.located.found[f"prompts/{axis.name}"]
                for axis, chosen in settings.asked.sets.items()
                if chosen.file is not None
            },
            calibrated=settings.calibrated,
            calibration=settings.calibration if settings.calibrated else None,
            validation=settings.validation,
        )

    def _recipes(self) -> RecipeStages:
        settings, tune, tuning = self.settings, self.settings.tune, None
        rounds = RoundStages(
            device_class=self.device_class,
            template=self.template,
            rows=lambda: self._rows(TRAIN),
            judging=self.judging,
            train=self._train,
        )
        if tune is not None:
            tuning = TuningStages(settings=settings, tune=tune, rounds=rounds, judging=self.judging)
        return RecipeStages(
            settings=settings,
            device_class=self.device_class,
            base=self.base,
            budget=budget_stages(self.settings),
            rounds=rounds,
            ends=self.ends,
            tuning=tuning,
        )

    def _rows(self, part: str) -> CollectRows:
        """Return the stage that collects one part of the data."""
        if part not in self.parts:
            data, scratch = self.settings.data, self.settings.base.scratch
            selections = dict.fromkeys(TRAINING_PARTS, data.train)
            selections |= {f"judge-{j.name}": j.train.rows for j in self.settings.judges if j.train}
            if scratch is not None:
                selections["pretrain"] = scratch.rows
            self.parts[part] = CollectRows(
                name=f"rows/{part}",
                source=self.source,
                reading=self.settings.reading
                if part in TRAINING_PARTS
                else self.settings.whole_reading,
                selection=selections[part],
                rows=KINDS.get(part, "pairs"),
                part=part,
                prompts=self.prompts,
                keep_overlap=data.overlap == "keep",
            )
        return self.parts[part]

    def _base(self) -> Stage:
        scratch = self.settings.base.scratch
        if scratch is None:
            return self._imported("base", "base")
        shape = ScratchModel(
            name="base/shape",
            architecture=scratch.architecture,
            tokenizer=scratch.tokenizer,
            rows=self._rows("pretrain"),
        )
        base = self._train(
            "base", "pretrain", scratch.pretrain, shape, scratch.seed, part="pretrain"
        )
        self.ends[base.key] = ChainEnd(recipe="base", stage=base)
        return base

    def _imported(self, name: str, role: str) -> ImportModel:
        return ImportModel(
            name=name,
            device_class=self.device_class,
            source=self.located.found[role],
            dtype=self.settings.base.dtype,
        )

    def _train(
        self,
        name: str,
        label: str,
        method: TrainingSettings,
        parent: Stage,
        seed: int,
        *,
        part: str = "",
        rows: RowSource | None = None,
        reference: Stage | None = None,
        rewards: tuple[JudgeSpec, ...] = (),
    ) -> Train:
        """Return a training on rows, or a part of the data; "": on that which recipes train on."""
        if method_of(method).reference == "start" and parent is not self.base:
            reference = self.base
        part = part or (RATED if method_of(method).rows == "rated" else TRAIN)
        probed = isinstance(method, PairSettings) and method.probe_pairs > 0
        apart = self.settings.data.overlap == "exclude"  # else training may see held-out pairs
        return Train(
            name=name,
            device_class=self.device_class,
            label=label,
            settings=method,
            parent=parent,
            reference=reference,
            rows=rows or self._rows(part),
            held_out=self.prompts if probed and apart else None,
            seed=seed,
            template=self.template,
            rewards=rewards or self._rewards(method),
        )

    def _rewards(self, method: TrainingSettings) -> tuple[JudgeSpec, ...]:
        """Return the judges of the study whose scores a method learns while it trains."""
        if not isinstance(method, OnlineSettings):
            return ()
        return self.judging.rewarding(method, axis=SAMPLED)

    def _model(self, recipe: str, given: AnyRecipe, seed: int) -> Stage:
        """Return a compared model; one that isn't trained here is the same under every seed."""
        if isinstance(given, ExistingModel):
            return self._imported(f"import/{recipe}", f"recipe/{recipe}")
        return self.made.model(recipe, given, seed)

    def _judges(self) -> JudgeStages:
        judges = [each for each in self.settings.judges if each.name not in self.located.absent]
        return JudgeStages(
            settings=self.settings,
            prompts=self.prompts,
            device_class=self.device_class,
            judges=tuple((judge, self._judge(judge)) for judge in judges),
            folder=self.folder,
        )

    def _judge(self, judge: JudgeEntry) -> JudgeModel:
        """Return a judge's weights: from its source, trained here, or none for a rule."""
        if judge.train is None:
            return self.located.found.get(f"judge/{judge.name}")
        part = f"judge-{judge.name}"
        shape = ScratchModel(
            name=f"judge/{judge.name}/shape",
            architecture=judge.train.architecture,
            tokenizer=judge.train.tokenizer,
            rows=self._rows(part),
        )
        name, settings = f"judge/{judge.name}", judge.train.reward_model
        stage = self._train(name, judge.name, settings, shape, judge.train.seed, part=part)
        self.ends[stage.key] = ChainEnd(recipe=f"judge {judge.name}", stage=stage)
        return stage
