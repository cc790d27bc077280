"""The ledger: a granule counts once, whole or not at all."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from datbatch import location, schema
from datbatch.cohort.fold import fold_stage, limits_of, pending_outcomes, value_columns
from datbatch.cohort.ledger import GranuleKey, Ledger, Row
from datbatch.errors import DONE, Outcome, TruncatedError

KEY = GranuleKey("quantify", "d1", 0, "m1")
ROWS = [Row("sa", DONE, {"counts": 3.0}), Row("sb", Outcome.failed(TruncatedError("cut"), "reconstruct"))]


def test_a_recorded_granule_reads_back(place) -> None:
    ledger = Ledger(place)
    assert ledger.read(KEY) is None
    assert ledger.commit(KEY, ROWS)
    assert ledger.read(KEY) == ROWS
    assert ledger.keys("quantify", "d1") == [KEY]
    (name,) = location.names(place)
    told = b'"code":"truncated","reason":"cut","sha256":{},"stage":"reconstruct","status":"failed","study":"sb"'
    assert told in location.read(place / name)[0], "stores that stand are read"


def test_of_many_duplicate_tasks_one_counts(place) -> None:
    ledger = Ledger(place)
    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(lambda _: ledger.commit(KEY, ROWS), range(64)))
    assert sum(won) == 1
    assert ledger.read(KEY) == ROWS
    assert len(location.names(place)) == 1, "no temporary file stays"


def test_a_damaged_object_counts_as_not_done_and_is_discarded_by_folding_alone(place) -> None:
    ledger = Ledger(place)
    ledger.commit(KEY, ROWS)
    (name,) = location.names(place)
    location.write(place / name, location.read(place / name)[0][:-20])
    assert ledger.read(KEY) is None
    assert location.names(place) == [name], "reading removes nothing"
    assert ledger.damaged([KEY]) == [KEY]
    assert ledger.commit(KEY, ROWS)
    assert ledger.read(KEY) == ROWS
    location.write(place / name, b"")
    assert list(ledger.rows([KEY], discard=True)) == []
    assert location.names(place) == [], "folding discards it"


def test_an_object_of_another_granule_is_none_of_this_one(place) -> None:
    ledger, other = Ledger(place), GranuleKey("quantify", "d1", 1, "m1")
    for key in (KEY, other):
        ledger.commit(key, ROWS)
    one, another = location.names(place)
    location.write(place / one, location.read(place / another)[0])
    assert (ledger.read(KEY), ledger.read(other)) == (None, ROWS)


def test_retiring_keeps_only_the_named_objects(place) -> None:
    ledger = Ledger(place)
    other_digest = GranuleKey("quantify", "d0", 0, "m1")
    grown = GranuleKey("quantify", "d1", 0, "m2")
    other_stage = GranuleKey("register", "d0", 0, "m1")
    keys = (KEY, other_digest, grown, other_stage)
    for key in keys:
        ledger.commit(key, ROWS)
    assert ledger.stages() == [("quantify", "d0"), ("quantify", "d1"), ("register", "d0")]
    assert len(list(ledger.rows([KEY, grown]))) == 2 * len(ROWS)
    ledger.retire("quantify", "d1", {KEY.name})
    assert [ledger.read(key) is not None for key in keys] == [True, False, False, True]


def test_folding_is_independent_of_the_order_of_rows_and_null_is_nan() -> None:
    names = ("counts", "specific_binding_ratio", "asymmetry_index", "scanner", "mirrored")
    variables = [variable for variable in schema.STUDY_TABLE if variable.name in names]
    ratios = [1.0, None, *[0.5] * (len(schema.REGIONS) - 2)]
    index = [[1.0, None, 3.0], [None, 5.0, 6.0], [None, None, 9.0]]
    found = {"counts": 2.0, "specific_binding_ratio": ratios, "asymmetry_index": index, "mirrored": True}
    rows = [
        Row("sb", DONE, values=found),
        Row("sa", DONE, values={"counts": None, "scanner": "X"}),
    ]
    studies = ["sa", "sb", "sc"]
    for order in (rows, rows[::-1]):
        columns = value_columns(variables, studies, order)
        np.testing.assert_array_equal(columns["counts"], [np.nan, 2.0, np.nan])
        for name, given in (("specific_binding_ratio", ratios), ("asymmetry_index", index)):
            np.testing.assert_array_equal(columns[name][1], np.array(given, dtype=float))
            assert np.isnan(columns[name][0]).all()
        assert list(columns["scanner"]) == ["X", "", ""]
        assert list(columns["mirrored"]) == [False, True, False]


def test_a_study_without_a_row_is_pending() -> None:
    outcomes = pending_outcomes(["sa", "sb", "sc"])
    fold_stage("quantify", ROWS, ["sa", "sb", "sc"], limits_of({}), outcomes)
    assert list(outcomes.arrays["status"]) == ["done", "failed", "pending"]
    assert list(outcomes.arrays["error_code"]) == ["", "truncated", ""]
