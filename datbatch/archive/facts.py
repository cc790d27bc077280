"""Facts of a header that identify nobody."""

from __future__ import annotations

import datetime
import re

from datbatch.archive.elements import Elements
from datbatch.cohort.schema import SIMULATED

_VENDORS = """ge general electric healthcare medical systems siemens healthineers philips adac mediso picker marconi
    elscint toshiba canon shimadzu hitachi trionix digirad spectrum dynamics mie sopha smv sophy park naicam"""
_MODELS = """discovery infinia hawkeye millennium varicam optima tandem starguide brightspeed symbia intevo evo bold pro
    excel ecam e.cam e-cam duet signature orbiter multispect diacam skylight forte vertex cardio brightview precedence
    axis irix prism odyssey anyscan interview nucline x-ring trio duo mycardium veriton gca nm nm-ct ct spect spect-ct
    plus dual head single triple variable"""
_INVENTED = "helioscan orbitron gemina kestrel imaging lumenor"
"""Vendors and models of datbatch.simulation."""
_WORDS = frozenset(f"{_VENDORS} {_MODELS} {_INVENTED} {SIMULATED.lower()}".split())
_TYPE = re.compile(r"[A-Za-z]{0,3}-?\d{1,4}[A-Za-z]{0,3}")


def scanner_name(elements: Elements) -> str:
    """Give manufacturer and model in known words and short type numbers; free text never passes."""
    words: list[str] = []
    for keyword in ("Manufacturer", "ManufacturerModelName"):
        for word in re.split(r"[^A-Za-z0-9.-]+", elements.text(keyword)[:64]):
            known = word.lower() in _WORDS or _TYPE.fullmatch(word)
            if known and word.lower() not in map(str.lower, words):
                words.append(word)
    return " ".join(words)[:64]


def sex(elements: Elements) -> str:
    """Give DICOM's F, M or O; empty when not given."""
    stated = elements.text("PatientSex").upper()
    return stated if stated in ("F", "M", "O") else ""


def age_years(elements: Elements) -> float | None:
    """Give the age at the examination: as stated, else from the birth date."""
    stated = re.fullmatch(r"(\d{1,3})([DWMY])", elements.text("PatientAge"))
    if stated:
        years = int(stated[1]) / {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0}[stated[2]]
    else:
        born = _date(elements.text("PatientBirthDate"))
        examined = _date(elements.text("StudyDate")) or _date(elements.text("AcquisitionDate"))
        if born is None or examined is None:
            return None
        years = (examined - born).days / 365.25
    return round(years, 1) if 0.0 < years <= 120.0 else None


def _date(text: str) -> datetime.date | None:
    try:
        return datetime.datetime.strptime(text, "%Y%m%d").date()
    except ValueError:
        return None


def dose_facts(elements: Elements) -> dict[str, float]:
    """Give injected activity (MBq), delay from injection to acquisition (min) and frame duration (ms), where stated."""
    found: dict[str, float] = {}
    for item in elements.items("RadiopharmaceuticalInformationSequence")[:1]:
        activity = item.number("RadionuclideTotalDose")
        if activity is not None and activity > 0.0:
            # The standard's unit here is MBq; becquerel of PET objects give themselves away.
            found["injected_mbq"] = activity / 1e6 if activity > 1e5 else activity
        injected = _minutes(item.text("RadiopharmaceuticalStartTime"))
        acquired = _minutes(elements.text("AcquisitionTime"))
        if injected is not None and acquired is not None:
            found["delay_min"] = round((acquired - injected) % 1440.0, 1)
    duration = elements.number("ActualFrameDuration")
    if duration is None and elements.items("RotationInformationSequence"):
        duration = elements.items("RotationInformationSequence")[0].number("ActualFrameDuration")
    if duration is not None and duration > 0.0:
        found["frame_duration_ms"] = duration
    return found


def _minutes(text: str) -> float | None:
    match = re.match(r"(\d{2})(\d{2})(\d{2})?", text)
    return int(match[1]) * 60.0 + int(match[2]) + int(match[3] or 0) / 60.0 if match else None
