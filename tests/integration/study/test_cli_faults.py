"""What a user reads when something is wrong: what, why, how to fix it, and the exit code."""

import gzip
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from alignstudy.cli.app import main

RULE = {"name": "longest", "use": "length"}
STUDY = {
    "study": "small",
    "base": {"scratch": {"architecture": {"hidden_size": 32}}},
    "data": {"source": "world"},
    "methods": {"sft": {}, "dpo": {}},
    "judges": [RULE],
    "thresholds": {"harmless": 0, "helpful": 0},
}
"""A study that is sound; nothing here trains it."""


class Said:
    """What a command printed, and its exit code."""

    def __init__(self, code, captured):
        self.code, self.out, self.err = code, captured.out, captured.err

    def holds(self, *parts):
        text = " ".join(self.err.split())
        assert "Traceback" not in text
        for part in parts:
            assert part in text, f"{part!r} is not in: {text}"


@pytest.fixture
def alignstudy(capsys, monkeypatch, tmp_path):
    """Run the command line in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in arguments])
        return Said(ended.value.code, capsys.readouterr())

    return run


@pytest.fixture
def write(tmp_path):
    """Write a study file with some sections replaced."""

    def write_study(**changes):
        path = tmp_path / "s.yaml"
        path.write_text(json.dumps({**STUDY, **changes}, indent=1))
        return path

    return write_study


def write_rows(folder: Path, lines: list[bytes], *, subset: str = "harmless-base") -> Path:
    for split in ("train", "test"):
        path = folder / subset / f"{split}.jsonl.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(b"\n".join(lines)))
    return folder


def row(number: int, **changes: object) -> bytes:
    prompt = f"\n\nHuman: How do I bake loaf {number}?\n\nAssistant:"
    pair = {"chosen": prompt + " With care.", "rejected": prompt + " No.", **changes}
    return json.dumps(pair).encode()


def data(source: object, **more: object) -> dict:
    """Return the sections of a study that reads a folder of one subset."""
    subset = {"subsets": ["harmless-base"]}
    prompts = {"harmful": {**subset, "n": 2}, "helpful": None}
    return {"data": {"source": str(source), "train": subset, **more}, "prompts": prompts}


def faults_of(text, alignstudy, tmp_path):
    (tmp_path / "s.yaml").write_text(text)
    said = alignstudy("check", "s.yaml")
    assert said.code == 2
    return said


SOUND = """study: x
base: {scratch: {architecture: {}}}
data: {source: world}
methods:
  sft: {}
  dpo: {beta: 0.1}
judges: [{use: constant}]
thresholds: {harmless: 0, helpful: 0}
"""


@pytest.mark.parametrize(
    ("line", "faulty", "parts"),
    [
        (6, "  dpo: {betta: 0.1}", ["unknown key 'methods.dpo.betta'", "did you mean 'beta'?"]),
        (6, "  dpo: {beta: high}", ["'methods.dpo.beta'", "valid number", "not 'high'"]),
        (6, "  dpo: {beta: -1}", ["'methods.dpo.beta'", "greater than", "not -1"]),
        (6, "  gkd: {}", ["'methods.gkd'", "unknown method 'gkd'; `alignstudy list methods`"]),
        (3, "data: {source: 3}", ["'data.source'", "valid string", "not 3"]),
        (3, "data: {}", ["'data.source' is missing"]),
        (3, "study: y", ["a key stands twice"]),
        (5, "  sft: &x {}", ["anchors and aliases are not used"]),
        (7, "judges: [{use: constnt}]", ["unknown judge 'constnt'", "did you mean 'constant'?"]),
        (8, "thresholds: {harmless: -3}", ["'thresholds'", "no number for helpful"]),
        (8, "seeds: 3", ["'seeds'", "valid list", "not 3"]),
    ],
)
def test_a_faulty_line_is_named_with_what_is_allowed(alignstudy, tmp_path, line, faulty, parts):
    lines = SOUND.splitlines()
    lines[line - 1] = faulty
    said = faults_of("\n".join(lines), alignstudy, tmp_path)
    said.holds(f"s.yaml:{line}: ", *parts, "hint: ", "kept: nothing was run")


def test_all_faults_are_told_at_once_each_with_its_line(alignstudy, tmp_path):
    text = SOUND.replace("beta: 0.1", "betta: 0.1").replace("source: world", "source: 3")
    said = faults_of(text + "seeds: [0.5]\ngeneration: {max_new_tokens: 0}\n", alignstudy, tmp_path)
    said.holds("4 faults", "s.yaml:3: 'data.source'", "s.yaml:6: unknown key 'methods.dpo.betta'",
               "s.yaml:9: 'seeds[0]'", "s.yaml:10: 'generation.max_new_tokens'")  # fmt: skip


def test_faults_between_keys_are_told_at_once_each_with_its_line(alignstudy, tmp_path):
    text = SOUND + "recipes:\n  base: []\n  both: [sft, rlhf]\n  twin: []\nseeds: [1, 1]\n"
    said = faults_of(text, alignstudy, tmp_path)
    said.holds("4 faults", "s.yaml:11: 'recipes.both': names method 'rlhf'", "known: sft, dpo",
               "s.yaml:6: 'methods.dpo': is in no recipe", "s.yaml:9: 'recipes': two recipes",
               "s.yaml:13: 'seeds': a seed stands twice")  # fmt: skip


def test_faults_of_set_name_the_set(alignstudy):
    said = alignstudy("plan", "demo", "--set", "seeds=[a]", "--set", "methods.dpo.bta=1")
    assert said.code == 2
    said.holds("--set seeds: 'seeds[0]'", "--set methods.dpo.bta: unknown key")
    said = alignstudy("plan", "demo", "--set", "seeds")
    assert said.code == 2
    said.holds("--set seeds: not `key=value`")


def test_a_judge_must_be_trained_on_what_it_will_read(alignstudy):
    key = "judges.0.train.reward_model.prompt_form"
    said = alignstudy("plan", "demo", "--set", f"{key}=bare")
    assert said.code == 2
    said.holds(f"--set {key}: ", "must be 'cue'", "rigorous protocol")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["run", "dmo"], ["unknown preset 'dmo'", "did you mean 'demo'?"]),
        (["run", "none.yaml"], ["'none.yaml' can't be read", "No such file"]),
        (["init", "--preset", "papr"], ["unknown preset 'papr'", "did you mean 'paper'?"]),
        (["list", "metods"], ["unknown kind 'metods'", "did you mean 'methods'?"]),
        (["list", "x"], ["known: figures, formats, judges, losses, methods, metrics, presets"]),
        (["show", "."], ["holds no alignstudy run", "runs/<study>"]),
        (["show", "nowhere"], ["holds no alignstudy run"]),
        (["evaluate", "nowhere", "--out", "ev"], ["nowhere: no such file or folder"]),
        (["run", "demo", "--only", "trian"], ["unknown stage 'trian'", "train/sft/seed-0"]),
        (["run", "demo", "--set", "data.source=./nowhere"], ["'./nowhere' doesn't exist", "hint"]),
        (["run", "demo", "--set", "base=/no/model"], ["model '/no/model' doesn't exist"]),
    ],
)
def test_names_that_mean_nothing(alignstudy, arguments, parts):
    said = alignstudy(*arguments)
    assert said.code == 2
    said.holds(*parts)


def test_a_study_file_that_is_no_utf_8(alignstudy, tmp_path):
    (tmp_path / "s.yaml").write_bytes(b"study: \xff\xfe\n")
    said = alignstudy("check", "s.yaml")
    assert said.code == 2
    said.holds("'s.yaml' can't be read", "name a YAML file in UTF-8")


def test_a_hub_id_without_a_network(alignstudy, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    said = alignstudy("run", "demo", "--set", "base=owner/name", "--out", "run")
    assert said.code == 3
    said.holds("model 'owner/name' is not on this machine", "offline", "name a local folder")
    assert json.loads((tmp_path / "run" / "provenance.json").read_text())["status"] == "failed"


def test_init_writes_a_study_that_is_sound_and_never_overwrites(alignstudy, tmp_path):
    said = alignstudy("init", "--path", "mine.yaml")
    assert said.code == 0
    text = (tmp_path / "mine.yaml").read_text()
    assert alignstudy("plan", "mine.yaml").code == 0
    said = alignstudy("init", "--path", "mine.yaml", "--preset", "paper")
    assert said.code == 2
    said.holds("mine.yaml exists already", "kept: the file as it is")
    assert (tmp_path / "mine.yaml").read_text() == text


# data


def test_a_folder_without_rows_of_the_subset(alignstudy, write, tmp_path):
    source = write_rows(tmp_path / "hh", [row(1)], subset="helpful-base")
    said = alignstudy("run", write(**data(source)), "--only", "rows/train")
    assert said.code == 2
    said.holds("no subset 'harmless-base'", "helpful-base/test, helpful-base/train")


def test_a_cut_short_gz_names_file_and_line(alignstudy, write, tmp_path):
    source = write_rows(tmp_path / "hh", [row(n) for n in range(500)])
    path = source / "harmless-base" / "train.jsonl.gz"
    path.write_bytes(path.read_bytes()[:-300])
    said = alignstudy("run", write(**data(source)), "--only", "rows/train")
    assert said.code == 2
    said.holds("rows/train: harmless-base/train.jsonl.gz:", "can't be read further", "cut short")


def test_a_gz_that_is_none(alignstudy, write, tmp_path):
    source = write_rows(tmp_path / "hh", [row(1)])
    (source / "harmless-base" / "test.jsonl.gz").write_bytes(b"no gzip at all")
    said = alignstudy("run", write(**data(source)), "--only", "prompts")
    assert said.code == 2
    said.holds("s.yaml:11: 'data.source': prompts: ", "no row could be read in split 'test'")
    said.holds("harmless-base/test.jsonl.gz:1", "bad JSON")


def test_bad_rows_are_quarantined_counted_and_never_used(alignstudy, write, tmp_path):
    bad = [row(1, chosen=None), b'{"chosen": "\xff\xfe"}', b"{", row(2, rejected=7)]
    lines = [row(n) for n in range(10, 30)]
    source = write_rows(tmp_path / "hh", [*lines[:10], *bad, *lines[10:]])
    said = alignstudy("check", write(**data(source, overlap="keep")))
    assert said.code == 0, said.err
    assert "20 of 24 rows; 4 quarantined" in said.out


@pytest.mark.parametrize(
    ("lines", "what", "reason"),
    [
        ([row(1, chosen=None)], "no usable row for prompts/harmful", "field 'chosen' is null"),
        ([b'{"chosen": "\xff\xfe", "rejected": "x"}'], "no row could be read", "invalid UTF-8"),
        ([b""], "no row could be read in split 'test'", "its files are empty"),
    ],
)
def test_a_set_with_no_usable_row_is_refused_with_the_reason(
    alignstudy, write, tmp_path, lines, what, reason
):
    source = write_rows(tmp_path / "hh", lines)
    said = alignstudy("run", write(**data(source)), "--only", "prompts")
    assert said.code == 2
    said.holds(f"{source}: {what}", reason, "hint:", "kept:")


def test_evaluate_names_the_row_whose_rating_is_bad(alignstudy, tmp_path):
    good = [{"prompt": "a", "response": "b", "rating": 1.0}] * 3
    for name in ("base_harmful", "base_helpful", "sft_harmful", "sft_helpful"):
        (tmp_path / "rated").mkdir(exist_ok=True)
        (tmp_path / "rated" / f"{name}.json").write_text(json.dumps(good))
    bad = [*good[:1], {**good[0], "rating": "good"}, *good[:1]]
    (tmp_path / "rated" / "sft_helpful.json").write_text(json.dumps(bad))
    said = alignstudy("evaluate", "rated", "--out", "ev")
    assert said.code == 2
    said.holds("sft_helpful.json: row 2: rating is 'good'", "hint:")
    (tmp_path / "rated" / "sft_helpful.json").write_text("[{")
    said = alignstudy("evaluate", "rated", "--out", "ev")
    assert said.code == 2
    said.holds("sft_helpful.json")


# the machine


def test_out_is_a_file(alignstudy, write, tmp_path):
    (tmp_path / "taken").write_text("mine")
    said = alignstudy("run", write(), "--out", "taken")
    assert said.code == 2
    said.holds("taken is a file", "name a folder")
    assert (tmp_path / "taken").read_text() == "mine"


def test_out_is_a_folder_of_something_else(alignstudy, write, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("mine")
    said = alignstudy("run", write(), "--out", "thesis")
    assert said.code == 2
    said.holds("thesis is not an alignstudy run", "chapter.txt", "nothing was written")
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["chapter.txt"]
    said = alignstudy("evaluate", "thesis", "--out", "thesis")
    assert said.code == 2


@pytest.mark.parametrize("place", ["/proc/run", "file/run"])
def test_out_cannot_be_written(alignstudy, write, tmp_path, place):
    if place.startswith("/proc") and not Path("/proc/self").exists():
        pytest.skip("no /proc here")
    (tmp_path / "file").write_text("")
    said = alignstudy("run", write(), "--out", place, "--only", "world")
    assert said.code == 3
    said.holds("the run folder", "can't be written", "name a writable folder")


@pytest.mark.parametrize("place", ["/proc/home", "file/home"])
def test_the_home_cannot_be_written(alignstudy, write, tmp_path, monkeypatch, place):
    if place.startswith("/proc") and not Path("/proc/self").exists():
        pytest.skip("no /proc here")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ALIGNSTUDY_HOME", place)
    said = alignstudy("run", write(), "--only", "world")
    assert said.code == 3
    said.holds("the store at", "can't be written", "ALIGNSTUDY_HOME")


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(alignstudy, write, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    said = alignstudy("run", write(), "--out", "locked/run", "--only", "world")
    assert said.code == 3
    said.holds("Permission denied")


HOLD = """
import sys, time
from pathlib import Path
from alignstudy.study.run.run_folder import RunFolder
with RunFolder(path=Path(sys.argv[1])).locked():
    print("held", flush=True)
    time.sleep(120)
"""


def test_edge_case_28_two_processes_on_one_run(alignstudy, write, tmp_path):
    run = tmp_path / "run"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        said = alignstudy("run", write(), "--out", run, "--only", "world")
    finally:
        holder.kill()
        holder.communicate()
    assert said.code == 3
    said.holds("another process works on", "--out", "this process wrote nothing")
    assert alignstudy("run", write(), "--out", run, "--only", "world").code == 0


# speed, and what is imported


def modules_after(code: str) -> set[str]:
    """Return the modules that a fresh interpreter holds after some code."""
    code += "\nimport sys; print('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    return set(done.stdout.split())


HEAVY = {"torch", "transformers", "trl", "peft", "datasets", "accelerate"}


@pytest.mark.parametrize(
    ("verb", "needed"),
    [
        *(
            (light, set())
            for light in (
                "--help",
                "run --help",
                "list presets",
                "list methods",
                "explain",
                "explain methods",
            )
        ),
        ("plan demo", {"torch"}),  # to measure what this machine can do
    ],
)
def test_a_light_verb_imports_nothing_heavy(verb, needed):
    code = (
        "import contextlib, io\n"
        "from alignstudy.cli.app import main\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        f"    main({verb.split()!r})"
    )
    assert modules_after(code) & HEAVY <= needed


def test_the_settings_of_every_part_are_imported_without_torch():
    assert not modules_after("import alignstudy.study.tools.check, alignstudy.study.api") & HEAVY


def test_help_is_there_at_once():
    """CPU seconds, the median of three: the wall clock on a machine that does nothing else."""
    seconds = []
    for _ in range(3):
        before = os.times()
        subprocess.run(
            [sys.executable, "-m", "alignstudy", "--help"], check=True, capture_output=True
        )
        after = os.times()
        seconds.append(
            after.children_user + after.children_system
            - before.children_user - before.children_system
        )  # fmt: skip
    assert sorted(seconds)[1] < 1.0


def test_the_published_ratings_give_the_published_table_without_torch(paper_dir, tmp_path):
    code = (
        "import sys\n"
        "from alignstudy.cli.app import main\n"
        "try:\n"
        f"    main(['evaluate', {str(paper_dir / 'responses')!r}, '--out', {str(tmp_path)!r}])\n"
        "except SystemExit as ended:\n"
        "    assert ended.code == 0\n"
        f"assert not {HEAVY!r} & set(sys.modules)\n"
    )
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - started < 60
    lines = (tmp_path / "tables" / "metrics.csv").read_text().splitlines()
    names, *rows = [line.split(",") for line in lines]
    assert names[:4] == ["model", "hmr", "hpr", "cas"]
    published = {"base": (42, 22, 32), "sft": (48, 56, 52), "dpo": (36, 46, 41),
                 "sftdpo": (44, 66, 55)}  # fmt: skip
    assert {row[0]: tuple(map(float, row[1:4])) for row in rows} == published


def test_show_prints_a_runs_table_for_people_and_for_scripts(alignstudy, paper_dir, tmp_path):
    shutil.copytree(paper_dir / "responses", tmp_path / "rated")
    assert alignstudy("evaluate", "rated", "--out", "ev").code == 0
    said = alignstudy("show", "ev")
    assert "42.0 [29.4, 55.8]" in said.out
    assert json.loads(alignstudy("show", "ev", "--json").out)["metrics"][0]["hmr"] == 42.0


def test_the_version_and_no_verb(alignstudy):
    assert alignstudy("--version").out.startswith("alignstudy ")
    said = alignstudy("frob")
    assert said.code == 2
    said.holds("No such command 'frob'")
