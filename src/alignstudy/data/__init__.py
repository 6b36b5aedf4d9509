"""Raw files -> records: reading, parsing, selection, exclusion, audit; and the demo's small world.

    read (reading.py, kinds.py) -> parse (hh.py, pairs.py, messages.py, text.py, answers.py)
        -> leave out what prompts share (exclusion.py) -> draw (selection.py) -> collect.py

A new format is one file, or a shape of another (a function and a line in shapes.py), and one line
here.
"""

from alignstudy.registry import Registry

FORMATS = Registry(
    "format",
    {
        "reference": "alignstudy.data.formats.shapes:REFERENCE",
        "ultrafeedback_binarized": "alignstudy.data.formats.shapes:BINARIZED",
        "ultrafeedback": "alignstudy.data.formats.shapes:ULTRAFEEDBACK",
        "helpsteer2": "alignstudy.data.formats.shapes:HELPSTEER2",
        "helpsteer3": "alignstudy.data.formats.shapes:HELPSTEER3",
        "shp": "alignstudy.data.formats.shapes:SHP",
        "stack": "alignstudy.data.formats.shapes:STACK",
        "sharegpt": "alignstudy.data.formats.shapes:SHAREGPT",
        "openai": "alignstudy.data.formats.shapes:OPENAI",
        "ranked": "alignstudy.data.formats.shapes:RANKED",
        "scored": "alignstudy.data.formats.shapes:SCORED",
        "kto": "alignstudy.data.formats.shapes:KTO",
        "alpaca": "alignstudy.data.formats.shapes:ALPACA",
        "question": "alignstudy.data.formats.shapes:QUESTION",
        "completion": "alignstudy.data.formats.shapes:COMPLETION",
        "hh": "alignstudy.data.formats.hh:HHFormat",
        "hh_prefix": "alignstudy.data.formats.hh_prefix:HHPrefixFormat",
        "pairs": "alignstudy.data.formats.pairs:PairsFormat",
        "messages": "alignstudy.data.formats.messages:MessagesFormat",
        "text": "alignstudy.data.formats.text:TextFormat",
    },
)
"""In the order in which a row's columns are looked at: the particular before the general."""

__all__ = ["FORMATS"]
