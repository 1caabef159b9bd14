"""Simple questions that ask for an explanation, with what a good answer mentions; those of the splits differ."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from overopt.envs.episode import Split


@dataclass(frozen=True, slots=True)
class OpenQuestion:
    """A question with a model answer."""

    text: str
    points: tuple[tuple[str, ...], ...]
    """Each a set of beginnings of words, one of which shows that the point was made; none stands in the question."""
    answer: str


def points_made(text: str, points: Sequence[Sequence[str]]) -> float:
    """Share of the points that the text mentions, 0 to 1.

    >>> points_made("The gas makes bubbles.", (("gas",), ("yeast",)))
    0.5
    """
    lowered = text.lower()
    return sum(any(re.search(rf"\b{re.escape(one)}", lowered) for one in point) for point in points) / len(points)


QUESTIONS: dict[Split, tuple[OpenQuestion, ...]] = {
    "train": (
        OpenQuestion(
            "Why does bread dough rise?",
            (("yeast", "leaven"), ("sugar", "starch"), ("gas", "carbon"), ("bubble", "trap", "stretch")),
            "Yeast in the dough feeds on sugar. It gives off a gas while it does so. The gas collects in bubbles that "
            "the dough holds, and these push it up.",
        ),
        OpenQuestion(
            "Why do we hear thunder after we see the flash?",
            (("light",), ("sound", "noise"), ("fast", "speed", "quick"), ("distan", "far", "second", "late")),
            "Light travels so fast that it arrives at once. Sound is much slower. Over a great distance it arrives "
            "some seconds later.",
        ),
        OpenQuestion(
            "How does a plant feed itself?",
            (("light", "sun"), ("leaf", "leaves", "green"), ("water", "root"), ("air", "carbon", "sugar")),
            "Its green leaves catch the light of the sun. With that energy they turn water from the roots and a gas "
            "from the air into sugar.",
        ),
        OpenQuestion(
            "Why do we have summer and winter?",
            (("axis", "tilt", "lean"), ("orbit", "around", "path"), ("sun",), ("hemisphere", "north", "south", "half")),
            "The axis of the Earth is tilted. On its path around the sun, one half of the Earth leans towards it for "
            "some months and away from it for others.",
        ),
        OpenQuestion(
            "Why does a wet towel dry on the line?",
            (("evapor", "vapour", "vapor"), ("air",), ("wind", "breeze", "mov"), ("sun", "warm", "heat")),
            "The water evaporates: bit by bit it goes into the air. Wind carries the damp air off, and warmth makes it "
            "go faster.",
        ),
        OpenQuestion(
            "Why do boats made of steel float?",
            (("water",), ("push", "displac", "buoy", "lift"), ("hollow", "air", "hull"), ("weigh", "heav", "dens")),
            "A hull is hollow and full of air, so for its size it is not heavy. The water that it pushes aside "
            "weighs as much as the whole boat and bears it up.",
        ),
        OpenQuestion(
            "Why should we wash our hands before a meal?",
            (
                ("germ", "bacteri", "virus", "microb"),
                ("soap",),
                ("mouth", "food", "swallow"),
                ("ill", "sick", "disease"),
            ),
            "Hands pick up germs from what they touch. Soap takes them off. Otherwise they get onto the food and into "
            "the mouth, and some make us ill.",
        ),
        OpenQuestion(
            "How does a thermos flask keep tea hot?",
            (("wall", "layer"), ("vacuum", "empty", "gap"), ("heat", "warm"), ("mirror", "silver", "shin", "reflect")),
            "It has two walls with an empty gap between them, through which little heat can pass. A mirror coating "
            "throws the rest back.",
        ),
        OpenQuestion(
            "Why do leaves change their colour in autumn?",
            (("green", "chloroph"), ("yellow", "orange", "red"), ("light", "cold", "day"), ("break", "lose", "fade")),
            "In spring a green dye hides all others. When the days get short and cold, the tree breaks it down. Then "
            "the yellow and red ones show.",
        ),
        OpenQuestion(
            "What makes the tide come and go?",
            (("moon",), ("pull", "gravit", "attract"), ("turn", "rotat", "spin"), ("sea", "ocean", "water")),
            "The moon pulls at the water of the sea and heaps it up on two sides. As the Earth turns, each coast "
            "passes through these heaps.",
        ),
    ),
    "test": (
        OpenQuestion(
            "Why does ice swim on a lake?",
            (("dens", "light"), ("expand", "room", "space", "volume"), ("freez", "froze"), ("water", "liquid")),
            "Water expands when it freezes, so the same amount takes more room. Ice is therefore less dense than the "
            "liquid below it.",
        ),
        OpenQuestion(
            "How does a compass show the way?",
            (("needle", "pointer"), ("magnet",), ("north",), ("earth", "field", "pole")),
            "Its needle is a small magnet that can turn freely. The Earth is a large one, with a field around it. The "
            "needle follows that field and points north.",
        ),
        OpenQuestion(
            "Why does a bicycle tyre get warm when it is pumped up?",
            (("air", "gas"), ("press", "squeez", "compress"), ("work", "energy"), ("heat", "temperature", "hot")),
            "Pumping squeezes the air into a smaller room. The work that goes into it becomes energy of the air, and "
            "its temperature rises.",
        ),
        OpenQuestion(
            "Why can a spider walk on its web without sticking?",
            (("thread", "strand", "silk"), ("dry", "sticky", "glue"), ("leg", "feet", "foot", "claw"), ("oil", "hair")),
            "Only some threads of it carry glue, and it steps on the dry ones. Its legs also have fine hairs to which "
            "little clings.",
        ),
        OpenQuestion(
            "What causes a rainbow?",
            (("sun", "light"), ("drop",), ("refract", "bend", "bent", "split"), ("colour", "color", "red", "violet")),
            "Light of the sun enters drops of water in the air. Each drop bends it and splits it into colours, and "
            "sends it back to us.",
        ),
        OpenQuestion(
            "Why do we salt the roads in winter?",
            (("freez", "froze"), ("ice", "icy"), ("lower", "below", "colder"), ("melt", "thaw", "slip", "skid")),
            "Salt water freezes only at a lower temperature. So ice melts although it is cold, and cars do not slip.",
        ),
        OpenQuestion(
            "How do our ears tell us what they hear?",
            (("drum", "membrane"), ("vibrat", "wave", "swing"), ("bone", "fluid", "inner"), ("nerve", "brain")),
            "Waves in the air make the drum vibrate. Small bones hand this on to the inner part, and from there "
            "a nerve leads to the brain.",
        ),
        OpenQuestion(
            "Why is the sky blue at noon?",
            (("scatter", "deflect"), ("sun", "light"), ("air", "atmospher", "molecul"), ("wave", "short", "red")),
            "The air scatters the light of the sun. Short waves are scattered far more than long, red ones, so blue "
            "comes to us from all sides.",
        ),
        OpenQuestion(
            "Why does a candle go out under a glass?",
            (("oxygen",), ("air",), ("burn", "flame", "fire"), ("use", "consum", "left", "run")),
            "A flame needs oxygen to burn. Below the cover there is only a little air, and when its oxygen is used up, "
            "the fire ends.",
        ),
        OpenQuestion(
            "How does a bee help an apple tree?",
            (("pollen", "pollin"), ("flower", "blossom", "bloom"), ("carr", "bring", "transfer"), ("fruit", "seed")),
            "It visits one blossom after another to drink. Pollen sticks to it and is carried to the next flower, "
            "which can then become a fruit.",
        ),
    ),
}
