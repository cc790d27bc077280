"""The standard of truth follows the paper's reading sessions."""

import pytest

from datbatch.archive.labels import truth
from datbatch.errors import ContradictoryLabelError
from datbatch.schema import READS

SHORT = {"n": "negative", "p": "positive", "a": "atypical", "-": "", "?": "perhaps"}


def reads(text: str) -> dict[str, str]:
    """Reader 1 first to third, reader 2 first to third, joint."""
    return dict(zip(READS, (SHORT[letter] for letter in text), strict=True))


@pytest.mark.parametrize(
    ("label", "letters", "settled"),
    [
        ("", "nn-nn--", "negative"),
        ("", "pp-pp--", "positive"),
        ("", "npppp--", "positive"),
        ("", "npnnn--", "negative"),
        ("", "nn-pp-p", "positive"),
        ("", "nn-pp-n", "negative"),
        ("", "nn-pp-a", "atypical"),
        ("", "pp-pp-a", "atypical"),
        ("", "nn-pp--", ""),
        ("", "np-----", ""),
        ("", "p------", "positive"),
        ("", "-------", ""),
        ("positive", "-------", "positive"),
        ("positive", "pp-pp--", "positive"),
        ("atypical", "nn-pp-a", "atypical"),
        ("negative", "nn-pp--", "negative"),
    ],
)
def test_two_equal_reads_settle_a_reader_and_two_equal_readers_settle_the_study(label, letters, settled) -> None:
    assert truth(label, reads(letters)) == settled


@pytest.mark.parametrize(
    ("label", "letters"),
    [
        ("negative", "pp-pp--"),
        ("positive", "nn-pp-a"),
        ("", "nnpnn--"),
        ("", "nn-nn-p"),
        ("", "a--nn--"),
        ("", "n?-nn--"),
        ("maybe", "-------"),
    ],
)
def test_contradictions_are_refused(label, letters) -> None:
    with pytest.raises(ContradictoryLabelError):
        truth(label, reads(letters))
