"""What training is given of the cohort's tables."""

import numpy as np

from datbatch.cohort.training_set import positive_share


def test_the_share_of_positive_reads_leaves_the_joint_read_out() -> None:
    reads = np.array(
        [
            ["positive", "positive", "negative", "positive", "", "", "negative"],
            ["", "", "", "", "", "", "positive"],
            ["negative", "negative", "", "", "", "", "positive"],
        ],
        dtype=object,
    )
    np.testing.assert_array_equal(positive_share(reads), [0.75, np.nan, 0.0])
