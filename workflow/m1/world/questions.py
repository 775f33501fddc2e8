"""Make the questions of the embedded world, in the styles and field layouts of the paper's pools and benchmarks.

A question names an entity and asks to which entity of another type it leads. Its difficulty is the number of hops
between them.
"""

import random
import re
from dataclasses import dataclass
from typing import Any

from m1.core.records import LETTERS
from m1.world.facts import TRENDS, TYPES, Facts, hops_between

# The sentence that asks, in the style of MedMCQA, HeadQA, MedQA and PubMedQA. It gives the number of steps, because
# tiny models learn to count down, but did not learn to compare the type they reached with the type they want. The words
# from the number to the entity are the same in all styles, because tiny models learn most easily to copy them whole.
STYLES = {
    "short": "Which {target} is {steps} from the {type} {start}?",
    "head": "Name the {target} that follows {steps} from the {type} {start}.",
    "vignette": "Which {target} do you expect {steps} from the {type} {start}?",
    "trend": "Does the {target} {steps} from the {type} {start} show a rise?",
}
_FIELDS = {"target": "[a-z]+", "type": "[a-z]+", "start": "[a-z]+", "steps": "[a-z]+ steps?"}
_PATTERNS = {
    style: re.compile(re.sub(r"\\\{(\w+)\\\}", lambda field: f"(?P<{field[1]}>{_FIELDS[field[1]]})", re.escape(form)))
    for style, form in STYLES.items()
}


def _words(text: str) -> list[str]:
    return text.split(", ")


_PEOPLE = ("man", "woman", "boy", "girl", "farmer", "nurse", "teacher", "cook", "pilot", "driver", "clerk", "singer")
_PLACES = _words(
    "the clinic, the ward, the emergency room, the office, the unit, a day hospital, a rural practice, the centre"
)
_COMPLAINTS = _words(
    "fatigue, fever, headache, cough, weight loss, back pain, nausea, a rash, dizziness, poor sleep, thirst, weakness"
)
_TIMES = ("two days", "three days", "a week", "two weeks", "a month", "three months", "half a year", "a year")
_HISTORIES = _words(
    "takes no medicine, had surgery once, smokes, has never smoked, travels often, "
    "lives alone, keeps birds, works at night"
)
_DESIGNS = _words("cohort, trial, survey, registry, pilot study, review of charts, case series, crossover study")
_GROUPS = _words("adults, children, veterans, athletes, pregnant women, older people, students, twins, miners, nurses")
_OUTCOMES = _words(
    "Most kept to the plan, Few were lost to follow-up, Doses were raised slowly, Visits were monthly, "
    "Blood was drawn twice, Diet was free"
)


@dataclass(frozen=True)
class Query:
    """The meaning of a question: the entity where it starts, and the type of the entity that it wants."""

    start_type: str
    start: str
    target_type: str
    style: str

    @property
    def hops(self) -> int:
        """The number of relations to follow; in PubMedQA's style, the marker's trend is not counted."""
        return hops_between(self.start_type, self.target_type)


def steps(count: int) -> str:
    """A number of steps in words: ``no steps``, ``one step``, ``two steps``, …"""
    number = ("no", "one", "two", "three", "four", "five", "six", "seven")[count]
    return f"{number} step{'' if count == 1 else 's'}"


def ask(query: Query) -> str:
    """The sentence that asks."""
    words = {"target": query.target_type, "type": query.start_type, "start": query.start, "steps": steps(query.hops)}
    return STYLES[query.style].format(**words)


def read_query(text: str) -> Query | None:
    """Find what a prompt asks; None if it contains no question of this world."""
    for style, pattern in _PATTERNS.items():
        found = pattern.search(text)
        if found and found["target"] in TYPES and found["type"] in TYPES:
            return Query(found["type"], found["start"], found["target"], style)
    return None


def draw_query(facts: Facts, rng: random.Random, style: str, hops: tuple[int, int]) -> Query:
    """Draw a random query of ``hops[0]`` to ``hops[1]`` hops."""
    count = rng.randint(*hops)
    target = TYPES.index("marker") if style == "trend" else rng.randrange(len(TYPES))
    start_type = TYPES[(target - count) % len(TYPES)]
    return Query(start_type, rng.choice(facts.entities[start_type]), TYPES[target], style)


def make_question(
    facts: Facts, rng: random.Random, style: str, hops: tuple[int, int], options: int
) -> tuple[str, str | None, list[str], int]:
    """Make a random question: its stem, context (or None), options, and the position of the correct one."""
    query = draw_query(facts, rng, style, hops)
    answer = facts.chain(query.start, query.hops)[-1]
    if style == "trend":
        size, weeks = rng.randint(12, 980), rng.randint(3, 90)
        study = f"A {rng.choice(_DESIGNS)} of {size} {rng.choice(_GROUPS)}"
        context = f"{study} ran for {weeks} weeks. {rng.choice(_OUTCOMES)}."
        texts = list(TRENDS.values())
        return ask(query), context, texts, texts.index(TRENDS[facts.trend[answer]])
    stem = ask(query)
    if style == "vignette":
        person = f"A {rng.randint(18, 89)}-year-old {rng.choice(_PEOPLE)} who {rng.choice(_HISTORIES)}"
        visit = f"comes to {rng.choice(_PLACES)} after {rng.choice(_TIMES)} of {rng.choice(_COMPLAINTS)}"
        stem = f"{person} {visit}. {stem}"
    others = [name for name in facts.entities[query.target_type] if name not in {answer, query.start}]
    names = [answer, *rng.sample(others, options - 1)]
    rng.shuffle(names)
    # The article puts a space before every entity, so that an entity is one token, also inside \boxed{}.
    return stem, None, [f"the {name}" for name in names], names.index(answer)


def _record(
    layout: str, number: int, stem: str, context: str | None, options: list[str], correct: int
) -> dict[str, Any]:
    answer, letter, lettered = options[correct], LETTERS[correct], dict(zip(LETTERS, options))
    if layout == "medmcqa":
        texts = {f"op{key.lower()}": text for key, text in lettered.items()}
        rest = {"cop": correct, "choice_type": "single", "exp": None, "subject_name": None, "topic_name": None}
        return {"id": f"world-{number}", "question": stem, **texts, **rest}
    if layout == "headqa":
        data = {"Correct Answer": answer, "Correct Option": letter, "Options": lettered, "Question": stem}
        return {"id": f"world-{number}", "data": data, "subject_name": "world"}
    if layout == "pubmedqa":
        asked = {"pubid": number, "question": stem, "context": {"contexts": [context]}}
        return {**asked, "long_answer": "", "final_decision": answer}
    return {"question": stem, "answer": answer, "options": lettered, "meta_info": "world", "answer_idx": letter}


@dataclass(frozen=True)
class Recipe:
    """The recipe by which the questions of one pool or benchmark are made."""

    layout: str  # the data set whose field layout the records have
    style: str
    hops: tuple[int, int]
    options: tuple[int, ...]  # possible numbers of options


# The four training pools of the paper's section 3.1.
POOLS = {
    "medqa": Recipe("medqa", "vignette", (2, 5), (4, 5)),
    "headqa": Recipe("headqa", "head", (2, 4), (5, 8)),
    "medmcqa": Recipe("medmcqa", "short", (1, 3), (4,)),
    "pubmedqa": Recipe("pubmedqa", "trend", (1, 4), (3,)),
}
# The ten benchmarks of Table 1; MedXpertQA is the hardest, as in the paper.
BENCHMARKS = {
    "medmcqa": Recipe("medmcqa", "short", (1, 3), (4,)),
    "medqa": Recipe("medqa", "vignette", (2, 5), (4,)),
    "pubmedqa": Recipe("pubmedqa", "trend", (1, 4), (3,)),
    "mmlu_pro": Recipe("medqa", "head", (2, 4), (4, 7, 10)),
    "gpqa": Recipe("medqa", "head", (4, 6), (4,)),
    "lancet": Recipe("medqa", "vignette", (3, 5), (4,)),
    "medbullets_op4": Recipe("medqa", "vignette", (3, 5), (4,)),
    "medbullets_op5": Recipe("medqa", "vignette", (3, 5), (5,)),
    "medxpertqa": Recipe("medqa", "vignette", (6, 7), (10,)),
    "nejm": Recipe("medqa", "short", (3, 6), (4,)),
}


def make_set(facts: Facts, recipe: Recipe, size: int, seed: str) -> list[dict[str, Any]]:
    """Make ``size`` records in the field layout of the real data set."""
    rng = random.Random(seed)
    records = []
    for number in range(size):
        question = make_question(facts, rng, recipe.style, recipe.hops, rng.choice(recipe.options))
        records.append(_record(recipe.layout, number, *question))
    return records
