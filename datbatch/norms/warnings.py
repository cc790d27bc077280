"""What limits the comparison of a study with the normal range: stable codes, each with its meaning."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from datbatch.arrays import Bools, Floats, Texts
from datbatch.schema import TOMOGRAM

WARNINGS = {
    "age-missing": "no age: compared with the mean age of the normals, with a wider interval",
    "age-extrapolated": "younger or older than every normal study of the fit",
    "sex-missing": "no sex: compared with the mean of both, with a wider interval",
    "sex-without-normals": "no normal study of this sex took part in the fit",
    "site-missing": "no site: compared with the mean of the sites, with a wider interval",
    "site-without-normals": "the site has no normal study: compared with the mean of the sites, with a wider interval",
    "site-few-normals": "the site has fewer than 3 normal studies: compared as one that has none",
    "class-without-normals": "no normal study has this scanner and pixel size, or was reconstructed elsewhere, too",
    "site-not-harmonised": "the site has too few normal training studies: its values stand as they were measured",
    "recovery-missing": "the table of recovery factors lacks this camera: no corrected values",
}
"""Codes in the order in which they are listed."""


def join_warnings(found: Mapping[str, Bools], studies: int) -> npt.NDArray[np.object_]:
    """Write the codes that concern each study, separated by spaces; empty where none does.

    `found` tells by code which studies it concerns, mask (study,).
    """
    codes = [code for code in WARNINGS if code in found]
    flags = np.array([found[code] for code in codes], dtype=bool).reshape(len(codes), studies).T
    patterns, which = np.unique(flags, axis=0, return_inverse=True)
    texts = [" ".join(code for code, set_ in zip(codes, p, strict=True) if set_) for p in patterns]
    return np.array(texts, dtype=object)[which.ravel()] if studies else np.array([], dtype=object)


def reconstruction_class(scanner: Texts, pixel_size_mm: Floats, source: Texts | None = None) -> Texts:
    """Name what makes studies of one store comparable: the camera and its pixel size, to 0.1 mm.

    All else of the reconstruction is the same for every study of a store. Nothing is known of studies that were
    reconstructed elsewhere (`source`): at best they are comparable with each other.
    """
    pixel = np.char.mod("%.1f", pixel_size_mm)
    if source is not None:
        pixel = np.where(source == TOMOGRAM, TOMOGRAM, pixel)
    return np.char.add(np.char.add(scanner.astype(str), " "), pixel)
