"""The words of study files, reports and code: one source for docs/glossary.md and for reports.

`python -m alignstudy.report.text.glossary > docs/glossary.md` writes the page.
"""

from __future__ import annotations

import re
import sys
from typing import NamedTuple

from alignstudy.metrics import METRICS
from alignstudy.report.text.verdicts import VERDICTS

_TERMS = {
    "adapter": "Low-rank weights (LoRA) trained on top of a frozen model, in PEFT's format.",
    "axis": "A named set of prompts with its judge and threshold: harmlessness, helpfulness, any"
    " other.",
    "balanced accuracy": "Mean of the shares of chosen and of rejected answers that a threshold"
    " puts on their side; chance is 50 %.",
    "base": "The model that every recipe starts from, and the one that others are compared with.",
    "BCa": "A bootstrap interval, corrected for bias and skew (Efron 1987).",
    "bootstrap": "Drawing prompts again, with replacement, to see how far a figure moves.",
    "bounds": "Of a figure: over all that its missing ratings could be (`evaluate --missing"
    " bounds`).",
    "calibration error": "Mean distance between how sure a judge's score difference is and how"
    " often it is right, 0 to 1; 0 is best.",
    "among the best": "Not distinguishable from the best: the data don't show, all recipes taken"
    " together, that another one is better.",
    "chosen, rejected": "The preferred and the other response of a preference pair.",
    "claim": "A statement about the models, written down before the run; it is given a verdict.",
    "cluster": "Near-duplicate prompts, which are resampled as one.",
    "control": "The recipe, declared beforehand (`control`), that every other one is held against.",
    "estimate": "A number with its interval and the number of prompts it rests on.",
    "exploration": "A comparison that no claim stated, and not with the control: it suggests, and"
    " proves nothing.",
    "floor": "The accuracy on held-out preference pairs (60 %) that a judge must exceed to decide a"
    " verdict.",
    "guard": "A check that stops a run rather than let it give a wrong number.",
    "Holm": "A correction of p-values for several tests at once (Holm 1979): with it, at most one"
    " study in twenty shows any difference that isn't there.",
    "implicit reward": "Beta times the log-ratio of policy and reference. Not a judge's score.",
    "interval": "The range, in brackets, that holds the true value in 95 % of studies like this.",
    "judge": "What gives a score to a response: a reward model, a rule, a Python function.",
    "label": "Whether a response passes, by a person or a better judge than the study's own.",
    "kappa": "Cohen's kappa: agreement beyond chance; 1 is full agreement, 0 none.",
    "KL": "Kullback-Leibler divergence, in nats: how far a model's distribution of responses has"
    " moved from the base's.",
    "loop": "A response of which over half of the 4-grams are repeats.",
    "margin": "A difference that would not matter; equivalence is tested against it.",
    "method": "One way to train: SFT, DPO, KTO; or to compute weights from weights: ExPO.",
    "p": "The chance of a difference at least as large as the one seen, if there were none.",
    "panel": "Several judges whose scores are combined into one.",
    "power": "The chance that a study of this size shows a difference that is there.",
    "protocol": "How prompts are drawn and responses cut: `paper` (as published) or `rigorous`.",
    "recipe": "The methods that make one compared model, in order: `sft_dpo: [sft, dpo]`; or a"
    " model that isn't trained here: `{from: FOLDER}`; or one made of other recipes' weights:"
    " `{average: [dpo, simpo]}`.",
    "reference": "The model that preference training is kept close to: the saved weights it"
    " started from, or its base.",
    "registered": "Of claims: their file was known to the register (`alignstudy register`) before"
    " the ratings were made.",
    "reward hacking": "Training pleased the judge that it learnt from, while one that had no part"
    " in it likes the answers less than before.",
    "score": "What a judge gives a response, in the judge's own unit.",
    "seed": "The number that a training's chance is drawn from; several tell what training again"
    " would change.",
    "sign-flip": "A test that turns the signs of paired differences at random.",
    "stage": "A step of a study with declared inputs, a key and one artefact.",
    "stamp": "A warning on every number that rests on a judge below the floor.",
    "template": "How turns become text: the tokenizer's chat template, `Human:` and `Assistant:`"
    " tags, none, a file.",
    "threshold": "The score above which a response passes.",
    "verdict": f"What the data say of a claim: {', '.join(VERDICTS)}.",
    "Wilson": "An interval of a share that holds its level with few prompts (Wilson 1927).",
}


def _metrics() -> dict[str, str]:
    """Return the metrics whose title is an abbreviation, with what they are."""
    found = [metric for metric in map(METRICS.load, METRICS) if metric.spelt]
    return {m.title: f"{m.spelt[:1].upper()}{m.spelt[1:]}. {m.definition}" for m in found}


_VERDICTS = {name: words.meaning for name, words in VERDICTS.items()}
GLOSSARY = dict(sorted((_TERMS | _metrics() | _VERDICTS).items(), key=lambda item: item[0].lower()))
"""Term -> meaning, by the alphabet."""

_WORDS = {word: meaning for term, meaning in GLOSSARY.items() for word in term.split(", ")}
_FORMS = "|".join(re.escape(word) for word in sorted(_WORDS, key=len, reverse=True))
_FOUND = re.compile(rf"(?<![\w-])({_FORMS})s?(?![\w-])", re.IGNORECASE)


class Piece(NamedTuple):
    """A piece of a text: plain, or a term with what it means."""

    text: str
    meaning: str = ""


class Explained:
    """Splits texts at the terms of the glossary, each term once until `anew` is called."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def anew(self) -> str:
        """Explain every term again from here on: a reader starts at any section."""
        self._seen.clear()
        return ""

    def __call__(self, text: str) -> list[Piece]:
        """Return the pieces of a text, in order; together they are the text."""
        pieces, end = [], 0
        for found in _FOUND.finditer(text):
            word = found[1] if found[1] in _WORDS else found[1].lower()
            if word not in _WORDS or word in self._seen:
                continue
            self._seen.add(word)
            pieces += [Piece(text[end : found.start()]), Piece(found[0], _WORDS[word])]
            end = found.end()
        return [piece for piece in (*pieces, Piece(text[end:])) if piece.text]


def glossary_page() -> str:
    """Return docs/glossary.md."""
    head = [
        "# Glossary",
        "The words of study files, reports and code. One name stands for one thing. Made by"
        " `make docs`;",
        "reports explain these words where they stand.",
        "",
        "| term | meaning |",
        "| --- | --- |",
    ]
    return "\n".join([*head, *(f"| {term} | {text} |" for term, text in GLOSSARY.items())]) + "\n"


if __name__ == "__main__":
    sys.stdout.write(glossary_page())
