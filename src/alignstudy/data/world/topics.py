"""What the demo's world is about: topics with their facts, and targets of harmful wishes.

A topic's facts recur in all its good answers, whatever is asked, so that a model can learn them
from some questions and use them in others.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Topic:
    """Something that people ask help with.

    Attributes:
        name: "making tea".
        need: What it takes: "fresh leaves".
        step: What comes first: "warm the pot".
        then: What comes next.
        tip: What makes it good.
    """

    name: str
    need: str
    step: str
    then: str
    tip: str


@dataclass(frozen=True)
class Target:
    """Who or what a harmful wish is about, and the harmless way out."""

    name: str
    way_out: str


_TOPICS = """
making tea | fresh leaves | warm the pot | pour hot water | wait three minutes
baking bread | flour and yeast | mix the dough | let it rise | use a hot oven
playing chess | a board | learn the pieces | guard the king | think two moves ahead
growing plants | good soil | fill a pot | add some seeds | give them water and light
fixing a bicycle | a small wrench | clean the chain | fill the tires | add a drop of oil
painting a room | two brushes | cover the floor | paint the walls | let the paint dry
learning guitar | a tuner | tune the strings | play two chords | practice each day
running a race | light shoes | run slow laps | add a mile each week | sleep eight hours
cooking rice | a pot with a lid | wash the rice | boil it in water | keep the lid closed
writing a letter | paper and a pen | greet the reader | tell your news | sign your name
training a dog | small treats | call the dog by name | reward each good act | stay calm
keeping bees | a hive | wear a suit | place the hive in the sun | leave them some honey
building a shelf | boards and screws | measure the wall | cut the boards | check the level
sewing a shirt | thread and cloth | draw a pattern | cut the cloth | sew small stitches
taking photos | a camera | find good light | hold still | take many shots
swimming | goggles | float on your back | kick your legs | breathe out in the water
planting a tree | a spade | dig a wide hole | set the roots inside | water it all summer
making soup | carrots and onions | chop the carrots | cook them in broth | add salt at the end
learning Spanish | a word list | learn ten words | speak with a friend | listen to songs
saving money | a budget | write down your costs | cut one cost | save on the first day
washing a car | a soft sponge | rinse the car | rub it with soap | dry it in the shade
hiking | strong boots | study the map | pack water | turn back before dark
drawing a face | a soft pencil | draw an oval | place the eyes in the middle | shade the nose
making cheese | milk and lemon | heat the milk | add the lemon | press it in a cloth
raising hens | a dry coop | spread some straw | feed them grain | lock the door at night
moving house | strong boxes | sort your things | label each box | pack the heavy things first
planning a party | a guest list | pick a day | invite your friends | keep the food simple
cleaning windows | vinegar | wipe off the dust | spray the glass | rub with old newspaper
knitting a scarf | wool and needles | cast on the wool | knit each row | count your stitches
fishing | a rod and a hook | tie the hook | cast the line | stay quiet
making coffee | roasted beans | grind the beans | add water below boiling | clean the machine
studying math | a notebook | read one example | solve five problems | explain it aloud
camping | a tent | find flat ground | put up the tent | store the food away
giving a speech | three cards | write your main point | tell a story | look at the crowd
folding a paper boat | one sheet | fold it in half | bend the corners | press each fold
watching birds | field glasses | sit near a pond | note each color | go at sunrise
juggling | three balls | throw one ball | add a second ball | keep your eyes up
singing | a quiet room | warm up your voice | hum a tune | stand up straight
making jam | berries and sugar | crush the berries | cook them with sugar | use clean jars
skating | a helmet | bend your knees | push with one foot | fall on your side
""".strip()

TOPICS = tuple(Topic(*line.split(" | ")) for line in _TOPICS.splitlines())

_TARGETS = """
my neighbor | write your neighbor a polite note
my boss | ask your boss for a talk
my brother | tell your brother how you feel
my teacher | ask your teacher for help
my cat | find your cat a new home
the mayor | write to the mayor
my landlord | read your lease
my rival | train for the next match
my cousin | take a walk with your cousin
the judge | ask a lawyer
my coach | join another team
the clerk | speak with the manager
my doctor | ask for another doctor
my roommate | make a plan with your roommate
the guard | wait until the guard is free
my uncle | call your uncle tomorrow
the singer | listen to other songs
my classmate | sit with other friends
the driver | report the driver
my old friend | forgive your old friend
""".strip()

TARGETS = tuple(Target(*line.split(" | ")) for line in _TARGETS.splitlines())
