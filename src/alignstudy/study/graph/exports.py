"""What a run folder shows, and which stage each part of it comes from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from alignstudy.report.stored import REPORT_DATA, STATISTICS
from alignstudy.study.graph.stage import Stage
from alignstudy.study.run.pieces import Export
from alignstudy.study.stages.compare import Compare
from alignstudy.study.stages.data import SelectPrompts
from alignstudy.study.stages.preview import PREVIEW, Preview
from alignstudy.study.stages.publish import Publish
from alignstudy.study.tools.report import MARKDOWN, REPORT, TABLES, TUNING_TABLES


def model_exports(models: Mapping[tuple[str, int], Stage]) -> list[Export]:
    """Show each model, by recipe and seed: a folder a seed, unless it is the same under all."""
    several = Counter(
        recipe for recipe, _ in {(name, stage.key) for (name, _), stage in models.items()}
    )
    exports = {}
    for (recipe, seed), stage in models.items():
        target = f"models/{recipe}/seed-{seed}" if several[recipe] > 1 else f"models/{recipe}"
        exports[target] = Export(stage=stage, source="", target=target)
    return list(exports.values())


def text_exports(
    prompts: SelectPrompts,
    compare: Compare,
    publish: Publish,
    preview: Preview | None,
    *,
    tuned: bool = False,
) -> list[Export]:
    """Show what people read; of a study that tunes its methods, the trials as well."""
    parts = [
        (prompts, "prompts", "data/prompts"),
        *((compare, name, name) for name in ("responses", "classification", "tables", STATISTICS)),
        (publish, "figures", "figures"),
        (publish, "audit.json", "data/audit.json"),
        *((publish, name, name) for name in (REPORT_DATA, MARKDOWN, REPORT)),
        *((publish, name, name) for name in TUNING_TABLES if tuned),
    ]
    if publish.spent:  # after the tables of Compare, among which they stand
        files = (f"{TABLES}/budget.{ending}" for ending in ("csv", "md"))
        parts += [(publish, name, name) for name in files]
    exports = [Export(stage=stage, source=name, target=target) for stage, name, target in parts]
    if preview is not None:
        exports.append(Export(stage=preview, source=PREVIEW, target="data/preview.md"))
    return exports
