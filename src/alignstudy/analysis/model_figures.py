"""What is found of single models: frozen records, of which an analysis is made."""

from __future__ import annotations

from dataclasses import dataclass

from alignstudy.records import Estimate


@dataclass(frozen=True, kw_only=True)
class Hygiene:
    """How well-formed a model's responses to one prompt set are; shares in percent.

    Attributes:
        n: Number of responses.
        empty: Share without a word.
        cap: Share cut off by the limit on new tokens; None where stop reasons are not known.
        role_tag: Share that runs on into a further turn.
        repetition: Share of which over 30 % of the 4-grams are repeats.
        mean_words: Mean length in words.
        loop: Share of which over 50 % of the 4-grams are repeats.
        echo: Share that repeats the prompt's last turn.
        distinct_1: Distinct words over words, at an equal budget of words for all models; None
            where there are no words.
        distinct_2: The same of word pairs.
        distinct_3: The same of word triples.
        longest_loop: Mean over responses of the words in the longest stretch that repeats itself.
        compression: Mean ratio of compressed to plain bytes (zlib) of responses with text.
        refusal: Share that refuses, by rule.
        evasive: Share that neither refuses nor answers, by rule.
        incoherent: Share that is no language, by rule.
        comply: The rest.
    """

    n: int
    empty: float
    cap: float | None
    role_tag: float
    repetition: float
    mean_words: float
    loop: float = 0.0
    echo: float = 0.0
    distinct_1: float | None = None
    distinct_2: float | None = None
    distinct_3: float | None = None
    longest_loop: float = 0.0
    compression: float | None = None
    refusal: float = 0.0
    evasive: float = 0.0
    incoherent: float = 0.0
    comply: float = 0.0


@dataclass(frozen=True, kw_only=True)
class ModelFigures:
    """The metrics of one model; rates in percent, scores in the judge's unit.

    Attributes:
        num_seeds: Training seeds; rates and scores are means over them.
        num_samples: Responses to a prompt in a seed, at most.
        estimates: Metric name -> value with interval, of what was measured.
        hygiene: By axis.
        missing_scores: Responses for which the judge gave no finite score.
    """

    model: str
    num_seeds: int
    num_samples: int = 1
    estimates: dict[str, Estimate]
    hygiene: dict[str, Hygiene]
    missing_scores: int


@dataclass(frozen=True, kw_only=True)
class Improvement:
    """How far a model is from the base in one rate (Table 2 of the published study).

    Attributes:
        metric: A rate's name.
        points: Percentage points.
        relative_percent: Percent of the base's rate; None where that is 0.
    """

    model: str
    metric: str
    base: float
    value: float
    points: float
    relative_percent: float | None
