"""What is begun next, and how long it all takes: by hand, by laws, by another simulation."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignstudy.study.run.schedule import Agenda, Chore, chain_seconds, timetable


def chore(key, seconds, *needs, memory=0.0):
    return Chore(key=key, needs=frozenset(needs), seconds=seconds, memory=memory)


PAPER = [
    chore("base", 40), chore("sft", 20, "base"), chore("dpo", 15, "base"),
    chore("sft_dpo", 15, "sft"), chore("judge", 30), chore("write sft", 5, "sft"),
    chore("write dpo", 5, "dpo"), chore("write sft_dpo", 5, "sft_dpo"),
]  # fmt: skip


def test_one_process_takes_the_sum():
    assert timetable(PAPER, hands=1, start_up=8, room=0).seconds == 135


def test_two_processes_end_with_the_longest_chain():
    """base 0-40, judge 0-30; sft 40-60, dpo 40-55; sft_dpo 60-75; written at 80."""
    assert timetable(PAPER, hands=2, start_up=0, room=0).seconds == 80


def test_what_the_longest_chain_waits_for_goes_first():
    chores = [chore("short", 1), chore("long", 1), chore("end", 9, "long")]
    assert Agenda(chores, room=0).take().key == "long"
    assert chain_seconds(chores) == {"short": 1, "long": 10, "end": 9}


def test_a_second_process_helps_only_when_it_has_started():
    both = [chore("a", 10), chore("b", 10)]
    assert timetable(both, hands=2, start_up=0, room=0).seconds == 10
    assert timetable(both, hands=2, start_up=4, room=0).seconds == 14
    assert timetable(both, hands=2, start_up=50, room=0).seconds == 20


@pytest.mark.parametrize(("room", "seconds", "memory"), [(10, 10, 10), (9.9, 20, 5)])
def test_where_memory_is_short_one_waits(room, seconds, memory):
    found = timetable(
        [chore("a", 10, memory=5), chore("b", 10, memory=5)], hands=2, start_up=0, room=room
    )
    assert (found.seconds, found.memory) == (seconds, memory)


def test_one_that_wants_more_than_there_is_goes_alone():
    chores = [chore("a", 10, memory=50), chore("b", 1, memory=5)]
    assert timetable(chores, hands=2, start_up=0, room=10).seconds == 11


def test_one_of_which_nothing_is_known_goes_alone():
    agenda = Agenda([chore("a", 10, memory=1), chore("b", 5, memory=None)], room=1e9)
    assert agenda.take().key == "a"
    assert agenda.take() is None
    agenda.finish("a")
    assert agenda.take().key == "b"


def test_what_came_to_nothing_goes_first_again():
    agenda = Agenda([chore("a", 10), chore("b", 5), chore("c", 1, "b")], room=0)
    agenda.take({"b"})
    agenda.put_back("b")
    assert agenda.take().key == "b"
    assert [each.key for each in agenda.ready] == ["a"]
    agenda.finish("b")
    assert [each.key for each in agenda.ready] == ["a", "c"]


@st.composite
def studies(draw):
    number = draw(st.integers(1, 12))
    chores = []
    for at in range(number):
        needs = draw(st.sets(st.integers(0, at - 1), max_size=3)) if at else set()
        memory = draw(st.one_of(st.none(), st.integers(0, 8)))
        chores.append(
            Chore(key=str(at), needs=frozenset(map(str, needs)),
                  seconds=draw(st.integers(0, 9)), memory=memory)
        )  # fmt: skip
    return chores


@given(studies(), st.integers(1, 4), st.integers(0, 5), st.integers(0, 20))
def test_no_timetable_beats_its_longest_chain_or_is_beaten_by_one_process(
    chores, hands, start_up, room
):
    found = timetable(chores, hands=hands, start_up=start_up, room=room)
    total = sum(each.seconds for each in chores)
    assert max(chain_seconds(chores).values()) <= found.seconds <= total
    assert found.seconds >= total / hands - 1e-9
    if hands == 1:
        assert found.seconds == total


@given(studies(), st.integers(1, 4), st.integers(0, 20), st.randoms(use_true_random=False))
def test_whatever_the_order_of_ends_all_are_made_once_after_what_they_need(
    chores, hands, room, random
):
    agenda, made, at_work = Agenda(chores, room), [], []
    by_key = {each.key: each for each in chores}
    while len(made) < len(chores):
        while len(at_work) < hands and (taken := agenda.take()) is not None:
            assert by_key[taken.key].needs <= set(made)
            at_work.append(taken)
            held = [each.memory for each in at_work]
            assert len(at_work) == 1 or (None not in held and sum(held) <= room)
        assert at_work, "nothing at work and nothing can be begun"
        ended = at_work.pop(random.randrange(len(at_work)))
        agenda.finish(ended.key)
        made.append(ended.key)
    assert sorted(made) == sorted(by_key)
    assert agenda.is_empty
    assert not agenda.at_work


def test_a_stage_made_before_is_waited_for_by_none():
    agenda = Agenda([chore("a", 1, "made before")], room=math.inf)
    assert agenda.take().key == "a"
