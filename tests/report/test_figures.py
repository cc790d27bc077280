"""Left is left, from the array to the pixels of the picture."""

import io
import itertools

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from datbatch import schema
from datbatch.imaging.volume import Volume
from datbatch.report.cohort.averages import GroupImages, GroupMean
from datbatch.report.parts import plates
from datbatch.report.parts.figures import HOT_IRON, to_png, to_print_png, to_svg
from datbatch.report.parts.planes import (
    AVERAGE,
    patient_marks,
    store_plane,
    store_volume,
    study_marks,
    symmetric_limits,
    transaxial_plane,
    uptake_limits,
)
from datbatch.report.parts.plates import Scales
from datbatch.report.study.figure import draw_study, write_study_picture
from tests.report.synthetic import blob

LEFT_FRONT = (-30.0, 30.0, 2.0)
CONVENTIONS = ("radiological", "neurological")


def pixels(png: bytes) -> np.ndarray:
    """Give red, green and blue from 0 to 1, rows from the top."""
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB"), dtype=float) / 255


def centre_of_bright(image: np.ndarray) -> tuple[float, float]:
    """Give the relative row and column of the orange and yellow of the palette; letters and page are grey or white."""
    weight = ((image[..., 0] > 0.9) & (image[..., 1] > 0.3) & (image[..., 2] < 0.5)).astype(float)
    assert weight.sum() > 0
    rows, columns = np.indices(weight.shape)
    return (
        float((rows * weight).sum() / weight.sum() / weight.shape[0]),
        float((columns * weight).sum() / weight.sum() / weight.shape[1]),
    )


def pair(convention) -> Figure:
    """Draw a tile: uptake with a blob left in front, and no relevance."""
    plane = blob(LEFT_FRONT)[:, :, 23].astype(float)
    tile = plates.Tile("one\ntwo", plane, 0 * plane, AVERAGE)
    nothing = np.zeros(plane.shape, bool)
    return plates.tiles_plate([tile], nothing, Scales((0.0, 1.0), (-1.0, 1.0)), convention)


@pytest.mark.parametrize("flips", list(itertools.product((1, -1), repeat=3)))
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_a_left_front_blob_is_shown_left_front_however_the_volume_is_stored(order, flips) -> None:
    data, affine = blob(LEFT_FRONT), schema.grid_affine()
    for axis, flip in enumerate(flips):
        if flip < 0:
            data = np.flip(data, axis)
            affine[:, 3] += affine[:, axis] * (data.shape[axis] - 1)
            affine[:, axis] *= -1
    volume = Volume(np.transpose(data, order), affine[:, [*order, 3]])
    for convention in CONVENTIONS:
        plane = transaxial_plane(volume, 2.0, convention)
        row, column = np.unravel_index(int(np.argmax(plane.image)), plane.image.shape)
        assert row < plane.image.shape[0] / 2, "anterior is at the top"
        assert (column > plane.image.shape[1] / 2) == (convention == "radiological")
        left, right, bottom, top = plane.extent_mm
        x_mm = left + (column + 0.5) * (right - left) / plane.image.shape[1]
        y_mm = top + (row + 0.5) * (bottom - top) / plane.image.shape[0]
        assert (x_mm, y_mm) == pytest.approx(LEFT_FRONT[:2], abs=1.01)


def orange_side(image: np.ndarray, box: tuple[float, float, float, float]) -> float:
    """Give where along a part of the picture the blob's bright middle lies, 0 left to 1 right."""
    height, width = image.shape[:2]
    top, bottom, left, right = box
    return centre_of_bright(image[int(top * height) : int(bottom * height), int(left * width) : int(right * width)])[1]


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_a_left_only_blob_is_on_its_side_in_the_means_of_figure_3(convention) -> None:
    volume = blob(LEFT_FRONT).astype(float)
    group = GroupMean(2, volume, volume)
    nothing = np.zeros((len(schema.REGIONS), *schema.SHAPE), bool)
    images = GroupImages(group, group, (), np.zeros(1), 0)
    plate = plates.mean_plate(images, store_volume(volume), nothing, 23, convention)
    image = pixels(to_png(plate))
    radiological = convention == "radiological"
    for column in range(3):
        box = (0.03, 0.42, column / 3, (column + 1) / 3)
        assert (orange_side(image, box) > 0.5) == radiological, ("negative", "positive", "template")[column]
    # Relevance is red where positive: the lower row of both means.
    lower = image[int(0.53 * image.shape[0]) : int(0.91 * image.shape[0])]
    for column in range(2):
        part = lower[:, column * lower.shape[1] // 3 : (column + 1) * lower.shape[1] // 3]
        red = np.nonzero((part[..., 0] > 0.6) & (part[..., 1] < 0.35) & (part[..., 2] < 0.35))[1]
        assert len(red) > 20
        assert (red.mean() > part.shape[1] / 2) == radiological


def test_an_oblique_volume_is_not_shown_as_if_it_were_straight() -> None:
    affine = schema.grid_affine()
    affine[0, 1] = 0.3
    with pytest.raises(ValueError, match="along the body's axes"):
        transaxial_plane(Volume(blob(LEFT_FRONT), affine), 0.0)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_a_left_front_blob_reaches_the_pixels_on_the_side_of_the_convention_in_all_slices_too(convention) -> None:
    image = pixels(to_png(pair(convention)))
    # The first tile's uptake: 1.34 of 8.4 inches; below it the colour bars.
    uptake = image[int(0.16 * image.shape[0]) : int(0.7 * image.shape[0]), : int(0.163 * image.shape[1])]
    nothing = np.zeros(schema.SHAPE, bool)
    sheet = pixels(to_png(plates.all_slices(blob(LEFT_FRONT), nothing, "uptake", convention, (0.0, 1.0))))
    # z = 2 mm is slice 23 of 63: third row of seven, sixth column of nine.
    height, width = sheet.shape[1] * 109 / (9 * 91), sheet.shape[1] / 9
    tile = sheet[int(2 * height) : int(3 * height), int(5 * width) : int(6 * width)]
    for part in (uptake, tile):
        row, column = centre_of_bright(part)
        assert row < 0.5
        assert (column > 0.5) == (convention == "radiological")


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_ipsilateral_is_written_on_the_side_where_low_x_is_shown(convention, monkeypatch) -> None:
    written: dict[str, tuple[float, str]] = {}
    from matplotlib.axes import Axes

    original = Axes.text

    def note(self, x, y, s, *args, **kwargs):
        written[s] = (x, kwargs["ha"])
        return original(self, x, y, s, *args, **kwargs)

    monkeypatch.setattr(Axes, "text", note)
    pair(convention)
    assert set(written) == {"I", "C"}
    ipsilateral_right = written["I"][0] > 0.5
    assert ipsilateral_right == (convention == "radiological")
    assert (written["I"][1] == "right") == ipsilateral_right


class _Study:
    def __init__(self, mirrored: bool) -> None:
        # The patient's left side is hot; the store shows a mirrored study's left at x > 0.
        x, *rest = LEFT_FRONT
        self.uptake = blob((-x if mirrored else x, *rest))
        self.relevance = 0 * self.uptake
        self.mirrored, self.predicted, self.probability, self.inconsistent = mirrored, "negative", 0.1, False


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_picture_of_one_study_shows_the_patients_own_left(mirrored) -> None:
    image = pixels(draw_study(_Study(mirrored), sign=1.0, convention="radiological"))
    first = image[int(0.1 * image.shape[0]) : int(0.45 * image.shape[0]), : int(0.27 * image.shape[1])]
    assert centre_of_bright(first)[1] > 0.5, "left of the patient is on the right of a radiological picture"


def test_marks_tell_the_patients_side_of_a_mirrored_study() -> None:
    assert (study_marks(False).low_x, study_marks(False).high_x) == ("I = L", "C = R")
    assert (study_marks(True).low_x, study_marks(True).high_x) == ("I = R", "C = L")
    assert (patient_marks(True).low_x, patient_marks(True).high_x) == ("L (C)", "R (I)")


def test_scales_are_common_and_relevance_is_centred_at_zero() -> None:
    weak, strong = np.array([0.0, 0.1, -0.1]), np.array([np.nan, -4.0, 1.0])
    low, high = symmetric_limits([weak, strong], 100)
    assert (low, high) == (-4.0, 4.0)
    assert uptake_limits([weak, strong], 100) == (0.0, 4.0)
    assert symmetric_limits([]) == (-1.0, 1.0), "nothing to show still has a scale"


def test_hot_iron_is_the_palette_of_dicom() -> None:
    """DICOM PS3.6 B.1.1: red doubles up to 128, green doubles from 128, blue quadruples from 192."""
    assert HOT_IRON(0)[:3] == (0, 0, 0)
    assert HOT_IRON(127)[:3] == pytest.approx((254 / 255, 0, 0), abs=0.01)
    assert HOT_IRON(191)[:3] == pytest.approx((1, 126 / 255, 0), abs=0.01)
    assert HOT_IRON(255)[:3] == (1, 1, 1)


def test_the_putamen_outline_lies_where_the_region_is() -> None:
    region = np.zeros(schema.SHAPE, bool)
    region[10:20, 60:80, :] = True  # x from -70 to -50 mm: left
    flat = GroupMean(1, np.zeros(schema.SHAPE), np.zeros(schema.SHAPE))
    images = GroupImages(flat, flat, (), np.zeros(1), 0)
    with_line = plates.putamen_plate(
        images, region, 20, relevance=np.array([0.1]), outcomes=["TN"], threshold=0.0, convention="radiological"
    )
    image = pixels(to_png(with_line))
    blue = (image[..., 2] > 0.8) & (image[..., 0] < 0.5) & (image[..., 1] > 0.6)
    columns = np.nonzero(blue)[1]
    black = np.nonzero((image < 0.02).all(axis=2).sum(axis=0) > 100)[0]
    picture = black[black < image.shape[1] * 0.4]
    middle = (picture.min() + picture.max()) / 2
    assert len(columns) > 50
    assert columns.min() > middle, "x < 0 is right of the middle"


def test_the_same_figure_gives_the_same_bytes_in_every_format() -> None:
    for write in (to_png, to_print_png, to_svg):
        assert write(pair("radiological")) == write(pair("radiological"))


def test_a_store_slice_is_turned_like_a_volume() -> None:
    volume = blob(LEFT_FRONT)
    one, other = store_plane(volume[:, :, 23].astype(float)), transaxial_plane(store_volume(volume), 2.0)
    assert np.array_equal(one.image, other.image)
    assert one.extent_mm == other.extent_mm


def test_the_picture_of_a_study_is_a_png_file(tmp_path) -> None:
    path = write_study_picture(_Study(True), tmp_path / "deep" / "study.png", sign=-1.0)
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert "Software" not in image.info
    assert [found.name for found in path.parent.iterdir()] == ["study.png"]
