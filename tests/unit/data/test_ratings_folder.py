"""Reading rated responses: every fault names its file and row."""

import json

import pytest

from alignstudy.analysis.analyze_judge import analyze_judge
from alignstudy.analysis.results import Thresholds
from alignstudy.data.ratings.folder import JUDGE, find_base, read_ratings
from alignstudy.errors import DataError, InputError


def row(number=0, **others):
    return {"prompt": f"p{number}", "response": "r", "rating": -1.5} | others


def write(folder, name, rows):
    text = rows if isinstance(rows, str) else json.dumps(rows)
    (folder / name).write_text(text, encoding="utf-8")


def test_published_files_are_read_in_their_order(paper_dir):
    rows = read_ratings(paper_dir / "responses")
    assert len(rows) == 400
    assert list(dict.fromkeys(r.model for r in rows)) == ["base", "sft", "dpo", "sftdpo"]
    assert rows[0].axis == "harmless"
    assert rows[0].scores == {JUDGE: -3.8217}
    assert find_base(rows) == "base"
    ids = [{r.prompt_id for r in rows if r.model == model} for model in ("base", "sftdpo")]
    assert ids[0] == ids[1]
    assert len(ids[0]) == 100


def test_without_numbers_the_base_comes_first(tmp_path):
    for model in ("alpha", "base", "sft_dpo"):
        write(tmp_path, f"{model}_harmful.json", [row()])
    write(tmp_path, "notes.json", "not ours")
    assert [r.model for r in read_ratings(tmp_path)] == ["base", "alpha", "sft_dpo"]


def test_numbers_order_as_numbers(tmp_path):
    for name in ("10_ten", "9_nine", "two_words"):
        write(tmp_path, f"{name}_helpful.json", [row()])
    assert [r.model for r in read_ratings(tmp_path)] == ["nine", "ten", "two_words"]


def test_optional_keys_are_kept(tmp_path):
    more = {"seed": 2, "num_tokens": 7, "stop_reason": "cap", "raw_response": "r r"}
    write(tmp_path, "a_harmful.json", [row(prompt_id="x", **more)])
    [found] = read_ratings(tmp_path)
    assert (found.seed, found.num_tokens, found.stop_reason) == (2, 7, "cap")
    assert (found.raw_response, found.prompt_id) == ("r r", "x")


def test_a_repeated_prompt_gets_an_id_each(tmp_path):
    for model in ("a", "b"):
        write(tmp_path, f"{model}_harmful.json", [row(), row(), row(1)])
    found = read_ratings(tmp_path)
    ids = [r.prompt_id for r in found if r.model == "a"]
    assert len(set(ids)) == 3
    assert ids == [r.prompt_id for r in found if r.model == "b"]


def test_seeds_of_one_prompt_share_its_id(tmp_path):
    write(tmp_path, "a_harmful.json", [row(seed=0), row(seed=1)])
    one, two = read_ratings(tmp_path)
    assert one.prompt_id == two.prompt_id


def test_ids_are_used_only_if_every_row_has_one(tmp_path):
    write(tmp_path, "a_harmful.json", [row(prompt_id="x")])
    write(tmp_path, "b_harmful.json", [row()])
    one, two = read_ratings(tmp_path)
    assert one.prompt_id == two.prompt_id != "x"


def test_models_in_another_order_are_aligned_by_text(tmp_path):
    numbers = list(range(12))
    write(tmp_path, "a_harmful.json", [row(n, rating=n) for n in numbers])
    write(tmp_path, "b_harmful.json", [row(n, rating=n) for n in reversed(numbers)])
    found = analyze_judge(
        read_ratings(tmp_path),
        Thresholds(values={"harmless": 5.0}),
        judge=JUDGE,
        base=None,
        draws=20,
    )
    assert all(c.ties == 12 for c in found.comparisons)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ('[{"prompt": ', "not JSON"),
        ("{}", "no rows"),
        ("[]", "no rows"),
        ('["text"]', "row 1: not an object"),
        ([row(), {"prompt": "p", "rating": 1}], "row 2: no response"),
        ([row(rating=None), row(1, rating=None)], "no row has a rating"),
        ('[{"prompt": "p", "response": "r", "rating": NaN}]', "no row has a rating"),
        ('[{"prompt": "p", "response": "r"}]', "no row has a rating"),
        ('[{"prompt": "p", "response": "r", "rating": Infinity}]', "row 1: rating is 'inf'"),
        ([row(rating="-1.5")], "row 1: rating is '-1.5'"),
        ([row(rating=True)], "row 1: rating is 'True'"),
        ([row(rating=10**400)], "row 1: rating is"),
        ([row(rating=1e308)], "row 1: rating is '1e+308'"),
        ([row(scores={"rating": 1.0, "j": 1e308}, rating=1.0)], "row 1: scores is"),
        ([row(prompt=3)], "row 1: prompt is '3'"),
        ([row(response=None)], "row 1: response is 'None'"),
        ([row(seed=-1)], "row 1: seed is"),
        ([row(stop_reason=["cap"])], "row 1: stop_reason is"),
        ([row(num_tokens=1.5)], "row 1: num_tokens is"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_a_fault_names_its_file_and_row(tmp_path, rows, message):
    write(tmp_path, "1_base_harmful.json", rows)
    with pytest.raises(DataError, match=r"1_base_harmful\.json") as caught:
        read_ratings(tmp_path)
    assert message in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_byte_order_mark_is_read_over(tmp_path):
    text = json.dumps([row()])
    (tmp_path / "base_harmful.json").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert [each.prompt for each in read_ratings(tmp_path)] == [row()["prompt"]]


def test_text_that_is_not_utf8_is_refused(tmp_path):
    (tmp_path / "base_harmful.json").write_bytes(b'[{"prompt": "\xff"}]')
    with pytest.raises(DataError, match="not JSON in UTF-8"):
        read_ratings(tmp_path)


def test_a_folder_without_ratings_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        read_ratings(tmp_path / "missing")
    (tmp_path / "responses").mkdir()
    with pytest.raises(InputError, match="no rated responses") as caught:
        read_ratings(tmp_path)
    assert "responses" in caught.value.hint


def test_two_files_of_one_model_are_refused(tmp_path):
    for number in (1, 2):
        write(tmp_path, f"{number}_base_harmful.json", [row()])
    with pytest.raises(DataError, match="2 files"):
        read_ratings(tmp_path)


def test_the_base_can_be_named(tmp_path):
    write(tmp_path, "a_harmful.json", [row()])
    rows = read_ratings(tmp_path)
    assert find_base(rows) is None
    assert find_base(rows, "a") == "a"
    with pytest.raises(InputError, match="base 'x'"):
        find_base(rows, "x")
