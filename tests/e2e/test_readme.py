"""What the README prints is run as printed, in an empty folder, against a hub of tiny models."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import venv
from importlib.metadata import version
from pathlib import Path

import existing_models
import hub_server
import models_fixtures
import pytest
from data_files import PAIRS, write_jsonl

from alignstudy.data import FORMATS
from alignstudy.study.settings.load import settings_of
from alignstudy.study.settings.yaml_file import parse_yaml

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "CONTRIBUTING.md"]


def blocks(page: Path, language: str = "") -> list[str]:
    """Return a page's fenced blocks of a language."""
    text = page.read_text(encoding="utf-8")
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [block for tongue, block in found if tongue == language]


COMMANDS = [
    line.split("  #")[0].strip() for block in blocks(PAGES[0]) for line in block.splitlines()
]
COMMENTED = re.compile(r"^(\s*)# (?=- )", re.MULTILINE)
"""An alternative that a printed study file holds as a comment."""


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A hub that has, by the names that `init` writes, a tiny model and a tiny judge."""
    root = tmp_path_factory.mktemp("hub")
    base = root / "models" / "HuggingFaceTB" / "SmolLM2-135M-Instruct"
    existing_models.write_chat_model(base, context=1024)
    judge = root / "models" / "OpenAssistant" / "reward-model-deberta-v3-large-v2"
    models_fixtures.write_deberta_like_hub(judge, max_position_embeddings=512)
    with hub_server.serving(root) as (address, _):
        yield address


@pytest.fixture(scope="module")
def said(hub, tmp_path_factory):
    """Every command of the README, in its order, in one folder: command -> what it printed."""
    folder = tmp_path_factory.mktemp("newcomer")
    write_jsonl(folder / "my-pairs.jsonl", [PAIRS["pairs"][1](n) for n in range(80)])
    own = {
        "HF_ENDPOINT": hub,
        "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(folder / "hf"),
        "ALIGNSTUDY_HOME": str(folder / "home"),
    }
    found = {}
    for command in COMMANDS:
        program, *words = shlex.split(command)
        if program != "alignstudy":
            continue
        done = subprocess.run(
            [sys.executable, "-m", "alignstudy", *words], cwd=folder, env=os.environ | own,
            capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}: {done.stderr}"
        found[command] = done.stdout + done.stderr
    return folder, found


def test_it_is_short_and_every_command_is_known():
    assert len(README.splitlines()) <= 120
    assert {shlex.split(command)[0] for command in COMMANDS} == {"pip", "alignstudy"}


@pytest.mark.timeout(1200)
def test_three_commands_lead_from_ones_own_rows_to_an_answer(said):
    folder, found = said
    written = (folder / "my-pairs.yaml").read_text()
    assert len(written.splitlines()) == 12
    assert "12 lines" in README
    checked = next(text for command, text in found.items() if "check my-pairs" in command)
    assert "80 rows: 51 to train on, 13 to calibrate the threshold, 16 to evaluate on" in checked
    for recipe in ("base", "sft", "dpo", "sft_dpo"):
        assert recipe in next(t for command, t in found.items() if "show runs/my-pairs" in command)
    assert (folder / "runs" / "my-pairs" / "report.html").is_file()


@pytest.mark.timeout(1200)
def test_the_other_commands_do_what_they_say(said):
    folder, found = said
    assert all(found.values())
    assert (folder / "runs" / "demo" / "report.html").is_file()
    assert (folder / "runs" / "both" / "report.html").is_file()
    assert (folder / "runs" / "again" / "report.html").is_file()
    resolved = (folder / "runs" / "beta-0.2" / "resolved.yaml").read_text()
    assert "beta: 0.2" in resolved


@pytest.mark.timeout(1200)
def test_the_python_that_is_printed_runs(said, tmp_path):
    folder, _ = said
    [program] = blocks(ROOT / "README.md", "python")
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False,
        env=os.environ | {"HF_HOME": str(folder / "hf"), "ALIGNSTUDY_HOME": str(folder / "home")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "sft_dpo" in done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_printed_study_files_are_sound(page):
    own = [text for text in blocks(page, "yaml") if text.startswith("study:")]
    whole = parse_yaml((own or blocks(PAGES[0], "yaml"))[0], page.name)
    for text in blocks(page, "yaml"):
        for shown in {text, COMMENTED.sub(r"\1", text)}:
            part = parse_yaml(shown, page.name)
            if "study" not in part.data:  # a part, to be put into a whole
                data = {**whole.data, **part.data}
                if "axes" in part.data:
                    short = ("thresholds", "claims", "prompts", "calibration", "validation")
                    data = {k: v for k, v in data.items() if k not in short}
                part.data.clear()
                part.data.update(data)
            settings_of(part)


def test_every_format_is_described():
    described = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "data.md").read_text(), re.MULTILINE)
    assert sorted(described) == sorted(FORMATS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (page.parent / target).exists(), target


@pytest.mark.timeout(600)
def test_what_pip_installs_is_whole(tmp_path):
    """The wheel, in an environment that has its dependencies and no source folder."""
    shutil.copytree(ROOT, tmp_path / "clone", ignore=shutil.ignore_patterns(".*", "runs"))
    place = tmp_path / "venv"
    venv.create(place, with_pip=False, symlinks=True)
    wheel = tmp_path / "wheels"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--no-deps"]
    subprocess.run([*pip, "-q", "-w", wheel, tmp_path / "clone"], check=True)
    [built] = wheel.glob("*.whl")
    [target] = place.glob("lib/python*/site-packages")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", target, built],
        check=True,
    )
    [dependencies] = {Path(folder) for folder in sys.path if folder.endswith("site-packages")}
    env = os.environ | {"PYTHONPATH": os.pathsep.join((str(target), str(dependencies)))}
    python = place / "bin" / "python"

    def call(*words):
        done = subprocess.run(
            [python, "-m", "alignstudy", *words], cwd=tmp_path, env=env,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert call("--version").split()[1] == version("alignstudy")
    write_jsonl(tmp_path / "my-pairs.jsonl", [PAIRS["pairs"][1](n) for n in range(60)])
    call("init", "--data", "my-pairs.jsonl")
    assert "settings are sound" in call("check", "my-pairs.yaml")
    where = subprocess.run([python, "-c", "import alignstudy; print(alignstudy.__file__)"],
                           env=env, capture_output=True, text=True, check=True).stdout  # fmt: skip
    assert where.startswith(str(target))
    presets = call("list", "presets")
    assert all(name in presets for name in ("demo", "paper", "hh-small"))
