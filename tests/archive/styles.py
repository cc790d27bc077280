"""Header styles in which the same acquisition is written."""

from __future__ import annotations

from pydicom.dataset import Dataset

from tests.archive.writer import Style


def no_views(ds: Dataset) -> None:
    """Leave out the angular view vector and the view counts: they follow from the frames' order alone."""
    del ds.AngularViewVector
    for item in ds.RotationInformationSequence:
        item.NumberOfFramesInRotation = 1


def no_step(ds: Dataset) -> None:
    ds.RotationInformationSequence[0].AngularStep = 0
    ds.RotationInformationSequence[0].NumberOfFramesInRotation = 0


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
    Style("one file per window", windows_kev=(SCATTER, PHOTO), split="window"),
    Style("views from order", (44.93, 224.93), "CW", edit=no_views),
    Style("views from order, one head", (90.0,), views=120, arc_deg=360.0, edit=no_views),
    Style("step from arc", (90.0, 270.0), "CW", edit=no_step),
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
)
