"""What is read of a source is what is hashed: plain files inside it, before and after."""

import gzip
import os
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
from data_files import PAIRS, write_jsonl

from alignstudy.data.files.layout import find_files
from alignstudy.errors import EnvironmentFault, InputError
from alignstudy.sources import ResolvedSource, Source, digest_of, plain_files, resolve
from alignstudy.study.graph.fingerprint import NOT_IN_KEY
from alignstudy.study.graph.stage import Stage
from alignstudy.study.run.runner import Runner
from alignstudy.study.run.store import Store


@pytest.fixture
def source(tmp_path):
    for subset in ("harmless-base", "helpful-base"):
        (tmp_path / "data" / subset).mkdir(parents=True)
        with gzip.open(tmp_path / "data" / subset / "train.jsonl.gz", "wt") as file:
            file.write(subset)
    return tmp_path / "data"


@pytest.mark.parametrize("what", ["folder", "file", "both ways"])
def test_a7_links_that_lead_outside_are_refused_not_skipped(source, tmp_path, what):
    outside = tmp_path / "elsewhere"
    if what == "folder":
        (source / "helpful-base").rename(outside)
        (source / "helpful-base").symlink_to(outside)
    elif what == "file":
        (source / "helpful-base" / "train.jsonl.gz").rename(outside)
        (source / "helpful-base" / "train.jsonl.gz").symlink_to(outside)
    else:
        (source / "up").symlink_to("..")
    for read in (digest_of, find_files, lambda path: resolve(local(path), offline=True)):
        with pytest.raises(InputError, match="link that leads outside") as caught:
            read(source)
        assert "copy it into the folder" in caught.value.hint


def local(path):
    return Source(name=str(path), kind="dataset")


def test_a7_a_source_that_is_a_link_itself_is_what_it_leads_to(source, tmp_path):
    (tmp_path / "link").symlink_to(source)
    assert digest_of(tmp_path / "link") == digest_of(source)
    assert len(find_files(tmp_path / "link")) == 2


def test_links_inside_are_read_and_hashed(source):
    before = digest_of(source)
    (source / "latest").symlink_to("harmless-base")
    (source / "train.jsonl.gz").symlink_to("helpful-base/train.jsonl.gz")
    with pytest.raises(InputError, match="what is read anyway"):
        digest_of(source)
    (source / "latest").unlink()
    assert digest_of(source) != before
    assert list(plain_files(source)) == [
        "harmless-base/train.jsonl.gz", "helpful-base/train.jsonl.gz", "train.jsonl.gz"
    ]  # fmt: skip


def test_folders_linked_over_and_over_cost_no_more_than_once(tmp_path):
    """Thirty folders of two links to the next would be a thousand million files."""
    for depth in range(30):
        (tmp_path / "d" / str(depth)).mkdir(parents=True)
        for link in ("a", "b"):
            (tmp_path / "d" / str(depth) / link).symlink_to(f"../{depth + 1}")
    (tmp_path / "d" / "30").mkdir()
    with pytest.raises(InputError):
        digest_of(tmp_path / "d")


def test_a_snapshot_of_the_hubs_cache_may_lead_to_its_own_blobs(tmp_path):
    repository = tmp_path / "models--owner--tiny"
    (repository / "blobs").mkdir(parents=True)
    (repository / "blobs" / "abc").write_text("{}")
    snapshot = repository / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").symlink_to("../../blobs/abc")
    assert list(plain_files(snapshot)) == ["config.json"]
    (tmp_path / "secret").write_text("")
    (snapshot / "other.json").symlink_to("../../../secret")
    with pytest.raises(InputError, match="outside"):
        digest_of(snapshot)


@pytest.mark.parametrize("what", ["empty", "hidden only", "fifo", "dead link"])
def test_no_digest_of_nothing(tmp_path, what):
    folder = tmp_path / "data"
    folder.mkdir()
    if what == "hidden only":
        (folder / ".rows.jsonl").write_text("{}")
    elif what == "fifo":
        os.mkfifo(folder / "rows.jsonl")
    elif what == "dead link":
        (folder / "rows.jsonl").symlink_to("gone.jsonl")
    with pytest.raises(InputError):
        digest_of(folder)


def test_a_fifo_is_no_source(tmp_path):
    os.mkfifo(tmp_path / "rows.jsonl")
    with pytest.raises(InputError, match="no plain file"):
        digest_of(tmp_path / "rows.jsonl")


def test_a_card_cannot_name_a_hidden_file(tmp_path):
    write_jsonl(tmp_path / "data" / ".raw" / "b.jsonl", [PAIRS["pairs"][1](0)])
    write_jsonl(tmp_path / "data" / "a.jsonl", [PAIRS["pairs"][1](0)])
    card = "---\nconfigs:\n- config_name: default\n  data_files: .raw/b.jsonl\n---\n"
    (tmp_path / "data" / "README.md").write_text(card)
    with pytest.raises(InputError, match="hidden"):
        find_files(tmp_path / "data")


@dataclass(frozen=True, kw_only=True)
class Reader(Stage):
    """Reads a source, and does something else meanwhile."""

    kind: ClassVar[str] = "reader"
    source: ResolvedSource
    meanwhile: Any = field(metadata=NOT_IN_KEY, default=lambda: None)

    def run(self, job):
        first = self.source.path.read_text()
        self.meanwhile()
        (job.out / "read").write_text(first)
        return {}


@pytest.mark.parametrize("when", ["before", "meanwhile", "put back", "put back with its time"])
def test_a15_a_source_that_changes_while_it_is_read_leaves_no_artefact(tmp_path, when):
    path = tmp_path / "rows.jsonl"
    path.write_text("one")
    found = resolve(local(path), offline=True)
    status = path.stat()

    def edit():
        path.write_text("two")
        if when.startswith("put back"):
            path.write_text("one")
        if when == "put back with its time":
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    if when == "before":
        edit()
    stage = Reader(
        name="reader", source=found, meanwhile=edit if when != "before" else lambda: None
    )
    runner = Runner(store=Store(tmp_path / "home"), device="cpu")
    with pytest.raises(EnvironmentFault, match="was changed while this run read it") as caught:
        runner.make(stage)
    assert "run the same command again" in caught.value.hint
    assert runner.store.find("reader", stage.key) is None
    again = Reader(name="reader", source=resolve(local(path), offline=True))
    assert (runner.make(again).folder / "read").read_text() == path.read_text()
