"""What a study file leaves out and something else in it decides."""

from __future__ import annotations

from typing import Any

from alignstudy.data.select.prompt_settings import filled_in
from alignstudy.generation.settings import NEW_TOKENS
from alignstudy.study.settings.own_data import with_own_defaults


def whole_study(given: dict[str, Any]) -> dict[str, Any]:
    """Fill in how long responses may be, and the prompts of the axes that are listed."""
    if isinstance(given.get("data"), str):
        given = {**given, "data": {"source": given["data"]}}
    given = with_own_defaults(given)
    whole, prompts, asked = {**given}, given.get("prompts", {}), given.get("generation", {})
    protocol = prompts.get("protocol", "rigorous") if isinstance(prompts, dict) else ""
    if isinstance(asked, dict) and isinstance(prompts, dict):
        cap = NEW_TOKENS.get(str(protocol), NEW_TOKENS["rigorous"])
        whole["generation"] = {"max_new_tokens": cap, **asked}
    if isinstance(given.get("axes"), dict):
        axes = {key: {} if each is None else each for key, each in given["axes"].items()}
        named = {key: each for key, each in axes.items() if isinstance(each, dict)}
        filled = filled_in({key: each.get("prompts", {}) for key, each in named.items()}, protocol)
        changed = {key: {**each, "prompts": filled[key]} for key, each in named.items()}
        whole["axes"] = {**axes, **changed}
    return whole
