"""What is wrong with the published protocol, as far as it is known.

The paper protocol repeats the published study (arXiv:2509.09055) to the letter so that its numbers
can be checked; none of its defects is fixed silently, all are named in every report that uses it.
Their words are in `templates/known_defects.yaml`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from ruamel.yaml import YAML

from alignstudy.report.text.words import setting

_ENOUGH_PROMPTS = 200
_LOW_CAP = 64


@dataclass(frozen=True, kw_only=True)
class Defect:
    """A known defect of the published protocol.

    Attributes:
        name: A few words.
        what: What is done.
        effect: What it does to the numbers.
    """

    name: str
    what: str
    effect: str


def known_defects(settings: Mapping[str, Any], *, num_prompts: int) -> tuple[Defect, ...]:
    """Return the defects that a study under the paper protocol has.

    Those that a study can avoid by its settings are left out where it does; of a study without
    settings (ratings read from a folder) all are given.

    Args:
        settings: The study as resolved; {} if there is none.
        num_prompts: Prompts of the larger axis.
    """
    holds = {name: not settings or test(settings) for name, test in _CONDITIONS.items()}
    holds["few prompts"] = num_prompts < _ENOUGH_PROMPTS
    file = files("alignstudy.report.html").joinpath("templates/known_defects.yaml")
    found = YAML(typ="safe").load(file.read_text(encoding="utf-8"))
    return tuple(
        Defect(name=item["name"], what=item["what"], effect=item["effect"])
        for item in found
        if "if" not in item or holds[item["if"]]
    )


def _dropout_is_kept(settings: Mapping[str, Any]) -> bool:
    methods = setting(settings, "methods")
    kept = (m["method"] == "dpo" and m.get("dropout") == "keep" for m in (methods or {}).values())
    return methods is None or any(kept)


_CONDITIONS: dict[str, Callable[[Mapping[str, Any]], bool]] = {
    "few new tokens": lambda study: (setting(study, "generation.max_new_tokens") or 0) <= _LOW_CAP,
    "thresholds by hand": lambda study: not setting(study, "thresholds.calibrated"),
    "judge of the same preferences": lambda study: (
        "openassistant/reward-model" in str(setting(study, "judges")).lower()
    ),
    "one seed": lambda study: len(setting(study, "seeds") or ()) < 2,
    "dropout kept": _dropout_is_kept,
}
