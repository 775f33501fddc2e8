"""What a choice can tell, what it takes, and what would come next, as lines to read; part of ``python -m m1 fit``."""

import textwrap
from collections.abc import Sequence
from dataclasses import replace

from m1.commands import claim_power
from m1.commands.fit_choose import Answer, Question, again, with_cards
from m1.commands.fit_solve import TRAINED, Choice
from m1.commands.fit_tell import Need, of_curve, table1_rows
from m1.core.progress import align_columns

CLAIM_HEADER = ["claim", "told", "chance", "half-width", "hours", "rests on"]
MORE_HOURS = (4, 8, 16, 24, 48, 96, 192)
MORE_DOLLARS = (25, 100, 400, 700, 1500)
MORE_DISK = (50, 200, 1000)
MORE_CARDS = ("1x48", "1x80", "2x80", "4x80", "8x80", "2x8x80")
"""What is tried as the next step up."""


def table(question: Question, answer: Answer, every: bool = False) -> list[str]:
    """What can be told, what it takes, and what would come next, as lines to read.

    Of the claims, those that models tell, and a line for each reason of the others; ``every`` one has a row if asked.
    """
    rows = claim_rows(answer)
    claims = align_columns([CLAIM_HEADER, *rows], left={0, 1, 5}) if every else told_lines(rows)
    claims = [] if answer.run.config["report"]["remark"] else [*claims, "", *block_lines(answer), ""]
    return [*claims, *model_lines(question, answer), "", *source_lines(answer), *notes(question, answer)]


def claim_rows(answer: Answer) -> list[list[str]]:
    """Of each claim: whether it is told, with which chance, half-width, hours and models."""
    size, rows = answer.choice.size, []
    curves = size.budgets == answer.menu.sizes[0].budgets
    texts = {claim["id"]: claim for claim in claim_power.claims().to_dict("records")}
    chances = {one.claim: one for one in answer.telling.chances[size] if curves or not of_curve(texts[one.claim])}
    chosen = {part.model for part in answer.choice.parts}
    for need in answer.telling.needs:
        one = chances.get(need.claim)
        chance = "" if one is None or one.chance is None else f"{one.chance:.0%}"
        half = "" if one is None or one.half_width is None else f"{one.half_width:.2g} {texts[need.claim]['unit']}"
        told = "yes" if need.claim in answer.choice.told else "no"
        rows.append([need.claim, told, chance, half, _hours_of(answer, need), why(answer, need, chosen)])
    return rows


def told_lines(rows: Sequence[Sequence[str]]) -> list[str]:
    """The claims that models tell as a table; then those that counts tell, and those that are not told, by reason."""
    models = [[claim, *rest] for claim, told, *rest in rows if told == "yes" and rest[-1]]
    lines = align_columns([["told", *CLAIM_HEADER[2:]], *models], left={0, 4}) if models else []
    counts = [claim for claim, told, *_, reason in rows if told == "yes" and not reason]
    reasons = {"told by counts": counts} if counts else {}
    for claim, told, chance, *_, reason in rows:
        if told == "no":
            reasons.setdefault(f"not told ({reason})", []).append(f"{claim} ({chance})" if chance else claim)
    return [*lines, *(wrapped(f"{reason}: {', '.join(claims)}") for reason, claims in reasons.items())]


def wrapped(text: str) -> str:
    """A long line, broken where it is too long to read, the rest indented."""
    return textwrap.fill(text, 120, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def _hours_of(answer: Answer, need: Need) -> str:
    """Hours that the models of a claim take, each in the way that is chosen, or else in the shortest one."""
    taken: dict[str, float] = {}
    for row in need.rows:
        ways = [part for part in answer.menu.parts if row in part.rows and answer.choice.size in part.answering]
        ways = [part for part in ways if part in answer.choice.parts] or ways
        if not ways:
            return ""
        hours, model = min((part.training + part.answering[answer.choice.size], part.model) for part in ways)
        taken[model] = hours
    return f"{sum(taken.values()):.1f}" if taken else ""


def block_lines(answer: Answer) -> list[str]:
    """A line for each block of Tables 1 and 2: its rows that are answered here, and how sure their averages are."""
    here = {row for part in answer.choice.parts for row in part.rows}
    table2 = claim_power.paper()["table2"].iloc[:, :2].itertuples(index=False)
    released = {row for part in answer.choice.parts for row in part.released}
    blocks: dict[str, list[str]] = {}
    for table, group, row in [*(("1", *one) for one in table1_rows()), *(("2", *one) for one in table2)]:
        blocks.setdefault(f"Table {table}, {group}", []).append(f"table{table}/{group}/{row}")
    lines = [["block", "rows here", "averages within", *(["released"] if released else [])]]
    for name, rows in blocks.items():
        count = len(here.intersection(rows))
        within = f"± {answer.telling.widths[answer.choice.size]:.1f} points" if count else ""
        shown = [str(len(released.intersection(rows)))] if released else []
        lines.append([name, f"{count} of {len(rows)}", within, *shown])
    return align_columns(lines, left={0})


def why(answer: Answer, need: Need, chosen: set[str]) -> str:
    """The models of a claim that is told; else what it lacks."""
    cells = [answer.menu.filling(row) for row in need.rows]
    if need.claim in answer.choice.told:
        return _some(sorted({name for cell in cells for name in cell & chosen}))
    if beyond := [row.rpartition("/")[2] for row, cell in zip(need.rows, cells) if not cell]:
        return f"out of reach here: {_some(list(dict.fromkeys(beyond)))}"
    if not any(need.claim in told for told in answer.telling.tellable.values()):
        return "all published questions are too few"
    if need.source and need.source not in {source.name for source in answer.choice.sources}:
        return f"traces of {need.source} are not paid for"
    if left := [min(cell) for cell in cells if not cell & chosen]:
        return f"left out: {_some(list(dict.fromkeys(left)))}"
    return "needs more questions, or all budgets and forced counts"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) < 5 else f"{len(names)} models"


def model_lines(question: Question, answer: Answer) -> list[str]:
    """A line for each model of Tables 1 and 2, whether and how it is there, and what it takes."""
    size, where = answer.choice.size, "node" if question.machine.card else "machine"
    rows = [["model", "how", f"training (h of a {where})", f"answers (h of a {where})", "GB"]]
    for part in answer.choice.parts:
        gigabytes = part.kept + answer.menu.weights[part.base]
        stored = ", stored" if part.way in TRAINED and not part.training else ""
        rows.append(
            [part.model, part.way + stored, f"{part.training:.2f}", f"{part.answering[size]:.2f}", f"{gigabytes:,.0f}"]
        )
    chosen = {part.model for part in answer.choice.parts}
    left = dict.fromkeys(part.model for part in answer.menu.parts if part.model not in chosen)
    lines = align_columns(rows, left={0, 1}) + ([wrapped(f"left out: {', '.join(left)}")] if left else [])
    reasons: dict[str, list[str]] = {}
    for model, reason in answer.menu.lacking.items():
        reasons.setdefault(reason, []).append(model)
    return lines + [wrapped(f"out of reach ({reason}): {', '.join(models)}") for reason, models in reasons.items()]


def source_lines(answer: Answer) -> list[str]:
    """What is asked of every model, what is paid for, and what it takes together."""
    choice, size = answer.choice, answer.choice.size
    forced = f", `Wait` forced {', '.join(map(str, size.forced))} times" if size.forced else ", none forced"
    lines = [f"Each model: {size.said}, budgets {', '.join(map(str, size.budgets))}{forced}."]
    lines += [f"Paid for: traces of {one.name}, ${one.dollars:,.0f}." for one in choice.sources]
    if others := [part.model for part in choice.parts if part.released]:
        lines.append(f"Released by the authors, not computed here, so that no claim rests on it: {', '.join(others)}.")
    basis = "measured by the run before" if answer.made.slower else "modelled"
    told = f"{len(choice.told)} of {len(answer.telling.needs)} claims"
    told += f"; averages of Table 1 ± {answer.telling.widths[size]:.1f} points"
    return [*lines, f"Together: {choice.hours:.1f} h, ${choice.dollars:,.0f}, {choice.disk:,.0f} GB ({basis}); {told}."]


def notes(question: Question, answer: Answer) -> list[str]:
    """What is taken from others, and the next steps up."""
    lines = []
    rows = {row for part in answer.choice.parts for row in part.rows if row.startswith("table1/")}
    others = [f"table1/{group}/{model}" for group, model in table1_rows() if f"table1/{group}/{model}" not in rows]
    if question.kind == "cards" and others:
        names = _some([row.rpartition("/")[2] for row in others])
        lines.append(f"As published, not computed here, so no claim rests on them alone: {names} of Table 1.")
    if had := [part.model for part in answer.choice.parts if part.model in answer.made.kept]:
        lines.append(f"The store has models or answers of {_some(had)}: what it has takes no time.")
    if answer.choice.sources:
        address = answer.run.config["teacher"]["base_url"]
        lines.append(f"The teacher is asked at {address}: set teacher.base_url in the overlay to your provider's.")
    if any(part.way == "LoRA" for part in answer.choice.parts):
        lines.append("LoRA is not the paper's training; tables and claims say so.")
    if remark := answer.run.config["report"]["remark"]:
        lines.append(f"These models are no claim about the paper's ({remark}): no claim is told.")
    return lines + next_steps(question, answer)


def next_steps(question: Question, answer: Answer) -> list[str]:
    """For hours, dollars, disk and cards: the least of some amounts more that would tell more, and what."""
    machine, lines = question.machine, []
    more = [
        [(f"+{one} hours", replace(machine, hours=machine.hours + one)) for one in MORE_HOURS],
        [(f"+{one} dollars", replace(machine, dollars=machine.dollars + one)) for one in MORE_DOLLARS if machine.card],
        [(f"+{one} GB of disk", replace(machine, disk=machine.disk + one)) for one in MORE_DISK],
        [(f"--gpus {cards}", one) for cards in MORE_CARDS if (one := with_cards(machine, cards))],
    ]
    for steps in more:
        for said, larger in steps:
            if (found := again(question, answer, larger)) and found.score[:4] > answer.choice.score[:4]:
                lines.append(wrapped(f"{said}: {gained(answer.choice, found)}"))
                break
    return lines


def gained(before: Choice, after: Choice) -> str:
    """What a choice has that another one has not."""
    said = []
    if claims := [claim for claim in after.told if claim not in before.told]:
        said.append(f"claims {', '.join(claims)}")
    models = {part.model for part in before.parts}
    if others := [part.model for part in after.parts if part.model not in models]:
        said.append(f"models {', '.join(others)}")
    if after.size != before.size:
        forced = ", forced" if after.size.forced else ""
        said.append(f"{after.size.said}, budgets to {max(after.size.budgets):,}{forced}")
    return "; ".join(said) or "narrower averages"
