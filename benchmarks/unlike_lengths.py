"""Responses of unlike lengths: what it saves that a waiting prompt takes an ended row's place.

    python benchmarks/unlike_lengths.py [--against SRC] [--rounds 1] [--tiny]

At OPT-350M's shape (6 of its 24 layers), weights random, the published prompts; a response is drawn
and ends with the first token that has a q in it, or after 256: its length is geometric. `--against`
names the `src` folder of another version of alignstudy, which answers in turns with this one.
"""

from __future__ import annotations

import sys
from functools import partial

import ours
from edges import OTHER, THIS, prefer, two_versions
from harness import both_sides, in_turns
from materials import published_prompts, write_opt_350m
from results import Report, Section, at_most

NEW = 256
ENDS = ("q", "Q")


def main() -> int:
    """Measure, write the results, return the exit code."""
    asked = two_versions(__doc__ or "")
    prompts = published_prompts()[: 12 if asked.tiny else None]
    shape = "tiny" if asked.tiny else "OPT-350M's shape, 6 of its 24 layers"
    report = Report(
        name="unlike-lengths-tiny" if asked.tiny else "unlike-lengths",
        title="Responses of unlike lengths",
        settings={
            "Model": f"{shape}, random weights, float32",
            "Responses": f"{len(prompts)}, drawn, of {NEW} tokens at most",
        },
    )
    with both_sides(asked.threads) as (scratch, theirs, mine):
        small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 64}
        changes = {**small, "word_embed_proj_dim": 16} if asked.tiny else {"num_hidden_layers": 6}
        model = write_opt_350m(scratch / "opt", std=0.012, **changes)
        sides = {THIS: mine}
        if asked.against:
            theirs.call(prefer, str(asked.against.resolve()))
            sides = {OTHER: theirs, **sides}
        how = {"max_new_tokens": NEW, "do_sample": True, "stop_strings": ENDS}
        ways = {
            name: partial(side.call, ours.generate, model, prompts, **how)
            for name, side in sides.items()
        }
        found = in_turns(ways, asked.rounds)
        report.sections.append(Section(title="Responses", samples=found))
        if asked.against:
            both = zip(found[OTHER][0].found, found[THIS][0].found, strict=True)
            report.gates.append(at_most("Differing responses", sum(a != b for a, b in both), 0))
    return report.finish(asked.out)


if __name__ == "__main__":
    sys.exit(main())
