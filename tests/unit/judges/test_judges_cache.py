import multiprocessing
import random
import sqlite3

import pytest

from alignstudy.errors import EnvironmentFault
from alignstudy.judges import JudgeScore
from alignstudy.judges.cache import CHUNK, CachedJudge, ScoreCache


class Counting:
    """Scores by length; says what it was asked."""

    name = "counting"

    def __init__(self, missing=()):
        self.asked, self._missing = [], missing

    def score(self, items, *, progress=None):
        self.asked += items
        return [
            JudgeScore(score=None, failure="nan")
            if response in self._missing
            else JudgeScore(score=len(response) + 0.1, flags=("prompt_trimmed",) if prompt else ())
            for prompt, response in items
        ]

    def rendered(self, prompt, response):
        return f"{bool(prompt)} {response}"


class Heard:
    def __init__(self):
        self.notes, self.calls, self.done = [], [], 0

    def start(self, what, total=None):
        self.calls.append(("start", total))

    def advance(self, done, **figures):
        self.done += done

    def finish(self):
        self.calls.append(("finish",))

    def note(self, text):
        self.notes.append(text)


ITEMS = [("", "a"), ("Hi", "bb"), ("", "a"), ("", "ccc")]


def test_scores_come_back_as_they_were_given(tmp_path):
    path = tmp_path / "deep" / "scores.sqlite"
    first, second = Counting(), Counting()
    plain = Counting().score(ITEMS)
    assert CachedJudge(first, ScoreCache(path), "x").score(ITEMS) == plain
    assert sorted(first.asked) == sorted(set(ITEMS))
    heard = Heard()
    again = CachedJudge(second, ScoreCache(path), "x")
    assert again.score([*ITEMS, ("", "new")], progress=heard) == [
        *plain,
        *Counting().score([("", "new")]),
    ]
    assert second.asked == [("", "new")]
    assert again.reused == 4
    assert heard.notes == ["4 of 5 scores reused: the judge had read them before"]
    assert heard.calls == [("start", 5), ("finish",)]
    assert heard.done == 5


def test_what_is_rendered_alike_is_one_text(tmp_path):
    judge = Counting()
    CachedJudge(judge, ScoreCache(tmp_path / "s"), "x").score(
        [("Hi", "a"), ("Hello", "a"), ("", "a")]
    )
    assert len(judge.asked) == 2


def test_other_identities_share_nothing(tmp_path):
    cache = ScoreCache(tmp_path / "s")
    CachedJudge(Counting(), cache, "x").score(ITEMS)
    other = Counting()
    CachedJudge(other, cache, "y").score(ITEMS)
    assert len(other.asked) == 3
    other.name, other.asked = "another", []
    CachedJudge(other, cache, "x").score(ITEMS)
    assert len(other.asked) == 3


def test_missing_scores_are_asked_again(tmp_path):
    cache = ScoreCache(tmp_path / "s")
    scores = CachedJudge(Counting(missing=["bb"]), cache, "x").score(ITEMS)
    assert scores[1] == JudgeScore(score=None, failure="nan")
    mended = Counting()
    assert CachedJudge(mended, cache, "x").score(ITEMS)[1].score == 2.1
    assert mended.asked == [("Hi", "bb")]


@pytest.mark.parametrize("score", [0.0, -0.0, 1e-310, -3.000000000000001, 1.7e308, 5])
def test_every_finite_number_survives(tmp_path, score):
    cache = ScoreCache(tmp_path / "s")
    flags = ("prompt_trimmed", "special_token_text")
    assert cache.put({"k": JudgeScore(score=score, flags=flags)}) == 1
    assert ScoreCache(tmp_path / "s").get(["k"]) == {"k": JudgeScore(score=score, flags=flags)}
    assert cache.put({"n": JudgeScore(score=float("nan")), "m": JudgeScore(score=None)}) == 0
    assert cache.get(["n", "m"]) == {}


def test_more_keys_than_one_query_takes(tmp_path):
    cache = ScoreCache(tmp_path / "s")
    rows = {str(n): JudgeScore(score=float(n)) for n in range(1203)}
    assert cache.put(rows) == 1203
    assert cache.get(list(rows)) == rows


def test_what_was_scored_before_a_stop_is_kept(tmp_path):
    class Stopped(Counting):
        def score(self, items, *, progress=None):
            if len(self.asked) >= 2 * CHUNK:
                raise KeyboardInterrupt
            return super().score(items)

    items = [("", "x" * n) for n in range(3 * CHUNK)]
    stopped = Stopped()
    with pytest.raises(KeyboardInterrupt):
        CachedJudge(stopped, ScoreCache(tmp_path / "s"), "x").score(items)
    assert stopped.asked[0] == items[-1]  # the longest first
    rest = Counting()
    assert CachedJudge(rest, ScoreCache(tmp_path / "s"), "x").score(items) == Counting().score(
        items
    )
    assert len(rest.asked) == CHUNK


def filled(path):
    CachedJudge(Counting(), ScoreCache(path), "x").score([("", "y" * n) for n in range(400)])
    return path.read_bytes()


def damages(content):
    source = random.Random(0)
    yield "no database", b"words " * 500
    yield "cut", content[: len(content) // 2]
    yield "cut in the header", content[:50]
    yield "empty", b""
    for seed in range(4):
        torn = bytearray(content)
        for _ in range(10**seed):
            torn[source.randrange(len(torn))] = source.randrange(256)
        yield f"{10**seed} bytes changed", bytes(torn)
    yield "a page of zeros", content[:4096] + bytes(4096) + content[8192:]


def test_a_damaged_file_never_gives_a_wrong_score(tmp_path):
    path = tmp_path / "scores.sqlite"
    content = filled(path)
    items = [("", "y" * n) for n in range(400)]
    right = Counting().score(items)
    noted = {}
    for name, damaged in damages(content):
        path.write_bytes(damaged)
        heard, judge = Heard(), Counting()
        assert CachedJudge(judge, ScoreCache(path), "x").score(items, progress=heard) == right, name
        noted[name] = [note for note in heard.notes if "damaged" in note]
        untouched = Counting()
        assert CachedJudge(untouched, ScoreCache(path), "x").score(items) == right, name
        assert len(untouched.asked) < len(items), name
    assert noted["no database"]
    assert noted["cut"]
    assert path.with_name("scores.sqlite.damaged").is_file()


def test_a_row_that_was_altered_is_not_there(tmp_path):
    path = tmp_path / "scores.sqlite"
    ScoreCache(path).put({"a": JudgeScore(score=1.0), "b": JudgeScore(score=2.0)})
    with sqlite3.connect(path) as base:
        base.execute("UPDATE kept SET value = replace(value, '0x1.0', '0x1.8') WHERE key = 'a'")
        assert base.execute("SELECT changes()").fetchone() == (1,)
    base.close()
    assert ScoreCache(path).get(["a", "b"]) == {"b": JudgeScore(score=2.0)}


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "scores.sqlite").mkdir()
    with pytest.raises(EnvironmentFault, match=r"scores\.sqlite"):
        ScoreCache(tmp_path / "scores.sqlite").put({"a": JudgeScore(score=1.0)})


def work(path, start, results):
    items = [("", "z" * n) for n in range(start, start + 40)]
    judge = Counting()
    for at in range(0, 40, 4):
        some = CachedJudge(judge, ScoreCache(path), "x").score(items[at : at + 4])
        assert some == Counting().score(items[at : at + 4])
    results.put(len(judge.asked))


def test_two_processes_share_a_file_from_nothing(tmp_path):
    path = tmp_path / "scores.sqlite"
    spawn = multiprocessing.get_context("fork")
    results = spawn.Queue()
    workers = [spawn.Process(target=work, args=(path, start, results)) for start in (0, 20)]
    for worker in workers:
        worker.start()
    asked = [results.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert 60 <= sum(asked) <= 80
    items = [("", "z" * n) for n in range(60)]
    after = Counting()
    assert CachedJudge(after, ScoreCache(path), "x").score(items) == Counting().score(items)
    assert after.asked == []
    assert not path.with_name("scores.sqlite.damaged").exists()
