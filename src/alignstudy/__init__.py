"""Which way of aligning a small language model is really better?

Example:
    >>> from alignstudy import Study  # doctest: +SKIP
    >>> run = Study.load("demo").run()
    >>> run.table("metrics")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from alignstudy.version import __version__

if TYPE_CHECKING:
    from alignstudy.errors import AlignstudyError
    from alignstudy.study.api import Study
    from alignstudy.study.results import Run
    from alignstudy.study.tools.compare import compare
    from alignstudy.study.tools.evaluate import evaluate
    from alignstudy.study.tools.report import rebuild
    from alignstudy.study.tools.verify import verify

__all__ = [
    "AlignstudyError",
    "Run",
    "Study",
    "__version__",
    "compare",
    "evaluate",
    "rebuild",
    "verify",
]

_HOMES = {
    "AlignstudyError": "alignstudy.errors",
    "Run": "alignstudy.study.results",
    "Study": "alignstudy.study.api",
    "compare": "alignstudy.study.tools.compare",
    "evaluate": "alignstudy.study.tools.evaluate",
    "rebuild": "alignstudy.study.tools.report",
    "verify": "alignstudy.study.tools.verify",
}


def __dir__() -> list[str]:
    return [*__all__]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - the public names, imported when first used
    if name not in _HOMES:
        raise AttributeError(f"module 'alignstudy' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)
