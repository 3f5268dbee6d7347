"""The page of the re-examination: self-contained, every question answered, every cell coloured."""

import html
import re

from kdscope.paper.claims import check_claims
from kdscope.report.paper_page import write_page
from kdscope.report.paper_sections import sections


def test_the_page_is_self_contained_and_complete(full, tmp_path):
    text = write_page(full, check_claims(full), tmp_path).read_text(encoding="utf-8")
    assert not re.search(r'(?:src|href)="(?!#)', text)
    assert text.count("<svg") == 6
    assert "default-src 'none'" in html.unescape(text)
    assert len(re.findall(r'<div class="card(?: stands| changes)?">', text)) == 132
    assert "126 of 126" in text
    for word in ("None", "nan", "{{", "Undefined"):
        assert word not in re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL)


def test_every_section_opens_with_a_question_and_one_sentence(full):
    for section in sections(full):
        assert re.search(r"\? \(Table", section.question)
        assert section.answer.endswith(".")
        assert not re.search(r"[a-z]\. [A-Z]", section.answer)


def test_colours_follow_the_verdicts(full, tmp_path):
    text = write_page(full, [], tmp_path).read_text(encoding="utf-8")
    changed, stands = (
        text.count('<div class="card changes">'),
        text.count('<div class="card stands">'),
    )
    assert changed + stands == 132
    assert changed == sum(
        card.changes is True for s in sections(full) for b in s.blocks for card in b.cards
    )
