import sys

import pytest
from pydantic import ValidationError

from alignstudy.errors import GuardError, InputError
from alignstudy.judges import JudgeScore, PythonSettings, build, code_of
from alignstudy.judges.kinds.python_source import source_digest

ITEMS = [("Hi", "one"), ("Hi", "three"), ("Hi", "")]


@pytest.fixture(autouse=True)
def own_modules():
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(folder, body, name="my_judge.py"):
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(body, encoding="utf-8")


def judge(folder, body=None, **settings):
    if body is not None:
        write(folder, f"def rate(items):\n    {body}\n")
    return build(PythonSettings(**{"call": "my_judge:rate", **settings}), folder, "cpu")


def test_a_function_of_the_folder_rates(tmp_path):
    body = "return [len(response) for _, response in items]"
    assert judge(tmp_path, body).score(ITEMS) == [JudgeScore(score=s) for s in (3.0, 5.0, 0.0)]
    assert [s.score for s in judge(tmp_path, better="lower").score(ITEMS)] == [-3.0, -5.0, 0.0]
    assert judge(tmp_path).score([]) == []


def test_it_is_called_in_batches_and_progress_adds_up(tmp_path):
    done = []

    class Heard:
        def start(self, what, total=None):
            done.append(-total)

        def advance(self, count, **figures):
            done.append(count)

        def finish(self):
            pass

    body = "return [float(len(items))] * len(items)"
    scores = judge(tmp_path, body, batch_size=2).score(ITEMS, progress=Heard())
    assert [score.score for score in scores] == [2.0, 2.0, 1.0]
    assert done == [-3, 2, 1]


def test_arrays_and_missing_scores(tmp_path):
    body = "import numpy; return numpy.arange(len(items), dtype='float32')"
    assert [s.score for s in judge(tmp_path, body).score(ITEMS)] == [0.0, 1.0, 2.0]
    body = "return [float('-inf'), 1e308, 10**400]"
    assert [s.score for s in judge(tmp_path, body).score(ITEMS)] == [None] * 3
    body = "return [None, float('nan'), 1]"
    none, nan, one = judge(tmp_path, body).score(ITEMS)
    assert (none.score, nan.score, one.score) == (None, None, 1.0)
    assert "gave no score" in none.failure
    assert "nan" in nan.failure


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("return [1.0]", "1 scores for 3 pairs"),
        ("return 1.0", "a float instead of a list"),
        ("return 'abc'", "a str instead of a list"),
        ("return {1.0: 1, 2.0: 2, 3.0: 3}", "a dict instead of a list"),
        ("return [1.0, '2', 3.0]", "item 1 (response 'three')"),
        ("return [1.0, 2.0, True]", "item 2 (response '')"),
        ("return [1.0, [2.0], 3.0]", "[2.0] (list)"),
        ("return [1 / len(response) for _, response in items]", "item 2 (response '')"),
    ],
)
def test_what_is_no_list_of_numbers_is_refused_and_the_item_named(tmp_path, body, told):
    with pytest.raises(GuardError) as raised:
        judge(tmp_path, body).score(ITEMS)
    assert told in str(raised.value)
    assert "my_judge:rate" in raised.value.what


def test_exceptions_are_told_with_their_words(tmp_path):
    with pytest.raises(GuardError, match="item 0") as raised:
        judge(tmp_path, "raise OSError('no network')").score(ITEMS)
    assert "OSError: no network" in raised.value.why
    alone = judge(tmp_path, "assert len(items) == 1, 'only one'; return [1.0]")
    with pytest.raises(GuardError, match="items 0 to 2") as raised:
        alone.score(ITEMS)
    assert "only one" in raised.value.why


@pytest.mark.parametrize("call", ["rate", "a:b:c", "a:", ":b", "a.b", "a b:c", "../a:b", "os;x:y"])
def test_what_is_no_module_and_function_is_refused(call):
    with pytest.raises(ValidationError):
        PythonSettings(call=call)


def test_what_is_not_there_is_named(tmp_path):
    write(tmp_path, "x = 1\n")
    for call, told in (
        ("no_such_module_here:rate", "no Python module 'no_such_module_here'"),
        ("no_such.deep:rate", "no Python module 'no_such.deep'"),
        ("my_judge:rate", "no function 'rate'"),
        ("my_judge:x", "no function 'x'"),
    ):
        with pytest.raises(InputError, match=told):
            judge(tmp_path, call=call)
    write(tmp_path, "import no_such_module_here\n", "broken.py")
    with pytest.raises(InputError, match="can't be imported") as raised:
        judge(tmp_path, call="broken:rate")
    assert "no_such_module_here" in raised.value.why


def test_names_of_other_modules_are_not_taken(tmp_path):
    write(tmp_path, "def rate(items):\n    return [1.0] * len(items)\n", "json.py")
    with pytest.raises(InputError, match="another module of that name"):
        judge(tmp_path, call="json:rate")
    import json

    assert json.loads("1") == 1


def test_an_edit_and_another_folder_are_seen_at_once(tmp_path):
    for value in (1.5, 2.5):  # same size, same second
        assert judge(tmp_path, f"return [{value}] * len(items)").score(ITEMS)[0].score == value
    write(tmp_path / "other", "def rate(items):\n    return [9.0] * len(items)\n", "my_judge.py")
    assert judge(tmp_path / "other").score(ITEMS)[0].score == 9.0
    assert judge(tmp_path).score(ITEMS)[0].score == 2.5
    assert str(tmp_path) not in sys.path


def test_modules_beside_it_may_be_imported_even_when_called(tmp_path):
    write(tmp_path, "WORDS = 4.0\n", "words_of_mine.py")
    body = "from words_of_mine import WORDS; return [WORDS] * len(items)"
    assert judge(tmp_path, body).score(ITEMS)[0].score == 4.0


def digest(folder, call="my_judge:rate"):
    return source_digest(PythonSettings(call=call), folder)


def test_the_digest_follows_every_file_that_counts(tmp_path):
    write(tmp_path, "from pack import scale\ndef rate(items):\n    import late_one\n")
    write(tmp_path, "from . import deep\nfrom .deep import more\n", "pack/__init__.py")
    write(tmp_path, "A = 1\n", "pack/scale.py")
    write(tmp_path, "import os\n", "pack/deep/__init__.py")
    write(tmp_path, "B = 1\n", "pack/deep/more.py")
    write(tmp_path, "C = 1\n", "late_one.py")
    write(tmp_path, "D = 1\n", "unused.py")
    seen = {digest(tmp_path)}
    for name in ("my_judge.py", "pack/__init__.py", "pack/scale.py", "pack/deep/__init__.py",
                 "pack/deep/more.py", "late_one.py"):  # fmt: skip
        file = tmp_path / name
        file.write_text(file.read_text() + "# changed\n")
        assert digest(tmp_path) not in seen, name
        seen.add(digest(tmp_path))
    write(tmp_path, "D = 2\n", "unused.py")
    assert digest(tmp_path) in seen
    assert digest(tmp_path, "my_judge:other") not in seen
    assert "my_judge" not in sys.modules


def test_the_digest_is_the_same_anywhere(tmp_path, monkeypatch):
    for name in ("a", "b"):
        write(tmp_path / name, "def rate(items): ...\n", "my_judge.py")
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    monkeypatch.chdir(tmp_path / "a")
    assert source_digest(PythonSettings(call="my_judge:rate")) == digest(tmp_path / "b")
    assert code_of(PythonSettings(call="my_judge:rate")) == digest(tmp_path / "b")


def test_installed_modules_have_a_digest_too(tmp_path):
    assert digest(tmp_path, "pydantic.main:create_model") != digest(tmp_path, "json:loads")
    assert digest(tmp_path, "pydantic.main:create_model") == digest(
        tmp_path, "pydantic.main:create_model"
    )
    with pytest.raises(InputError, match="no Python module"):
        digest(tmp_path, "no_such_module_here:rate")
    write(tmp_path, "def rate(:\n", "wrong.py")
    with pytest.raises(InputError, match="no Python"):
        digest(tmp_path, "wrong:rate")
