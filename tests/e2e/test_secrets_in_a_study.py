"""Tokens of a study's text and of the environment are in no file and no message of it."""

import json
import os
import subprocess
import sys

import models_fixtures
import pytest
from data_files import PAIRS, write_jsonl

IN_COMMENT = "hf_" + "Cmmt1" * 6
IN_VALUE = "ghp_" + "Va1ue" * 6
IN_KEY = "sk-" + "k3yk3y" * 5
IN_ENVIRONMENT = {"HF_TOKEN": "hf_" + "Envr0" * 6, "WANDB_API_KEY": "0123456789abcdef" * 2,
                  "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"}  # fmt: skip


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """Run a study that holds tokens, twice, then one that is refused; return place and output."""
    root = tmp_path_factory.mktemp("secret")
    data = root / IN_VALUE / "pairs.jsonl"
    write_jsonl(data, [PAIRS["pairs"][1](number) for number in range(40)])
    models_fixtures.write_opt_like_hub(root / "base")
    study = {
        "study": "secret", "base": str(root / "base"), "data": {"source": str(data)},
        "prompts": {"helpful": {"n": 4}, "harmful": None},
        "calibration": None, "validation": None, "methods": {}, "recipes": {"base": []},
        "generation": {"max_new_tokens": 4}, "judges": [{"use": "length"}],
        "thresholds": {"helpful": -2},
    }  # fmt: skip
    path = root / "secret.yaml"
    path.write_text(f"# mine: {IN_COMMENT}\n{json.dumps(study, indent=1)}\n")
    wrong = root / "wrong.yaml"
    wrong.write_text(json.dumps({**study, IN_KEY: 1, "seeds": IN_COMMENT}))
    texts = []
    refused = f"base=https://me:{IN_VALUE}@hub/x"
    for verb, file, *more in (("plan", path), ("check", path), ("run", path),
                              ("run", path, "--json"), ("run", wrong), ("check", wrong),
                              ("run", path, "--set", refused)):  # fmt: skip
        command = [sys.executable, "-m", "alignstudy", verb, str(file), *more]
        own = {**IN_ENVIRONMENT, "ALIGNSTUDY_HOME": str(root / "home")}
        done = subprocess.run(
            [*command, "--out", str(root / "run")], env=os.environ | own, capture_output=True,
            text=True, cwd=root, check=False,
        )  # fmt: skip
        assert done.returncode == (2 if file is wrong or "--set" in more else 0), done.stderr
        texts.append(done.stdout + done.stderr)
    return root, texts


def test_they_are_in_no_file_of_the_run_or_the_store(said):
    root, _ = said
    files = [path for name in ("run", "home") for path in (root / name).rglob("*")]
    contents = {path: path.read_bytes() for path in files if path.is_file()}
    assert len(contents) > 30
    for token in (IN_COMMENT, IN_VALUE, IN_KEY, *IN_ENVIRONMENT.values()):
        assert [str(path) for path, raw in contents.items() if token.encode() in raw] == []


def test_they_are_in_nothing_that_is_printed(said):
    _, texts = said
    for token in (IN_COMMENT, IN_VALUE, IN_KEY, *IN_ENVIRONMENT.values()):
        assert [
            text[max(0, text.find(token) - 80) :][:200] for text in texts if token in text
        ] == []
    assert any("without what looks like a secret" in text for text in texts)
