"""What a parallel-hole camera sees of points in an absorbing medium, summed point by point from the definition."""

import math

import numpy as np
from scipy.ndimage import map_coordinates
from scipy.special import erf


def project_points_slowly(
    points_mm, weights, attenuation_per_mm, first_mm, spacing_mm, *, angles_deg, radius_mm, width_mm, matrix, pixel_mm
):
    """Sum one attenuated Gaussian per point and view.

    points_mm is in patient coordinates LPS (left, posterior, superior); attenuation_per_mm is a (x, y, z) array whose
    axes run to the right, to the front and upwards (RAS), with its first voxel's centre at first_mm. width_mm(D) is
    the standard deviation at distance D from a detector that stands at radius_mm. Gives (view, row, bin).
    """
    bins = rows = matrix
    out = np.zeros((len(angles_deg), rows, bins))
    edges = (np.arange(bins + 1) - bins / 2) * pixel_mm
    for view, angle in enumerate(np.radians(angles_deg)):
        normal = np.array([math.sin(angle), math.cos(angle), 0.0])
        right = np.array([-math.cos(angle), math.sin(angle), 0.0])
        down = np.array([0.0, 0.0, -1.0])
        for point, weight in zip(points_mm, weights, strict=True):
            distance = radius_mm - point @ normal
            steps = np.arange(0.25, 300.0, 0.5)
            ray = point + steps[:, None] * normal
            ras = ray * [-1, -1, 1]
            index = ((ras - first_mm) / spacing_mm).T
            absorbed = 0.5 * map_coordinates(attenuation_per_mm, index, order=1, mode="constant").sum()
            sigma = width_mm(distance)
            shares = []
            for middle in (point @ right, point @ down):
                cumulative = 0.5 * (1 + erf((edges - middle) / (sigma * math.sqrt(2))))
                shares.append(np.diff(cumulative))
            out[view] += weight * math.exp(-absorbed) * np.outer(shares[1], shares[0])
    return out
