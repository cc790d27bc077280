"""Facts of a header that identify nobody."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence

from datbatch.archive.dicom.elements import Elements
from datbatch.errors import UnreadableDicomError
from datbatch.schema import SIMULATED

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
    """Give manufacturer and model as known words and short type numbers, without any free text."""
    words: list[str] = []
    for keyword in ("Manufacturer", "ManufacturerModelName"):
        for word in re.split(r"[^A-Za-z0-9.-]+", elements.text(keyword)[:64]):
            known = word.lower() in _WORDS or _TYPE.fullmatch(word)
            if known and word.lower() not in map(str.lower, words):
                words.append(word)
    return " ".join(words)[:64]


def sex(elements: Elements) -> str:
    """Give DICOM's F, M or O; empty where the header gives none."""
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


_INJECTIONS = "RadiopharmaceuticalInformationSequence"
_LEAST_MBQ, _MOST_MBQ = 10.0, 2000.0
"""An activity outside this range is a placeholder or has another unit."""
_LONGEST_DELAY_MIN = 720.0
"""Ioflupane is imaged 3 to 6 hours after injection; more than twice that means a wrong clock or date."""


def dose_facts(headers: Sequence[Elements]) -> tuple[dict[str, float], tuple[str, ...]]:
    """Give what a study's headers say about the injection and the frames.

    Returns
    -------
    facts : dict
        `injected_mbq`; `delay_min` from injection to first acquisition, also over midnight; `frame_duration_ms`. A
        value that is not stated, or that makes no sense, is left out.
    flags : tuple of str
        `injected-activity-implausible`, `delay-implausible`, `frame-duration-differs`: a stated value was left out.
    """
    found: dict[str, float] = {}
    flags = []
    items = [item for header in headers for item in header.items(_INJECTIONS)]
    activities = {activity for activity in map(_activity_mbq, items) if activity is not None}
    if len(activities) == 1 and 0.0 not in activities:
        found["injected_mbq"] = activities.pop()
    elif activities:
        flags.append("injected-activity-implausible")
    delays = [_delay_min(header, item) for header in headers for item in header.items(_INJECTIONS)[:1]]
    stated = [delay for delay in delays if delay is not None]
    if stated and 0.0 < min(stated) <= _LONGEST_DELAY_MIN:
        found["delay_min"] = round(min(stated), 1)
    elif stated:
        flags.append("delay-implausible")
    durations = {duration for header in headers for duration in _durations_ms(header)}
    if len(durations) == 1:
        found["frame_duration_ms"] = durations.pop()
    elif durations:
        flags.append("frame-duration-differs")
    return found, tuple(flags)


def _activity_mbq(item: Elements) -> float | None:
    """Give the activity; 0 where it makes no sense, None where the header states none, or 0."""
    try:
        activity = item.number("RadionuclideTotalDose")
    except UnreadableDicomError:
        return 0.0
    if not activity:
        return None
    # The standard's unit here is MBq; a value of a PET object is in Bq, and its size shows it.
    return next((value for value in (activity, activity / 1e6) if _LEAST_MBQ <= value <= _MOST_MBQ), 0.0)


def _delay_min(elements: Elements, item: Elements) -> float | None:
    """Give the time from injection to acquisition; -1 where date and time of the injection contradict each other."""
    injected, acquired = _minutes(item.text("RadiopharmaceuticalStartTime")), _minutes(elements.text("AcquisitionTime"))
    if acquired is None:
        return None
    dated, by_date = item.text("RadiopharmaceuticalStartDateTime"), None
    day, today, clock = _date(dated[:8]), _date(elements.text("AcquisitionDate")), _minutes(dated[8:])
    if day is not None and today is not None and clock is not None:
        by_date = (today - day).days * 1440.0 + acquired - clock
    by_time = None if injected is None else (acquired - injected) % 1440.0
    if by_date is not None and by_time is not None and abs(by_date - by_time) > 1.0:
        return -1.0
    return by_time if by_date is None else by_date


def _durations_ms(elements: Elements) -> set[float]:
    found = set()
    for item in (elements, *elements.items("RotationInformationSequence")):
        try:
            found.add(item.number("ActualFrameDuration") or 0.0)
        except UnreadableDicomError:
            continue
    return {duration for duration in found if duration > 0.0}


def _minutes(text: str) -> float | None:
    match = re.match(r"([01]\d|2[0-3]):?([0-5]\d):?([0-5]\d)?", text)
    return int(match[1]) * 60.0 + int(match[2]) + int(match[3] or 0) / 60.0 if match else None
