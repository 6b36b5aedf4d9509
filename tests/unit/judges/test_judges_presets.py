import pytest

from alignstudy.judges.presets import PRESETS


def test_presets_are_found_by_name():
    assert list(PRESETS) == [each.name for each in PRESETS.values()]
    assert len({each.path for each in PRESETS.values()}) == len(PRESETS)
    found = PRESETS["oa-deberta-v2"]
    assert found.path == "OpenAssistant/reward-model-deberta-v3-large-v2"
    assert found.settings.input == "pair"
    assert "hh-rlhf" in found.trained_on


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_says_what_it_is(name):
    found = PRESETS[name]
    assert found.path.count("/") == 1
    assert found.trained_on
    assert found.licence
    assert found.note.endswith(".")
    assert found.note.isascii()
    if name.startswith("skywork"):
        assert found.settings.input == "chat"
        assert (
            name.removeprefix("skywork-v2-")
            == found.path.removeprefix("Skywork/Skywork-Reward-V2-").lower()
        )
