"""Checkpoints: only what is sealed and unchanged is ever gone on from."""

import json

import pytest

from alignstudy.methods.loop import checkpoints
from alignstudy.methods.loop.checkpoints import SEAL, newest_step, newest_verified, rotate, seal


@pytest.fixture
def work(tmp_path):
    for step in (10, 20):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"weights %d" % step)
        (folder / "optimizer.pt").write_bytes(b"moments %d" % step)
        (folder / "empty").write_bytes(b"")
        seal(folder, digest="d", step=step, num_tokens=step * 100, seconds=step / 2)
    return tmp_path


def test_newest_sealed_checkpoint_is_found_with_its_record(work):
    found, notes = newest_verified(work, digest="d")
    assert (found.step, found.num_tokens, found.seconds) == (20, 2000, 10.0)
    assert found.folder == work / "checkpoint-20"
    assert notes == ()


def test_a_checkpoint_cut_short_is_deleted_and_the_one_before_taken(work):
    (work / "checkpoint-20" / SEAL).unlink()
    found, _ = newest_verified(work, digest="d")
    assert found.step == 10
    assert not (work / "checkpoint-20").exists()


FAULTS = [
    (name, fault)
    for name in ("model.safetensors", "optimizer.pt", SEAL)
    for fault in ("flip", "cut")
] + [("model.safetensors", "delete"), ("empty", "delete")]


@pytest.mark.parametrize(("name", "fault"), FAULTS)
def test_every_damage_is_seen_and_set_aside(work, name, fault):
    file = work / "checkpoint-20" / name
    content = bytearray(file.read_bytes())
    if fault == "flip":
        content[3] ^= 1
        file.write_bytes(content)
    elif fault == "cut":
        file.write_bytes(content[: len(content) // 2])
    else:
        file.unlink()
    found, notes = newest_verified(work, digest="d")
    assert found.step == 10
    assert "step 20 not used" in notes[0]
    assert not (work / "checkpoint-20").exists()


def test_a_file_that_nobody_wrote_counts_as_damage(work):
    (work / "checkpoint-20" / "extra.pt").write_bytes(b"?")
    assert newest_verified(work, digest="d")[0].step == 10


def test_checkpoints_of_another_job_are_never_used(work):
    found, notes = newest_verified(work, digest="other")
    assert found is None
    assert len(notes) == 2
    assert {p.name for p in work.iterdir()} == {
        "checkpoint-20.other-job",
        "checkpoint-10.other-job",
    }


def test_checkpoints_of_other_library_versions_are_not_used(work, monkeypatch):
    monkeypatch.setattr(checkpoints, "_versions", lambda: {"torch": "0"})
    found, notes = newest_verified(work, digest="d")
    assert found is None
    assert "was written by" in notes[0]


def test_a_second_damage_of_one_step_replaces_the_first(work):
    (work / "checkpoint-20.damaged").mkdir()
    (work / "checkpoint-20" / "optimizer.pt").write_bytes(b"x")
    assert newest_verified(work, digest="d")[0].step == 10
    assert (work / "checkpoint-20.damaged" / "optimizer.pt").read_bytes() == b"x"


def test_rotation_keeps_the_newest_and_numbers_are_not_sorted_as_words(work):
    folder = work / "checkpoint-100"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"w")
    seal(folder, digest="d", step=100, num_tokens=1, seconds=1.0)
    rotate(work)
    assert {p.name for p in work.iterdir()} == {"checkpoint-100", "checkpoint-20"}
    assert newest_step(work) == 100


def test_no_folder_and_an_empty_one_have_no_checkpoint(tmp_path):
    assert newest_verified(tmp_path / "none", digest="d") == (None, ())
    assert newest_verified(tmp_path, digest="d") == (None, ())
    assert newest_step(tmp_path) is None


def test_seal_names_every_file_with_size_and_hash(work):
    record = json.loads((work / "checkpoint-10" / SEAL).read_text())
    assert set(record["files"]) == {"model.safetensors", "optimizer.pt", "empty"}
    assert record["files"]["empty"]["size"] == 0
    assert {"torch", "trl"} <= set(record["versions"])


def test_a9_no_flipped_bit_of_a_seal_is_believed(work):
    raw = (work / "checkpoint-20" / SEAL).read_bytes()
    for place in range(0, len(raw), 5):
        changed = bytearray(raw)
        changed[place] ^= 1 << (place % 8)
        (work / "checkpoint-20" / SEAL).write_bytes(changed)
        found, notes = newest_verified(work, digest="d")
        assert found.step == 10
        assert "step 20 not used" in notes[0]
        aside = next(path for path in work.iterdir() if path.name.startswith("checkpoint-20."))
        aside.rename(work / "checkpoint-20")


def test_a_checkpoint_in_anothers_place_is_not_used(work):
    (work / "checkpoint-20").rename(work / "checkpoint-30")
    found, notes = newest_verified(work, digest="d")
    assert found.step == 10
    assert "it is that of step 20" in notes[0]
