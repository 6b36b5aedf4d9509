"""What every test stands on: no network, one thread, a private home."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("MPLBACKEND", "Agg")

from pathlib import Path

import hypothesis
import pytest

# A busy machine is slow, not wrong: no law here is about time. Few examples each run, other ones
# every time.
hypothesis.settings.register_profile("bounded", deadline=None, max_examples=25)
hypothesis.settings.load_profile("bounded")

REPOSITORY = Path(__file__).resolve().parents[1]

# Processes that tests start import the builders of models and studies, too.
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(REPOSITORY / "tests" / "fixtures"), os.environ.get("PYTHONPATH", "")])
)


def _shared(variable: str, name: str) -> Path:
    return Path(os.environ.get(variable, REPOSITORY.parent / "shared" / "data" / name))


@pytest.fixture(autouse=True)
def private_home(tmp_path_factory, monkeypatch):
    """Nothing that a test stores is seen by another test or by the user."""
    monkeypatch.setenv("ALIGNSTUDY_HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture(autouse=True)
def one_core(monkeypatch):
    """`workers: auto` is one process, in which a test can patch what stages do."""
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0}, raising=False)


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """One thread: repeatable, and faster for models this small."""
    import sys

    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture
def without_figures(request, monkeypatch):
    """Draw no figures: for modules that make many reports to read their words and numbers.

    A test of such a module that looks at figures is marked `draws`.
    """
    if request.node.get_closest_marker("draws") is None:
        monkeypatch.setattr("alignstudy.study.tools.report.write_figures", lambda *_, **__: ())


@pytest.fixture(scope="session")
def hh_dir() -> Path:
    """The real HH-RLHF test splits."""
    folder = _shared("ALIGNSTUDY_HH_DIR", "hh-rlhf")
    if not folder.is_dir():
        pytest.skip(f"no real HH-RLHF rows in {folder} (set ALIGNSTUDY_HH_DIR)")
    return folder


@pytest.fixture(scope="session")
def paper_dir() -> Path:
    """The published prompts, responses and ratings."""
    folder = _shared("ALIGNSTUDY_PAPER_DIR", "paper")
    if not folder.is_dir():
        pytest.skip(f"no published responses in {folder} (set ALIGNSTUDY_PAPER_DIR)")
    return folder


@pytest.fixture(scope="session")
def cases_dir() -> Path:
    """Small inputs that failed once."""
    default = REPOSITORY.parent / "shared" / "cases"
    folder = Path(os.environ.get("ALIGNSTUDY_CASES_DIR", default))
    if not folder.is_dir():
        pytest.skip(f"no inputs that failed once in {folder} (set ALIGNSTUDY_CASES_DIR)")
    return folder
