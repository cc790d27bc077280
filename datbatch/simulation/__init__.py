"""Studies with known truth, from anatomy and physics to real DICOM files.

Shares no code with what reads and reconstructs: an error on one side cannot cancel on the other.
"""

from datbatch.simulation.acquisition import project_points
from datbatch.simulation.archive import identity_canaries, read_truth, simulate_archive, truth_path
from datbatch.simulation.examination import (
    SimulatedStudy,
    Truth,
    acquire,
    canonical_normal,
    canonical_subject,
    simulate_study,
)
from datbatch.simulation.nuclear_medicine import StudyHeader, study_header, write_projections, write_study
from datbatch.simulation.population import Pose, Subject, draw_subject
from datbatch.simulation.readers import consensus, draw_reads
from datbatch.simulation.sites import SITES, Convention, Site, site_named, view_angles

__all__ = [
    "SITES",
    "Convention",
    "Pose",
    "SimulatedStudy",
    "Site",
    "StudyHeader",
    "Subject",
    "Truth",
    "acquire",
    "canonical_normal",
    "canonical_subject",
    "consensus",
    "draw_reads",
    "draw_subject",
    "identity_canaries",
    "project_points",
    "read_truth",
    "simulate_archive",
    "simulate_study",
    "site_named",
    "study_header",
    "truth_path",
    "view_angles",
    "write_projections",
    "write_study",
]
