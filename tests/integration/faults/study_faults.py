"""Faults of study files, of names in them, and of ratings that lie in files."""

import json
import os

from fault_table import Fault, lines, small_study

LONG = "x" * 5_000
REST = """base: {scratch: {architecture: {}}}
data: {source: world}
methods: {sft: {}}
judges: [{use: constant}]
thresholds: {harmless: 0, helpful: 0}
"""


def yaml(name: str, text: object, *said: str, ids: str = "R42", seconds: float = 20) -> Fault:
    """Return a study file that is refused."""
    return Fault(id=f"{ids}-{name}", files={"s.yaml": text}, command="check s.yaml", said=said,
                 seconds=seconds)  # fmt: skip


def rate(name: str, value: str, *said: str) -> Fault:
    """Return a value that is no learning rate."""
    text = "study: x\n" + REST.replace("sft: {}", f"sft: {{learning_rate: {value}}}")
    return yaml(f"rate-{name}", text, *said)


YAML = [
    yaml("python-tag", "study: !!python/object:os.system {}\n", "s.yaml:1: tags (!...)"),
    yaml("alias-bomb", "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "s.yaml:1: anchors"),
    yaml("cycle", "study: x\na: &a [*a]\n", "s.yaml:2: anchors and aliases"),
    yaml("merge-key", "study: x\n<<: {a: 1}\n", "s.yaml:2: merge keys (<<)", ids="C21+R42"),
    yaml("merge-of-a-list", "study: x\nmethods:\n  <<: [1]\n", "s.yaml:3: merge keys", ids="C21"),
    yaml("nested-5000-deep", "study: " + "[" * 5_000, "nested deeper than 50 levels"),
    yaml("key-twice", "study: x\nstudy: y\n", "s.yaml:2: a key stands twice"),
    yaml("two-megabytes", b"#" * 2_000_000, "is 2000000 bytes", "over 1 MB"),
    yaml("tab", "study:\n\t- x\n", "s.yaml:2: not valid YAML"),
    yaml("two-documents", "study: x\n---\nstudy: y\n", "not valid YAML"),
    yaml("nul", "study: x\0\n", "not valid YAML"),
    yaml("latin-1", "study: \xe9\n".encode("latin-1"), "'s.yaml' can't be read"),
    yaml("utf-16", "study: x\n".encode("utf-16"), "'s.yaml' can't be read"),
    yaml("empty", "", "a study file is a list of `key: value` lines", "it holds nothing"),
    yaml("a-list", "- study\n", "a study file is a list of `key: value` lines"),
    yaml("key-is-a-list", "{[a]: b}\n", "is not a word"),
    yaml("key-is-a-number", "1: b\n", "key 1 is not a word", "quote it"),
    yaml("binary", "study: !!binary aGk=\n", "tags (!...)"),
    yaml("date", "study: 2020-01-01\n", "study holds a date"),
    yaml("5000-hex-digits", f"study: 0x{'f' * 5_000}\n", "number of too many digits", ids="C1+R42"),
    yaml("5000-digits", f"study: {'1' * 5_000}\n", "not valid YAML", ids="C1+R42"),
    yaml("unknown-key", "study: x\nmetods: {}\n" + REST, "unknown key 'metods'", "'methods'?"),
    yaml("4000-unknown-keys", "study: x\n" + "".join(f"k{n}: 1\n" for n in range(4_000)),
         "4003 faults in the study: s.yaml: 'base' is missing", "... and 39", "hint: fix the study",
         ids="C21+R42", seconds=20),
    yaml("1000-judges", "judges:\n" + "- a: 1\n" * 1_000, "faults in the study", "more",
         ids="C21+R42"),
    yaml("value-of-100000-characters", f"study: x\nseeds: {'k' * 100_000}\n",
         "'seeds': input should be a valid list, not 'kkk", "kk ... kk"),
    yaml("is-a-folder", lambda path: path.mkdir(), "'s.yaml' can't be read", "Is a directory"),
    yaml("is-a-pipe", os.mkfifo, "'s.yaml' is no plain file"),
    rate("text", "high", "'methods.sft.learning_rate': input should be a valid number, not 'high'"),
    rate("nan", ".nan", "'methods.sft.learning_rate': input should be a finite number"),
    rate("infinity", ".inf", "'methods.sft.learning_rate': input should be a finite number"),
    rate("overflow", "1e999", "'methods.sft.learning_rate': input should be a finite number"),
    rate("negative", "-1e-5", "input should be greater than 0, not -1e-05"),
    rate("yes", "yes", "input should be a valid number, not 'yes'"),
    rate("true", "true", "not True"),
    rate("environment", '"${RATE}"', "input should be a valid number, not '${RATE}'"),
]  # fmt: skip


def changed(name: str, setting: str, *said: str, ids: str = "R42", study: str = "demo") -> Fault:
    """Return a `--set` that is refused."""
    return Fault(id=f"{ids}-{name}", command=f"plan {study} --set {setting}", said=said)


SETS = [
    changed("set-of-a-superscript", "validation.share.0.\xb2=1", "there is no '\xb2' to set",
            ids="C17"),
    changed("set-of-nothing", "seeds", "--set seeds: not `key=value`"),
    changed("set-of-5000-characters", f"{LONG}=1", f"--set {'x' * 100}"),
    changed("set-past-a-list", "seeds.7=1", "there is no '7' to set"),
    changed("name-of-5000-characters", f"study={LONG}", "'study': string should match pattern",
            ids="R43"),
]  # fmt: skip

NAMES = {
    "upwards": "../../x", "absolute": "/etc", "option": "-rf", "300-characters": "a" * 300,
    "line-break": '"a\\nb"', "nul": '"a\\0b"', "markup": "<img>", "dot": ".", "hidden": ".x",
    "empty": '""', "blank": '" "', "letters-of-others": "\xfc", "separator": "a/b",
}  # fmt: skip
"""Names that would lie elsewhere, or be something else."""
PLACES = {
    "run": ("study: {}\n", "'study'"),
    "label": ("study: x\nmethods:\n  {}: {{method: sft}}\n", "'methods."),
    "recipe": ("study: x\nrecipes:\n  {}: []\n", "'recipes."),
    "judge": ("study: x\njudges:\n- {{use: constant, name: {}}}\n", "'judges[0].name'"),
    "axis": ("study: x\naxes:\n  {}: {{}}\n", "'axes."),
}
NAMED = [
    yaml(f"{place}-{name}", text.format(value), key, "should match pattern", ids="R43")
    for place, (text, key) in PLACES.items()
    for name, value in NAMES.items()
]


def source(name: str, value: str, *said: str, ids: str = "R43") -> Fault:
    """Return data that can't be meant."""
    text = small_study(data={"source": value})
    return yaml(f"data-{name}", text, *said, ids=ids)


SOURCES = [
    source("not-there", "data/my-pears.jsonl", "dataset 'data/my-pears.jsonl' doesn't exist",
           ids="C13"),
    source("upwards", "../../x", "dataset '../../x' doesn't exist"),
    source("nul", "a\0b", "dataset 'a?b' doesn't exist"),
    source("5000-characters", LONG, "is no name that a file can have"),
    source("never-ends", "/dev/zero", "/dev/zero is no plain file"),
    source("empty", "", "'data.source': string should have at least 1 character"),
    Fault(id="R43-data-is-a-pipe", files={"d.jsonl": os.mkfifo}, command="audit d.jsonl",
          said=("is no plain file",)),
    *(Fault(id=f"R43-{verb.split()[0]}-5000-characters", command=verb.format(LONG),
            said=("is no name that a file can have", "File name too long"))
      for verb in ("check {}", "run demo --only world --out {}", "show {}", "report {}", "audit {}",
                   "evaluate {} --out e", "compare {0} {0} --out e", "label {}", "init --data {}")),
    Fault(id="R43-template-never-ends", command="plan demo --set template=/dev/zero",
          said=("'/dev/zero' is no plain file",)),
    Fault(id="R42-format-unknown", files={"d.jsonl": lines()}, command="audit d.jsonl --format hhh",
          said=("unknown format 'hhh'", "did you mean 'hh'?")),
]  # fmt: skip


def rated(response=lambda n: f"Answer {n}.", rating=lambda n: n % 5 / 5, mark: bytes = b"") -> dict:
    """Return a folder of the rated answers of two models to 20 prompts."""
    rows = [{"prompt": f"Question {n}?", "response": response(n), "rating": rating(n)}
            for n in range(20)]  # fmt: skip
    return {f"rated/{model}_helpful.json": mark + json.dumps(rows).encode()
            for model in ("base", "sft")}  # fmt: skip


def long(text: str):
    """Return answers of which two say a text over and over, 220,000 characters long."""
    return lambda n: text * (220_000 // len(text)) if n < 2 else f"Answer {n}."


def evaluated(name: str, files: dict, *said: str, ids: str, code: int = 2, seconds=30.0) -> Fault:
    """Return ratings that are compared, or refused."""
    return Fault(id=f"{ids}-{name}", files=files, command="evaluate rated --out e", said=said,
                 code=code, seconds=seconds)  # fmt: skip


def one(content: object) -> dict:
    """Return ratings of which one file is another."""
    return {**rated(), "rated/sft_helpful.json": content}


def row(**changes: object) -> str:
    """Write the ratings of one answer."""
    return json.dumps([{"prompt": "a", "response": "b", "rating": 1.0, **changes}])


RATINGS = [
    evaluated("words-in-a-loop", rated(long("so it goes ")), "20 helpful prompts",
              ids="C3", code=0),
    evaluated("letters-in-a-loop", rated(long("ab")), "20 helpful prompts",
              ids="C3", code=0),
    evaluated("marks-in-a-loop", rated(long("!")), "20 helpful prompts",
              ids="C3", code=0),
    evaluated("byte-order-mark", rated(mark=b"\xef\xbb\xbf"), "20 helpful prompts", ids="C15+R29",
              code=0),
    evaluated("rating-of-1e308", rated(rating=lambda n: 1e308), "row 1: rating is '1e+308'",
              ids="C15"),
    evaluated("rating-infinite", rated(rating=lambda n: float("inf")), "row 1: rating is 'inf'",
              ids="C15"),
    evaluated("rating-of-400-digits", rated(rating=lambda n: 10**400), "row 1: rating is '1000",
              ids="C15+C1"),
    evaluated("rating-of-5000-digits", one(f'[{{"rating": {"1" * 5_000}}}]'),
              "a number has too many digits", ids="C15+C1"),
    evaluated("rating-is-text", one(row(rating="x" * 10**5)), "rating is 'xxxx", ids="R28"),
    evaluated("rating-twice", one('[{"rating": 1, "rating": 5}]'), "key 'rating' is given twice",
              ids="R28"),
    evaluated("name-of-100000-characters", one(row(**{"rating_" + "x" * 10**5: "no"})),
              "rating_xxx", ids="R28"),
    evaluated("nested", one("[" * 10**5), "nested too deeply", ids="R27"),
    evaluated("no-utf-8", one(b'[{"prompt": "\xff"}]'), "not JSON in UTF-8", ids="R29"),
    evaluated("no-rows", one("[]"), "no rows", ids="R31"),
    evaluated("a-pipe", one(os.mkfifo), "is no plain file", ids="R27"),
]  # fmt: skip
FAULTS = [*YAML, *SETS, *NAMED, *SOURCES, *RATINGS]
