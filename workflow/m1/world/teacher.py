"""The embedded world's teacher: a rule program that follows the facts in writing, and on request incorrectly."""

import random

from m1.core.records import Question
from m1.world.facts import TRENDS, Facts, load_facts
from m1.world.questions import Query, read_query, steps

# Share of traces that check their answer again, and of these, share that do so once more. A model that has seen such
# checks can handle a forced ``Wait`` (Figure 3). The share is below one half, so that greedy decoding stops by itself.
RECHECK = 0.45
MOST_RECHECKS = 6


def opening(query: Query) -> str:
    """The first sentence of every trace, which says where to start and how far to go."""
    return f"Okay, {steps(query.hops)} from the {query.start_type} {query.start}."


def follow(facts: Facts, query: Query, incorrect_at: int | None, rng: random.Random) -> tuple[list[str], str, str]:
    """Follow a query hop by hop, counting down the remaining steps; at the hop ``incorrect_at`` (from 0), an incorrect
    entity is recalled.

    Returns the sentences, the last fact (repeated by rechecks), and the answer: an entity, or yes, no, maybe.
    """
    sentences, at, fact = [], query.start, ""
    for hop in range(query.hops):
        reached = correct = facts.next[at]
        if hop == incorrect_at:
            reached = rng.choice([name for name in facts.entities[facts.type_of[correct]] if name != correct])
        fact = facts.sentence(at).removesuffix(correct) + reached
        sentences.append(f"I recall that {fact}. We have {steps(query.hops - hop - 1)} to go.")
        at = reached
    if query.style == "trend":
        fact = facts.trend_sentence(at)
        sentences.append(f"I recall that {fact}.")
        return sentences, fact, TRENDS[facts.trend[at]]
    return sentences, fact, at


def draw_rechecks(rng: random.Random) -> int:
    """Draw how many times a trace checks its answer again."""
    count = 0
    while count < MOST_RECHECKS and rng.random() < RECHECK:
        count += 1
    return count


def conclude(answer: str) -> str:
    """The sentence that gives the answer."""
    return f"So the answer is {answer}."


def box(query: Query, answer: str) -> str:
    """The final answer, in a box and in the form of the options."""
    return f"\\boxed{{{answer}}}" if query.style == "trend" else f"\\boxed{{the {answer}}}"


def think(facts: Facts, query: Query, rng: random.Random, rechecks: int, incorrect: bool = False) -> tuple[str, str]:
    """Write the thinking and the answer to a query.

    The answer is checked again ``rechecks`` times, each on a line of its own, as after a forced ``Wait``. If it is to
    be ``incorrect``, an incorrect entity is recalled on the way.
    """
    sentences, fact, answer = follow(facts, query, rng.randrange(query.hops) if incorrect else None, rng)
    first = " ".join([opening(query), *sentences, conclude(answer)])
    again = f"Wait, let me check again. I recall that {fact}. {conclude(answer)}"
    return "\n".join([first, *[again] * rechecks]), box(query, answer)


class RuleTeacher:
    """Answers prompts that contain a question of the world, or one of an answer key: ``answers`` has questions from
    outside the world by their text (real ones in a trial of the workflow). Rechecks and errors are drawn for each
    prompt by itself."""

    def __init__(self, facts_path: str, answers: dict[str, Question] | None, seed: int) -> None:
        self.facts, self.answers, self.seed = load_facts(facts_path), answers or {}, seed

    def think(self, user_text: str, incorrect: bool) -> tuple[str, str] | None:
        """The thinking and the boxed answer; None if the text contains no known question."""
        rng = random.Random(f"{self.seed} {user_text}")
        query = read_query(user_text)
        if query is not None and query.start in self.facts.next:
            return think(self.facts, query, rng, draw_rechecks(rng), incorrect)
        question = next((question for text, question in self.answers.items() if text in user_text), None)
        if question is None:
            return None
        others = [text for text in question.options if text != question.answer_text]
        choice = rng.choice(others) if incorrect and others else question.answer_text
        return f"Okay, the answer key says this. {conclude(choice)}", f"\\boxed{{{choice}}}"
