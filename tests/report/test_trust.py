"""The section on trust shows the stored figures, and says when they are missing or of other maps."""

from types import SimpleNamespace
from typing import Any

from datbatch.config import TrustConfig, canonical_json
from datbatch.evaluation.trust import summarise
from datbatch.report.cohort.trust import trust_section
from datbatch.report.parts.exhibits import Exhibits
from datbatch.report.parts.hypertext import element
from tests.report.parsed import Page
from tests.stages.trust_figures import ALONE, CHANCE, figures


def section(**attributes: Any) -> Page:
    """Write the section for a model whose group has these attributes."""
    explained: Any = SimpleNamespace(model=SimpleNamespace(attributes=attributes))
    return Page(element("section", trust_section(None, explained, Exhibits())))


def tried(explain_digest: str = "abc") -> str:
    studies = [("negative", figures()), ("positive", figures(gain=2.0))]
    content = {
        "digest": "d",
        "explain_digest": explain_digest,
        "parameters": vars(TrustConfig()),
        "summary": summarise(studies, CHANCE, ALONE),
    }
    return canonical_json(content)


def test_figures_stand_with_what_they_mean() -> None:
    found = section(trust=tried(), digest="abc")
    rows = found.table_with("What it means")
    assert rows["flipping by relevance, against random order"][0].startswith("0.75 (95 % CI")
    assert "Worrying" in rows["relevance that reaches the voxels"][1]
    assert "Tried on 2 studies of the test set (1 negative, 1 positive)" in found.text
    assert "cubes of 8 mm" in found.text
    assert found.source.count("data:image/png") == 1


def test_maps_that_changed_since_they_were_tried_are_told_apart() -> None:
    words = "have changed since they were tested"
    assert words in section(trust=tried(), digest="other").text
    assert words in section(trust=tried(), digest="abc", stale=True).text


def test_a_report_says_that_maps_were_not_tried(page) -> None:
    assert "Trust in the maps" in page.text
    assert "were not tested: call datbatch trust" in page.text
