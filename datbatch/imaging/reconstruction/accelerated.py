"""Filtered back-projection by PyTorch, for a graphics processor."""

from __future__ import annotations

from datbatch.arrays import Floats, Floats32
from datbatch.errors import MissingDeviceError
from datbatch.imaging.reconstruction.filters import padded_length

TAPS_AT_ONCE = 2**25
"""Pairs of pixel and bin that are looked up at once: 12 bytes each, so 400 MB at most."""


def filter_and_accumulate(
    projections: Floats32, angles_rad: Floats, response: Floats32, share: Floats32, *, device: str
) -> Floats32:
    """Filter projections and add them up, linearly interpolated, inside the field of view.

    The same sum as that of `back_project`, f = sum over directions of share Q(x cos a - y sin a), which it matches
    to 1e-5 of the maximum, not bit by bit. Every pixel is a weighted sum of two bins a direction, with the same
    weights in all slices. That is an embedding bag: a table of (direction and bin, slice), and for each pixel two
    indices and weights a direction. One fused kernel computes it in a fixed order of summation and holds no
    intermediate image.

    `projections` (direction, row, bin) have distinct directions; `response` is the filter at the non-negative
    frequencies of the padded length, `share` the weight of each direction. `device` is `cuda`, or `cpu` to check
    one against the other; without it a `MissingDeviceError` is raised. Gives the image (x, y, row).
    """
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise MissingDeviceError("PyTorch sees no graphics processor")
    directions, rows, bins = projections.shape
    length = padded_length(bins)
    spectrum = torch.fft.rfft(torch.from_numpy(projections).to(device), n=length)
    spectrum *= torch.from_numpy(response).to(device)
    spectrum *= torch.from_numpy(share).to(device)[:, None, None]
    filtered = torch.fft.irfft(spectrum, n=length)[..., :bins]
    table = filtered.transpose(1, 2).reshape(directions * bins, rows)

    axis = torch.arange(bins, dtype=torch.float64, device=device) - (bins - 1) / 2
    inside = (axis[:, None] ** 2 + axis[None, :] ** 2 <= ((bins - 1) / 2) ** 2).reshape(-1).nonzero()[:, 0]
    angles = torch.from_numpy(angles_rad).to(device)
    row_of_direction = bins * torch.arange(directions, device=device)
    image = torch.zeros((bins * bins, rows), dtype=torch.float32, device=device)
    for pixels in inside.split(max(1, TAPS_AT_ONCE // (2 * directions))):
        x, y = axis[pixels // bins, None], axis[pixels % bins, None]
        # Positions in double precision, as on the processor: a bin's share would lose digits otherwise.
        u = (x * angles.cos() - y * angles.sin() + (bins - 1) / 2).clamp(0, bins - 1)
        left = u.floor().clamp(max=bins - 2).long()
        right_share = (u - left).float()
        image[pixels] = torch.nn.functional.embedding_bag(
            torch.cat([row_of_direction + left, row_of_direction + left + 1], dim=1),
            table,
            mode="sum",
            per_sample_weights=torch.cat([1 - right_share, right_share], dim=1),
        )
    return image.reshape(bins, bins, rows).cpu().numpy()
