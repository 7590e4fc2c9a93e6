"""The report as files: complete, inert, self-contained, small; and the terminal's tables."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from synthetic_store import bernoulli, edit, make_store

from bakeoff.analysis import words
from bakeoff.analysis.grid import FAINTEST, grids
from bakeoff.analysis.summary import summarise
from bakeoff.analysis.table import results
from bakeoff.errors import InputError
from bakeoff.report import alone, figures, html, markdown, summary, tables, terminal, write
from bakeoff.report.markdown import escape
from bakeoff.store.record import Solo
from bakeoff.store.store import Store

RATE = {"base": 0.55, "lora": 0.92, "prefix": 0.84, "prompt": 0.7}
HOSTILE = (
    "<script>alert(1)</script>",
    "]]> --> </pre></td></table><img src=x onerror=alert(2)>",
    "\x1b[31mred\x1b[0m \x07 \u202egnp.exe {{ 7*7 }} {% raw %}",
    "| a | b |\n# title\n![x](http://evil.example/x.png) `code` **bold**",
)
VOID = {"meta", "br", "wbr", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """Every tag and attribute of a page; fails where tags do not nest."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["style"], ["script"]):
            self.words.append(data)


def test_every_format_is_written(tmp_path: Path) -> None:
    store = make_store(tmp_path, bernoulli(RATE, 80), ("base", "lora", "prefix", "prompt"))
    paths = write(store)
    names = [path.name for path in paths if path.parent == tmp_path]
    assert names == ["report.html", "report.md", "tables.tex", "results.json", "cells.csv"]
    drawn = [path.name for path in paths if path.parent == tmp_path / "figures"]
    assert "1-scores.svg" in drawn and len(names) + len(drawn) == len(paths)
    assert write(store, ["md"])[0].read_bytes() == paths[1].read_bytes()
    before = [path.read_bytes() for path in paths]
    assert [path.read_bytes() for path in write(store)] == before
    with pytest.raises(InputError, match=r"'htm' is no report format; did you mean 'html'\?"):
        write(store, ["htm"])


def test_figures_of_an_earlier_report_are_removed_and_no_others(tmp_path: Path) -> None:
    write(make_store(tmp_path, bernoulli(RATE, 40), tasks={"sst2": ["sst2"], "imdb": ["imdb"]}))
    drawn, folder = {path.name for path in (tmp_path / "figures").iterdir()}, tmp_path / "figures"
    (folder / "2-scores-mine.svg").write_text("<svg/>")
    (folder / "mine.svg").write_bytes((folder / "1-scores.svg").read_bytes())
    store = make_store(tmp_path, bernoulli(RATE, 40))
    write(store, ["md"])
    assert {path.name for path in folder.iterdir()} == drawn | {"2-scores-mine.svg", "mine.svg"}
    write(store)
    left = {path.name for path in folder.iterdir()}
    assert left == {name for name in drawn if not name.startswith("2-") and name != "learning-2.svg"} | {
        "2-scores-mine.svg", "mine.svg"
    }  # fmt: skip


def test_the_csv_holds_the_cells(tmp_path: Path) -> None:
    store = make_store(tmp_path, bernoulli(RATE, 80))
    rows = list(csv.DictReader(io.StringIO(write(store, ["csv"])[0].read_text())))
    cells = results(store).cells
    assert [row["method"] for row in rows] == [cell.method for cell in cells]
    assert [float(row["mean"]) for row in rows] == [cell.mean for cell in cells]
    assert [float(x) for x in rows[1]["per_seed"].split()] == list(cells[1].per_seed)


def test_the_page_stands_alone(tmp_path: Path) -> None:
    store = make_store(tmp_path, bernoulli(RATE, 80), ("base", "lora", "prefix", "prompt"), lanes=4)
    text = write(store, ["html"])[0].read_text()
    page = Page(text)
    policy = next(a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and policy.startswith("default-src 'none'") and "http" not in policy
    assert "unsafe" not in policy and "data:" not in policy
    assert not {tag for tag, _ in page.tags} & {"link", "img", "iframe", "object", "form", "base"}
    assert [attributes for tag, attributes in page.tags if tag == "script"] == [
        {"type": "application/json", "id": "data"}, {}
    ]  # fmt: skip
    for tag in ("style", "script"):
        inside = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        assert len(inside) == 1
        assert base64.b64encode(hashlib.sha256(inside[0].encode()).digest()).decode() in policy
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") or name in ("src", "srcset", "action", "style") for name in attributes), (
            tag
        )
        assert (attributes.get("href") or "#").startswith("#")
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style and "@import" not in style
    ids = [a["id"] for _, a in page.tags if a.get("id")]
    assert len(ids) == len(set(ids))
    assert {(a["href"] or "")[1:] for _, a in page.tags if a.get("href")} <= set(ids)
    assert "no measurement of a method alone is stored" in text
    assert len(text) < 120_000


def test_cost_is_what_was_measured_alone(tmp_path: Path) -> None:
    """120 steps of a quarter of a second; the shared pass's share, 42.9 seconds, is nowhere on a page."""
    solo = Solo(
        step_seconds=0.25, step_seconds_min=0.2, step_seconds_max=1.5, tokens_per_second=1234.4,
        step_flops=5_600_000_000, timed_steps=4, peak_bytes=900_000_000, held_bytes=700_000_000,
        inference_seconds=0.0421, inference_ratio=1.372, context_tokens=8,
    )  # fmt: skip
    store = make_store(tmp_path, bernoulli(RATE, 80), ("base", "lora"), lanes=3, solo=solo)
    html, markdown, published, table = (path.read_text() for path in write(store, ["html", "md", "json", "csv"]))
    for text in ("".join(Page(html).words), markdown):
        text = text.replace("\N{NO-BREAK SPACE}", " ")
        for shown in (
            "30.0 s",
            "250 ms (200 ms to 1.5 s)",
            "1,234",
            "5.6 G",
            "900.0 MB",
            "200.0 MB",
            "42.1 ms",
            "1.37",
            "8 tokens",
        ):
            assert shown in text, shown
        assert text.count("Cost per method comes from a short measurement of it alone") >= 1
        assert "42.9" not in text and tables.FROM_RUNS not in text
    assert [tables.cost(c)["one answer, base = 1"] for c in results(store).cells] == ["", "1.37"]
    lora = next(c for c in json.loads(published)["cells"] if c["method"] == "lora")
    assert lora["solo"] == {**solo.model_dump(), "added_bytes": 200_000_000} and lora["solo_train_seconds"] == 30.0
    assert lora["peak_bytes"] == 900_000_000
    assert lora["train_seconds"] == pytest.approx(40 + 2.94912)
    row = next(row for row in csv.DictReader(io.StringIO(table)) if row["method"] == "lora")
    assert (row["solo_step_seconds"], row["solo_train_seconds"], row["solo_reserved_bytes"]) == ("0.25", "30.0", "")
    assert (float(row["solo_inference_ratio"]), row["lanes"]) == (1.372, "3")


def test_a_shared_pass_without_a_measurement_tells_no_cost(tmp_path: Path) -> None:
    """Nor is a peak that lanes shared one's own; a run that had the pass to itself took its own time."""
    shared = results(make_store(tmp_path / "shared", bernoulli(RATE, 80), lanes=3)).cells[1]
    alone = results(make_store(tmp_path / "alone", bernoulli(RATE, 80))).cells[1]
    assert (shared.solo, shared.solo_train_seconds, shared.peak_bytes) == (None, None, None)
    assert alone.solo_train_seconds == alone.train_seconds == pytest.approx(40 + 2.94912)


def test_costs_that_are_no_measurement_alone_are_marked(tmp_path: Path) -> None:
    """Without one a method shows its runs' own time, marked on every page, and the mark explained."""
    store = make_store(tmp_path, bernoulli(RATE, 80))
    html, markdown = (path.read_text() for path in write(store, ["html", "md"]))
    console = Console(width=120, file=io.StringIO(), color_system=None)
    console.print(terminal.table(results(store)))
    shown = console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    for text in ("".join(Page(html).words), markdown, shown):
        text = text.replace("\N{NO-BREAK SPACE}", " ")
        assert "42.9 s \N{DOUBLE DAGGER}" in text
        assert "\N{DOUBLE DAGGER} No measurement of it alone is stored" in " ".join(text.split())


def test_the_page_shows_what_results_hold(tmp_path: Path) -> None:
    status = {("sst2", "prefix", 1): "failed", ("sst2", "prompt", 2): "missing"}
    store = make_store(
        tmp_path, bernoulli(RATE, 80), ("base", "lora", "prefix", "prompt"), status=status, reason="no <b>memory</b>"
    )
    found = results(store)
    for path in write(store, ["html", "md"]):
        text = path.read_text()
        if path.suffix == ".html":
            text = "".join(Page(text).words)
        else:
            text = re.sub(r"\\(.)", r"\1", text).replace("&lt;", "<").replace("&gt;", ">")
        for cell in found.cells:
            assert cell.method in text
            assert words.number(cell.mean) in text
            assert words.interval(cell.ci_low, cell.ci_high) in text
            assert tables.whole(cell.trainable_params) in text
        for pair in found.comparisons:
            assert words.interval(pair.ci_low, pair.ci_high) in text
        for doubt in found.doubts:
            assert doubt.text in text
        assert found.verdicts[0].headline in text
        assert "sst2/prompt/seed 2" in text
        assert "no <b>memory</b>" in text
        for run in found.trials:
            assert run.key[:12] in text


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    store = make_store(
        tmp_path,
        bernoulli(RATE, 40),
        status={("sst2", "lora", 2): "failed", ("sst2", "prompt", 2): "missing"},
        text=lambda method, seed, i, value: HOSTILE[i % 4] if method != "prompt" else HOSTILE[0],
        detail=lambda method, i: {HOSTILE[1]: HOSTILE[i % 4], "nested": {"x": [HOSTILE[0]]}},
        reason=" ".join(HOSTILE),
    )
    html, markdown = (path.read_text() for path in write(store, ["html", "md"]))
    page = Page(html)
    assert not {tag for tag, _ in page.tags} & {"img"} and html.count("<script") == markdown.count("<script") + 2 == 2
    shown = "".join(page.words)
    assert HOSTILE[0] in shown and "onerror=alert(2)" in shown  # shown, as text
    for text in (html, markdown):
        assert "<script>alert" not in text and "<img" not in text
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", text)
    assert "{{ 7*7 }}" in shown and "49" not in re.findall(r"gnp\.exe (\S+)", shown)
    assert "![x](" not in markdown and "!\\[x\\](http\\://evil" in markdown
    assert "\\x1b" in shown
    console = Console(width=100, record=True, file=io.StringIO(), force_terminal=True)
    console.print(terminal.table(results(store)))
    assert "\x1b" not in console.export_text(styles=False)


def test_long_samples_are_cut_and_few(tmp_path: Path) -> None:
    store = make_store(tmp_path, bernoulli(RATE, 300), text=lambda *_: "word " * 2_000)
    page = write(store, ["html"])[0]
    assert page.stat().st_size < 200_000
    assert page.read_text().count("9,400 more characters") == 3 * 20


def test_questions_stand_beside_answers_and_what_all_share_stands_once(tmp_path: Path) -> None:
    """A long turn loses its middle, since a question stands at either end; older stores keep no questions."""
    system, example = ("system", "Say which."), ("user", "An example?")
    long = "The start. " + "word " * 2_000 + "Which is it?"
    turns = [[system, example, ("assistant", "Yes."), ("user", f"{HOSTILE[i % 4]} {i}")] for i in range(60)]
    turns[1][-1] = ("user", long)
    store = make_store(tmp_path, bernoulli(RATE, 60), asked=turns.__getitem__)
    text = write(store, ["html"])[0].read_text()
    page = "".join(Page(text).words)
    assert page.count("Say which.") == page.count("An example?") == 1 and text.count('class="asked"') == 1 + 20
    assert "The start." in page and "Which is it?" in page and "9,423 more characters" in page
    assert HOSTILE[0] in page and "<script>alert" not in text and len(text) < 200_000
    assert "word word" not in write(store, ["json"])[0].read_text()
    (section,) = tables.sections(results(store))
    assert [item.turns[-1][1].split()[-1] for item in tables.items(section)[:3]] == ["0", "it?", "2"]
    older = make_store(tmp_path / "older", bernoulli(RATE, 60))
    assert "was not kept by the version that ran this study" in write(older, ["html"])[0].read_text()


def test_a_large_study_stays_under_a_megabyte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its samples; 2 x 66 pairs are told without a figure each: 16 methods on 4 benchmarks take 1 MB."""
    methods = ["base", *(f"lora[r={r}]" for r in range(1, 12))]
    store = make_store(
        tmp_path,
        bernoulli({method: 0.3 + 0.05 * i for i, method in enumerate(methods)}, 20),
        methods,
        tasks={f"task-{i}": [f"task-{i}"] for i in range(2)},
        seeds=(0,),
        asked=lambda i: [("user", "word " * 2_000)],
    )
    text = write(store, ["html"])[0].read_text()
    start, end = text.index('<h2 id="samples"'), text.index('<h2 id="ledger"')
    assert len(text) - (end - start) < 350_000 and end - start < 250_000
    assert text.count("All 66 pairs") == 2 and 'class="data pairs sortable"' in text
    monkeypatch.setattr(html, "LISTED", 131)
    fewer = html.render(results(store))
    assert "All 66 pairs are in" in fewer and 'class="data pairs' not in fewer and len(fewer) < len(text) - 60_000
    assert "mean win rate" in "".join(Page(text).words)


@pytest.mark.slow
def test_a_report_of_100_trials_and_2000_items_takes_less_than_ten_seconds(tmp_path: Path) -> None:
    """All formats, on the CPU: 4 seconds where this was written."""
    names = [f"method-{i}" for i in range(20)]
    rate = {name: 0.5 + 0.02 * i for i, name in enumerate(names)}
    store = make_store(
        tmp_path, bernoulli(rate, 2000, 0.1), names, seeds=range(5), asked=lambda i: [("user", "word " * 50)]
    )
    start = time.process_time()
    page = write(store)[0]
    assert time.process_time() - start < 10 and page.stat().st_size < 1_000_000


def test_the_terminal_fits(tmp_path: Path) -> None:
    store = make_store(
        tmp_path,
        bernoulli({**RATE, "lora+prompt+a-very-long-name-of-a-method": 0.9}, 80),
        ("base", "lora", "prefix", "prompt", "lora+prompt+a-very-long-name-of-a-method"),
        status={("sst2", "prefix", 1): "failed"},
    )
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(terminal.table(results(store)))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 100
    assert "294,912" in text and "incomplete" in text and "sst2/prefix/seed 1" in text


def test_one_seed_is_said_everywhere(tmp_path: Path) -> None:
    store = make_store(tmp_path, bernoulli(RATE, 80), seeds=(0,))
    for path in write(store, ["html", "md", "json"]):
        assert "says nothing about the methods" in path.read_text()
    assert "these checkpoints only" in (tmp_path / "report.md").read_text()
    assert 'class="badge' not in (tmp_path / "report.html").read_text()
    assert json.loads((tmp_path / "results.json").read_text())["verdicts"][0]["winner"] is None


def test_words() -> None:
    assert words.number(0.1234) == "12.3"
    assert words.number(-0.00001) == "0.0"
    assert words.number(-0.05) == "\N{MINUS SIGN}5.0"
    assert words.signed(0.031) == "+3.1"
    assert words.p_value(0.0004) == "<\N{NO-BREAK SPACE}0.001"
    assert words.listed(["a", "b", "c"]) == "a, b and c"
    assert words.number(31.415, percent=False) == "31.41"
    assert tables.duration(250) == "4\N{NO-BREAK SPACE}min\N{NO-BREAK SPACE}10\N{NO-BREAK SPACE}s"
    assert tables.size(1_180_160) == "1.2\N{NO-BREAK SPACE}MB"
    assert tables.share(0.00001) == "<\N{NO-BREAK SPACE}0.001\N{NO-BREAK SPACE}%"
    assert tables.inert("a\x1b[0m\u202eb\n") == "a\\x1b[0m\\u202eb\n"
    assert escape("<b>*x*</b> | [y](z)") == r"&lt;b&gt;\*x\*&lt;/b&gt; \| \[y\](z)"


def test_scales() -> None:
    on = figures.scale([0.48, 0.93])
    assert on.ticks == pytest.approx((0.5, 0.6, 0.7, 0.8, 0.9))
    assert (on.place(0.48), on.place(0.93)) == pytest.approx((4, 96))
    assert figures.scale([0.7, 0.7]).low < 0.7 < figures.scale([0.7, 0.7]).high
    assert figures.scale([]).ticks


def test_markdown_folds_what_is_long_and_embeds_its_figures(tmp_path: Path) -> None:
    many = {"base": 0.4, **{f"m{i}": 0.5 + 0.05 * i for i in range(6)}}
    found = results(make_store(tmp_path, bernoulli(many, 60), tuple(many)))
    text, drawn = markdown.render(found), alone.render(found)
    embedded = re.findall(r"!\[[^]]+\]\(figures/([^)]+)\)", text)
    assert len(embedded) == 2 and set(embedded) <= set(drawn)
    best = found.verdicts[0].winner_set[0]
    shown, folded = text[text.index(f"With {best}:") :].split("<summary>All 21 pairs</summary>")
    assert shown.count("two-way t") + shown.count("paired t") == 6
    assert folded.split("</details>")[0].count("two-way t") + folded.split("</details>")[0].count("paired t") == 21


def test_methods_of_one_name_share_a_colour_and_differ_in_the_dash() -> None:
    swept = [f"lora[r={r}]" for r in (4, 8, 16)]
    looks = figures.looks(["base", *swept, "prompt"], ["base"])
    assert looks == {"base": "m0 d0", **dict(zip(swept, ("m1 d0", "m1 d1", "m1 d2"), strict=True)), "prompt": "m2 d0"}
    many = [f"{kind}[learning_rate={rate}]" for kind in ("a", "b", "c", "d") for rate in (1, 2, 3, 4)]
    assert len(set(figures.looks(many, []).values())) == 16
    grid = [f"lora[r={r},learning_rate={rate}]" for r in (4, 8, 16, 32, 64) for rate in (1, 2, 3)]
    looks = figures.looks(grid, [])
    assert len(set(looks.values())) == 15 and looks[grid[0]] == "m1 d0" and looks[grid[5]] == "m1 d1 t4"
    assert len(set(figures.looks([str(i) for i in range(12)], []).values())) == 12, "more names than colours"


SWEPT = [f"{name}[learning_rate={rate}]" for name in ("lora", "lora+prompt") for rate in (0.0005, 0.001)]


def test_swept_names_break_before_the_bracket_and_after_commas(tmp_path: Path) -> None:
    assert tables.breakable("lora+prompt[r=8,lora_alpha=16]") == ["lora+prompt", "[r=8,", "lora_alpha=16]"]
    assert tables.breakable("lora") == ["lora"]
    methods = ["base", *SWEPT]
    store = make_store(tmp_path, bernoulli({name: 0.6 for name in methods}, 60), methods)
    page = write(store, ["html"])[0].read_text()
    assert 'lora<wbr><span class="swept">[learning_rate=0.0005]</span>' in page
    figure = page[page.index('class="plot"') :]
    assert 'class="curve m1 d1"' in figure and 'class="curve m2 d0"' in figure


@pytest.mark.parametrize("width", [80, 100])
def test_a_terminal_of_80_columns_breaks_no_name_and_cuts_no_status(tmp_path: Path, width: int) -> None:
    methods = ["base", *SWEPT]
    status = {("sst2", SWEPT[0], 1): "failed", **{("sst2", SWEPT[3], seed): "failed" for seed in (0, 1, 2)}}
    rate = dict(zip(methods, (0.5, 0.8, 0.8, 0.8, 0.8), strict=True))
    found = results(make_store(tmp_path, bernoulli(rate, 300, 0.2), methods, status=status))
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(terminal.table(found))
    lines = console.export_text().split("\n")
    table = "\n".join(lines[: next(i for i, line in enumerate(lines) if line.startswith("No single winner"))])
    assert max(map(len, lines)) <= width
    for whole in ("[learning_rate=0.0005]", "[learning_rate=0.001]", "incomplete", "failed", "top", "1,000"):
        assert whole in table
    assert len(table.split("\n")) == 2 + len(methods) + (len(SWEPT) if width == 80 else 0)
    assert "method" in table and "train time" not in table


def test_a_column_that_says_nothing_is_left_out(tmp_path: Path) -> None:
    found = results(make_store(tmp_path, bernoulli(RATE, 80), seeds=(0,)))
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(terminal.table(found))
    head = console.export_text().split("\n")[1]
    assert "seed SD" not in head and "train time" in head


def test_settings_leave_out_what_is_off() -> None:
    """PEFT's configurations have dozens of keys, most of them None; a zero is no such thing."""
    config = {"peft_type": "LORA", "r": 8, "lora_dropout": 0.0, "use_dora": True, "megatron_config": None}
    off = {"use_rslora": False, "layers_to_transform": [], "rank_pattern": {}, "bias": ""}
    assert words.settings({**config, **off}) == "peft_type LORA, r 8, lora_dropout 0, use_dora true"


GRID = [f"lora[r={r},learning_rate={rate}]" for r in (4, 8, 64) for rate in (0.0001, 0.001)]


def grid_store(directory: Path, **how: Any) -> Store:
    rates = {"base": 0.3, **{name: 0.35 + 0.1 * i for i, name in enumerate(GRID)}}
    return make_store(directory, bernoulli(rates, 200, 0.05), ("base", *GRID), **how)


def test_a_method_swept_over_two_numbers_is_a_grid(tmp_path: Path) -> None:
    (found,) = grids(results(grid_store(tmp_path)).cells)
    assert (found.family, found.across, found.down) == ("lora", "r", "learning_rate")
    assert (found.columns, found.rows) == ((4, 8, 64), (0.0001, 0.001))
    for (rate, r), cell in found.cells.items():
        assert cell.method == f"lora[r={r:g},learning_rate={rate:g}]"
    strengths = [found.strength(cell) for cell in sorted(found.cells.values(), key=lambda cell: cell.mean or 0)]
    assert strengths == sorted(strengths) and strengths[-1] == 1.0  # pyright: ignore[reportArgumentType]
    assert found.best is not None and found.best.mean == max(cell.mean or 0 for cell in found.cells.values())


def test_noise_is_coloured_evenly_and_a_loss_by_its_lowest(tmp_path: Path) -> None:
    """Equal methods differ by less than the intervals of their differences are wide: no cell is faint."""
    found = results(make_store(tmp_path, bernoulli({name: 0.5 for name in GRID}, 60, 0.3), GRID))
    (grid,) = tables.swept(tables.sections(found)[0])
    assert grid.noise > 0 and min(grid.strength(cell) or 0 for cell in grid.cells.values()) > 0.3
    lost = replace(grid, metric="loss")
    assert lost.lower and lost.best is not None
    assert lost.best.mean == min(cell.mean or 0 for cell in grid.cells.values())


def test_equal_values_have_no_best_colour_and_near_ones_enough_digits(tmp_path: Path) -> None:
    (grid,) = grids(results(grid_store(tmp_path)).cells)
    near = {
        place: cell.model_copy(update={"mean": 0.5 + 1e-4 * i}) for i, (place, cell) in enumerate(grid.cells.items())
    }
    assert replace(grid, cells=near).places == 3  # 50.000 to 50.050 %
    even = replace(grid, cells={place: cell.model_copy(update={"mean": 0.0}) for place, cell in grid.cells.items()})
    assert {even.strength(cell) for cell in even.cells.values()} == {FAINTEST} and even.places == 1
    assert figures.ramp(even) == "" and "rect" in figures.ramp(grid)


def test_values_that_differ_beyond_the_digits_shown_have_no_best(tmp_path: Path) -> None:
    """BLEU of texts that share no four words: 4e-11 is as good as 0, and the best of such values is noise."""
    (section,) = tables.sections(results(grid_store(tmp_path)))
    (grid,) = tables.swept(section)
    assert grid.spread > 0 and tables.outlined(section, grid)
    cells = {
        place: cell.model_copy(update={"mean": 4e-11 * i, "percent": False})
        for i, (place, cell) in enumerate(grid.cells.items())
    }
    noise = replace(grid, metric="bleu", cells=cells, noise=0.0)
    assert (noise.spread, noise.places) == (0.0, 2)
    assert {noise.strength(cell) for cell in cells.values()} == {FAINTEST} and figures.ramp(noise) == ""
    assert tables.outlined(section, replace(noise, metric=grid.metric)) == ()
    assert tables.swept_explained(section, noise).startswith("All values are the same in the digits shown")


def test_a_loss_that_separates_cells_is_outlined_by_its_own_tests(tmp_path: Path) -> None:
    """Accuracy is the same everywhere; the loss of each cell is lower by 0.1 on every item, and one is the lowest."""
    store = make_store(tmp_path, bernoulli({"base": 0.5, **{name: 0.5 for name in GRID}}, 80), ("base", *GRID))
    noise = np.random.default_rng(0)
    for row in store.plan()["trials"]:
        path = store.trials / row["key"] / "samples.jsonl"
        samples = [json.loads(line) for line in path.read_text().splitlines()]
        level = 3.0 - 0.1 * GRID.index(row["method"]) if row["method"] in GRID else 4.0
        for i, sample in enumerate(samples):
            sample["scores"]["loss"] = level + i / 40 + float(noise.normal(0, 0.02))
        edit(path, "".join(json.dumps(sample) + "\n" for sample in samples))
    found = results(store)
    (standing,) = found.standings
    assert (standing.metric, standing.members, standing.family) == ("loss", (GRID[-1],), 21)
    assert len(found.verdicts[0].winner_set) > 1
    html = write(store, ["html"])[0].read_text()
    _, lost = html.split('<svg class="heat"')[1:]
    assert lost.split('<svg class="ramp"')[0].count('class="frame"') == 1
    assert "lower is better" in lost and "by loss (all methods of the benchmark, Holm family of 21)" in lost
    published = json.loads(write(store, ["json"])[0].read_text())
    assert published["standings"][0]["members"] == [GRID[-1]]


@pytest.mark.parametrize(
    "names",
    [
        ["lora[r=4]", "lora[r=8]"],
        ["lora", "lora[r=4,lora_alpha=8]"],
        ["lora[r=4,bias=none]", "lora[r=8,bias=all]"],
        ["lora[r=4,lora_alpha=8,lora_dropout=0.1]", "lora[r=8,lora_alpha=16,lora_dropout=0.2]"],
    ],
)
def test_what_is_not_swept_over_two_numbers_is_no_grid(tmp_path: Path, names: list[str]) -> None:
    assert grids(results(make_store(tmp_path, bernoulli({n: 0.5 for n in names}, 30), names)).cells) == []


def test_the_heat_map_shows_every_cell_and_marks_the_winner_set(tmp_path: Path) -> None:
    status = {("sst2", GRID[2], seed): "failed" for seed in (0, 1, 2)}
    store = grid_store(tmp_path, status=status)
    found = results(store)
    html, markdown = (path.read_text() for path in write(store, ["html", "md"]))
    Page(html)
    heat = html[html.index('<svg class="heat"') : html.index('<svg class="ramp"')]
    for cell in found.cells:
        if cell.method in GRID and cell.mean is not None:
            assert f">{words.number(cell.mean)}</text>" in heat
            assert f">{words.interval(cell.ci_low, cell.ci_high)}</text>" in heat, "read on paper, and on a phone"
    assert ">failed</text>" in heat
    winners = found.verdicts[0].winner_set
    assert heat.count('class="frame"') == len(set(winners) & set(GRID)) > 0
    table = markdown[markdown.index("Swept: lora, accuracy, %") :]
    assert r"| learning\_rate \\ r | 4 | 8 | 64 |" in table
    assert table.split("### ")[0].count("**") >= 2 * len(set(winners) & set(GRID))


def test_several_studies_are_one_summary(tmp_path: Path) -> None:
    """What is called best is a winner or a winner set, and nothing where nothing could be ranked."""
    won = make_store(tmp_path / "a", bernoulli(RATE, 300), ("base", "lora", "prompt"), study="won")
    tied = make_store(tmp_path / "b", bernoulli({"base": 0.5, "lora": 0.5, "prompt": 0.5}, 100), study="tied")
    once = make_store(tmp_path / "c", bernoulli(RATE, 80), seeds=(0,), study="once")
    plan = won.plan()
    plan["tasks"]["sst2"]["trained_on"] = {"of": ["stanfordnlp/sst2"], "examples": 67349}
    won.write("plan.json", json.dumps(plan))
    found = summarise([results(store) for store in (won, tied, once)])
    assert [line.trained_on for line in found.lines] == ["stanfordnlp/sst2 (67,349)", "sst2", "sst2"]
    assert [line.study for line in found.lines] == ["won", "tied", "once"]
    first, second, third = found.lines
    assert (first.winner, first.best, first.seeds, first.n_items) == ("lora", "lora", (3, 3), 300)
    cell = next(c for c in results(won).cells if c.method == "lora")
    assert (first.mean, first.ci_low, first.ci_high) == (cell.mean, cell.ci_low, cell.ci_high)
    assert second.winner is None and len(second.winner_set) > 1 and second.best == second.winner_set[0]
    assert (third.winner, third.best, third.mean) == (None, None, None)
    paths = summary.write(found, tmp_path / "out", ["html", "md", "json", "csv"])
    html, markdown, published, table = (path.read_text() for path in paths)
    console = Console(width=140, file=io.StringIO(), color_system=None)
    console.print(summary.terminal(found))
    shown = console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    console = Console(width=70, file=io.StringIO(), color_system=None)
    console.print(summary.terminal(found))
    narrow = console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    assert "trained on" in shown and "trained on" not in narrow.split("won:")[0]
    assert "separable)" in narrow.split("won:")[0], "a word is broken"
    for text in ("".join(Page(html).words), markdown.replace("\\", ""), " ".join(shown.split())):
        assert "not separable" in text and "no ranking" in text and words.number(first.mean) in text
        assert "once: winner's seeds: Named highest from one seed: lora on sst2." in text
    assert json.loads(published)["lines"][0]["winner"] == "lora"
    assert [one["study"] for one in json.loads(published)["lint"]] == ["won", "tied", "once"]
    assert [row["lint_found"] for row in csv.DictReader(io.StringIO(table))] == ["0", "0", "1"]
    assert [row["winner"] for row in csv.DictReader(io.StringIO(table))] == ["lora", "", ""]
    with pytest.raises(InputError, match="'tex' is no report format"):
        summary.write(found, tmp_path / "no", ["tex"])
    assert not (tmp_path / "no").exists()


def test_a_report_says_what_the_study_assumes_and_whose_weights_are_random(tmp_path: Path) -> None:
    store = make_store(tmp_path, bernoulli(RATE, 40))
    plan = store.plan()
    plan["notes"] = {"study": ["Alpha is <16>, as nobody said."], "random_weights": ["gpt2"]}
    store.write("plan.json", json.dumps(plan))
    found = results(store)
    assert found.doubts[0].kind == "random weights"
    html, markdown = (path.read_text() for path in write(store, ["html", "md"]))
    console = Console(width=100, file=io.StringIO(), color_system=None)
    console.print(terminal.table(found))
    shown = " ".join(console.file.getvalue().replace("\N{NO-BREAK SPACE}", " ").split())  # pyright: ignore[reportAttributeAccessIssue]
    assert "The weights of gpt2 are random" in shown and "95 % intervals cover test items and training runs." in shown
    assert "what this study assumes (1 note)" in shown and "Alpha" not in shown and "two-way variance" not in shown
    for text in ("".join(Page(html).words), markdown.replace("&lt;", "<").replace("&gt;", ">")):
        assert "Alpha is <16>, as nobody said." in text and "The weights of gpt2 are random" in text
        assert "two-way variance" in text
    assert "What this study assumes" in html and "What this study assumes" in markdown
