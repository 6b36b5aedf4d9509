"""The tiny study, run once for all tests that read it or go on from it."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import tiny_study


def pytest_collection_modifyitems(items):
    """Everything here is a whole study: run by `make e2e`, not by `make test`."""
    here = Path(__file__).parent
    for item in items:
        if here in Path(item.path).parents:
            item.add_marker(pytest.mark.e2e)


@dataclass(frozen=True)
class Finished:
    """A finished run of the tiny study.

    Attributes:
        executed: The stages that it ran.
    """

    home: Path
    study: Path
    run: Path
    executed: tuple[str, ...]


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Finished:
    """The tiny study, finished; tests may add artefacts to its home, and change none."""
    root = tmp_path_factory.mktemp("tiny")
    study = tiny_study.write_study(root / "tiny.yaml")
    made = tiny_study.run_here(study, out=root / "run", home=root / "home")
    return Finished(root / "home", study, root / "run", made.executed)
