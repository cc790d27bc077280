from typing import Any

from benchmarks.sameness import differences, show


def test_the_comparison_of_two_versions_finds_a_part_that_differs_and_passes_what_may_differ(capsys) -> None:
    row, new = {"status": "done", "values": {"counts": 1.0}}, {"status": "done", "values": {"counts": 2.0}}
    assert [path for path, *_ in differences([row], [new], "row")] == ["row/0/values/counts"]
    assert [path for path, *_ in differences([0.0], [-0.0], "row")] == ["row/0"]
    items: dict[tuple[str, str], Any] = {
        ("ledger quantify", "quantify/s1"): [row],
        ("attributes", "relevance/m"): {"created": "then", "evaluation": {"p": 0.5}},
    }
    files = {("uptake", "c.0"): "a", ("ledger quantify", "000000-a.json"): "a"}
    later = items | {("attributes", "relevance/m"): {"created": "now", "evaluation": {"p": 0.5 + 1e-16}}}
    assert show("same", (files, items), (files | {("ledger quantify", "000000-a.json"): "b"}, later)) == 0
    later |= {("ledger quantify", "quantify/s1"): [new]}
    assert show("changed", (files, items), (files | {("uptake", "c.0"): "b"}, later)) == 2
    assert "ledger quantify: quantify/s1/0/values/counts: 1.0 -> 2.0" in capsys.readouterr().out
    assert show("lost", (files, items), ({}, {})) == 3
