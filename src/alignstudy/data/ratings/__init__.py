"""Answers that were rated elsewhere -> scored responses: ratings, logs of other programs.

`read.py` tells by content what it was given: `folder.py` (a file a model and set of prompts),
`harness.py` (lm-evaluation-harness) and `inspect_logs.py` (Inspect); `shared.py` leaves what every
model has a rating for.
"""
