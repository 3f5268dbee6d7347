"""Page and viewer in a browser: charts drawn, filters answer, nothing leaves, text stays text."""

import re
from itertools import pairwise
from pathlib import Path

import axe_playwright_python
import pandas as pd
import pytest
from playwright.sync_api import expect

from kdscope import tables
from kdscope.paper.claims import check_claims
from kdscope.report.paper_page import write_page

pytestmark = pytest.mark.browser


@pytest.fixture
def visit(browser, site: Path):
    """Open a file of the site; afterwards nothing may have been fetched, logged or run."""
    context = browser.new_context()
    trouble: list[str] = []
    context.on(
        "request", lambda r: None if r.url.startswith(("file:", "blob:")) else trouble.append(r.url)
    )

    def go(path: str, width: int = 1440, scheme: str = "light"):
        page = context.new_page()
        page.on(
            "console", lambda m: trouble.append(m.text) if m.type in {"error", "warning"} else None
        )
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        page.goto(
            (site / path.split("#")[0]).as_uri() + ("#" + path.split("#")[1] if "#" in path else "")
        )
        return page

    yield go
    for page in context.pages:
        assert page.evaluate("window.pwned") is None
    context.close()
    assert not trouble


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_fits_and_draws(visit, width: int, scheme: str) -> None:
    page = visit("index.html", width, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.locator(".first svg [data-tip]").count() >= 60
    box = page.locator(".first svg").first.bounding_box()
    assert box["height"] > 200
    mark = page.locator('.first svg path[data-tip*="gkd"]').first
    mark.hover()
    assert "gkd" in page.locator("#tip").text_content()
    ink = page.locator(".first svg text").first.evaluate("e => getComputedStyle(e).fill")
    assert ink == page.evaluate("getComputedStyle(document.body).color")


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_on_the_paper_fits(visit, full, tmp_path, width: int) -> None:
    page = visit(str(write_page(full, check_claims(full), tmp_path)), width)
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_tables_sort_and_save(visit) -> None:
    page = visit("index.html")
    table = page.locator("#t-accuracy-by-task")
    heading = table.locator("th", has_text="all tasks").locator("button")
    heading.click()
    column = table.locator("th").all_text_contents().index("all tasks")
    keys = [
        float(k)
        for k in table.locator(f"tbody td:nth-child({column + 1})").evaluate_all(
            "c => c.map(x => x.dataset.key)"
        )
    ]
    assert keys == sorted(keys)
    with page.expect_download() as saved:
        page.locator('.save[data-table="accuracy-by-task"] button', has_text="LaTeX").click()
    assert "\\toprule" in Path(saved.value.path()).read_text()


def test_keyboard_reaches_everything(visit) -> None:
    page = visit("index.html")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    unnamed = page.evaluate(
        "[...document.querySelectorAll('button, a, summary, [tabindex]')]"
        ".filter(e => !(e.textContent.trim() || e.getAttribute('aria-label'))).length"
    )
    assert unnamed == 0
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(h => +h.tagName[1])")
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))


def test_viewer_filters_and_shows(visit) -> None:
    page = visit("viewer/index.html")
    page.wait_for_selector("#list .row")
    total = page.locator("#count").text_content()
    page.select_option("select[name=method]", "gkd")
    page.select_option("select[name=quadrant]", "rw")
    expect(page.locator("#count")).not_to_have_text(total)
    rows = page.locator("#list .row")
    assert rows.count() > 0
    assert all("gkd" in text for text in rows.locator("b").all_text_contents())
    rows.first.click()
    page.wait_for_selector("#detail .sides")
    assert page.locator("#detail pre").count() == 2
    assert "quadrant=rw" in page.url
    page.locator("#detail summary").click()
    expect(page.locator("#detail pre")).to_have_count(45)
    again = visit("viewer/index.html#" + page.url.split("#")[1])
    again.wait_for_selector("#detail .sides")
    assert again.locator("#count").text_content() == page.locator("#count").text_content()


def test_viewer_searches_and_orders(visit) -> None:
    page = visit("viewer/index.html")
    page.wait_for_selector("#list .row")
    page.fill("input[name=q]", "tiny-choice/7")
    expect(page.locator("#list .row").first).to_contain_text("tiny-choice/7")
    page.fill("input[name=q]", "")
    page.select_option("select[name=order]", "low")
    page.wait_for_timeout(200)
    texts = page.locator("#list .row .text:last-child").all_text_contents()
    values = [float(text.split("BLEU ")[1]) for text in texts]
    assert values == sorted(values)


def test_viewer_searches_the_answers(visit, study: Path) -> None:
    """The words may stand in question and answer; the address brings the search back."""
    page = visit("viewer/index.html")
    page.wait_for_selector("#list .row")
    page.select_option("select[name=in]", "answers")
    page.select_option("select[name=method]", "gkd")
    page.fill("input[name=q]", "AWAY bought 7")
    rows = tables.read("generations", study / "generations.parquet").to_pandas()
    items = tables.read("items", study / "items.parquet").to_pandas()
    rows = rows.merge(items[["task", "item", "question", "gold", "options"]], on=["task", "item"])
    whole = [
        "\n".join(
            [r.item, r.question, r.gold, *(r.options if r.options is not None else []), r.text]
        )
        for r in rows.itertuples()
    ]
    found = [all(w in text.lower() for w in ("away", "bought", "7")) for text in whole]
    expected = int((pd.Series(found) & (rows["method"] == "gkd")).sum())
    assert 0 < expected < (rows["method"] == "gkd").sum()
    count = page.locator("#count")
    expect(count).to_have_text(f"{expected:,} of {len(rows):,} answers", use_inner_text=False)
    page.select_option("select[name=method]", "")
    expect(count).to_contain_text(f"{sum(found):,} of")
    page.locator("#list .row").first.click()
    expect(page.locator("#detail .hit").first).to_be_visible()
    again = visit("viewer/index.html#" + page.url.split("#")[1])
    expect(again.locator("#count")).to_contain_text(f"{sum(found):,} of")
    assert again.input_value("select[name=in]") == "answers"


@pytest.mark.parametrize(
    "query",
    ["bought", "ough", "= ", "7", "gold.", "the answer", "n't", "zzqqx", "Ünknown", "answer is 1"],
)
def test_a_search_finds_what_the_texts_hold(visit, study: Path, query: str) -> None:
    """Whether the list of words leads to a few files, to all of them or to none."""
    page = visit("viewer/index.html")
    page.wait_for_selector("#list .row")
    page.select_option("select[name=in]", "answers")
    page.fill("input[name=q]", query)
    rows = tables.read("generations", study / "generations.parquet").to_pandas()
    items = tables.read("items", study / "items.parquet").to_pandas()
    rows = rows.merge(items[["task", "item", "question", "gold", "options"]], on=["task", "item"])
    words = query.lower().split()
    found = 0
    for r in rows.itertuples():
        asked = [r.item, r.question, r.gold, *(r.options if r.options is not None else [])]
        whole = "\n".join([*asked, r.text]).lower()
        found += all(word in whole for word in words)
    count = page.locator("#count")
    expect(count).to_have_attribute("data-state", "done")
    expect(count).to_have_text(f"{found:,} of {len(rows):,} answers")
    assert page.locator("#list .row").count() == min(found, 200)


def test_a_rare_word_is_looked_for_in_few_files(visit, study: Path) -> None:
    page = visit("viewer/index.html")
    page.wait_for_selector("#list .row")
    read: list[str] = []
    page.on("request", lambda request: read.append(request.url.split("/")[-1]))
    page.select_option("select[name=in]", "answers")
    page.fill("input[name=q]", "zzqqx")
    expect(page.locator("#count")).to_have_text(re.compile(r"^0 of"))
    expect(page.locator("#count")).to_have_attribute("data-state", "done")
    expect(page.locator("#list .missing")).to_be_visible()
    assert read == ["words.js"]


def test_viewer_filters_by_teacher_and_settings(visit, study: Path) -> None:
    page = visit("viewer/index.html")
    page.wait_for_selector("#list .row")
    rows = tables.read("generations", study / "generations.parquet").to_pandas()
    taught = rows["teacher"] == "tiny-teacher"
    hot = rows["settings"] == '{"temperature":2}'
    page.select_option("select[name=teacher]", "tiny-teacher")
    expect(page.locator("#count")).to_contain_text(f"{taught.sum():,} of")
    page.select_option('select[name="s.temperature"]', "2")
    expect(page.locator("#count")).to_contain_text(f"{(taught & hot).sum():,} of")
    assert "s.temperature=2" in page.url
    again = visit("viewer/index.html#" + page.url.split("#")[1])
    expect(again.locator("#count")).to_contain_text(f"{(taught & hot).sum():,} of")
    again.select_option('select[name="s.temperature"]', "own")
    expect(again.locator("#count")).to_contain_text(f"{(taught & ~hot).sum():,} of")


def test_viewer_keeps_hostile_answers_as_text(visit) -> None:
    page = visit("viewer/index.html")
    page.wait_for_selector("#list .row")
    for k in range(6):
        page.fill("input[name=q]", f"tiny-math/{k}")
        expect(page.locator("#list .row").first).to_contain_text(f"tiny-math/{k}")
        page.locator("#list .row").first.click()
        page.wait_for_selector("#detail .sides")
        page.locator("#detail summary").click()
        page.wait_for_timeout(100)
    assert page.locator("#detail img, #detail script, #detail svg").count() == 0


def _open_all(page, path: str) -> None:
    """Show what is folded: every table of the page, every answer to a question of the viewer."""
    if path.startswith("viewer"):
        page.wait_for_selector("#list .row")
        page.fill("input[name=q]", "tiny-math/7")
        expect(page.locator("#list .row").first).to_contain_text("tiny-math/7")
        page.locator("#list .row").nth(1).click()
        page.locator("#detail summary").click()
        expect(page.locator("#detail pre")).to_have_count(45)
    else:
        page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")


@pytest.mark.parametrize("path", ["index.html", "viewer/index.html"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_axe_finds_nothing_serious(visit, path: str, scheme: str, width: int) -> None:
    page = visit(path, width, scheme)
    _open_all(page, path)
    source = Path(axe_playwright_python.__file__).parent / "axe.min.js"
    page.evaluate(source.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    serious = [
        (rule["id"], [node["html"][:120] for node in rule["nodes"][:3]])
        for rule in found
        if rule["impact"] in {"moderate", "serious", "critical"}
    ]
    assert not serious
    assert page.evaluate("document.documentElement.scrollWidth") == width


def _tab_to(page, selector: str) -> None:
    """Press Tab from the place before an element until it has the focus."""
    page.evaluate(
        "s => { const all = [...document.querySelectorAll('a, button, summary, input, select, [tabindex]')];"
        " const i = all.indexOf(document.querySelector(s)); all[i - 1].focus(); }",
        selector,
    )
    page.keyboard.press("Tab")
    assert page.evaluate("s => document.activeElement.matches(s)", selector)
    style = page.evaluate(
        "(e => [e.outlineStyle, parseFloat(e.outlineWidth)])(getComputedStyle(document.activeElement))"
    )
    assert style[0] != "none"
    assert style[1] >= 1


def test_the_keyboard_sorts_and_unfolds(visit) -> None:
    page = visit("index.html")
    _tab_to(page, "#t-accuracy-by-task th:nth-child(3) button")
    page.keyboard.press("Enter")
    head = page.locator("#t-accuracy-by-task th:nth-child(3)")
    assert head.get_attribute("aria-sort") == "ascending"
    page.keyboard.press("Space")
    assert head.get_attribute("aria-sort") == "descending"
    _tab_to(page, "#fig-gain-by-task summary")
    page.keyboard.press("Enter")
    expect(page.locator("#t-gain-by-task")).to_be_visible()


def test_a_pair_leads_to_every_answer_to_its_question(visit) -> None:
    page = visit("index.html")
    link = page.locator(".gold a").first
    item = link.get_attribute("aria-label").removeprefix("Every answer to ")
    link.click()
    expect(page.locator("#list .row").first).to_contain_text(item)
    assert page.input_value("input[name=q]") == item


def test_the_keyboard_walks_through_the_answers(visit) -> None:
    page = visit("viewer/index.html")
    page.wait_for_selector("#list .row")
    page.locator("#list .row").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    assert page.evaluate("document.activeElement.dataset.row") == "1"
    page.keyboard.press("Enter")
    page.wait_for_selector("#detail .sides")
    assert "row=1" in page.url


def test_print_fits_the_paper_and_is_light(visit) -> None:
    page = visit("index.html", 718, "dark")
    page.emulate_media(media="print", color_scheme="dark")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("document.documentElement.scrollWidth") == 718
    wide = (
        "[...document.querySelectorAll('table')].filter(t => t.getBoundingClientRect().right > 718)"
    )
    assert page.evaluate(f"{wide}.map(t => t.id)") == []
    assert page.locator("nav").is_hidden()
    assert page.locator("#t-settings").is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(254, 254, 254)"
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details.long[open]").count() == 0
