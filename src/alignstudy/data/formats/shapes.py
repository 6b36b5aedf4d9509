"""Published data sets' shapes, each as its rewriting: one function and one line a shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from alignstudy.data.formats.row import UnusableRow
from alignstudy.data.formats.shape import Fields, Shape, pair_of
from alignstudy.data.formats.turns import reply

SPEAKERS = {
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "assistant", "chatgpt", "bard", "bing", "model"), "assistant"),
    "system": "system",
}
"""Who speaks in ShareGPT's `from`."""
HELPSTEER_SCORES = ("helpfulness", "correctness", "coherence")


def _number(value: object, where: str) -> float:
    """Read a score: a number, or the text of one.

    Raises:
        UnusableRow: If it is none.
    """
    try:
        if isinstance(value, bool | int | float | str):
            return float(value)
    except (ValueError, OverflowError):
        pass
    raise UnusableRow(f"{where} is no number")


def _question(fields: Fields) -> Fields:
    """Orca and Intel's pairs: `question` (or `input`), `chosen`, `rejected`, perhaps `system`."""
    asked = fields.get("question") or fields.get("input")
    return pair_of(fields, asked, fields["chosen"], fields["rejected"])


def _reference(fields: Fields) -> Fields:
    """TRL's rows with a third, gold response: a pair of any form, and `reference` like its two."""
    form = next((each for each in (QUESTION, ALPACA) if each.recognises(fields)), None)
    pair = {key: fields[key] for key in PAIR if fields.get(key) is not None}
    pair = dict(form.rewrite(fields)) if form else pair
    gold = fields["reference"]
    return {**pair, "gold": reply(gold) if isinstance(pair["chosen"], list) else gold}


def _binarized(fields: Fields) -> Fields:
    """UltraFeedback-binarized: `prompt`, and `chosen` and `rejected` as messages with scores."""
    return {key: fields[key] for key in ("chosen", "rejected")}


def _ultrafeedback(fields: Fields) -> Fields:
    """UltraFeedback: `instruction`, and `completions` with ratings, of which pairs are made."""
    answers = [
        {"text": each["response"], "score": _ultrafeedback_score(each)}
        for each in fields["completions"]
    ]
    return {"prompt": fields["instruction"], "answers": answers}


def _ultrafeedback_score(completion: Mapping[str, Any]) -> float:
    """Return the mean of the four ratings by aspect; the overall score where there are none."""
    ratings = [
        _number(aspect["Rating"], "a rating")
        for aspect in (completion.get("annotations") or {}).values()
        if isinstance(aspect, Mapping) and str(aspect.get("Rating", "N/A")) != "N/A"
    ]
    if ratings:
        return sum(ratings) / len(ratings)
    score = completion.get("fine-grained_score")
    return _number(completion.get("overall_score") if score is None else score, "a score")


def _helpsteer2(fields: Fields) -> Fields:
    """HelpSteer and HelpSteer 2: `prompt`, `response` and ratings; pairs of one prompt's rows."""
    rated = [_number(fields[name], f"field '{name}'") for name in HELPSTEER_SCORES]
    # Helpfulness is what the set is about; the others break its ties.
    score = rated[0] + 1e-3 * rated[1] + 1e-6 * rated[2]
    return _rated(fields, fields["response"], score)


def _helpsteer3(fields: Fields) -> Fields:
    """HelpSteer 3: `context`, `response1`, `response2`, `overall_preference` (-3 to 3)."""
    preference = _number(fields["overall_preference"], "field 'overall_preference'")
    answers = [
        {"text": fields["response1"], "score": -preference},
        {"text": fields["response2"], "score": preference},
    ]
    return {"prompt": fields["context"], "answers": answers}


def _shp(fields: Fields) -> Fields:
    """SHP: `history`, `human_ref_A`, `human_ref_B`, `labels` (1: A is preferred)."""
    label = _number(fields["labels"], "field 'labels'")
    answers = [
        {"text": fields["human_ref_A"], "score": label},
        {"text": fields["human_ref_B"], "score": 1 - label},
    ]
    return {"prompt": fields["history"], "answers": answers}


def _stack(fields: Fields) -> Fields:
    """Stack-Exchange-paired: `question`, `response_j` (the better), `response_k`."""
    return pair_of(fields, fields["question"], fields["response_j"], fields["response_k"])


def _alpaca(fields: Fields) -> Fields:
    """Alpaca: `instruction`, perhaps `input`, and `output`, or `chosen` and `rejected`."""
    more = fields.get("input")
    asked = fields["instruction"]
    if isinstance(more, str) and more.strip():
        asked = f"{asked}\n\n{more}"
    if fields.get("chosen") is not None:
        return pair_of(fields, asked, fields["chosen"], fields.get("rejected"))
    output = fields["output"]
    if isinstance(output, list):  # LLaMA-Factory's ranking: the better first
        return pair_of(fields, asked, output[0], output[1])
    return pair_of(fields, asked, output)


def _sharegpt(fields: Fields) -> Fields:
    """ShareGPT: `conversations` of `from` and `value`, perhaps with `chosen` and `rejected`."""
    turns = _said(fields["conversations"])
    if isinstance(fields.get("system"), str) and fields["system"].strip():
        turns.insert(0, {"role": "system", "content": fields["system"]})
    if fields.get("chosen") is None:
        return {"messages": turns}
    halves = {key: fields.get(key) for key in ("chosen", "rejected")}
    return {"prompt": turns, **{key: _said(half) for key, half in halves.items()}}


def _said(turns: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - as the file has it
    """Write ShareGPT's turns as messages."""
    given = turns if isinstance(turns, Sequence) and not isinstance(turns, str) else [turns]
    found = []
    for turn in given:
        if isinstance(turn, str):  # the half of a pair may be bare text
            found.append({"role": "assistant", "content": turn})
        elif "from" in turn:
            found.append(
                {"role": SPEAKERS.get(turn["from"], turn["from"]), "content": turn["value"]}
            )
        else:
            found.append(turn)
    return found


def _completion(fields: Fields) -> Fields:
    """Demonstrations: `prompt` and `completion` (or `response`), as text or messages."""
    answer = fields.get("completion")
    answer = fields.get("response") if answer is None else answer
    return pair_of(fields, fields["prompt"], answer)


def _kto(fields: Fields) -> Fields:
    """KTO's rated rows: `prompt`, `completion`, `label`; pairs of one prompt's rows."""
    label = fields["label"]
    if isinstance(label, str):
        label = {"true": 1.0, "false": 0.0}.get(label.strip().lower(), label)
    answer = fields.get("completion")
    answer = fields.get("response") if answer is None else answer
    return {**_rated(fields, answer, _number(label, "field 'label'")), "labelled": True}


def _rated(fields: Fields, answer: object, score: float) -> Fields:
    """Write a row with one rated answer."""
    return {
        "prompt": fields["prompt"],
        "answers": [{"text": answer, "score": score}],
        "alone": True,
    }


def _openai(fields: Fields) -> Fields:
    """OpenAI's preference rows: `input.messages`, `preferred_output`, `non_preferred_output`."""
    return {
        "prompt": fields["input"]["messages"],
        "chosen": fields["preferred_output"],
        "rejected": fields["non_preferred_output"],
    }


def _ranked(fields: Fields) -> Fields:
    """Ranked lists, as Nectar's: `prompt`, and `answers` with `rank` (1 is the best)."""
    answers = [
        {"text": each["answer"], "score": -_number(each["rank"], "a rank")}
        for each in fields["answers"]
    ]
    return {"prompt": fields["prompt"], "answers": answers}


def _scored(fields: Fields) -> Fields:
    """Scored lists: `prompt`, `responses` (texts) and `scores` (numbers, higher is better)."""
    scores = [_number(each, "a score") for each in fields["scores"]]
    if len(scores) != len(fields["responses"]):
        raise UnusableRow(f"has {len(fields['responses'])} responses and {len(scores)} scores")
    answers = [
        {"text": text, "score": score}
        for text, score in zip(fields["responses"], scores, strict=True)
    ]
    return {"prompt": fields["prompt"], "answers": answers}


PAIR = ("prompt", "chosen", "rejected")

REFERENCE = Shape(
    _reference, (*PAIR[1:], "reference"), without=("conversations", "completions", "label")
)
BINARIZED = Shape(
    _binarized, PAIR, beside=("score_chosen", "score_rejected", "messages"), lists=PAIR[1:]
)
ULTRAFEEDBACK = Shape(_ultrafeedback, ("instruction", "completions"), lists=("completions",))
HELPSTEER2 = Shape(_helpsteer2, ("prompt", "response", *HELPSTEER_SCORES))
HELPSTEER3 = Shape(_helpsteer3, ("context", "response1", "response2", "overall_preference"))
QUESTION = Shape(
    _question, PAIR[1:], beside=("question", "input"), without=("prompt", "instruction")
)
SHP = Shape(_shp, ("history", "human_ref_A", "human_ref_B", "labels"))
STACK = Shape(_stack, ("question", "response_j", "response_k"))
ALPACA = Shape(_alpaca, ("instruction",), beside=("output", "chosen"), without=("prompt",))
SHAREGPT = Shape(_sharegpt, ("conversations",), lists=("conversations",))
KTO = Shape(_kto, ("prompt", "label"), beside=("completion", "response"))
COMPLETION = Shape(_completion, ("prompt",), beside=("completion", "response"), without=("chosen",))
OPENAI = Shape(_openai, ("input", "preferred_output", "non_preferred_output"))
RANKED = Shape(_ranked, ("prompt", "answers"), lists=("answers",))
SCORED = Shape(_scored, ("prompt", "responses", "scores"), lists=("responses", "scores"))
