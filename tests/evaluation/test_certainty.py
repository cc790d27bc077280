"""An ensemble is the mean of its members; a margin learned on validation studies marks the stated share."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datbatch.errors import ModelError
from datbatch.evaluation.certainty import Certainty, Member, learn_margin, mean_and_sd
from datbatch.evaluation.estimates import as_json
from datbatch.evaluation.outputs import probability

PAIR = (Member("compact-1", "a" * 64, 2.0), Member("compact-2", "b" * 64, None))


@given(st.integers(20, 200), st.floats(0.05, 0.5), st.integers(0, 9))
def test_the_margin_leaves_the_stated_share_uncertain(studies, share, seed):
    p = np.random.default_rng(seed).random(studies)
    margin = learn_margin(p, share)
    assert (np.abs(p - 0.5) < margin).sum() == round(share * studies)


def test_a_share_of_less_than_one_study_has_no_margin():
    for studies, share in ((9, 0.05), (9, 0.0), (0, 0.05)):
        assert learn_margin(np.linspace(0, 1, studies), share) is None


def test_members_that_disagree_make_a_call_uncertain():
    found = Certainty(PAIR, margin=0.2, uncertain_share=0.05, studies=100).call([[8.0, -8.0, 8.0], [4.0, -4.0, -4.0]])
    expected = (probability(4.0) + probability(4.0)) / 2
    assert found.probability == pytest.approx([expected, 1 - expected, 0.5])
    assert found.certain.tolist() == [True, True, False]
    assert found.disagreement[0] == pytest.approx(0.0, abs=1e-12)
    assert found.disagreement[2] == pytest.approx((probability(4.0) - probability(-4.0)) / math.sqrt(2))


def test_one_study_of_one_model_is_called_too_and_one_without_odds_is_never_certain():
    alone = Certainty(PAIR[:1], margin=0.1, uncertain_share=0.05, studies=100)
    found = alone.call([3.0])
    assert found.certain.tolist() == [True]
    assert math.isnan(found.disagreement[0])
    assert alone.call([[math.nan]]).certain.tolist() == [False]


def test_it_comes_back_from_json_and_damage_is_named():
    kept = Certainty(PAIR, margin=0.2, uncertain_share=0.05, studies=100)
    assert Certainty.from_dict(json.loads(json.dumps(as_json(kept)))) == kept
    with pytest.raises(ModelError):
        Certainty.from_dict({"members": [{"name": "x"}]})


def test_mean_and_sd_leave_out_what_is_not_known():
    assert mean_and_sd([1.0, 3.0, math.nan]) == (2.0, pytest.approx(math.sqrt(2)))
    assert math.isnan(mean_and_sd([1.0])[1])
    assert math.isnan(mean_and_sd([])[0])
