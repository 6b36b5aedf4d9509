"""What `verify` says of sources; what it says of whole runs is tested on one, in e2e."""

import hashlib
import json

import pytest

from alignstudy.errors import InputError, LockHeldError
from alignstudy.sources import digest_of
from alignstudy.study.run.run_folder import PROVENANCE, RunFolder
from alignstudy.study.run.store import Store
from alignstudy.study.tools.verify import verify

COMMIT = "c" * 40


@pytest.fixture
def verified(tmp_path):
    """Verify a run folder that names one source."""

    def of(name, *, commit=None, digest="", role="base"):
        folder = RunFolder(path=tmp_path / "run")
        sources = {role: {"name": str(name), "commit": commit, "digest": digest}}
        with folder.locked():
            folder.write(PROVENANCE, json.dumps({"sources": sources}))
        return verify(folder.path, store=Store(tmp_path / "home"))

    return of


def test_a_source_that_was_edited_is_found(verified, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rows.jsonl").write_text("{}")
    digest = digest_of(tmp_path / "data")
    assert verified(tmp_path / "data", digest=digest).findings == []
    (tmp_path / "data" / "rows.jsonl").write_text("[]")
    (finding,) = verified(tmp_path / "data", digest=digest).findings
    assert "changed since the run read it" in finding.why


def test_a_source_that_is_no_longer_there_is_told(verified, tmp_path):
    found = verified(tmp_path / "gone")
    assert (found.findings, len(found.elsewhere)) == ([], 1)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_file_of_the_hubs_cache_that_was_overwritten_is_found(
    verified, tmp_path, monkeypatch, name
):
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    repository = tmp_path / "hub" / "models--owner--tiny"
    snapshot = repository / "snapshots" / COMMIT
    for folder in (snapshot, repository / "blobs"):
        folder.mkdir(parents=True)
    content = b"{}"
    blobs = {"config.json": hashlib.sha1(b"blob 2\0" + content).hexdigest(),
             "model.safetensors": hashlib.sha256(content).hexdigest()}  # fmt: skip
    for file, blob in blobs.items():
        (repository / "blobs" / blob).write_bytes(content)
        (snapshot / file).symlink_to(f"../../blobs/{blob}")
    found = verified("owner/tiny", commit=COMMIT)
    assert (found.findings, found.sources) == ([], 1)
    (snapshot / name).resolve().write_bytes(b"[]")
    (finding,) = verified("owner/tiny", commit=COMMIT).findings
    assert finding.where.endswith(name)


def test_what_is_no_run_is_refused_and_one_at_work_is_left_alone(tmp_path):
    with pytest.raises(InputError, match="holds no alignstudy run"):
        verify(tmp_path)
    folder = RunFolder(path=tmp_path / "run")
    with folder.locked():
        folder.write(PROVENANCE, "{}")
        with pytest.raises(LockHeldError):
            verify(folder.path)
