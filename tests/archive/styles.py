"""Header styles in which the same acquisition is written."""

from collections.abc import Callable

import numpy as np
from pydicom.dataset import Dataset

from tests.archive.writer import Style


def no_views(ds: Dataset) -> None:
    """Leave out the angular view vector and the view counts: they follow from the frames' order alone."""
    del ds.AngularViewVector
    for item in ds.RotationInformationSequence:
        item.NumberOfFramesInRotation = 1


def running_numbers(ds: Dataset) -> None:
    """Number the views of the second head after those of the first, and declare their total."""
    item = ds.RotationInformationSequence[0]
    pairs = zip(ds.AngularViewVector, ds.DetectorVector, strict=True)
    ds.AngularViewVector = [view + (item.NumberOfFramesInRotation if head == 2 else 0) for view, head in pairs]
    item.NumberOfFramesInRotation *= 2
    item.ScanArc *= 2


def own_angles(ds: Dataset) -> None:
    """Give each view's object its own start angle, and no steps."""
    head = ds.DetectorInformationSequence[0]
    rotation = ds.RotationInformationSequence[0]
    sense = 1.0 if rotation.RotationDirection == "CC" else -1.0
    head.StartAngle = round((head.StartAngle + sense * rotation.AngularStep * (ds.AngularViewVector - 1)) % 360.0, 4)
    rotation.AngularStep = rotation.ScanArc = 0
    rotation.NumberOfFramesInRotation = 1
    ds.AngularViewVector = 1


def minus_one(ds: Dataset) -> None:
    ds.RotationInformationSequence[0].StartAngle = ds.DetectorInformationSequence[0].StartAngle
    ds.DetectorInformationSequence[0].StartAngle = -1


def wrapped(ds: Dataset) -> None:
    ds.DetectorInformationSequence[0].StartAngle = "270.000009"
    ds.DetectorInformationSequence[1].StartAngle = "-270.0"


def there_and_back(ds: Dataset) -> None:
    """Let the second rotation turn back from where the first ended."""
    first, second = ds.RotationInformationSequence
    second.StartAngle = first.StartAngle + first.AngularStep * (first.NumberOfFramesInRotation - 1)
    second.RotationDirection = "CW"
    pairs = zip(ds.AngularViewVector, ds.RotationVector, strict=True)
    ds.AngularViewVector = [first.NumberOfFramesInRotation + 1 - v if r == 2 else v for v, r in pairs]


def one_head_in_name(ds: Dataset) -> None:
    """Number all views through under the first of two heads."""
    running_numbers(ds)
    ds.DetectorVector = [1] * len(ds.DetectorVector)


def code(value: str, meaning: str = "") -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodeMeaning = value, meaning
    return item


def setting(**values: object) -> Callable[[Dataset], None]:
    def edit(ds: Dataset) -> None:
        for keyword, value in values.items():
            setattr(ds, keyword, value)

    return edit


def in_detector(number: int, **values: object) -> Callable[[Dataset], None]:
    return lambda ds: setting(**values)(ds.DetectorInformationSequence[number - 1])


def in_rotation(**values: object) -> Callable[[Dataset], None]:
    return lambda ds: setting(**values)(ds.RotationInformationSequence[0])


def without(*keywords: str) -> Callable[[Dataset], None]:
    def edit(ds: Dataset) -> None:
        for keyword in keywords:
            for item in (ds, *ds.get("DetectorInformationSequence", ()), *ds.get("RotationInformationSequence", ())):
                item.pop(keyword, None)

    return edit


def both(*edits: Callable[[Dataset], None]) -> Callable[[Dataset], None]:
    def edit(ds: Dataset) -> None:
        for each in edits:
            each(ds)

    return edit


def lying(position: str, gantry: str, modifier: str) -> Callable[[Dataset], None]:
    """State the patient's position in all three fields."""

    def edit(ds: Dataset) -> None:
        ds.PatientPosition = position
        item = code("F-10450", "recumbent")
        item.PatientOrientationModifierCodeSequence = [code("", modifier)]
        ds.PatientOrientationCodeSequence = [item]
        ds.PatientGantryRelationshipCodeSequence = [code("", gantry)]

    return edit


def in_words(ds: Dataset) -> None:
    """Say in words, too, which side each head sees and which way the image lies."""
    lying("HFS", "headfirst", "supine")(ds)
    ds.PatientOrientation = ["R", "F"]
    for item, name in zip(ds.DetectorInformationSequence, ("Posterior", "Anterior projection"), strict=True):
        item.ViewCodeSequence = [code("", name)]


def free_text(ds: Dataset) -> None:
    """Write what cameras write into fields for codes."""
    for item in ds.DetectorInformationSequence:
        item.ViewCodeSequence = [code("BRAIN D1", "BRAIN D1")]
        item.CollimatorGridName, item.FocalDistance, item.GantryDetectorTilt = "@30429647", 0, 0
    ds.PatientOrientation = ""


def doubled(ds: Dataset) -> None:
    """Store twice the counts, and say so."""
    ds.PixelData = (np.frombuffer(ds.PixelData, "<u2") * 2).tobytes()
    ds.RescaleSlope, ds.RescaleIntercept = 0.5, 0


def in_bytes(ds: Dataset) -> None:
    ds["PixelData"].VR = "OB"


PHOTO, SCATTER = (143.1, 174.9), (120.0, 140.0)
STYLES = (
    Style("plain"),
    Style("clockwise from 180", (180.0, 0.0), "CW", start_in="both"),
    Style("start in the rotation item", (90.0, 270.0), start_in="rotation"),
    Style("odd start, clockwise", (44.93, 224.93), "CW", orientation=True),
    Style("interleaved, 1/100 keV", (90.0, 270.0), interleaved=True, unit_kev=0.01),
    Style("scatter window first", windows_kev=(SCATTER, PHOTO), interleaved=True),
    Style("one head", (135.0,), "CW", views=120, arc_deg=360.0, start_in="both"),
    Style("128 bins, oblong pixels", bins=128, rows=40, bin_mm=2.46, row_mm=5.1),
    Style("half a circle", (270.0,), views=60, arc_deg=180.0),
    Style("two heads all round", (0.0, 180.0), views=64, arc_deg=360.0),
    Style("two rotations", rotations=2, start_in="both"),
    Style("there and back", (90.0, 270.0), rotations=2, start_in="both", edit=there_and_back),
    Style("two heads numbered as one", (90.0, 270.0), start_in="both", edit=one_head_in_name),
    Style("one file per view", (30.0, 210.0), split="view", start_in="both"),
    Style("one file per view, own angles", (30.0, 210.0), "CW", split="view", edit=own_angles),
    Style("one file per head", (90.0, 270.0), "CW", split="head"),
    Style("one file per window, two heads", windows_kev=(SCATTER, PHOTO), split="window"),
    Style("views from order", (44.93, 224.93), "CW", edit=no_views),
    Style("views from order, one head", (90.0,), views=120, arc_deg=360.0, edit=no_views),
    Style("step from arc", (90.0, 270.0), "CW", edit=in_rotation(AngularStep=0, NumberOfFramesInRotation=0)),
    Style("running view numbers", (0.0, 180.0), start_in="both", edit=running_numbers),
    Style("negative start of one head", (200.0,), views=120, arc_deg=360.0, start_in="both", edit=minus_one),
    Style("angles to wrap", (270.0, 90.0), edit=wrapped),
    Style("feet up, said so", (90.0, 270.0), orientation=True, feet_up=True),
    Style("implicit", syntax="implicit"),
    Style("big endian", (10.0, 190.0), "CW", syntax="big"),
    Style("deflated", syntax="deflated"),
    Style("run length", (90.0, 270.0), syntax="rle", rows=32, bins=48, row_mm=6.0, bin_mm=6.0),
    Style("JPEG lossless", (90.0, 270.0), syntax="jpeg"),
    Style("JPEG lossless, seven predictors and restarts", (10.0, 190.0), "CW", syntax="jpeg process 14"),
    Style("JPEG 2000", (90.0, 270.0), syntax="jpeg 2000"),
    Style("8 bits", (90.0, 270.0), bits=8),
    Style("32 bits", (90.0, 270.0), bits=32),
    Style("32 bits, big endian, more rows than bins", (30.0, 210.0), bits=32, syntax="big", rows=72, bins=50),
    Style("8 bits, big endian", (90.0, 270.0), bits=8, syntax="big", edit=in_bytes),
    Style("signed", (90.0, 270.0), "CW", edit=setting(PixelRepresentation=1)),
    Style("12 of 16 bits", (270.0, 90.0), edit=setting(BitsStored=12, HighBit=11)),
    Style("rescaled", (90.0, 270.0), "CW", edit=doubled),
    Style("two heads at right angles", (45.0, 135.0), views=30, arc_deg=90.0, orientation=True),
    Style("two heads at right angles, clockwise", (300.0, 210.0), "CW", views=30, arc_deg=90.0, interleaved=True),
    Style("two heads at 76 degrees, all round", (10.0, 86.0), views=90, arc_deg=360.0),
    Style("three heads", (0.0, 120.0, 240.0), views=40, arc_deg=120.0),
    Style("three heads, all round, clockwise", (250.5, 10.5, 130.5), "CW", views=60, arc_deg=360.0, interleaved=True),
    Style("one head, from the right over the front to the left", (315.0,), "CW", views=64, arc_deg=180.0),
    Style("one head, half a circle over the back", (225.0,), views=64, arc_deg=180.0, start_in="both"),
    Style("head first, prone", (90.0, 270.0), orientation=True, edit=lying("HFP", "headfirst", "prone")),
    Style("feet first", (44.0, 224.0), orientation=True, edit=lying("FFS", "feet-first", "Supine position")),
    Style("feet first, feet up", (90.0, 270.0), "CW", orientation=True, feet_up=True, edit=lying("FFS", "feet in", "")),
    Style("on the side", (0.0, 180.0), "CW", orientation=True, edit=lying("HFDL", "", "Left lateral decubitus")),
    Style("in words, too", edit=in_words),
    Style("free text where codes belong", (198.0, 18.0), "CW", edit=free_text),
    Style("one file per window", (90.0,), "CW", windows_kev=(SCATTER, PHOTO), views=90, arc_deg=360.0, split="window"),
    Style("one file per head, turned", (270.0, 90.0), syntax="big", split="head", orientation=True, feet_up=True),
    Style(
        "three windows, interleaved, oblong, clockwise", (120.0, 300.0), "CW", interleaved=True, unit_kev=0.01,
        windows_kev=(SCATTER, (180.0, 220.0), PHOTO), rows=40, bins=72, row_mm=5.5, bin_mm=3.9,
    ),
)  # fmt: skip
