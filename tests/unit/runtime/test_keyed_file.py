import multiprocessing
import os
import random
import signal
import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignstudy.errors import EnvironmentFault
from alignstudy.runtime.keyed_file import KeyedFile


def opened(path):
    return KeyedFile(path, what="numbers")


def value_of(number):
    return bytes(number % 256 for _ in range(number % 700))


def filled(path, count=300):
    values = {f"key {number}": value_of(number) for number in range(count)}
    opened(path).put(values)
    return values


def shown(path, statement, *values):
    base = sqlite3.connect(path)
    with base:
        rows = base.execute(statement, values).fetchall()
    base.close()
    return rows


def test_values_come_back_to_another_reader(tmp_path):
    path = tmp_path / "deep" / "down" / "file"
    assert opened(path).get(["a"]) == {}
    assert not path.parent.exists()  # asking makes nothing
    values = filled(path, 1203)  # more than one query takes
    assert opened(path).get([*values, "no such key"]) == values
    assert opened(path).get([]) == {}
    assert opened(path).put({}) == {}


@given(
    values=st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.binary(), max_size=5
    )
)
def test_any_text_and_bytes_survive(values, tmp_path_factory):
    path = tmp_path_factory.mktemp("any") / "file"
    assert opened(path).put(values) == values
    assert opened(path).get(list(values)) == values


def test_the_first_value_stays_and_all_are_told(tmp_path):
    path = tmp_path / "file"
    opened(path).put({"a": b"first"})
    assert opened(path).put({"a": b"second", "b": b"new"}) == {"a": b"first", "b": b"new"}
    assert opened(path).get(["a", "b"]) == {"a": b"first", "b": b"new"}


@pytest.mark.parametrize(
    "alteration",
    [
        "UPDATE kept SET value = x'00' || substr(value, 2) WHERE key = 'a'",
        "UPDATE kept SET value = (SELECT value FROM kept WHERE key = 'b') WHERE key = 'a'",
        "UPDATE kept SET value = (SELECT value FROM kept WHERE key = 'b'),"
        " proof = (SELECT proof FROM kept WHERE key = 'b') WHERE key = 'a'",
        "UPDATE kept SET value = 'text' WHERE key = 'a'",
        "UPDATE kept SET proof = '' WHERE key = 'a'",
        "UPDATE kept SET key = 'c' WHERE key = 'a'",
    ],
)
def test_an_altered_row_is_not_there_and_can_be_stored_again(tmp_path, alteration):
    path = tmp_path / "file"
    opened(path).put({"a": b"one", "b": b"two"})
    before = shown(path, "SELECT * FROM kept ORDER BY key")
    shown(path, alteration)
    assert shown(path, "SELECT * FROM kept ORDER BY key") != before
    assert opened(path).get(["a", "b", "c"]) == {"b": b"two"}
    assert opened(path).put({"a": b"one", "b": b"other"}) == {"a": b"one", "b": b"two"}
    assert opened(path).get(["a", "b"]) == {"a": b"one", "b": b"two"}


def test_no_flipped_byte_is_ever_served(tmp_path):
    path = tmp_path / "file"
    values = filled(path)
    content, source, missed, noted = path.read_bytes(), random.Random(1), 0, 0
    for _ in range(60):
        torn = bytearray(content)
        for at in source.choices(range(len(torn)), k=source.choice([1, 3, 100])):
            torn[at] ^= 1 << source.randrange(8)
        path.write_bytes(torn)
        asked = opened(path)
        found = asked.get(list(values))
        assert found.items() <= values.items()
        assert asked.put(values).items() == values.items()
        assert opened(path).get(list(values)) == values
        missed += len(found) < len(values)
        noted += bool(asked.notes)
    assert missed > 30  # the flips did reach the rows
    assert noted > 0


def test_a_table_that_is_misnamed_is_damage(tmp_path):
    path = tmp_path / "file"
    values = filled(path, 5)
    content = path.read_bytes()
    assert content.count(b"value BLOB") == 1
    path.write_bytes(content.replace(b"value BLOB", b"valve BLOB"))
    asked = opened(path)
    assert asked.get(list(values)) == {}
    assert len(asked.notes) == 1
    assert "the file of numbers was damaged" in asked.notes[0]
    assert path.with_name("file.damaged").is_file()
    assert asked.put(values) == values


def test_what_is_no_database_is_quarantined(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"words " * 500)
    asked = opened(path)
    assert asked.put({"a": b"one"}) == {"a": b"one"}
    assert path.with_name("file.damaged").read_bytes() == b"words " * 500
    assert str(path.with_name("file.damaged")) in asked.notes[0]
    assert opened(path).get(["a"]) == {"a": b"one"}


def test_a_place_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "file").mkdir()
    with pytest.raises(EnvironmentFault, match=r"the file of numbers .*file can't be used"):
        opened(tmp_path / "file").put({"a": b""})
    (tmp_path / "plain").write_bytes(b"")
    with pytest.raises(EnvironmentFault, match=r"plain.file can't be used"):
        opened(tmp_path / "plain" / "file").put({"a": b""})


FORK = multiprocessing.get_context("fork")


def store(path, start, failures):
    file = opened(path)
    for number in range(start, start + 60):
        mine = {f"key {number}": b"%d" % start + value_of(number), f"alone {start}": b"mine"}
        settled = file.put(mine)
        if file.get(list(settled)) != settled or settled[f"alone {start}"] != b"mine":
            failures.put(number)


def test_processes_write_and_read_at_once_and_settle_on_one_value(tmp_path):
    path, failures = tmp_path / "file", FORK.Queue()
    workers = [FORK.Process(target=store, args=(path, start, failures)) for start in (0, 20, 40)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert failures.empty()
    found = opened(path).get([f"key {number}" for number in range(100)])
    assert len(found) == 100
    for number in range(100):
        starts = [start for start in (0, 20, 40) if start <= number < start + 60]
        assert found[f"key {number}"] in [b"%d" % start + value_of(number) for start in starts]
    assert not path.with_name("file.damaged").exists()


def store_until_killed(path, pipe):
    for number in range(1000):
        opened(path).put({f"key {number}.{each}": value_of(number) for each in range(50)})
        pipe.send(number)


@pytest.mark.parametrize("after", [0, 3, 8])
def test_a_killed_process_leaves_whole_calls(tmp_path, after):
    path = tmp_path / "file"
    ours, theirs = FORK.Pipe(duplex=False)
    worker = FORK.Process(target=store_until_killed, args=(path, theirs))
    worker.start()
    while ours.recv() < after:
        pass
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    reader, calls = opened(path), 0
    while kept := reader.get([f"key {calls}.{each}" for each in range(50)]):
        assert kept == {f"key {calls}.{each}": value_of(calls) for each in range(50)}
        calls += 1
    assert calls > after
    assert reader.notes == []
