"""Hub ids found in the hub's own cache folder, offline, with the commit that they stand for."""

import shutil

import models_fixtures
import pytest

from alignstudy.errors import NotFetchedError
from alignstudy.sources import MODEL_PATTERNS, Source, resolve

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
    found = resolve(Source(name="owner/tiny", kind="model"), offline=True, patterns=MODEL_PATTERNS)
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
