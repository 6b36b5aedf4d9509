"""Hub ids found in the hub's own cache folder, offline, with the commit that they stand for."""

import json
import os
import shutil
import subprocess
import sys

import hub_server
import models_fixtures
import pytest
from data_files import PAIRS, write_jsonl

from alignstudy.errors import NotFetchedError
from alignstudy.sources import Source, resolve

COMMIT, OLD = "a" * 40, "b" * 40


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache that holds owner/tiny at two commits, and owner/rows, a data set."""
    import huggingface_hub.constants as constants

    hub = tmp_path / "hf" / "hub"
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(hub))
    models_fixtures.write_opt_like_hub(tmp_path / "tiny")
    for repository, commits in (("models--owner--tiny", (COMMIT, OLD)),
                                ("datasets--owner--rows", (COMMIT,))):  # fmt: skip
        (hub / repository / "refs").mkdir(parents=True)
        (hub / repository / "refs" / "main").write_text(COMMIT)
        for commit in commits:
            shutil.copytree(tmp_path / "tiny", hub / repository / "snapshots" / commit)
    return hub


def test_a_cached_id_is_its_main_branchs_commit(cache):
    found = resolve(Source(name="owner/tiny", kind="model"), offline=True)
    assert found.commit == COMMIT
    assert found.digest == f"commit:{COMMIT}"
    assert (found.path / "pytorch_model.bin").is_file()


def test_a_revision_is_that_commit(cache):
    source = Source(name="owner/tiny", kind="model", revision=OLD)
    assert resolve(source, offline=True).commit == OLD


def test_data_sets_and_models_are_kept_apart(cache):
    assert resolve(Source(name="owner/rows", kind="dataset"), offline=True).commit == COMMIT
    with pytest.raises(NotFetchedError, match="model 'owner/rows' is not on this machine"):
        resolve(Source(name="owner/rows", kind="model"), offline=True)


def test_a_commit_that_is_not_cached_is_not_replaced_by_another(cache):
    source = Source(name="owner/tiny", kind="model", revision="c" * 40)
    with pytest.raises(NotFetchedError, match="owner/tiny"):
        resolve(source, offline=True)


def test_offline_is_obeyed_whoever_says_it(cache, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(NotFetchedError) as caught:
        resolve(Source(name="owner/absent", kind="model"), offline=False)
    assert "offline" in caught.value.why


# a hub that is there: what is fetched of it, and what it means for a study

CARD = """---
configs:
- config_name: chat
  data_files:
  - {split: train_prefs, path: raw/chat-*.jsonl}
  - {split: test_prefs, path: raw/chat_held_out.jsonl}
- config_name: code
  data_dir: raw
  data_files: [{split: train_prefs, path: code.jsonl}]
---
# Rows
"""
STUDY = {
    "study": "hub", "base": "owner/absent", "data": {"source": "owner/rows"},
    "methods": {"sft": {}}, "recipes": {"base": [], "sft": ["sft"]},
    "judges": [{"use": "length"}],
}  # fmt: skip


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    root = tmp_path_factory.mktemp("hub")
    rows = root / "datasets" / "owner" / "rows"
    made = [PAIRS["pairs"][1](n) for n in range(90)]
    for name, part in (("chat-0", made[:30]), ("chat-1", made[30:50]),
                       ("chat_held_out", made[50:70]), ("code", made[70:])):  # fmt: skip
        write_jsonl(rows / "raw" / f"{name}.jsonl", part)
    (rows / "README.md").write_text(CARD)
    (rows / "huge.bin").write_bytes(b"0")
    with hub_server.serving(root) as (address, fetched):
        yield address, fetched


@pytest.fixture
def call(hub, tmp_path):
    """Call Python, or the command line, with that hub; return what is printed and fetched."""
    address, fetched = hub
    own = {
        "HF_ENDPOINT": address,
        "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(tmp_path / "hf"),
        "ALIGNSTUDY_HOME": str(tmp_path / "home"),
    }

    def called(*words):
        del fetched[:]
        done = subprocess.run(
            [sys.executable, *words], cwd=tmp_path, env=os.environ | own,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done, sorted(fetched)

    return called


def test_of_a_hub_data_set_the_configurations_of_the_study_are_fetched(call):
    study = STUDY | {"data": {"source": "owner/rows", "train": {"subsets": ["chat"]}}}
    done, fetched = call(
        "-c",
        f"""
from alignstudy import Study
from alignstudy.study.settings.locate import resolve_data
study = Study.from_dict({study!r})
print(resolve_data(study.settings, offline=False).commit)
""",
    )
    assert done.stdout.strip() == hub_server.COMMIT, done.stderr
    assert fetched == [
        "README.md", "raw/chat-0.jsonl", "raw/chat-1.jsonl", "raw/chat_held_out.jsonl",
    ]  # fmt: skip


def test_a_run_takes_its_defaults_from_data_that_it_fetched(call, tmp_path):
    """Before, nothing says that the splits are train_prefs and test_prefs."""
    (tmp_path / "s.yaml").write_text(json.dumps(STUDY))
    done, _ = call("-m", "alignstudy", "run", "s.yaml", "--out", "run")
    assert "model 'owner/absent' is not on the hub, or not for you" in done.stderr, done
    resolved = (tmp_path / "run" / "resolved.yaml").read_text()
    assert "train_prefs" in resolved
    assert "test_prefs" in resolved


def test_init_looks_at_a_data_set_of_the_hub(call, tmp_path):
    done, fetched = call("-m", "alignstudy", "init", "--data", "owner/rows", "--path", "s.yaml")
    assert done.returncode == 0, done.stderr
    assert "raw/code.jsonl" in fetched
    assert "read as 'pairs'" in (tmp_path / "s.yaml").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["audit", "owner/none"], "dataset 'owner/none' is not on the hub, or not for you"),
        (["init", "--data", "owner/none"], "dataset 'owner/none' is not on the hub"),
    ],
)
def test_what_the_hub_does_not_have_is_said(words, said, call):
    done, _ = call("-m", "alignstudy", *words)
    assert done.returncode == 2, done.stdout
    assert said in done.stderr


def test_a_revision_that_the_hub_does_not_have_is_said(call):
    done, _ = call(
        "-c",
        """
from alignstudy.sources import Source, resolve
resolve(Source(name="owner/rows", kind="dataset", revision="missing"), offline=False)
""",
    )
    assert "dataset 'owner/rows' has no revision 'missing'" in done.stderr
