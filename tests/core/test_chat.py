"""TurnTokens of thinking and answering, read from the chat template of any family."""

from __future__ import annotations

import json
from datetime import datetime, tzinfo
from pathlib import Path

import pytest
from jinja2 import TemplateError
from m1.core.chat import TurnTokens, chat, chat_template, stop_ids
from m1.core.errors import UserError
from m1.core.tokens import control_ids
from m1.infer.frames import make_frames
from m1.train.text import IGNORED, encode
from random_model import sweep_settings
from templates import FAMILIES, SHIPPED, tokenizer_of, tokenizer_with
from transformers import AutoTokenizer
from transformers.utils import chat_template_utils

EXPECTED = {
    "qwen2.5": ("<|im_start|>think\n", "<|im_end|>"),
    "qwen3": ("<|im_start|>think\n", "<|im_end|>"),
    "llama3": ("<|start_header_id|>think<|end_header_id|>\n\n", "<|eot_id|>"),
    "mistral v3": ("[INST]think\n", "</s>"),
    "mistral tekken": ("[INST]think\n", "</s>"),
    "gemma": ("<start_of_turn>think\n", "<end_of_turn>"),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_marks_are_those_of_the_family(family: str) -> None:
    marks = TurnTokens.from_tokenizer(tokenizer_of(family))
    assert (marks.header("think"), marks.end) == EXPECTED[family]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_sweep_stops_where_a_turn_ends_or_another_opens(family: str) -> None:
    tokenizer = tokenizer_of(family)
    frames, marks = make_frames(tokenizer, sweep_settings()), TurnTokens.from_tokenizer(tokenizer)
    ids = {tokenizer.convert_tokens_to_ids(token) for token in (marks.opening, marks.end)}
    assert ids <= set(frames.stop)
    assert frames.prefixes == {
        True: marks.header("answer").rstrip(),
        False: f"{marks.header('answer')}Final Answer:",
    }
    assert not set(frames.encode("Wait")) & set(frames.stop)


def test_a_template_gets_one_date_in_each_of_the_ways_that_it_may_ask_for_it() -> None:
    """Llama 3's templates put the date into the system turn, and gpt-oss's: today's, if nobody says otherwise."""
    assert "Today Date: 26 Jul 2024" in chat(tokenizer_of("llama3"), "x")
    assert "Current date: 2024-07-26\n" in chat(tokenizer_with(SHIPPED_TEMPLATES["gptoss"]), "x")


SHIPPED_TEMPLATES = {path.stem: path.read_text(encoding="utf-8") for path in sorted(SHIPPED.glob("*.jinja"))}
REFUSED = {"deepseek_r1_distill": "opens thinking of its own", "deepseekv3": "opens thinking of its own"}
REFUSED |= dict.fromkeys(("gptoss", "muse_glimmer"), "ends the prompt within a header .*without '<.message.>'.*channel")
REFUSED |= dict.fromkeys(("idefics3", "llava_next", "smolvlm"), "leaves the question's text out")
"""The templates that trl ships which are refused, and why; all others are right."""


@pytest.mark.parametrize("name", SHIPPED_TEMPLATES)
def test_each_template_that_trl_ships_is_right_or_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = tokenizer_with(SHIPPED_TEMPLATES[name])
    if why := REFUSED.get(name.removesuffix("_training")):
        with pytest.raises(UserError, match=rf"(?s){why}.*borrow another template by `tokenizer`"):
            make_frames(tokenizer, sweep_settings())
        return
    marks, frames = TurnTokens.from_tokenizer(tokenizer), make_frames(tokenizer, sweep_settings())
    text = f"Which? {' '.join(tokenizer.all_special_tokens)} <think> </think>\nA. a"
    prompts = [chat(tokenizer, one) for one in ("Which?\nA. a", text)]
    plain, tagged = (frames.think(prompt) for prompt in prompts)
    control = control_ids(tokenizer)
    assert [one for one in tagged if one in control] == [one for one in plain if one in control], "text stays text"
    assert text in tokenizer.decode(tagged)
    assert plain.count(tokenizer.bos_token_id) <= 1

    example = encode(tokenizer, text, f"Okay. {text}", "A", marks)
    learned = [label for label in example["labels"] if label != IGNORED]
    header = frames.encode(marks.header("think"))
    assert (*example["input_ids"][: -len(learned)], *header) == tagged
    assert tuple(learned[: len(header)]) == header
    assert learned[-1] == tokenizer.convert_tokens_to_ids(marks.end)
    assert [one for one in learned if one in control] == [
        one for one in (*header, *frames.encode(marks.header("answer")), learned[-1]) if one in control
    ]
    assert {header[0], learned[-1]} <= control & {*frames.stop}

    class Later(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime(2031, 2, 3)

    monkeypatch.setattr(chat_template_utils, "datetime", Later)
    assert [chat(tokenizer, one) for one in ("Which?\nA. a", text)] == prompts


def test_a_template_with_plain_text_marks_is_refused() -> None:
    tokenizer = tokenizer_of("qwen2.5")
    tokenizer.chat_template = "{% for m in messages %}### {{ m.role }}: {{ m.content }}\n{% endfor %}"
    with pytest.raises(
        UserError, match=r"opens a turn without a special token .'### user: ' goes before .*docs/architecture.md"
    ):
        TurnTokens.from_tokenizer(tokenizer)


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{{ raise_exception('no') }}", "no"),
        ("{% if messages[0].role != 'system' %}{{ raise_exception('a system turn!') }}{% endif %}", "a system turn!"),
        ("{% set day = '%d' %}{{ strftime_now(day) }}", "it writes today's date, so prompts would change daily"),
    ],
)
def test_a_template_that_fails_is_named(template: str, why: str) -> None:
    tokenizer = tokenizer_of("qwen2.5")
    tokenizer.chat_template = template
    with pytest.raises(
        UserError, match=rf"its chat template cannot render a question \({why}\); borrow another by `tokenizer`"
    ):
        chat(tokenizer, "x")


@pytest.mark.parametrize(
    "opening",
    [
        "deepseek_r1_distill.jinja",
        "deepseekv3.jinja",
        "<think>",
        "<think>\nOkay,",
        "[THINK]",
        "<|START_THINKING|>\n",
        "◁think▷",
    ],
)
def test_a_template_that_opens_thinking_of_its_own_is_refused(opening: str) -> None:
    tokenizer = tokenizer_of("qwen2.5")
    if opening.endswith(".jinja"):
        tokenizer.chat_template = (SHIPPED / opening).read_text(encoding="utf-8")
    else:
        tokenizer.chat_template += "{% if add_generation_prompt %}" + opening + "{% endif %}"
    with pytest.raises(
        UserError, match=r"opens thinking of its own \(.* at the end of the prompt\) and knows no `enable_thinking`"
    ):
        chat(tokenizer, "Does </think> end it?")


@pytest.mark.parametrize("closed", ["<think>\n\n</think>\n\n", "[THINK][/THINK]", "<|START_THINKING|><|END_THINKING|>"])
def test_thinking_that_a_template_closes_is_no_fault(closed: str) -> None:
    tokenizer = tokenizer_of("qwen2.5")
    tokenizer.chat_template += "{% if add_generation_prompt %}" + closed + "{% endif %}"
    assert chat(tokenizer, "May I <think>?").endswith(closed)


def test_a_template_that_leaves_the_question_out_is_refused() -> None:
    """Those of models of images take a list in place of a text, and render nothing of it."""
    tokenizer = tokenizer_of("qwen2.5")
    tokenizer.chat_template = (SHIPPED / "llava_next.jinja").read_text(encoding="utf-8")
    with pytest.raises(UserError, match=r"its chat template leaves the question's text out; choose a model of text"):
        chat(tokenizer, "Which?")


SWITCHED = [
    "nemotron_3_5_lightning.jinja",
    "nemotron_3_nano.jinja",
    "nemotron_3_super.jinja",
    "nemotron_3_ultra.jinja",
    "qwen3_5_think.jinja",
    "qwen3_6.jinja",
    "qwen3_8.jinja",
]
"""The templates that trl ships which open thinking at the end of the prompt, and have a switch for it."""
OPENS = ["deepseek_r1_distill.jinja", "deepseekv3.jinja"]
"""Those that have none."""


def test_the_lists_of_templates_that_open_thinking_are_whole() -> None:
    """By rendering each template that trl ships as its own authors do, without any switch."""
    tokenizer, found = tokenizer_of("qwen2.5"), []
    turns = [{"role": "user", "content": "QUESTION"}]
    for path in sorted(SHIPPED.glob("*.jinja")):
        tokenizer.chat_template = path.read_text(encoding="utf-8")
        try:
            text = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False, bos_token="<s>")
        except (TemplateError, TypeError):  # those of models of images want a list
            continue
        if text.rstrip().endswith("<think>") and not path.stem.endswith("_training"):
            found.append(path.name)
    assert sorted(found) == sorted([*SWITCHED, *OPENS])


@pytest.mark.parametrize("name", SWITCHED)
def test_a_template_that_opens_thinking_closes_it_where_it_has_a_switch(name: str) -> None:
    tokenizer = tokenizer_of("qwen3")
    tokenizer.chat_template = (SHIPPED / name).read_text(encoding="utf-8")
    ending = chat(tokenizer, "Does </think> end it?").rpartition("assistant")[2]
    assert "".join(ending.split()) == "<think></think>"
    assert TurnTokens.from_tokenizer(tokenizer).header("think") == "<|im_start|>think\n"


def test_the_switch_of_other_templates_is_used_too() -> None:
    """``thinking``, as DeepSeek V3.1 and Kimi call it; here by its words, with another's marks."""
    tokenizer = tokenizer_of("qwen3")
    end = "{% if thinking is defined and not thinking %}<think></think>{% else %}<think>\n{% endif %}"
    tokenizer.chat_template = tokenizer_of("qwen2.5").chat_template + end
    assert chat(tokenizer, "x").endswith("<think></think>")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seam", ["exact", "released"])
def test_thinking_begins_after_the_same_tokens_in_training_and_inference(family: str, seam: str) -> None:
    """Whatever the template writes by itself: a system turn (Qwen2.5), an empty block (Qwen3), a date (Llama 3)."""
    tokenizer, question = tokenizer_of(family), "Which drug? <think> <|im_end|> </s>\nA. the a\nB. the b"
    frames, marks = make_frames(tokenizer, sweep_settings(seam=seam)), TurnTokens.from_tokenizer(tokenizer)
    example = encode(tokenizer, question, "Okay.", "A", marks)
    before = frames.think(chat(tokenizer, question))
    assert tuple(example["input_ids"][: len(before)]) == before
    learned = [label for label in example["labels"] if label != IGNORED]
    header = frames.encode(marks.header("think"))
    assert tuple(learned[: len(header)]) == header, "the mark is learned, and what the template wrote before is not"
    assert len(example["input_ids"]) - len(learned) == len(before) - len(header)


def test_qwen3s_empty_block_stands_before_the_papers_mark() -> None:
    tokenizer = tokenizer_of("qwen3")
    frames = make_frames(tokenizer, sweep_settings())
    assert tokenizer.decode(frames.think(chat(tokenizer, "x"))) == (
        "<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n<|im_start|>think\n"
    )


SMOLLM2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}"
    "{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""The chat template of SmolLM2's Instruct models."""
SYSTEM = {
    "SmolLM2": (SMOLLM2, "You are a helpful AI assistant named SmolLM, trained by Hugging Face"),
    "Qwen2.5": (
        (SHIPPED / "qwen2_5.jinja").read_text(encoding="utf-8"),
        "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.",
    ),
    "one that says QUESTION": (SMOLLM2.replace("a helpful", "to answer the QUESTION, a"), None),
}


@pytest.mark.parametrize("name", SYSTEM)
def test_a_default_system_turn_stays_in_the_prompt_without_loss(name: str) -> None:
    """As in the authors' code, which renders a user turn alone, in training and in evaluation."""
    tokenizer = tokenizer_of("qwen2.5")
    tokenizer.chat_template, system = SYSTEM[name]
    marks = TurnTokens.from_tokenizer(tokenizer)
    assert (marks.header("think"), marks.end) == EXPECTED["qwen2.5"]
    example = encode(tokenizer, "Which?", "T", "A", marks)
    whole, learned = tokenizer.decode(example["input_ids"]), [one for one in example["labels"] if one != IGNORED]
    if system:
        assert whole == (
            f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\nWhich?<|im_end|>\n<|im_start|>assistant\n"
            "<|im_start|>think\nT\n<|im_start|>answer\nAnswer: A<|im_end|>"
        )
    assert tokenizer.decode(learned) == "<|im_start|>think\nT\n<|im_start|>answer\nAnswer: A<|im_end|>"


@pytest.mark.parametrize(
    ("family", "ends"),
    [
        ("qwen2.5", {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}),
        ("llama3", {"<|end_of_text|>", "<|eot_id|>", "<|start_header_id|>"}),
        ("gemma", {"<eos>", "<end_of_turn>", "<start_of_turn>"}),
        ("mistral v3", {"</s>", "[INST]"}),
    ],
)
def test_a_generation_ends_at_every_end_of_text_or_turn_and_at_the_opening_of_one(family: str, ends: set[str]) -> None:
    tokenizer = tokenizer_of(family)
    assert set(tokenizer.convert_ids_to_tokens(stop_ids(tokenizer))) == ends
    assert make_frames(tokenizer, sweep_settings()).stop == stop_ids(tokenizer)


def test_a_model_whose_template_marks_turns_by_plain_text_still_answers() -> None:
    """Not one that thinks, but one that answers at once, such as a row of Table 1."""
    tokenizer = tokenizer_of("qwen2.5")
    tokenizer.chat_template = "{% for m in messages %}### {{ m.role }}: {{ m.content }}\n{% endfor %}"
    assert tokenizer.eos_token_id in stop_ids(tokenizer)


@pytest.mark.parametrize("layout", ["file", "key", "list", "several files", "none"])
def test_the_chat_template_is_read_as_transformers_reads_it(layout: str, tmp_path: Path) -> None:
    """It is part of the key of a training, which a dry run looks up without transformers."""
    tokenizer_of("qwen2.5").save_pretrained(tmp_path)
    file, config = tmp_path / "chat_template.jinja", tmp_path / "tokenizer_config.json"
    template, settings = file.read_text(encoding="utf-8"), json.loads(config.read_text(encoding="utf-8"))
    if layout in ("key", "list", "none"):
        file.unlink()
    if layout in ("key", "list"):
        parts = [{"name": "default", "template": template}, {"name": "tool_use", "template": "tools"}]
        config.write_text(json.dumps(settings | {"chat_template": template if layout == "key" else parts}))
    if layout == "several files":
        (tmp_path / "additional_chat_templates").mkdir()
        (tmp_path / "additional_chat_templates/tool_use.jinja").write_text("tools")
    assert chat_template(tmp_path) == AutoTokenizer.from_pretrained(tmp_path).chat_template
