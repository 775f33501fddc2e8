"""The report's page: what is in it and, in headless Chromium, that it works: offline, and whatever models wrote."""

import base64
import csv
import gzip
import json
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from byte_tokenizer import bytes_tokenizer
from chromium import PROGRAM, Page, browser
from docutils.core import publish_string
from hypothesis import given, settings
from hypothesis import strategies as st
from m1.core import records
from m1.core.errors import UserError
from m1.core.records import Rollout, Score
from m1.report import page
from m1.report.settings import RuleManifests
from page_run import Run, answer_tables
from tokenizers import Tokenizer

CAPTIONS = page.CAPTIONS
HOSTILE = {
    "script": "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">",
    "end": "</script><script>document.title='owned'</script>",
    "comment": "<!-- <script> --> ]]> -->",
    "template": "$style ${script} $$ {name} \\u003c &lt;",
    "control": "\x00\x07\x1b[31m\x7f\x85\u2028\u2029 end",
    "right to left": "\u202e\u2067drah si siht \u05d0\u05d1\u05d2",
    "long": "0123456789" * 10_000,
}
needs_chromium = pytest.mark.skipif(PROGRAM is None, reason="no Chromium is installed (Debian's package is chromium)")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(tmp_path_factory.mktemp("hostile"), HOSTILE | {"plain": "aspirin"})


def content(html: str, name: str) -> str:
    return html.partition(f'id="{name}">')[2].partition("</script>")[0]


def unpacked(html: str, name: str) -> bytes:
    return gzip.decompress(base64.b64decode(content(html, name)))


def test_the_same_input_gives_the_same_bytes(hostile: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    first = hostile.make(output="one.html").read_bytes()
    monkeypatch.setattr("time.time", lambda: 2e9)
    assert hostile.make(output="two.html").read_bytes() == first


def test_no_text_of_the_run_is_in_the_page_as_markup(hostile: Run) -> None:
    html = hostile.make().read_text(encoding="utf-8")
    assert "owned" not in html.replace("owned'\\u003c/script", "").replace("owned'\\\"\\u003e", "")
    assert html.count("</script>") == html.count("<script")
    facts = json.loads(content(html, "facts"))
    assert facts["remark"] == "</script> & remark"
    assert facts["tables"][0]["rows"][2][2] == HOSTILE["script"]
    assert facts["tables"][2]["label"] == "Comparison with the paper"
    assert "*" not in facts["tables"][2]["caption"]


def test_columns_and_texts_say_what_the_records_say(hostile: Run) -> None:
    html = hostile.make().read_text(encoding="utf-8")
    facts = json.loads(content(html, "facts"))
    assert facts["settings"] == [[0, 0], [4, 0], [8, 0], [16, 0], [16, 1], [16, 2]]
    assert facts["steps"][1] == [
        f"{hostile.folder.parent.name} {hostile.folder.name}",
        "012345678",
        "no",
        "questions 1,234",
        "12",
    ]
    raw, arrays = unpacked(html, "scored"), {}
    for name, kind, length in facts["layout"]:
        size = 4 if kind == "Uint32Array" else 1
        arrays[name], raw = np.frombuffer(raw[: size * length], f"<u{size}"), raw[size * length :]
    questions = json.loads(unpacked(html, "questions"))
    assert [question[0] for question in questions] == ["medqa"] * 4 + ["gpqa"] * 4, "in the order of the benchmarks"
    places = np.frombuffer(unpacked(html, "places"), "<u4").reshape(-1, 2)
    scores = {
        (j.question_id, j.model, j.budget, j.forced): j for j in records.read(hostile.folder / "scores.parquet", Score)
    }
    rollouts = {r.question_id: r for r in records.read(hostile.folder / "infer/think/rollouts.parquet", Rollout)}
    tokenizer = Tokenizer.from_file(str(hostile.folder / "model" / "tokenizer.json"))
    seen = 0
    for row, (question, model) in enumerate(zip(arrays["question"], arrays["model"])):
        id, name = questions[question][1], facts["models"][model]["model"]
        text = json.loads(unpacked(html, f"block-{places[row, 0]}"))[places[row, 1]]
        for column, (budget, forced) in enumerate(facts["settings"]):
            at, score = row * 6 + column, scores.get((id, name, budget, forced))
            state = arrays["state"][at]
            assert bool(state & page.THERE) == (score is not None)
            if score is None:
                continue
            seen += 1
            assert (bool(state & page.CORRECT), bool(state & page.ENDED)) == (score.correct, score.ended)
            assert facts["rules"][arrays["rule"][at]] == score.rule
            assert " B"[arrays["letter"][at] // 2].strip() == score.letter
            assert arrays["tokens"][at] == score.thinking_tokens
            assert text["answers"][text["given"][column]][1] == score.extracted
            if name == "think":
                upto, forced_upto = text["shown"][column]
                shown = "".join(text["thinking"][:upto] + text["forced"][:forced_upto])
                exact = tokenizer.decode(rollouts[id].thinking(budget, forced))
                assert shown in (exact, exact.rstrip("\ufffd")), "but for a character that the budget cuts through"
    assert seen == len(scores)


BYTES = st.text(alphabet="aé€😀\ufffd \n", max_size=40)


@settings(max_examples=60)
@given(text=BYTES, cuts=st.lists(st.integers(0, 100), max_size=6))
def test_pieces_are_the_text_cut_where_the_tokens_are(
    text: str, cuts: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    tokenizer = bytes_tokenizer(tmp_path_factory.getbasetemp() / "bytes")
    ids = tokenizer.encode(text).ids
    ends = sorted({min(cut, len(ids)) for cut in cuts} | {len(ids)})
    parts = page.pieces(lambda some: tokenizer.decode(list(some)), ids, ends)
    assert "".join(parts) == text
    for number, end in enumerate(ends[:-1]):
        assert "".join(parts[: number + 1]) == text.encode()[:end].decode(errors="ignore").rstrip("\ufffd")


TOKENS = (" a", "a", " ", "  ", " b\n", "é")


@settings(max_examples=60)
@given(ids=st.lists(st.integers(0, len(TOKENS) - 1), max_size=12), cuts=st.lists(st.integers(0, 12), max_size=5))
def test_pieces_are_cut_rightly_where_a_text_is_not_the_sum_of_its_parts(ids: list[int], cuts: list[int]) -> None:
    """As of tokenizers that leave out the first blank."""

    def decode(some: Sequence[int]) -> str:
        return "".join(TOKENS[id] for id in some).removeprefix(" ")

    ends = sorted({min(cut, len(ids)) for cut in cuts} | {len(ids)})
    parts = page.pieces(decode, ids, ends)
    for number, end in enumerate(ends):
        assert "".join(parts[: number + 1]) == decode(ids[:end])


def test_few_more_texts_are_read_than_fit_and_how_many_at_a_time_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = np.random.default_rng(0)
    run = Run(tmp_path, {f"q{i}": generator.bytes(400).hex() for i in range(400)})
    decoded = []
    add_thinking = page.add_thinking

    def counted(reading: page.Reading, rollout: Rollout, decode: Any) -> None:
        decoded.append(rollout.question_id)
        add_thinking(reading, rollout, decode)

    monkeypatch.setattr(page, "add_thinking", counted)
    without = run.make(megabytes=0.001, output="without.html").stat().st_size / 1e6
    decoded.clear()
    first = run.make(megabytes=without + 0.2, output="first.html").read_bytes()
    places = np.frombuffer(unpacked(first.decode(), "places"), "<u4").reshape(-1, 2)
    kept = int((places[1::2, 0] != page.NOWHERE).sum())  # the second model thinks
    assert 50 < kept <= len(decoded) == len(set(decoded)) < 2 * kept
    monkeypatch.setattr(page, "READING", 1e9)
    assert run.make(megabytes=without + 0.2, output="second.html").read_bytes() == first


def test_predictions_and_scores_of_two_runs_are_named(hostile: Run, tmp_path: Path) -> None:
    scores = records.read(hostile.folder / "scores.parquet", Score)
    records.write(tmp_path / "fewer.parquet", scores[:-1], Score)
    with pytest.raises(UserError, match=r"predictions\.parquet: 40 predictions, but --scores has 39 of model 'think'"):
        hostile.make(scores=[str(tmp_path / "fewer.parquet")])


def test_texts_that_do_not_fit_are_left_out_and_those_that_flip_come_first(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    wild = {f"q{i}": generator.bytes(6000).hex() for i in range(60)}  # does not compress away
    run = Run(tmp_path, wild)
    whole = run.make(output="whole.html").stat().st_size
    limit = whole / 1e6 - 0.3
    html = run.make(megabytes=limit, output="part.html").read_text(encoding="utf-8")
    assert len(html.encode()) <= 1e6 * limit
    places = np.frombuffer(unpacked(html, "places"), "<u4").reshape(-1, 2)
    kept = places[:, 0] != page.NOWHERE
    assert 0 < kept.sum() < len(kept)
    verdicts: dict[tuple[str, str], list[bool]] = {}
    for score in records.read(run.folder / "scores.parquet", Score):
        verdicts.setdefault((score.question_id, score.model), []).append(score.correct)
    ids = [id for _, id, *_ in json.loads(unpacked(html, "questions"))]
    found = [verdicts[id, model] for id in ids for model in ("base", "think")]
    ranks = [0 if len(set(one)) > 1 else 1 + one[0] for one in found]
    assert max(rank for rank, there in zip(ranks, kept) if there) <= min(
        rank for rank, there in zip(ranks, kept) if not there
    )


def test_what_does_not_fit_together_is_said(hostile: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="scored questions are in no file"):
        hostile.make(benchmarks=("medqa",))
    with pytest.raises(UserError, match="scored twice"):
        hostile.make(scores=["scores.parquet"] * 2)
    (hostile.folder / "other.json").write_text("{}")
    with pytest.raises(UserError, match=r"other\.json: no manifest"):
        hostile.make(manifests=(RuleManifests("infer_sweep", ("other.json",)),))
    with pytest.raises(UserError, match=r"none\.csv: not readable"):
        hostile.make(page_tables=("none",))
    with pytest.raises(UserError, match=r"none\.png: not readable"):
        hostile.make(page_figures=("none",))


@pytest.fixture(scope="module")
def open_page(hostile: Run) -> Iterator[Page]:
    path = hostile.make(output="shown.html")
    with browser() as found:
        found.size(1200, 800)
        found.open(path)
        yield found


@needs_chromium
def test_hostile_texts_are_shown_as_text_and_the_network_is_not_asked(hostile: Run, open_page: Page) -> None:
    path = hostile.folder / "shown.html"
    shown = "document.getElementById('reading').textContent"
    for number, (name, text) in enumerate(HOSTILE.items()):
        open_page.open(path, f"#question/{'gpqa' if number % 2 else 'medqa'}/{name.replace(' ', '%20')}/think/16/0")
        open_page.wait("document.querySelector('.scored')")
        visible = "".join(chr(0x2400 + ord(c)) if c < " " else "\u2421" if "\x7f" <= c <= "\x9f" else c for c in text)
        assert visible in open_page.ask(shown)
        assert open_page.ask("document.querySelectorAll('#reading script, #reading img, #space script').length") == 0
        isolated = (
            "[...document.querySelectorAll('.model-text, .stem')].every((one) => "
            "getComputedStyle(one).unicodeBidi === 'isolate')"
        )
        assert open_page.ask(isolated)
    for tab in ("", "tables", "run", "figures"):
        open_page.open(path, f"#{tab}")
    assert open_page.ask("document.title") == "m1 report"
    assert [one for one in open_page.requests if not one.startswith(("file:", "data:", "about:"))] == []
    assert open_page.errors == []


EVERYWHERE = (
    "\"'></script></style></title></textarea><img src=x onerror=\"document.title='owned'\">"
    "<script>document.title='owned'</script><svg/onload=\"document.title='owned'\"><base href='http://127.0.0.1:9/'>"
    "<a href=\"javascript:document.title='owned'\">a</a><iframe src='http://127.0.0.1:9/'></iframe>${owned} {{owned}}"
)


@needs_chromium
def test_hostile_text_at_every_place_of_the_page_stays_text(tmp_path: Path) -> None:
    run = Run(tmp_path, {f"{EVERYWHERE}{number}": EVERYWHERE for number in range(3)}, EVERYWHERE)
    path = run.make()
    html = path.read_text(encoding="utf-8")
    assert html.count("<script") == html.count("</script>")
    assert "<img src=x" not in html
    foreign = "img:not([src^='data:']), svg:not(.interval), iframe, object, embed, base, a[href^='javascript']"
    foreign += ", [onerror], [onload]"
    with browser() as opened:
        opened.open(path)
        scripts = opened.ask("document.querySelectorAll('script').length")
        title = opened.ask("document.title")
        ids = [quote(f"{EVERYWHERE}{number}", safe="") for number in range(3)]
        questions = [f"question/{'gpqa' if n % 2 else 'medqa'}/{id}/think/16/{n}" for n, id in enumerate(ids)]
        shown = []
        for place in ("answer", "run", "tables", "tables/compare", "figures", "questions", *questions):
            opened.open(path, f"#{place}")
            opened.ask("new Promise((done) => setTimeout(done, 200))")
            shown.append(opened.ask("document.body.textContent"))
            assert opened.ask(f'document.querySelectorAll("{foreign}").length') == 0, place
            assert opened.ask("document.querySelectorAll('script').length") == scripts, place
            assert opened.ask("document.title") == title, place
        assert all(EVERYWHERE in text for text in shown)
        assert [one for one in opened.requests if not one.startswith(("file:", "data:", "about:"))] == []
        assert opened.errors == []


ROWS = "[...document.querySelectorAll('#answer .averages tbody tr')].map((row) => [...row.children].map(%s))"


@needs_chromium
def test_the_page_opens_on_the_answer(hostile: Run, open_page: Page) -> None:
    path = hostile.folder / "shown.html"
    open_page.open(path)
    tabs = "[...document.querySelectorAll('[data-tab]')]"
    assert open_page.ask(f"{tabs}.map((one) => one.dataset.tab)") == ["answer", "tables", "figures", "questions", "run"]
    assert open_page.ask(f"{tabs}.filter((one) => one.ariaSelected === 'true').map((one) => one.textContent)") == [
        "Answer"
    ]
    heads = "[...document.querySelectorAll('#answer h3')].map((one) => one.textContent)"
    assert open_page.ask(heads) == ["Averages", "Averages and cells by verdict", "Claims", "Table 1"]
    assert open_page.ask(ROWS % "(cell) => cell.innerText.split('\\n')[0]") == [
        ["reproduced", "Think", "m1-7B-1K", "57.26", "57.76", "−0.50", "", "less"],
        ["out of reach", "Base", "m1-7B-23K", "–", "60.32", "–", "", "other questions"],
    ]
    counts = "[...document.querySelectorAll('#answer .counts')].map((one) => one.textContent.trim())"
    averages, cells = open_page.ask(counts)[:2]
    assert averages == "Table 1, averages: 1 reproduced 0 differs 0 cannot tell 1 out of reach"
    assert cells == "Table 1, cells: 0 reproduced 1 differs 1 cannot tell 0 out of reach"
    assert "Of 2 single cells, 1 have too few questions" in open_page.ask("document.querySelector('.lead').textContent")
    assert open_page.ask("document.querySelector('#answer .notice').textContent") == "</script> & remark"
    text = open_page.ask("document.getElementById('answer').innerText")
    assert "thinking helps" in text
    assert "1 [−1 to 3] points" in text
    open_page.ask('document.querySelector("#answer a").click()')
    open_page.wait("!document.getElementById('tables').hidden")
    assert (
        open_page.ask("document.querySelector('#tables [aria-pressed=true]').textContent")
        == "Comparison with the paper"
    )


@needs_chromium
def test_differences_are_drawn_to_one_scale_against_the_margin(hostile: Run, open_page: Page) -> None:
    open_page.open(hostile.folder / "shown.html")
    assert open_page.ask("document.querySelectorAll('#answer svg').length") == 1, "what has no interval has no drawing"
    drawn = "(name) => Number(document.querySelector(name[0]).getAttribute(name[1]))"
    x = dict(
        zip(
            ("left", "width", "zero", "low", "high", "point", "whole"),
            open_page.ask(
                "[['.band', 'x'], ['.band', 'width'], ['.zero', 'x1'], ['.range', 'x1'], ['.range', 'x2'], ['.point', "
                f"'cx'], ['.interval', 'width']].map({drawn})"
            ),
        )
    )
    point = x["width"] / 4  # the margin is 2 points to each side
    assert x["zero"] == x["whole"] / 2 == x["left"] + x["width"] / 2
    assert [x["low"] - x["zero"], x["point"] - x["zero"], x["high"] - x["zero"]] == pytest.approx(
        [-1.75 * point, -0.5 * point, 0.75 * point]
    )
    assert 0 <= x["left"] < 10, "the scale is filled"
    label = open_page.ask("document.querySelector('#answer svg').getAttribute('aria-label')")
    assert label == "difference −0.50 points, 95 % interval −1.75 to +0.75, margin 2"


@needs_chromium
def test_a_run_out_of_reach_opens_on_one_sentence_and_table_1(tmp_path: Path) -> None:
    """The claims come last, folded."""
    run = Run(tmp_path, {"plain": "aspirin"})
    for name in ("compare", "claims"):
        rows = answer_tables()[name]
        with (tmp_path / f"{name}.csv").open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows(
                [rows[0], *([*row[:-2], "out of reach", "embedded world"] for row in rows[1:])]
            )
    with browser() as opened:
        opened.open(run.make(note=""))
        reason = "Every comparison with the paper is out of reach: embedded world."
        assert opened.ask("document.querySelector('.lead').textContent") == reason
        heads = "[...document.querySelectorAll('#answer h3')].map((one) => one.textContent)"
        assert opened.ask(heads) == ["Table 1", "Claims"]
        assert opened.ask("document.querySelector('#answer details').open") is False
        assert opened.ask("document.querySelector('#answer .notice')") is None, "no note, no box"
        opened.open(run.make(page_tables=("sorted",), note="", remark="tiny models"))
        assert opened.ask("document.querySelector('#answer .notice').textContent") == "tiny models"
        assert "This run has no comparison, no claims and no Table 1" in opened.ask(
            "document.getElementById('answer').textContent"
        )
        assert opened.errors == []


@needs_chromium
def test_the_policy_forbids_network_and_foreign_script(hostile: Run, open_page: Page) -> None:
    asked = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(204)
            self.end_headers()

    open_page.open(hostile.folder / "shown.html")
    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        went = f"fetch('{url}/fetch', {{ mode: 'no-cors' }}).then(() => 'went', () => 'refused')"
        image = (
            f"new Promise((done) => {{ const i = new Image(); i.onload = i.onerror = () => done(1); "
            f"i.src = '{url}/image'; }})"
        )
        assert open_page.ask(went) == "refused"
        assert open_page.ask(image)
        server.shutdown()
    assert asked == []
    open_page.ask(
        "(() => { const s = document.createElement('script'); s.textContent = 'window.foreign = "
        "1'; document.body.append(s); })()"
    )
    assert open_page.ask("typeof window.foreign") == "undefined"
    assert any("Content Security Policy" in error for error in open_page.errors)
    open_page.errors.clear()
    open_page.requests.clear()


@needs_chromium
def test_filters_and_keys(hostile: Run, open_page: Page) -> None:
    open_page.open(hostile.folder / "shown.html", "#questions")
    scores = records.read(hostile.folder / "scores.parquet", Score)

    def chosen(**values: str) -> list[list[str]]:
        """Ids and models of the readings in the list with these filters."""
        script = (
            f"(() => {{ $('filters').reset(); Object.entries({json.dumps(values)}).forEach(([id, "
            "value]) => $(id).value = value); filter();"
        )
        return open_page.ask(
            script
            + " return found.map((r) => [questions[arrays.question[r]].id, facts.models[arrays.model[r]].model]); })()"
        )

    def expected(keep) -> set[tuple[str, str]]:
        return {(j.question_id, j.model) for j in scores if (j.budget, j.forced) in {(16, 0), (0, 0)} and keep(j)}

    def verdicts(j: Score) -> list[bool]:
        return [one.correct for one in scores if (one.question_id, one.model) == (j.question_id, j.model)]

    def turns(j: Score, way: tuple[bool, bool]) -> bool:
        return way in list(zip(verdicts(j), verdicts(j)[1:]))

    cases = [
        ({}, lambda j: True),
        ({"model": "1"}, lambda j: j.model == "think"),
        ({"benchmark": "4"}, lambda j: j.benchmark == "gpqa"),
        ({"verdict": "correct"}, lambda j: j.correct),
        ({"verdict": "none"}, lambda j: not j.letter),
        ({"verdict": "cut", "model": "1"}, lambda j: j.model == "think" and not j.ended),
        ({"change": "falls"}, lambda j: turns(j, (True, False))),
        ({"change": "rises"}, lambda j: turns(j, (False, True))),
        ({"change": "never"}, lambda j: not any(verdicts(j))),
        ({"change": "always"}, lambda j: all(verdicts(j))),
        ({"search": "ASPIRIN"}, lambda j: j.question_id == "plain"),
    ]
    for values, keep in cases:
        assert set(map(tuple, chosen(**values))) == expected(keep), values
    order = chosen(model="1")
    open_page.ask("open(found[0]).then(() => null)")

    def press(key: str) -> list[str]:
        for kind in ("keyDown", "keyUp"):
            open_page.call("Input.dispatchKeyEvent", type=kind, key=key)
        open_page.ask("new Promise((done) => setTimeout(done, 50))")
        return open_page.ask("location.hash.split('/').map(decodeURIComponent)")

    assert press("j")[2:] == [order[1][0], "think", "16", "0"]
    assert press("ArrowLeft")[4:] == ["8", "0"]
    assert press("j")[2:] == [order[2][0], "think", "8", "0"], "the budget is kept"
    assert press("k")[2:] == [order[1][0], "think", "8", "0"]
    assert open_page.errors == []


@needs_chromium
def test_tables_sort_with_what_is_missing_last(hostile: Run, open_page: Page) -> None:
    open_page.open(hostile.folder / "shown.html", "#tables/sorted")
    column = "[...document.querySelectorAll('#tables tbody tr')].map((row) => row.children[3].textContent)"
    press = "document.querySelectorAll('#tables th button')[3].click()"
    open_page.ask(press)
    assert open_page.ask(column) == ["100", *(str(9 - number) for number in range(len(HOSTILE) + 1)), "missing"]
    open_page.ask(press)
    assert open_page.ask(column)[-2:] == ["100", "missing"]
    assert (
        open_page.ask(
            "[...document.querySelectorAll('#tables tr')].filter((row) => row.children[0].textContent "
            "=== 'differs').length"
        )
        == 1
    )


@needs_chromium
@pytest.mark.parametrize("width", [360, 1300])
def test_nothing_is_wider_than_the_window(hostile: Run, open_page: Page, width: int) -> None:
    open_page.size(width, 800)
    for tab in (
        "answer",
        "run",
        "tables",
        "figures",
        "question/medqa/long/think/16/0",
        "question/medqa/right%20to%20left/think/16/2",
    ):
        open_page.open(hostile.folder / "shown.html", f"#{tab}")
        assert open_page.ask("document.documentElement.scrollWidth") <= width, tab
        section = "document.querySelector('main > section:not([hidden])')"
        reading = "document.getElementById('reading')"
        for part in (section, reading):
            assert open_page.ask(f"{part}.scrollWidth - {part}.clientWidth") <= 0, f"{part} of {tab}"
    open_page.size(1200, 800)


@pytest.mark.parametrize("caption", sorted(CAPTIONS.glob("*.rst")), ids=lambda path: path.stem)
def test_captions_are_sound_for_both_reports(caption: Path) -> None:
    text = caption.read_text(encoding="utf-8")
    publish_string(text, writer="html", settings_overrides={"report_level": 1, "halt_level": 1})  # raises at any doubt
    found = page.read_caption(caption.stem)
    assert caption.stem == "workflow" or found["caption"].startswith(f"{found['label']}. "), "what is bold is the label"
    assert not set("*`") & set(found["caption"])
