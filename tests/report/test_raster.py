"""Pictures written without a drawing library equal what others read and draw."""

import io

import numpy as np
import pytest
from PIL import Image

from datbatch.report.parts.figures import DIVERGING, HOT_IRON
from datbatch.report.parts.raster import (
    DIVERGING_COLOURS,
    HOT_IRON_COLOURS,
    OVERLAY_COLOURS,
    blend,
    border,
    colour,
    enlarge,
    to_png_bytes,
)


def test_a_png_is_read_as_it_was_written() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (13, 7, 3)) / 255.0
    with Image.open(io.BytesIO(to_png_bytes(picture))) as image:
        np.testing.assert_array_equal(np.asarray(image), np.rint(picture * 255))
    assert to_png_bytes(picture) == to_png_bytes(picture.copy())


@pytest.mark.parametrize(("colours", "palette"), [(HOT_IRON_COLOURS, HOT_IRON), (DIVERGING_COLOURS, DIVERGING)])
def test_colours_are_those_of_the_reports_pictures(colours, palette) -> None:
    values = np.linspace(-2.0, 6.0, 256)
    np.testing.assert_allclose(colour(values, colours, (-2.0, 6.0)), palette(np.arange(256))[:, :3], atol=1e-6)


def test_the_overlay_is_red_above_zero_and_blue_below() -> None:
    below, above = colour(np.array([-0.3, 0.3]), OVERLAY_COLOURS, (-1.0, 1.0))
    assert below[2] > below[0]
    assert above[0] > above[2]


def test_enlarged_pictures_keep_their_place() -> None:
    image = np.zeros((9, 11))
    image[3, 7] = 1.0
    large = enlarge(image, 3)
    assert large.shape == (27, 33)
    assert np.unravel_index(large.argmax(), large.shape) == (10, 22), "the middle of the pixel's nine"


def test_a_border_surrounds_its_region() -> None:
    mask = np.zeros((8, 8), bool)
    mask[2:5, 3:6] = True
    line = border(mask, 3)
    rows, columns = np.nonzero(line)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (6, 14, 9, 17)
    assert not line[10, 13]


def test_blending_is_between_its_two() -> None:
    black, white = np.zeros((1, 3, 3)), np.ones((1, 3, 3))
    np.testing.assert_allclose(blend(black, white, np.array([[-1.0, 0.5, 7.0]]))[0, :, 0], [0.0, 0.5, 1.0])
