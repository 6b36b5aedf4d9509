"""A model folder may come from anyone: nothing of it runs, hangs, or is read from elsewhere."""

import json
import shutil
import time

import methods_fixtures as fx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strangers import ADAPTERS, CONFIG, TOKENIZERS, WEIGHTS

from alignstudy.errors import AlignstudyError, GuardError, InputError
from alignstudy.models.digests import weights_digest
from alignstudy.models.folder import ADAPTER_RECORD, inside
from alignstudy.models.load import load_causal_lm
from alignstudy.models.tokenizer_files import may_not_end
from alignstudy.models.tokenizers import load_tokenizer
from alignstudy.models.weight_files import weight_files
from alignstudy.records import Weights

SECONDS = 20
"""Far more than a refusal takes on a busy machine, far less than what it refuses."""

HOSTILE = "import pathlib; pathlib.Path({canary!r}).write_text('ran')"


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    root = tmp_path_factory.mktemp("sound")
    return fx.write_llama(root / "llama", tokenizer_from=fx.write_opt(root / "opt"))


@pytest.fixture
def folder(sound, tmp_path, monkeypatch):
    """A sound model with code beside it, which would leave a file behind."""
    monkeypatch.chdir(tmp_path)
    copied = tmp_path / "model"
    shutil.copytree(sound, copied)
    code = HOSTILE.format(canary=str(tmp_path / "canary"))
    (copied / "custom_generate").mkdir()
    for name in ("hostile.py", "configuration_llama.py", "custom_generate/generate.py"):
        (copied / name).write_text(code)
    yield copied
    assert not (tmp_path / "canary").exists()


def assert_refused(work, error, words):
    begun = time.monotonic()
    with pytest.raises(AlignstudyError) as caught:
        work()
    assert time.monotonic() - begun < SECONDS
    text = str(caught.value)
    assert isinstance(caught.value, error), text
    assert words in text
    assert len(text) <= 2000
    assert caught.value.hint
    assert "weights_only" not in text
    assert "trust_remote_code" not in text


@pytest.mark.parametrize(("attack", "error", "words"), WEIGHTS.values(), ids=WEIGHTS)
def test_weights(attack, error, words, folder):
    attack(folder)
    assert_refused(lambda: load_causal_lm(Weights(folder=folder)), error, words)


@pytest.mark.parametrize(("attack", "error", "words"), CONFIG.values(), ids=CONFIG)
def test_configurations(attack, error, words, folder):
    attack(folder)
    assert_refused(lambda: load_causal_lm(Weights(folder=folder)), error, words)


@pytest.mark.parametrize(("attack", "error", "words"), TOKENIZERS.values(), ids=TOKENIZERS)
def test_tokenizers(attack, error, words, folder):
    attack(folder)
    assert_refused(lambda: load_tokenizer(folder), error, words)


@pytest.mark.parametrize(("attack", "error", "words"), ADAPTERS.values(), ids=ADAPTERS)
def test_adapters(attack, error, words, folder, adapter):
    copied = shutil.copytree(adapter, folder.parent / "adapter")
    attack(copied)
    weights = Weights(folder=copied, base=folder)
    assert_refused(lambda: load_causal_lm(weights), error, words)


SHOWN = {
    **{f"weights {name}": WEIGHTS[name] for name in ("A10 above", "C7 code", "C7 old tar")},
    **{f"config {name}": CONFIG[name] for name in ("C4 deep", "C4 layers", "C4 positions",
                                                   "C5 attention", "C5 quantised")},
}  # fmt: skip


@pytest.mark.parametrize(("attack", "error", "words"), SHOWN.values(), ids=SHOWN)
def test_check_tells_it_before_anything_is_run(attack, error, words, folder, capsys):
    from alignstudy.cli.app import main

    attack(folder)
    rows = "".join(json.dumps({"prompt": f"Say {n}", "chosen": f"{n}.", "rejected": "No."}) + "\n"
                   for n in range(60))  # fmt: skip
    (folder.parent / "rows.jsonl").write_text(rows)
    (folder.parent / "study.yaml").write_text(STUDY)
    with pytest.raises(SystemExit) as ended:
        main(["check", str(folder.parent / "study.yaml")])
    told = " ".join(capsys.readouterr().err.split())
    assert ended.value.code in (2, error.exit_code), told
    assert words in told
    assert "Traceback" not in told
    assert len(told) <= 2000


STUDY = """\
study: strange
base: model
data: {source: rows.jsonl}
prompts: {protocol: rigorous, harmful: null, helpful: {subsets: [], n: 3}}
methods: {sft: {max_steps: 1, max_length: 96}}
recipes: {base: [], sft: [sft]}
generation: {max_new_tokens: 4}
judges: [{use: length}]
thresholds: {helpful: 5}
validation: null
"""


@pytest.fixture(scope="module")
def adapter(sound, tmp_path_factory):
    from peft import LoraConfig, get_peft_model

    folder = tmp_path_factory.mktemp("adapter")
    tuned = get_peft_model(
        load_causal_lm(Weights(folder=sound)), LoraConfig(r=2, target_modules=["q_proj"])
    )
    tuned.save_pretrained(folder)
    record = {"base_weights_sha256": weights_digest(sound), "base": "tiny"}
    (folder / ADAPTER_RECORD).write_text(json.dumps(record))
    return folder


def test_what_is_no_attack_loads(folder, adapter):
    """Also with keys that are harmless, and beside code that nobody asks for."""
    path = folder / "config.json"
    harmless = {"_attn_implementation": "eager", "auto_map": {}, "quantization_config": None}
    path.write_text(json.dumps(json.loads(path.read_text()) | harmless))
    load_causal_lm(Weights(folder=folder))
    load_causal_lm(Weights(folder=adapter, base=folder))
    load_tokenizer(folder)


def test_a10_weights_in_parts_are_the_ones_that_are_hashed(folder):
    model = load_causal_lm(Weights(folder=folder))
    before = model.state_dict()
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="20KB")
    named = weight_files(folder)
    assert len(named) > 2
    digest = weights_digest(folder)
    (folder / "model-decoy.safetensors").write_bytes(b"neither read nor hashed")
    assert weights_digest(folder) == digest
    again = load_causal_lm(Weights(folder=folder)).state_dict()
    assert all(again[name].equal(value) for name, value in before.items())
    data = bytearray(named[1].read_bytes())
    data[-1] ^= 1
    named[1].write_bytes(data)
    assert weights_digest(folder) != digest


def test_a10_the_hubs_own_links_are_followed_and_no_others(folder, tmp_path):
    repository = tmp_path / "hub" / "models--owner--tiny"
    snapshot, blobs = repository / "snapshots" / ("a" * 40), repository / "blobs"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for number, file in enumerate(path for path in folder.iterdir() if path.is_file()):
        shutil.copyfile(file, blobs / str(number))
        (snapshot / file.name).symlink_to(f"../../blobs/{number}")
    load_causal_lm(Weights(folder=snapshot))
    load_tokenizer(snapshot)
    assert weights_digest(snapshot) == weights_digest(folder)
    other = tmp_path / "models--owner--other" / "blobs"
    other.mkdir(parents=True)
    shutil.copyfile(folder / "config.json", other / "0")
    (snapshot / "config.json").unlink()
    (snapshot / "config.json").symlink_to(other / "0")
    with pytest.raises(GuardError, match="outside of it"):
        load_causal_lm(Weights(folder=snapshot))


NAMES = st.text(st.sampled_from("./\\\0ab~:"), max_size=12) | st.sampled_from(
    ["..", ".", "", "/", "a/..", "../a", "./a", "a/", "//a", "C:\\a", "..\\a", "~/a", "a\0b"]
)


@given(name=NAMES)
def test_a10_no_name_leads_out_of_the_folder(name, tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    try:
        file = inside(root, name)
    except GuardError:
        return
    assert file.parent == root
    assert file.resolve().parent == root.resolve()
    assert "/" not in name
    assert name not in ("", ".", "..")


@pytest.mark.parametrize(
    "pattern",
    [
        r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
        r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s+",
        r"\d{1,3}(?=(?:\d{3})*\b)",
        r" ?[^(\s|[.,!?\u2026\u3002\uff0c])]+",
        r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+",
    ],
    ids=["GPT-2", "Llama 3", "GPT-4o", "digits", "Bloom", "DeepSeek"],
)
def test_expressions_of_published_tokenizers_are_no_attack(pattern):
    assert not may_not_end(pattern)


def test_c4_a_tokenizer_that_gives_up_on_a_text_is_no_traceback(folder, monkeypatch):
    """An expression that the rules let pass, and the library's own limit stops."""
    from alignstudy.models import tokenizer_files
    from alignstudy.models.rendering import load_rendering

    monkeypatch.setattr(tokenizer_files, "may_not_end", lambda pattern: False)
    attack, _, _ = TOKENIZERS["C4 a repeat of repeats"]
    attack(folder)
    rendering = load_rendering(folder)
    assert_refused(
        lambda: rendering.prompt_ids(["\n\nHuman: " + "a" * 40 + "!\n\nAssistant:"]),
        InputError, "gives up on a text",
    )  # fmt: skip
