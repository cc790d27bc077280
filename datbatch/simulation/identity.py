"""Invented identities for tests of de-identification; names are made of syllables and mean no real person."""

from __future__ import annotations

import datetime
import hashlib
from dataclasses import dataclass

import numpy as np

_SYLLABLES = ("bra", "kel", "mor", "tis", "vun", "dre", "zol", "fim", "gar", "hux", "lop", "nyr", "quo", "sed", "wex")


@dataclass(frozen=True)
class Identity:
    """What identifies the patient in a header or in the name of a folder."""

    family_name: str
    given_name: str
    patient_id: str
    birth_date: str
    """YYYYMMDD."""
    study_date: str
    """YYYYMMDD."""
    study_time: str
    """HHMMSS."""
    accession_number: str
    referring_physician: str
    """Family name."""

    @property
    def folder_name(self) -> str:
        """Name of the study's folder; it identifies the patient, as in real exports."""
        return f"{self.family_name.upper()}_{self.given_name.upper()}_{self.patient_id}_{self.study_date}"


def draw_identity(rng: np.random.Generator, age_years: float) -> Identity:
    """Invent a person of a given age, examined on some day of 2012 to 2021."""
    examined = datetime.date(2012, 1, 2) + datetime.timedelta(days=int(rng.integers(0, 3640)))
    born = examined - datetime.timedelta(days=int((age_years + 0.002) * 365.2425))
    return Identity(
        family_name=_name(rng, 3),
        given_name=_name(rng, 2) + "a",
        patient_id=f"PX{rng.integers(10**7, 10**8)}",
        birth_date=f"{born:%Y%m%d}",
        study_date=f"{examined:%Y%m%d}",
        study_time=f"{rng.integers(8, 17):02d}{rng.integers(0, 60):02d}{rng.integers(0, 60):02d}",
        accession_number=f"AC{rng.integers(10**7, 10**8)}",
        referring_physician=_name(rng, 3),
    )


def uid(*parts: object) -> str:
    """Give a DICOM UID (2.25.<128 bits>) that depends on the parts alone."""
    text = "\x1f".join(str(part) for part in parts)
    return f"2.25.{int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], 'big')}"


def _name(rng: np.random.Generator, syllables: int) -> str:
    return "".join(_SYLLABLES[i] for i in rng.integers(0, len(_SYLLABLES), syllables)).capitalize()
