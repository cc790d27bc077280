"""Reconstruction beside its definition, MATLAB's published figures and scikit-image, in one run.

    python benchmarks/reconstruction.py

prints Markdown tables. Needs scikit-image (`pip install scikit-image`) for the columns that carry its name.
Seconds are medians; scikit-image reconstructs the whole study, slice by slice, as a user would.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datbatch.archive import Acquisition
from datbatch.config import ReconstructConfig
from datbatch.imaging import filtered_back_projection, iradon, reconstruct
from datbatch.simulation import acquire
from datbatch.simulation.examination import canonical_subject

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests.reference import backprojection as definition
from tests.reference.cylinder import cylinder_projections

try:
    from skimage.transform import iradon as skimage_iradon
except ImportError:
    skimage_iradon = None

MATLAB_ERRORS = {
    "ram-lak": (0.3601, 0.0218),
    "shepp-logan": (0.3941, 0.0226),
    "cosine": (0.4681, 0.0249),
    "hamming": (0.5171, 0.0278),
    "hann": (0.5334, 0.0285),
}
"""Largest and mean absolute error of `iradon(radon(phantom(128), 0:179), 0:179, filter, 128)`."""
VIEWS, ROWS, BINS, PIXEL_MM = 120, 128, 128, 3.3
ANGLES_DEG = np.arange(VIEWS) * 360.0 / VIEWS
Row = tuple[str, ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15, help="runs of each of our timings")
    parser.add_argument("--peer-repeats", type=int, default=3, help="whole studies by scikit-image")
    options = parser.parse_args()
    print(f"Python {platform.python_version()}, numpy {np.__version__}, {platform.machine()}\n")
    if skimage_iradon is None:
        print("scikit-image is not installed: its columns stay empty (`pip install scikit-image`)\n")
    table(("iradon: largest / mean error", "ours", "MATLAB, published", "scikit-image"), matlab_rows())
    table(("iradon against its definition", "sinograms", "largest difference / maximum"), definition_rows())
    table(
        (f"one study ({VIEWS} views, {BINS} bins, {ROWS} slices)", "seconds", "scikit-image / ours"),
        time_rows(options.repeats, options.peer_repeats),
    )
    table(("uniform cylinder, 0.11/cm", "mean / truth", "least", "greatest", "standard deviation"), flatness_rows())


def table(head: Row, rows: Iterator[Row]) -> None:
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)
    print()


def matlab_rows() -> Iterator[Row]:
    phantom, theta = definition.shepp_logan_phantom(128), np.arange(180.0)
    sinogram = definition.radon(phantom, theta)

    def errors(image: npt.NDArray[Any]) -> str:
        difference = np.abs(image - phantom)
        return f"{difference.max():.4f} / {difference.mean():.4f}"

    for name, (largest, mean) in MATLAB_ERRORS.items():
        ours = errors(iradon(sinogram, theta, filter=name, output_size=128))
        theirs = ""
        if skimage_iradon is not None:
            # Its origin is one pixel further than MATLAB's; the crop of a larger image puts them on each other.
            options = {"filter_name": "ramp" if name == "ram-lak" else name, "circle": False, "output_size": 130}
            theirs = errors(skimage_iradon(sinogram, theta, **options)[2:, 2:])
        yield name, ours, f"{largest:.4f} / {mean:.4f}", theirs


def definition_rows() -> Iterator[Row]:
    rng = np.random.default_rng(1)
    for interpolation in ("nearest", "linear", "cubic"):
        worst, count = 0.0, 0
        for bins in (16, 17, 31, 64, 65, 92, 128, 185):
            theta = rng.uniform(-360, 360, 11)
            sinogram = rng.normal(size=(bins, theta.size))
            for size in (bins // 2, 2 * int(bins / 2**1.5), bins + 5):
                for name in MATLAB_ERRORS:
                    scaling = float(rng.uniform(0.3, 1.0))
                    options = {"interpolation": interpolation}
                    ours = iradon(sinogram, theta, filter=name, frequency_scaling=scaling, output_size=size, **options)
                    plain = definition.iradon(sinogram, theta, name=name, scaling=scaling, size=size, **options)
                    worst = max(worst, float(np.abs(ours - plain).max() / np.abs(plain).max()))
                    count += 1
        yield interpolation, str(count), f"{worst:.1e}"


def time_rows(repeats: int, peer_repeats: int) -> Iterator[Row]:
    study = acquire(canonical_subject())
    order = np.argsort(study.angles_deg)
    acquisition = Acquisition(
        study.projections[order],
        study.angles_deg[order],
        study.pixel_size_mm,
        study.row_size_mm,
        np.full(order.size, study.radius_mm),
    )
    counts = acquisition.projections

    def ours(threads: int) -> Callable[[], object]:
        return lambda: filtered_back_projection(counts, acquisition.angles_deg, pixel_size_mm=PIXEL_MM, threads=threads)

    one = median_seconds(ours(1), repeats)
    peer = None
    if skimage_iradon is not None:
        sinograms = np.ascontiguousarray(counts.transpose(1, 2, 0), np.float64)

        def whole_study() -> None:
            for sinogram in sinograms:
                skimage_iradon(sinogram, acquisition.angles_deg, filter_name="shepp-logan", output_size=BINS)

        peer = median_seconds(whole_study, peer_repeats)
        yield "scikit-image", f"{peer:.2f}", "1"
    yield "ours, one thread", f"{one:.4f}", ratio(peer, one)
    two = median_seconds(ours(2), repeats)
    yield "ours, two threads", f"{two:.4f}", ratio(peer, two)
    plain = median_seconds(lambda: reconstruct(acquisition), repeats)
    corrected = median_seconds(lambda: reconstruct(acquisition, ReconstructConfig(attenuation="chang")), repeats)
    yield "Chang's correction, in addition", f"{corrected - plain:.4f}", ""
    import torch

    if torch.cuda.is_available():
        on_gpu = ReconstructConfig(device="cuda")
        seconds = median_seconds(lambda: reconstruct(acquisition, on_gpu), repeats)
        difference = np.abs(reconstruct(acquisition, on_gpu).data - reconstruct(acquisition).data).max()
        name = torch.cuda.get_device_name()
        yield f"ours, {name} ({difference:.1e} apart)", f"{seconds:.4f}", ratio(peer, seconds)


def ratio(peer: float | None, ours: float) -> str:
    return "" if peer is None else f"{peer / ours:.0f}"


def median_seconds(call: Callable[[], object], repeats: int) -> float:
    """Give the median of several calls, after one that compiles."""
    call()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def flatness_rows() -> Iterator[Row]:
    bins, rows, pixel_mm, radius_mm, centre_mm = 64, 24, 4.0, 85.0, (20.0, -15.0)
    axis_mm = (np.arange(bins) - (bins - 1) / 2) * pixel_mm
    inside = np.hypot(axis_mm[:, None] - centre_mm[0], axis_mm[None, :] - centre_mm[1]) < radius_mm - 12.0

    def values(mu_per_mm: float, **options: Any) -> npt.NDArray[np.float32]:
        projections = cylinder_projections(
            radius_mm, centre_mm, ANGLES_DEG, mu_per_mm=mu_per_mm, bins=bins, rows=rows, pixel_mm=pixel_mm
        )
        acquisition = Acquisition(projections, ANGLES_DEG, pixel_mm, pixel_mm, np.full(VIEWS, 140.0))
        return reconstruct(acquisition, ReconstructConfig(**options)).data[:, :, rows // 2][inside]

    truth = values(0.0).mean()
    for name, options in (("not corrected", {}), ("Chang", {"attenuation": "chang", "attenuation_per_cm": 0.11})):
        found = values(0.011, **options) / truth
        yield name, *(f"{value:.3f}" for value in (found.mean(), found.min(), found.max(), found.std()))


if __name__ == "__main__":
    main()
