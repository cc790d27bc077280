"""Per-study numerics, pure, numpy in and numpy out: reconstruct, register, resample, quantify; regions and template."""

from datbatch.imaging.agreement import binding_flags
from datbatch.imaging.atlas import (
    Atlas,
    analytic_atlas,
    atlas_from_labels,
    large_volume_masks,
)
from datbatch.imaging.atlas_file import read_atlas, write_labels
from datbatch.imaging.binding import Binding, measure_binding
from datbatch.imaging.projections.quality import ProjectionQuality, assess_projections
from datbatch.imaging.quality_limits import WITHOUT_FIGURE, beyond_limits, with_limits
from datbatch.imaging.quantify import (
    Quantification,
    hottest_voxels_mean,
    normal_side_ratio,
    quantify,
    scale_to_reference,
    specific_binding_ratio,
)
from datbatch.imaging.reconstruction.backprojection import filtered_back_projection
from datbatch.imaging.reconstruction.inverse_radon import iradon
from datbatch.imaging.reconstruction.reconstruct import reconstruct
from datbatch.imaging.registration.register import Registration, register_affine
from datbatch.imaging.resample import mirror, resample
from datbatch.imaging.template import (
    build_template,
    load_template,
    read_template,
    template_on_grid,
    write_template,
)
from datbatch.imaging.volume import Volume

__all__ = [
    "WITHOUT_FIGURE",
    "Atlas",
    "Binding",
    "ProjectionQuality",
    "Quantification",
    "Registration",
    "Volume",
    "analytic_atlas",
    "assess_projections",
    "atlas_from_labels",
    "beyond_limits",
    "binding_flags",
    "build_template",
    "filtered_back_projection",
    "hottest_voxels_mean",
    "iradon",
    "large_volume_masks",
    "load_template",
    "measure_binding",
    "mirror",
    "normal_side_ratio",
    "quantify",
    "read_atlas",
    "read_template",
    "reconstruct",
    "register_affine",
    "resample",
    "scale_to_reference",
    "specific_binding_ratio",
    "template_on_grid",
    "with_limits",
    "write_labels",
    "write_template",
]
