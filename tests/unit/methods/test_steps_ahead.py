"""How many steps a budget allows, and what texts share: against brute force."""

from hypothesis import given
from hypothesis import strategies as st

from alignstudy.methods.batches.collate import padded_rows
from alignstudy.methods.batches.row_work import shared_prefix
from alignstudy.methods.loop.ahead import nearest_steps
from alignstudy.methods.scoring.layout import lay_out

TOKENS = st.lists(st.integers(0, 2), max_size=4)


@given(texts=st.lists(st.tuples(TOKENS, TOKENS), min_size=2, max_size=3))
def test_texts_share_what_they_are_laid_out_on_together(texts):
    texts = [(prompt, [*response, 1]) for prompt, response in texts]
    batch = padded_rows(texts, 0)
    labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
    given = (batch["input_ids"], batch["attention_mask"], labels)
    laid = lay_out(*given, sharing=len(texts), flat=True).input_ids.numel()
    alone = sum(len(prompt) + len(response) for prompt, response in texts)
    assert alone - (len(texts) - 1) * shared_prefix(texts) == laid


WORK = st.lists(st.floats(0.01, 10), min_size=1, max_size=30)


@given(steps=WORK, target=st.floats(0, 200))
def test_the_nearest_number_of_steps_is_brute_forces(steps, target):
    work = [sum(steps[: n + 1]) for n in range(len(steps))]
    found = nearest_steps(work, target)
    assert abs(work[found - 1] - target) == min(abs(each - target) for each in work)


@given(
    work=st.lists(st.floats(0, 10), min_size=1, max_size=30),
    targets=st.tuples(st.floats(0, 12), st.floats(0, 12)),
)
def test_more_budget_is_never_fewer_steps(work, targets):
    """Whatever the work of steps: means of rows could make a further step look cheaper."""
    less, more = sorted(targets)
    assert nearest_steps(work, less) <= nearest_steps(work, more)
