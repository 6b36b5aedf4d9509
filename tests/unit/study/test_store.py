"""The store: complete and verified, or absent."""

import os

import pytest

from alignstudy.errors import DamagedArtefactError, EnvironmentFault
from alignstudy.runtime.sealed import sealed, unsealed
from alignstudy.study.cost.estimate import History
from alignstudy.study.run.store import MANIFEST, Store


def put(store, key="k1", text="hello"):
    with store.writing("toy", key) as fresh:
        (fresh / "a.txt").write_text(text)
        (fresh / "deep").mkdir()
        (fresh / "deep" / "b.bin").write_bytes(bytes(range(256)))
        return store.commit(fresh, "toy", key, fingerprint_inputs={"x": 1}, facts={"seconds": 1})


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "home")


def test_what_was_written_is_found(store):
    made = put(store)
    found = store.find("toy", "k1")
    assert found.folder == made.folder
    assert (found.folder / "a.txt").read_text() == "hello"
    assert found.manifest["ingredients"] == {"x": 1}
    assert set(found.manifest["files"]) == {"a.txt", "deep/b.bin"}


def test_nothing_is_found_where_nothing_was_written(store):
    assert store.find("toy", "k1") is None
    assert store.peek("toy", "k1") is None


def test_a_failed_writer_leaves_nothing(store):
    def write_half():
        with store.writing("toy", "k1") as fresh:
            (fresh / "a.txt").write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_half()
    assert store.find("toy", "k1") is None
    assert list((store.root / "store" / "toy").iterdir()) == []


def test_a_killed_writers_rest_is_swept_by_the_next(store):
    left = store.root / "store" / "toy" / "k1.tmp-dead"
    left.mkdir(parents=True)
    put(store)
    assert not left.exists()


@pytest.mark.parametrize("position", [0, 100, 255])
@pytest.mark.parametrize("bit", [0, 7])
def test_edge_case_14_one_flipped_bit_is_seen_and_the_artefact_set_aside(store, position, bit):
    path = put(store).folder / "deep" / "b.bin"
    raw = bytearray(path.read_bytes())
    raw[position] ^= 1 << bit
    path.write_bytes(raw)
    with pytest.raises(DamagedArtefactError, match=r"b\.bin") as caught:
        store.find("toy", "k1")
    assert "damaged" in caught.value.kept
    assert store.find("toy", "k1") is None, "it is absent now, to be recomputed"
    assert len(list((store.root / "store" / "toy").glob("k1.damaged-*"))) == 1


@pytest.mark.parametrize("harm", ["truncate", "remove", "add", "manifest"])
def test_other_damage_is_seen(store, harm):
    folder = put(store).folder
    if harm == "truncate":
        (folder / "a.txt").write_text("hell")
    elif harm == "remove":
        (folder / "a.txt").unlink()
    elif harm == "add":
        (folder / "c.txt").write_text("new")
    else:
        (folder / MANIFEST).write_text("{")
    with pytest.raises(DamagedArtefactError):
        store.find("toy", "k1")


def test_a_newer_manifest_is_refused_by_name(store):
    folder = put(store).folder
    manifest = unsealed((folder / MANIFEST).read_bytes())
    (folder / MANIFEST).write_text(sealed({**manifest, "manifest_version": 99}))
    with pytest.raises(EnvironmentFault, match="newer alignstudy"):
        store.find("toy", "k1")


def test_a_store_that_cannot_be_written_is_said(tmp_path):
    blocked = tmp_path / "home"
    blocked.write_text("a file where the folder should be")
    with pytest.raises(EnvironmentFault) as caught:
        put(Store(blocked))
    assert "ALIGNSTUDY_HOME" in caught.value.hint


def test_the_home_is_the_users_choice(monkeypatch, tmp_path):
    monkeypatch.setenv("ALIGNSTUDY_HOME", str(tmp_path / "x"))
    assert Store().root == tmp_path / "x"
    monkeypatch.delenv("ALIGNSTUDY_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "c"))
    assert Store().root == tmp_path / "c" / "alignstudy"
    assert os.sep in str(Store().root)


def test_a9_no_flipped_bit_of_a_manifest_is_believed_or_sticks(store):
    """Nothing but a damaged artefact may come of it: it is set aside, and made anew."""
    raw = (put(store).folder / MANIFEST).read_bytes()
    for place in range(0, len(raw), 7):
        path = store.folder("toy", "k1") / MANIFEST
        changed = bytearray(raw)
        changed[place] ^= 1 << (place % 8)
        path.write_bytes(changed)
        assert store.record("toy", "k1") is None
        with pytest.raises(DamagedArtefactError) as caught:
            store.find("toy", "k1")
        assert "damaged" in caught.value.kept
        put(store)
        assert store.find("toy", "k1") is not None


def test_a8_artefacts_in_each_others_places_are_damage(store):
    first, second = put(store, "k1", "one").folder, put(store, "k2", "two").folder
    first.rename(first.with_name("aside"))
    second.rename(first)
    first.with_name("aside").rename(second)
    for key in ("k1", "k2"):
        with pytest.raises(DamagedArtefactError, match="belongs elsewhere"):
            store.find("toy", key)


def test_an_artefact_of_another_kind_is_damage(store):
    folder = put(store).folder
    (store.root / "store" / "other").mkdir()
    folder.rename(store.root / "store" / "other" / "k1")
    with pytest.raises(DamagedArtefactError, match="belongs elsewhere"):
        store.find("other", "k1")


@pytest.mark.parametrize("harm", ["link", "folder", "stray folder", "fifo", "linked artefact"])
def test_what_is_no_plain_file_is_damage(store, tmp_path, harm):
    folder = put(store).folder
    path = folder / "a.txt"
    if harm == "link":
        path.rename(tmp_path / "a.txt")
        path.symlink_to(tmp_path / "a.txt")
    elif harm == "folder":
        path.unlink()
        path.mkdir()
    elif harm == "stray folder":
        (folder / "deep" / "er").mkdir()
    elif harm == "fifo":
        path.unlink()
        os.mkfifo(path)
    else:
        folder.rename(tmp_path / "k1")
        folder.symlink_to(tmp_path / "k1")
    with pytest.raises(DamagedArtefactError):
        store.find("toy", "k1")
    assert store.find("toy", "k1") is None
    put(store)
    assert store.find("toy", "k1") is not None


@pytest.mark.parametrize("harm", ["manifest", "folder", "newer", "link"])
def test_c23_damage_of_another_studys_artefact_is_not_this_ones_problem(store, harm):
    put(store, "k1")
    path = put(store, "k2").folder / MANIFEST
    if harm == "manifest":
        path.write_text('{"manifest_version": 3, "facts": {')
    elif harm == "folder":
        path.unlink()
        path.mkdir()
    elif harm == "newer":
        path.write_text(sealed({**unsealed(path.read_bytes()), "manifest_version": 99}))
    else:
        path.unlink()
        path.symlink_to("nowhere")
    assert [made.folder.name for made in store.records()] == ["k1"]
    assert store.made_with("toy", "x", 1) == [{"x": 1}]
    assert History(store.root)._runs == []


def test_b2_files_get_the_mode_that_the_umask_says(store):
    before = os.umask(0o002)
    try:
        with store.writing("toy", "k1") as fresh:
            (fresh / "model.safetensors").write_bytes(b"weights")
            (fresh / "model.safetensors").chmod(0o600)
            made = store.commit(fresh, "toy", "k1", fingerprint_inputs={}, facts={})
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in made.folder.iterdir()}
    assert modes == {"model.safetensors": 0o664, MANIFEST: 0o664}


def test_what_killed_writers_left_is_swept_but_not_what_a_writer_holds(store):
    folder = store.root / "store" / "toy"
    for name in ("k1.tmp-dead", "k2.tmp-alive"):
        (folder / name).mkdir(parents=True)
        (folder / name / "half").write_text("")
    with store.lock("k2"):
        store.sweep()
    assert [path.name for path in folder.iterdir()] == ["k2.tmp-alive"]


def test_checkpoints_of_what_is_done_are_swept_and_of_what_is_not_kept(store):
    """A kill between an artefact's coming to its place and the end of its checkpoints."""
    put(store, "k1")
    for key in ("k1", "k2"):
        store.work_folder(key).mkdir(parents=True)
        (store.work_folder(key) / "checkpoint").write_text("")
    store.sweep()
    assert [store.work_folder(key).exists() for key in ("k1", "k2")] == [False, True]
    put(store, "k2")
    store.work_folder("k2").mkdir()
    store.drop_weights("toy", "k2")
    store.sweep()
    assert not store.work_folder("k2").exists()
