"""The store: complete and verified, or absent."""

import json
import os

import pytest

from alignstudy.errors import DamagedArtefactError, EnvironmentFault
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
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**manifest, "manifest_version": 99}))
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
