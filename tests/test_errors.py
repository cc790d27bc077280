"""Every refusal has a code that stays, a reason and a remedy."""

import pickle

from datbatch import schema
from datbatch.errors import Outcome, TruncatedError, by_code


def test_codes_are_unique_and_fit_for_scripts_and_say_what_they_mean_and_what_to_do() -> None:
    kinds = by_code()
    assert len(kinds) > 25
    for code, kind in kinds.items():
        assert kind.code == code
        assert code == code.lower()
        assert " " not in code
        assert kind.__doc__, code
        assert kind.remedy.endswith("."), code


def test_an_error_survives_the_way_from_a_worker() -> None:
    error = TruncatedError("the file holds 3 bytes", "Copy it again.")
    back = pickle.loads(pickle.dumps(error))
    assert (type(back), back.reason, back.advice) == (TruncatedError, error.reason, error.advice)
    assert str(back) == "the file holds 3 bytes [truncated] Copy it again."


def test_an_outcome_keeps_what_ended_a_study_and_gives_the_error_back() -> None:
    failed = Outcome.failed(TruncatedError("3 bytes"), "reconstruct")
    assert failed == (schema.FAILED, "truncated", "reconstruct", "3 bytes")
    assert str(failed.error()) == str(TruncatedError("3 bytes"))
    assert Outcome.excluded("not-indicated", "other") == (schema.EXCLUDED, "not-indicated", "archive", "other")
