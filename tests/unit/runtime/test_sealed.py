"""JSON that proves itself: no change of a byte goes unseen."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignstudy.errors import DamagedArtefactError
from alignstudy.runtime.sealed import read_sealed, sealed, unsealed

CONTENT = {
    "version": 3, "kind": "train", "files": {"a.txt": {"size": 5, "sha256": "ab" * 32}},
    "facts": {"seconds": 1.5e-07, "words": "Grüße \ud800, \"so\"\n", "nothing": None, "list": []},
}  # fmt: skip

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8
)


@given(st.dictionaries(st.text().filter(lambda name: name != "sha256"), values))
def test_what_was_sealed_comes_back(content):
    assert unsealed(sealed(content).encode()) == content


def test_every_flipped_bit_is_seen():
    raw = sealed(CONTENT).encode()
    for place in range(len(raw)):
        for bit in range(8):
            changed = bytearray(raw)
            changed[place] ^= 1 << bit
            with pytest.raises(ValueError):  # noqa: PT011 - any of them is told as damage
                unsealed(bytes(changed))


@given(st.data())
def test_every_cut_and_every_insertion_is_seen(data):
    raw = sealed(CONTENT).encode()
    start = data.draw(st.integers(0, len(raw)))
    end = data.draw(st.integers(start, len(raw)))
    put = data.draw(st.binary(max_size=4))
    changed = raw[:start] + put + raw[end:]
    if changed != raw:
        with pytest.raises(ValueError):  # noqa: PT011
            unsealed(changed)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "null", "\ufeff{}", '{"sha256": 1}', "[" * 100_000, '{"a": NaN, "sha256": ""}',
     json.dumps(CONTENT)],
)  # fmt: skip
def test_what_never_was_sealed_is_no_traceback(tmp_path, text):
    path = tmp_path / "file"
    path.write_text(text)
    with pytest.raises(DamagedArtefactError, match="is not a note"):
        read_sealed(path, what="a note", hint="write it again")


def test_a_folder_in_a_files_place_is_damage_and_no_file_is_none(tmp_path):
    (tmp_path / "file").mkdir()
    with pytest.raises(DamagedArtefactError):
        read_sealed(tmp_path / "file", what="a note", hint="")
    with pytest.raises(FileNotFoundError):
        read_sealed(tmp_path / "other", what="a note", hint="")
