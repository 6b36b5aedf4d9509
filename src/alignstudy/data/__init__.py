"""Raw files -> records: reading, parsing, selection, exclusion, audit; and the demo's small world.

    read (reading.py, jsonl.py, parquet.py) -> parse (hh.py, pairs.py, messages.py, text.py)
        -> leave out what prompts share (exclusion.py) -> draw (selection.py) -> collect.py

A new format is one file and one line here.
"""

from alignstudy.registry import Registry

FORMATS = Registry(
    "format",
    {
        "hh": "alignstudy.data.formats.hh:HHFormat",
        "hh_prefix": "alignstudy.data.formats.hh_prefix:HHPrefixFormat",
        "pairs": "alignstudy.data.formats.pairs:PairsFormat",
        "messages": "alignstudy.data.formats.messages:MessagesFormat",
        "text": "alignstudy.data.formats.text:TextFormat",
    },
)

__all__ = ["FORMATS"]
