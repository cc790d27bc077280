"""What became of a file, a study or a stage: one form from the error to the tables."""

from __future__ import annotations

from typing import NamedTuple

from datbatch import schema
from datbatch.errors import DatbatchError, by_code

ARCHIVE = "archive"
"""Stage of what is decided before any image is made."""


class Outcome(NamedTuple):
    """What became of something, and why."""

    status: str
    """`done`, `failed` in this or an earlier stage, `excluded` by the manifest, or `included` in it."""
    code: str = ""
    """Stable code of why it failed or was excluded; empty where nothing is wrong."""
    stage: str = ""
    """Stage in which it failed or was excluded."""
    reason: str = ""
    """What was found, without identity."""

    @classmethod
    def failed(cls, error: DatbatchError, stage: str = ARCHIVE) -> Outcome:
        """Say that an error ended it."""
        return cls(schema.FAILED, error.code, stage, error.reason)

    @classmethod
    def excluded(cls, code: str, reason: str) -> Outcome:
        """Say that a rule of inclusion excludes it."""
        return cls(schema.EXCLUDED, code, ARCHIVE, reason)

    def error(self) -> DatbatchError:
        """Give the error that ended it, to be raised again."""
        return by_code()[self.code](self.reason)


DONE, INCLUDED = Outcome(schema.DONE), Outcome("included")
