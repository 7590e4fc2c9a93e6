"""The page in headless Chromium: silent, inert, sortable, filterable, linkable, legible, whole without its script."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from synthetic_store import bernoulli, edit, make_store
from whole import PAYLOADS, SECTIONS, poisoned, whole

from bakeoff.report import alone, html, write
from bakeoff.store.store import Store

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver (apt: chromium-driver)"),
    pytest.mark.xdist_group("browser"),
]

HOSTILE = f'lora"{PAYLOADS[2]}'
METHODS: tuple[str, ...] = ("base", HOSTILE, "prefix", "prompt")
RATE: dict[str, float] = dict(zip(METHODS, (0.5, 0.9, 0.8, 0.65), strict=True))


def hostile_store(directory: Path) -> Store:
    """Payloads as completions, item ids, details, a method's name, a failure's reason and the study's notes."""
    stages = ("number", "text", "no-answer")
    drawn = bernoulli(RATE, 60)
    store = make_store(
        directory, lambda *place: [0.0] * 3 + list(drawn(*place))[3:], METHODS,
        status={("sst2", "prompt", 2): "failed"},
        text=lambda method, seed, i, value: "\n".join(PAYLOADS[(i + more) % 20] for more in (0, 5, 10, 15)),
        detail=lambda method, i: {PAYLOADS[i % 20]: PAYLOADS[(i + 7) % 20], "stage": stages[i % 3]},
        reason=" ".join(PAYLOADS), study=PAYLOADS[1],
        asked=lambda i: [(PAYLOADS[0], PAYLOADS[1]), ("user", PAYLOADS[i % 20]), ("user", " ".join(PAYLOADS))],
    )  # fmt: skip
    plan = store.plan()
    plan["notes"] = {"study": list(PAYLOADS), "models": {"gpt2": PAYLOADS[0]}}
    store.write("plan.json", json.dumps(plan))
    for path in store.trials.glob("*/samples.jsonl"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for i, row in enumerate(rows):
            row["id"] += PAYLOADS[i % 20]
        edit(path, "".join(json.dumps(row) + "\n" for row in rows))
    return store


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A browser with the addresses of three pages: a hostile store's, one with every section, that one poisoned."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    folder = tmp_path_factory.mktemp("page")
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver: Any = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.address = write(hostile_store(folder / "hostile"), ["html"])[0].as_uri()
    found = whole(folder / "whole")
    driver.whole, driver.poisoned = (folder / "whole.html").as_uri(), (folder / "poisoned.html").as_uri()
    (folder / "whole.html").write_text(html.render(found))
    (folder / "poisoned.html").write_text(html.render(poisoned(found)))
    driver.figures = []
    for name, text in alone.render(poisoned(found)).items():
        (folder / name).write_text(text)
        driver.figures.append((folder / name).as_uri())
    try:
        driver.get(driver.address)
        yield driver
    finally:
        driver.quit()


def opened(page: Any, place: str = "", address: str = "") -> Any:
    """A page anew, at a place."""
    page.get("about:blank")
    page.get((address or page.address) + place)
    return page


def texts(page: Any, query: str) -> list[str]:
    """The texts of what is visible of a query."""
    script = (
        "return [...document.querySelectorAll(arguments[0])].filter(e => e.checkVisibility()).map(e => e.innerText)"
    )
    return page.execute_script(script, query)


@pytest.mark.parametrize("address", ["address", "poisoned"])
def test_nothing_is_asked_of_anybody_and_payloads_stay_text(page: Any, address: str) -> None:
    own = getattr(page, address)
    _ = page.get_log("performance"), page.get_log("browser")  # what was before
    opened(page, address=own)
    page.execute_script("document.querySelectorAll('details').forEach(one => one.open = true)")
    page.execute_script("document.querySelectorAll('input, summary, a').forEach(one => one.focus())")
    assert page.execute_script("return window.hit") is None
    assert page.execute_script("return document.querySelectorAll(arguments[0]).length", ALIEN) == 0
    shown = page.execute_script("return document.body.innerText")
    for payload in PAYLOADS:
        assert shown.count(payload) >= (3 if address == "address" else 1), payload
    assert asked(page) <= {own, "about:blank"}
    assert page.get_log("browser") == []


ALIEN = "img,iframe,object,embed,link,form,base,audio,video,#evil,main script,main style,svg script,[onload],[onerror]"


def asked(page: Any) -> set[str]:
    """Every address that was asked for since the log was read last."""
    events = [json.loads(row["message"])["message"] for row in page.get_log("performance")]
    return {e["params"]["request"]["url"].split("#")[0] for e in events if e["method"] == "Network.requestWillBeSent"}


def test_files_of_figures_do_nothing_in_a_browser(page: Any) -> None:
    """Opened by themselves, where no policy of a page protects."""
    _ = page.get_log("performance"), page.get_log("browser")  # what was before
    for address in page.figures:
        page.get(address)
        assert page.execute_script("return [window.hit ?? '', document.querySelectorAll('script,a,image').length]") == [
            "",
            0,
        ]
    assert asked(page) <= set(page.figures) and len(page.figures) > 10
    assert page.get_log("browser") == []


def test_sections_stand_in_the_order_in_which_a_reader_asks(page: Any) -> None:
    opened(page, address=page.whole)
    there = page.execute_script("return [...document.querySelectorAll('main [id]')].map(e => e.id)")
    assert [name for name in there if name in SECTIONS] == list(SECTIONS)
    links = page.execute_script("return [...document.querySelectorAll('nav a')].map(e => e.hash.slice(1))")
    assert links == list(SECTIONS)
    opened(page, "#tuning", page.whole)
    top = "return document.getElementById('tuning').getBoundingClientRect().top"
    assert 0 <= page.execute_script(top) < 200, "a link to a section leads there"


def test_a_script_that_is_not_the_pages_own_does_not_run(page: Any) -> None:
    """The policy holds even where text should become markup."""
    opened(page)
    add = "const s = document.createElement('script'); s.textContent = 'window.hit = 1'; document.body.append(s);"
    page.execute_script(add + "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.hit=1\">')")
    assert page.execute_script("return window.hit") is None
    told = [row["message"] for row in page.get_log("browser")]
    assert told and all("Content Security Policy" in message for message in told)


def test_tables_sort_by_the_numbers_behind_their_text(page: Any) -> None:
    opened(page)
    names = "table.scores tbody th"
    study = texts(page, names)
    means = "return [...document.querySelectorAll('table.scores td.main')].map(e => Number(e.dataset.value))"
    for turn in ("descending", "ascending", None):
        page.execute_script("document.querySelectorAll('table.scores thead .sort')[1].click()")
        assert page.execute_script("return document.querySelectorAll('table.scores th')[1].ariaSort") == turn
        if turn:
            found = page.execute_script(means)
            assert found == sorted(found, reverse=turn == "descending")
    assert texts(page, names) == study
    heads = texts(page, "table.scores thead .sort")
    assert not any("items" in head for head in heads), "two numbers in one cell do not sort"
    page.execute_script("document.querySelectorAll('table.scores thead .sort')[2].click()")
    lows = page.execute_script(
        "return [...document.querySelectorAll('table.scores [data-low]')].map(e => +e.dataset.low)"
    )
    assert lows == sorted(lows, reverse=True), "an interval sorts by its lower end"


def test_filters_hide_methods_and_the_link_keeps_them(page: Any) -> None:
    opened(page)
    field = page.find_element("name", "find")
    field.send_keys("prefix")
    assert len(texts(page, "table.scores tbody tr")) == 1
    assert all("prefix" in text for text in texts(page, "table.differences tbody tr"))
    kept = page.execute_script("return location.hash")
    assert "find=prefix" in kept
    assert "prefix" in texts(page, "#filtered")[0]
    assert len(texts(page, ".wins thead th")) == 1 + len(METHODS), "one method stands against all of them"
    page.execute_script("document.querySelector('nav a[href=\"#cost\"]').click()")
    wait = "const done = arguments[0]; setTimeout(() => done(location.hash), 50)"
    assert page.execute_async_script(wait) == "#cost&find=prefix", "a link within the page keeps it"
    page.execute_script("document.querySelector('#filtered button').click()")
    assert len(texts(page, "table.scores tbody tr")) == len(METHODS) and texts(page, "#filtered") == []
    opened(page, "#wins&find=pr")
    assert len(texts(page, ".wins thead th")) == 3 and len(texts(page, ".wins tbody td")) == 4
    opened(page, "#cost&find=PROMPT")
    assert len(texts(page, "table.scores tbody tr")) == 1 and "prompt" in texts(page, "table.scores tbody tr")[0]
    assert len(texts(opened(page, "#cost&find=%E0%A4%A"), "table.scores tbody tr")) == len(METHODS), "a broken link"


def test_samples_are_browsed_by_method_by_disagreement_and_by_stage(page: Any) -> None:
    opened(page, "#samples&show=differ&method=prefix")
    items = texts(page, ".item h4")
    assert 0 < len(items) < 20 and all("methods differ" in text for text in items)
    assert len(texts(page, ".item tr")) == len(items) and f"{len(items)} of 20 items" in texts(page, "#count")
    select = "const s = document.querySelector('[name=' + arguments[0] + ']'); s.value = arguments[1];"
    select += "s.dispatchEvent(new Event('change'))"
    page.execute_script(select, "show", "")
    page.execute_script(select, "method", "")
    page.execute_script(select, "stage", "text")
    rows = texts(page, ".item tr")
    assert rows and all("stage text" in row for row in rows), "a choice opens what it is about"
    assert page.execute_script("return location.hash") == "#samples&stage=text"
    opened(page, "#sample-1-2")
    assert len(texts(page, ".item")) == 20, "a link opens what its target is folded in"


def test_what_is_folded_is_printed_but_samples(page: Any) -> None:
    opened(page)
    state = "return [...document.querySelectorAll('details')].map(one => [one.className, one.open])"
    before = page.execute_script(state)
    page.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert page.execute_script(state) == [[name, name != "browser"] for name, _ in before]
    page.execute_script("dispatchEvent(new Event('afterprint'))")
    assert page.execute_script(state) == before


@pytest.mark.parametrize("width", [400, 1000, 1600])
@pytest.mark.parametrize("address", ["address", "whole", "poisoned"])
def test_the_page_is_legible(page: Any, width: int, address: str) -> None:
    sized = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", sized)
    try:
        opened(page, address=getattr(page, address))
        page.execute_script("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert page.execute_script("return [innerWidth, document.documentElement.scrollWidth]") == [width, width]
        if address != "poisoned":
            assert page.execute_script(OVERLAPPING) == []
            assert page.execute_script(CUT) == []
        assert page.execute_script(SMALLEST) >= 11
        for scheme in ("light", "dark"):
            preferred = [{"name": "prefers-color-scheme", "value": scheme}]
            page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": preferred})
            assert page.execute_script(FAINTEST) >= 4.5
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_a_phone_sorts_and_reads_tuning_row_by_row(page: Any) -> None:
    sized = {"width": 400, "height": 900, "deviceScaleFactor": 1, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", sized)
    try:
        opened(page, address=page.whole)
        assert "mean" in texts(page, "table.scores thead .sort")
        page.execute_script("document.querySelectorAll('table.scores thead .sort')[1].click()")
        means = (
            "return [...document.querySelector('table.scores').querySelectorAll('td.main')].map(e => +e.dataset.value)"
        )
        assert page.execute_script(means) == sorted(page.execute_script(means), reverse=True)
        widths = "return [...document.querySelectorAll('.tuned tbody td')].map(e => e.getBoundingClientRect().width)"
        assert min(page.execute_script(widths)) > 90
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_paper_has_heads_colours_and_intervals(page: Any) -> None:
    """Chromium leaves buttons out of the heads that it repeats on each page, and backgrounds unless told otherwise."""
    opened(page, address=page.whole)
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        style = "return [...document.querySelectorAll(arguments[0])].map(e => getComputedStyle(e)[arguments[1]])"
        assert set(page.execute_script(style, ".sort", "display")) == {"contents"}
        assert set(page.execute_script(style, ".chip, .badge, .wins td", "printColorAdjust")) == {"exact"}
        assert set(page.execute_script(style, "nav, .tools", "display")) == {"none"}
        page.execute_script("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert page.execute_script(CUT) == []
    finally:
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


OVERLAPPING = """
return [...document.querySelectorAll('.scores td, .scores th, .differences td, .differences th')]
  .filter(e => e.checkVisibility() && getComputedStyle(e).display === 'table-cell' && e.scrollWidth > e.clientWidth + 1)
  .map(e => e.textContent.trim());
"""
CUT = """
const inside = (e, box) => { const a = e.getBoundingClientRect(), b = box.getBoundingClientRect();
  return a.left >= b.left - 1.5 && a.right <= b.right + 1.5 && a.top >= b.top - 1.5 && a.bottom <= b.bottom + 1.5 };
const cut = [...document.querySelectorAll('.heat g text')]
  .filter(e => !inside(e, e.parentElement.querySelector('.tile')));
cut.push(...[...document.querySelectorAll('.plane .label text')].filter(e => !inside(e, e.closest('svg'))));
return cut.filter(e => e.checkVisibility()).map(e => e.textContent);
"""
SMALLEST = """
const sizes = [...document.querySelectorAll('main *')].filter(e => e.checkVisibility() &&
  [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()))
  .map(e => parseFloat(getComputedStyle(e).fontSize));
return Math.min(...sizes);
"""
FAINTEST = """
const linear = v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
const light = c => { const [r, g, b] = c.map(v => linear(v / 255)); return .2126 * r + .7152 * g + .0722 * b };
const rgb = text => text.match(/[\\d.]+/g).slice(0, 3).map(Number);
const ground = light(rgb(getComputedStyle(document.body).backgroundColor));
const ratios = [...document.querySelectorAll('main p, main td, main th, main li, main .soft, main caption, main .bad')]
  .filter(e => e.checkVisibility()).map(e => light(rgb(getComputedStyle(e).color)))
  .map(l => (Math.max(l, ground) + .05) / (Math.min(l, ground) + .05));
return Math.min(...ratios);
"""


def test_the_page_is_whole_without_its_script(page: Any) -> None:
    page.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        opened(page)
    finally:
        page.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert len(texts(page, "table.scores tbody tr")) == len(METHODS)
    assert texts(page, ".sort, .tools, #tip") == []
    assert page.execute_script("return document.querySelectorAll('.item tr').length") == 20 * len(METHODS)


def test_pointing_at_a_figure_tells_its_numbers(page: Any) -> None:
    opened(page)
    point = "const e = document.querySelector(arguments[0]); const b = e.getBoundingClientRect();"
    point += (
        "e.dispatchEvent(new PointerEvent(arguments[1], {bubbles: true, clientX: b.x + b.width / 2, clientY: b.y}))"
    )
    page.execute_script(point, "#pareto ~ article g[data-method=prefix] circle", "pointerover")
    assert texts(page, "#tip")[0].startswith("prefix: ") and "184,320" in texts(page, "#tip")[0]
    page.execute_script(point, ".wins tr[data-method=prefix] td[data-value]", "pointerover")
    assert re.fullmatch(r"prefix wins \d+, base wins \d+", texts(page, "#tip")[0])
    page.execute_script(point, "#pareto ~ article g[data-method=prefix] circle", "pointerover")
    assert page.execute_script("return document.querySelectorAll('.dim').length") > 0
    ends = texts(page, ".learning .read")
    page.execute_script(point, ".learning .plane", "pointermove")
    assert texts(page, ".learning .at") == ["loss at step 60"] and texts(page, ".learning .read") != ends
    page.execute_script(point, ".learning .plane", "pointerleave")
    assert texts(page, ".learning .read") == ends
