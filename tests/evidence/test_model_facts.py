"""What a model promises beside a verdict: only what was measured for such a verdict, and nothing without one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from detector.evidence.card import card_png
from detector.evidence.model_facts import promise_of
from detector.evidence.report import html_report, plain_text
from detector.serving.invoke import Score, Verdict
from detector.training.coverage import Miss
from detector.training.thresholds import CANT_TELL, MODERATE, STRONG, Thresholds
from tests.made_evidence import FULL, evidence_json

LABELS = ("real", "synthetic")
THRESHOLDS = Thresholds(0.02, LABELS, dict.fromkeys(LABELS, 0.9), {}, ())
VERDICT = Verdict("a.png", (Score("synthetic", "s", 0.99), Score("real", "r", 0.01)), "m" * 16, 1, 0.1, STRONG)


def test_a_strong_verdict_is_promised_beyond_the_samples_and_a_moderate_one_for_pictures_like_them() -> None:
    share = "At most 2 % of the pictures of any label are wrongly given another one"
    strong = promise_of(VERDICT, STRONG, THRESHOLDS)
    assert strong == f"{share}, also on sources that the model had not seen."
    # A strong verdict that did not survive on copies of the picture is a moderate one.
    assert promise_of(VERDICT, MODERATE, THRESHOLDS) == f"{share}, for pictures like your samples."


@pytest.mark.parametrize(
    ("verdict", "grade", "thresholds"),
    [
        pytest.param(VERDICT, CANT_TELL, THRESHOLDS, id="can't tell"),
        pytest.param(replace(VERDICT, offset=0.4), MODERATE, THRESHOLDS, id="an adapted model"),
        pytest.param(replace(VERDICT, unlike=(Miss("format", "It is a GIF."),)), MODERATE, THRESHOLDS, id="unlike"),
        pytest.param(VERDICT, MODERATE, None, id="a model without thresholds"),
    ],
)
def test_no_verdict_no_promise(verdict: Verdict, grade: str, thresholds: Thresholds | None) -> None:
    """Kind: the promise stood beside can't tell, pictures unlike the samples and models that it was not measured of."""
    assert promise_of(verdict, grade, thresholds) == ""


def test_texts_and_cards_without_a_promise_have_no_empty_line_and_old_records_keep_theirs() -> None:
    silent = evidence_json()
    silent["model"]["promise"] = ""
    assert "wrongly given" not in plain_text(silent) + html_report(silent, None)
    assert "\n\n" not in plain_text(silent)
    assert '<p class="small"></p>' not in html_report(silent, None)
    for record in (FULL, silent):
        assert card_png(record, None).startswith(b"\x89PNG")
    for told in (plain_text(FULL), html_report(FULL, None)):
        assert FULL["model"]["promise"] in told
