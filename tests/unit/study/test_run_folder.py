"""The run folder: what was placed is known, only that is removed, and no link is followed."""

import json
import os
from itertools import count

import pytest

from alignstudy.errors import DamagedArtefactError, InputError
from alignstudy.runtime.sealed import unsealed
from alignstudy.study.results import Run
from alignstudy.study.run.manifest import MANIFEST
from alignstudy.study.run.pieces import text_piece
from alignstudy.study.run.publishing import StudyTexts
from alignstudy.study.run.run_folder import PROVENANCE, RunFolder

OLD = {"tables/metrics.csv": "old", "models/sft/config.json": "{}", "models/dpo/config.json": "{}"}
NEW = {"tables/metrics.csv": "new", "models/sft/config.json": "{}"}


def place(folder, texts, study="s", instead=("",)):
    pieces = [text_piece(name, text, of="toy/k") for name, text in texts.items()]
    with folder.locked():
        return folder.place(pieces, study=study, instead=instead)


def files(folder):
    return {
        path.relative_to(folder.path).as_posix(): path.read_text()
        for path in folder.path.rglob("*")
        if path.is_file() and path.name not in {MANIFEST, ".lock"}
    }


@pytest.fixture
def folder(tmp_path):
    return RunFolder(path=tmp_path / "run")


@pytest.fixture
def shared(tmp_path):
    """Models that other people work with."""
    (tmp_path / "shared" / "theirs").mkdir(parents=True)
    (tmp_path / "shared" / "theirs" / "model.safetensors").write_text("weights")
    (tmp_path / "shared" / "sft").mkdir()
    (tmp_path / "shared" / "sft" / "model.safetensors").write_text("weights")
    return tmp_path / "shared"


def all_of(shared):
    return sorted(path.relative_to(shared).as_posix() for path in shared.rglob("*"))


def test_what_is_no_longer_shown_goes_and_nothing_else(folder):
    place(folder, OLD)
    (folder.path / "models" / "notes.txt").write_text("mine")
    (folder.path / "models" / "mine").mkdir()
    (folder.path / "models" / "mine" / "config.json").write_text("mine")
    assert place(folder, NEW, study="t") == []
    assert files(folder) == {**NEW, "models/notes.txt": "mine", "models/mine/config.json": "mine"}
    assert not (folder.path / "models" / "dpo").exists(), "folders that it emptied go as well"


def test_what_was_edited_is_told_and_nothing_of_it_is_removed(folder):
    place(folder, OLD)
    (folder.path / "models/dpo/config.json").write_text("mine")
    (folder.path / "tables/metrics.csv").write_text("mine")
    notes = place(folder, NEW)
    assert [note.split(": ")[-1] for note in notes] == ["placed anew", "left as it is"]
    assert files(folder) == {**NEW, "models/dpo/config.json": "mine"}


def test_only_some_stages_leave_the_rest(folder):
    place(folder, OLD)
    place(folder, {"models/sft/config.json": "other"}, study="t", instead=("models/sft",))
    assert files(folder) == {**OLD, "models/sft/config.json": "other"}
    assert "several settings" in folder.standing()


@pytest.mark.parametrize("link", ["models", "models/sft", "models/sft/model.safetensors"])
def test_b1_nothing_is_written_or_removed_behind_a_link(folder, shared, link):
    before = all_of(shared)
    models = {f"models/{name}/model.safetensors": "ours" for name in ("sft", "dpo")}
    (folder.path / link).parent.mkdir(parents=True)
    target = shared / link.removeprefix("models").lstrip("/")
    (folder.path / ".lock").touch()
    (folder.path / link).symlink_to(target)
    with pytest.raises(InputError, match="can't be placed") as caught:
        place(folder, models)
    assert "is a link" in caught.value.why
    assert all_of(shared) == before
    assert {path.read_text() for path in shared.rglob("*.safetensors")} == {"weights"}
    (folder.path / link).unlink()
    assert place(folder, models) == []


def test_b1_what_was_placed_before_a_link_took_its_place_is_not_removed_there(folder, shared):
    (shared / "dpo").mkdir()
    (shared / "dpo" / "config.json").write_text("{}")
    place(folder, OLD)
    for path in sorted((folder.path / "models" / "dpo").iterdir()):
        path.unlink()
    (folder.path / "models" / "dpo").rmdir()
    (folder.path / "models" / "dpo").symlink_to(shared / "dpo")
    before = all_of(shared)
    notes = place(folder, NEW)
    assert "left as it is" in notes[0]
    assert all_of(shared) == before


@pytest.mark.parametrize("target", ["gone", "../shared", "."])
def test_c22_links_beside_our_files_are_left_alone(folder, shared, target):
    place(folder, OLD)
    (folder.path / "models" / "old").symlink_to(target)
    before = all_of(shared)
    place(folder, NEW)
    assert str((folder.path / "models" / "old").readlink()) == target
    assert all_of(shared) == before


def test_b3_what_a_kill_left_half_written_is_swept_by_the_next_run(folder):
    place(folder, OLD)
    left = [folder.path / ".study.yaml.alignstudy-0123abcd",
            folder.path / "models" / "sft" / ".config.json.alignstudy-00000000"]  # fmt: skip
    mine = folder.path / ".study.yaml.swp"
    for path in (*left, mine):
        path.write_text("half")
    place(folder, OLD)
    assert [path.exists() for path in (*left, mine)] == [False, False, True]


@pytest.mark.parametrize("after", [False, True])
def test_a_kill_at_any_write_leaves_what_the_next_run_finishes(tmp_path, monkeypatch, after):
    """Whatever was placed or about to be is known: nothing of it lies there for ever."""

    class Killed(BaseException):
        pass

    real, numbers = os.replace, count(1)
    for at in numbers:
        folder = RunFolder(path=tmp_path / f"run-{at}")
        place(folder, OLD)
        done = count(1)

        def replace(source, target, at=at, done=done):
            number = next(done)
            if number == at and not after:
                raise Killed
            real(source, target)
            if number == at:
                raise Killed

        monkeypatch.setattr(os, "replace", replace)
        try:
            place(folder, NEW, study="t")
        except Killed:
            pass
        else:
            break
        finally:
            monkeypatch.setattr(os, "replace", real)
        place(folder, {"other": "x"}, study="u")
        assert files(folder) == {"other": "x"}, f"after a kill at write {at}"
        assert folder.standing() == ""
    assert at > 3


def test_a_damaged_manifest_is_told_and_made_anew(folder):
    place(folder, OLD)
    (folder.path / MANIFEST).write_text("{")
    with pytest.raises(DamagedArtefactError):
        folder.check("tables")
    notes = place(folder, NEW)
    assert "written anew, and nothing was removed" in notes[0]
    assert files(folder) == {**OLD, **NEW}
    assert unsealed((folder.path / MANIFEST).read_bytes())["kind"] == "run"


def test_an_empty_folder_in_a_files_place_gives_way_a_full_one_does_not(folder):
    place(folder, OLD)
    path = folder.path / "tables" / "metrics.csv"
    path.unlink()
    (path / "empty").mkdir(parents=True)
    place(folder, OLD)
    assert path.read_text() == "old"


# what readers are told


def test_a12_results_of_former_settings_are_said_to_be_stale(folder):
    first = StudyTexts(digest="s", files={"resolved.yaml": "beta: 0.1"})
    with folder.locked():
        first.place_first(folder)
        folder.place(
            [*first.pieces, text_piece("statistics.json", "{}", of="compare/k")], study="s"
        )
        folder.write(PROVENANCE, json.dumps({"settings_sha256": "s", "status": "complete"}))
    assert folder.standing() == ""
    second = StudyTexts(digest="t", files={"resolved.yaml": "beta: 0.2"})
    with folder.locked():
        second.place_first(folder)
        folder.write(PROVENANCE, json.dumps({"settings_sha256": "t", "status": "failed"}))
    assert (folder.path / "resolved.yaml").read_text() == "beta: 0.1", "of the results"
    assert "stale" in folder.standing()
    assert "failed" in Run.open(folder.path).standing
    with folder.locked():
        folder.place(
            [*second.pieces, text_piece("statistics.json", "[]", of="compare/l")], study="t"
        )
    assert folder.standing() == ""


def test_settings_are_there_at_once_where_no_results_of_others_are(folder):
    for digest, text in (("s", "beta: 0.1"), ("t", "beta: 0.2")):
        with folder.locked():
            StudyTexts(digest=digest, files={"resolved.yaml": text}).place_first(folder)
        assert (folder.path / "resolved.yaml").read_text() == text


@pytest.mark.parametrize("name", ["statistics.json", "tables/metrics.csv", "responses/a.json"])
@pytest.mark.parametrize("harm", ["flip", "cut", "remove", "link"])
def test_what_was_changed_is_not_read(folder, tmp_path, name, harm):
    texts = {"statistics.json": '{"verdicts": []}', "tables/metrics.csv": "model\na\n",
             "responses/a.json": "[]"}  # fmt: skip
    place(folder, texts)
    with folder.locked():
        folder.write(PROVENANCE, "{}")
    run, path = Run.open(folder.path), folder.path / name
    readers = {"statistics.json": lambda: run.statistics, "tables/metrics.csv": run.table,
               "responses/a.json": run.responses}  # fmt: skip
    raw = path.read_bytes()
    if harm == "flip":
        path.write_bytes(bytes([raw[0] ^ 1]) + raw[1:])
    elif harm == "cut":
        path.write_bytes(raw[:-1])
    else:
        path.rename(tmp_path / "aside")
        if harm == "link":
            path.symlink_to(tmp_path / "aside")
    with pytest.raises(DamagedArtefactError) as caught:
        readers[name]()
    assert "placed anew" in caught.value.hint
    for other in readers.keys() - {name}:
        readers[other]()


def test_a_run_of_an_earlier_version_is_read_and_said_to_be_unchecked(folder):
    folder.path.mkdir()
    (folder.path / PROVENANCE).write_text("{}")
    (folder.path / "statistics.json").write_text('{"verdicts": []}')
    run = Run.open(folder.path)
    assert run.statistics == {"verdicts": []}
    assert "no manifest" in run.standing
