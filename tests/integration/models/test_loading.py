import json

import pytest
from models_fixtures import write_deberta_like_hub, write_opt_like_hub

from alignstudy.errors import DamagedArtefactError, EnvironmentFault, GuardError, InputError
from alignstudy.models.digests import weights_digest
from alignstudy.models.folder import ADAPTER_RECORD
from alignstudy.models.load import load_causal_lm, load_classifier, output_index
from alignstudy.models.tokenizers import load_tokenizer
from alignstudy.records import Weights
from alignstudy.runtime.device import context_length, pick_device

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def opt_hub(tmp_path_factory):
    folder = tmp_path_factory.mktemp("opt")
    return folder, write_opt_like_hub(folder, std=0.2)


@pytest.fixture(scope="module")
def deberta_hub(tmp_path_factory):
    folder = tmp_path_factory.mktemp("deberta")
    return folder, write_deberta_like_hub(folder)


def copied(folder, to):
    to.mkdir(parents=True, exist_ok=True)
    for file in folder.iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    return to


def change_config(folder, **changes):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize("prefix", ["model.", ""])
def test_float16_bin_loads_in_float32_with_the_files_values(tmp_path, prefix):
    tensors = write_opt_like_hub(tmp_path, prefix=prefix)
    assert not list(tmp_path.glob("*.safetensors"))
    model = load_causal_lm(Weights(folder=tmp_path))
    held = model.state_dict()
    assert {value.dtype for value in held.values()} == {torch.float32}
    for name, value in tensors.items():
        assert value.dtype == torch.float16
        ours = name if prefix else f"model.{name}"
        assert torch.equal(held[ours], value.float()), name
    assert torch.equal(held["lm_head.weight"], held["model.decoder.embed_tokens.weight"])
    assert not model.training


def test_precision_is_the_callers(opt_hub):
    model = load_causal_lm(Weights(folder=opt_hub[0]), dtype="bfloat16")
    assert model.dtype == torch.bfloat16
    with pytest.raises(InputError, match="int7"):
        load_causal_lm(Weights(folder=opt_hub[0]), dtype="int7")


def test_opt_tokenizer_without_tokenizer_json_begins_with_eos(opt_hub):
    folder, _ = opt_hub
    assert not (folder / "tokenizer.json").exists()
    tokenizer = load_tokenizer(folder)
    ids = tokenizer("\n\nHuman: How do I bake bread?")["input_ids"]
    assert ids[0] == tokenizer.convert_tokens_to_ids("</s>") == 2
    assert tokenizer.pad_token_id == 1
    assert tokenizer.eos_token_id == tokenizer.bos_token_id == 2
    assert tokenizer.decode(ids, skip_special_tokens=True) == "\n\nHuman: How do I bake bread?"
    assert len(tokenizer) == json.loads((folder / "config.json").read_text())["vocab_size"]


def test_deberta_tokenizer_is_read_from_the_sentencepiece_model(deberta_hub):
    import sentencepiece

    folder, _ = deberta_hub
    tokenizer = load_tokenizer(folder)
    text = "The quick brown fox; don't you think?"
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "spm.model"))
    ids = tokenizer(text, "Paris")["input_ids"]
    assert ids == [1, *pieces.encode(text), 2, *pieces.encode("Paris"), 2]
    assert tokenizer.pad_token_id == 0


def test_classifier_loads_the_files_values(deberta_hub):
    folder, tensors = deberta_hub
    held = load_classifier(folder).state_dict()
    assert {value.dtype for value in held.values()} == {torch.float32}
    assert all(torch.equal(held[name], value) for name, value in tensors.items())


def test_safetensors_are_preferred_to_a_pickle(opt_hub, tmp_path):
    from safetensors.torch import save_file

    folder = copied(opt_hub[0], tmp_path)
    tensors = {name: value + 1 for name, value in opt_hub[1].items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "pytorch_model.bin").write_bytes(b"never read")
    held = load_causal_lm(Weights(folder=folder)).state_dict()
    name = "model.decoder.layers.1.fc1.weight"
    assert torch.equal(held[name], tensors[name].float())


@pytest.mark.parametrize("note", ["", "x", "xy", "xyzt" * 5])
def test_results_dont_hang_on_where_tensors_lie_in_the_file(opt_hub, tmp_path, note):
    from safetensors.torch import save_file

    folder = copied(opt_hub[0], tmp_path)
    save_file(
        {name: value.float() for name, value in opt_hub[1].items()},
        folder / "model.safetensors",
        metadata={"format": "pt", "note": note},
    )
    from_bin, from_safe = (load_causal_lm(Weights(folder=f)) for f in (opt_hub[0], folder))
    assert {p.data_ptr() % 64 for p in from_safe.parameters()} == {0}
    ids = torch.arange(4, 67).reshape(1, -1)
    with torch.no_grad():
        assert torch.equal(from_bin(input_ids=ids).logits, from_safe(input_ids=ids).logits)


def test_dropout_off_reaches_functional_dropout(opt_hub):
    from transformers.models.opt.modeling_opt import OPTDecoderLayer

    folder, _ = opt_hub
    ids = torch.arange(4, 40).reshape(1, -1)

    def logits_in_training(dropout):
        torch.manual_seed(0)
        model = load_causal_lm(Weights(folder=folder), dropout=dropout).train()
        layers = [part for part in model.modules() if isinstance(part, OPTDecoderLayer)]
        assert {layer.dropout for layer in layers} == {0.1 if dropout is None else dropout}
        return model(input_ids=ids).logits, model.eval()(input_ids=ids).logits

    noisy, clean = logits_in_training(None)
    assert not torch.allclose(noisy, clean, atol=1e-3)
    trained, evaluated = logits_in_training(0.0)
    assert torch.equal(trained, evaluated)
    with pytest.raises(InputError, match="no probability"):
        load_causal_lm(Weights(folder=folder), dropout=1.5)


def test_newly_initialised_head_is_refused(tmp_path):
    write_deberta_like_hub(tmp_path, head=False)
    with pytest.raises(GuardError) as caught:
        load_classifier(tmp_path)
    assert "classifier.weight" in caught.value.why


def test_language_model_is_no_classifier(opt_hub):
    with pytest.raises(GuardError) as caught:
        load_classifier(opt_hub[0], output=0)
    assert "score.weight" in caught.value.why


def test_missing_layer_weights_are_refused(opt_hub, tmp_path):
    folder = copied(opt_hub[0], tmp_path)
    tensors = {k: v for k, v in opt_hub[1].items() if "layers.1.fc1" not in k}
    torch.save(tensors, folder / "pytorch_model.bin")
    with pytest.raises(GuardError) as caught:
        load_causal_lm(Weights(folder=folder))
    assert "layers.1.fc1.weight" in caught.value.why


def test_layers_that_the_configuration_leaves_out_are_refused(opt_hub, tmp_path):
    folder = copied(opt_hub[0], tmp_path)
    change_config(folder, num_hidden_layers=1)
    with pytest.raises(GuardError) as caught:
        load_causal_lm(Weights(folder=folder))
    assert "beyond what config.json builds" in caught.value.why


def test_weights_of_another_shape_are_refused(opt_hub, tmp_path):
    folder = copied(opt_hub[0], tmp_path)
    change_config(folder, ffn_dim=48)
    with pytest.raises(GuardError) as caught:
        load_causal_lm(Weights(folder=folder))
    assert "another shape" in caught.value.why
    assert "fc1" in caught.value.why


def test_several_outputs_need_a_name(tmp_path):
    write_deberta_like_hub(tmp_path, num_labels=2, id2label={0: "harmful", 1: "harmless"})
    with pytest.raises(GuardError) as caught:
        load_classifier(tmp_path)
    assert "0: harmful, 1: harmless" in caught.value.why
    model = load_classifier(tmp_path, output="harmless")
    assert output_index(model.config, "harmless") == 1
    assert output_index(model.config, 0) == 0
    for wrong in ("toxic", 2, -1, True):
        with pytest.raises(GuardError):
            load_classifier(tmp_path, output=wrong)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_remote_code_is_refused(opt_hub, tmp_path, name):
    folder = copied(opt_hub[0], tmp_path)
    (folder / "modeling_opt.py").write_text("raise SystemExit('ran')")
    file = folder / name
    values = json.loads(file.read_text()) | {"auto_map": {"AutoModel": "modeling_opt.X"}}
    file.write_text(json.dumps(values))
    with pytest.raises(GuardError, match="code of its own"):
        load_causal_lm(Weights(folder=folder))
    with pytest.raises(GuardError, match="code of its own"):
        load_tokenizer(folder)


class Bomb:
    def __reduce__(self):
        import os

        return os.system, ("exit 3",)


def test_pickle_with_code_is_refused(opt_hub, tmp_path):
    folder = copied(opt_hub[0], tmp_path)
    torch.save({**opt_hub[1], "bomb": Bomb()}, folder / "pytorch_model.bin")
    with pytest.raises(GuardError) as caught:
        load_causal_lm(Weights(folder=folder))
    assert "would run code" in caught.value.why
    assert "system" in caught.value.why


@pytest.mark.parametrize("kept", [0, 100, 0.5, 0.999])
@pytest.mark.parametrize("kind", ["bin", "safetensors"])
def test_broken_weight_files_are_named_as_such(opt_hub, tmp_path, kind, kept):
    from safetensors.torch import save_file

    folder = copied(opt_hub[0], tmp_path)
    file = folder / "pytorch_model.bin"
    if kind == "safetensors":
        file.unlink()
        file = folder / "model.safetensors"
        save_file(opt_hub[1], file, metadata={"format": "pt"})
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * kept) if isinstance(kept, float) else kept])
    with pytest.raises(DamagedArtefactError):
        load_causal_lm(Weights(folder=folder))


def test_overwritten_pickle_is_damage(opt_hub, tmp_path):
    folder = copied(opt_hub[0], tmp_path)
    (folder / "pytorch_model.bin").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(DamagedArtefactError):
        load_causal_lm(Weights(folder=folder))


def test_missing_files_say_what_a_folder_needs(opt_hub, tmp_path):
    with pytest.raises(InputError, match=r"no config\.json") as caught:
        load_causal_lm(Weights(folder=tmp_path))
    assert "pytorch_model.bin" in caught.value.hint
    copied(opt_hub[0], tmp_path)
    (tmp_path / "pytorch_model.bin").unlink()
    with pytest.raises(InputError, match="no weights"):
        load_causal_lm(Weights(folder=tmp_path))
    (tmp_path / "merges.txt").unlink()
    with pytest.raises(InputError, match="half a tokenizer"):
        load_tokenizer(tmp_path)
    for name in ("vocab.json", "tokenizer_config.json", "special_tokens_map.json"):
        (tmp_path / name).unlink()
    with pytest.raises(InputError, match="no tokenizer"):
        load_tokenizer(tmp_path)
    change_config(tmp_path, hidden_size="many")
    with pytest.raises(InputError, match="nothing can be loaded"):
        load_tokenizer(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(DamagedArtefactError):
        load_tokenizer(tmp_path)
    copied(opt_hub[0], tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "no-such-model"}')
    with pytest.raises(InputError, match="nothing can be loaded"):
        load_causal_lm(Weights(folder=tmp_path))


@pytest.mark.parametrize("content", [b"", b"garbage", b"[]", b'{"a": 1}', b"\xff\xfe"])
@pytest.mark.parametrize("name", ["tokenizer.json", "vocab.json", "merges.txt"])
def test_broken_tokenizer_files_are_no_traceback(opt_hub, tmp_path, name, content):
    folder = copied(opt_hub[0], tmp_path)
    (folder / name).write_bytes(content)
    with pytest.raises((DamagedArtefactError, InputError)):
        load_tokenizer(folder)


def test_tokens_without_embeddings_are_refused(opt_hub, tmp_path):
    folder = copied(opt_hub[0], tmp_path)
    change_config(folder, vocab_size=300)
    with pytest.raises(GuardError, match="300 rows"):
        load_tokenizer(folder)


@pytest.fixture(scope="module")
def adapter(opt_hub, tmp_path_factory):
    from peft import LoraConfig, get_peft_model

    folder = tmp_path_factory.mktemp("adapter")
    base = load_causal_lm(Weights(folder=opt_hub[0]))
    torch.manual_seed(0)
    tuned = get_peft_model(
        base, LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    )
    tuned.save_pretrained(folder, save_embedding_layers=False)
    record = {"base_weights_sha256": weights_digest(opt_hub[0]), "base": "tiny"}
    (folder / ADAPTER_RECORD).write_text(json.dumps(record))
    ids = torch.arange(4, 40).reshape(1, -1)
    with torch.no_grad():
        return folder, ids, tuned.eval()(input_ids=ids).logits


def test_adapter_is_applied_to_its_base(opt_hub, adapter):
    folder, ids, expected = adapter
    base = load_causal_lm(Weights(folder=opt_hub[0]))
    model = load_causal_lm(Weights(folder=folder, base=opt_hub[0]))
    assert not model.training
    with torch.no_grad():
        logits = model(input_ids=ids).logits
        assert torch.equal(logits, expected)
        assert not torch.allclose(logits, base(input_ids=ids).logits, atol=1e-3)


def test_adapter_of_another_base_is_refused(adapter, tmp_path):
    write_opt_like_hub(tmp_path, std=0.2, seed=1)
    with pytest.raises(GuardError, match="trained on other weights"):
        load_causal_lm(Weights(folder=adapter[0], base=tmp_path))


def test_adapter_needs_its_record_and_its_base(opt_hub, adapter, tmp_path):
    folder = copied(adapter[0], tmp_path)
    (folder / ADAPTER_RECORD).unlink()
    with pytest.raises(GuardError, match="doesn't record which base"):
        load_causal_lm(Weights(folder=folder, base=opt_hub[0]))
    (folder / "config.json").write_text((opt_hub[0] / "config.json").read_text())
    with pytest.raises(InputError, match="is an adapter"):
        load_causal_lm(Weights(folder=folder))


def test_adapter_with_missing_weights_is_refused(opt_hub, adapter, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = copied(adapter[0], tmp_path)
    tensors = load_file(folder / "adapter_model.safetensors")
    tensors.pop(next(name for name in tensors if "v_proj" in name))
    save_file(tensors, folder / "adapter_model.safetensors")
    with pytest.raises(GuardError, match="doesn't fit"), pytest.warns(UserWarning, match="missing"):
        load_causal_lm(Weights(folder=folder, base=opt_hub[0]))


def test_a_digest_sees_weights_and_their_names_only(opt_hub, tmp_path):
    folder = copied(opt_hub[0], tmp_path)
    change_config(folder, dropout=0.3)
    assert weights_digest(folder) == weights_digest(opt_hub[0])
    (folder / "pytorch_model.bin").write_bytes(b"other")
    assert weights_digest(folder) != weights_digest(opt_hub[0])


def test_devices(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert pick_device() == pick_device("cpu") == "cpu"
    with pytest.raises(EnvironmentFault):
        pick_device("cuda")
    for wrong in ("gpu", "cuda:x", "cuda:"):
        with pytest.raises(InputError, match="unknown device"):
            pick_device(wrong)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert pick_device() == pick_device("cuda") == "cuda"
    assert pick_device("cuda:0") == "cuda:0"
    with pytest.raises(EnvironmentFault):
        pick_device("cuda:1")


def test_context_length_comes_from_the_configuration(opt_hub):
    from transformers import BloomConfig, PretrainedConfig

    config = load_causal_lm(Weights(folder=opt_hub[0])).config
    assert context_length(config) == 256
    with pytest.raises(InputError, match="context length"):
        context_length(PretrainedConfig(model_type="endless"))
    assert context_length(PretrainedConfig(model_type="x", n_positions=99)) == 99
    assert context_length(BloomConfig()) > 10**9  # it knows distances alone


@pytest.mark.parametrize("pad", [0, 1])
def test_roberta_reads_as_many_tokens_as_it_has_positions_after_padding(pad):
    import torch
    from transformers import RobertaConfig, RobertaForSequenceClassification

    config = RobertaConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=20, pad_token_id=pad, num_labels=1,
    )  # fmt: skip
    model = RobertaForSequenceClassification(config).eval()
    most = context_length(config)
    assert most == 19 - pad
    assert torch.isfinite(model(torch.full((1, most), 7)).logits).all()
    with pytest.raises((IndexError, RuntimeError)):
        model(torch.full((1, most + 1), 7))
