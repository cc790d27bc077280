"""What is normal: the normal range of each measure, recovery of cameras, and harmonisation of sites. Arrays alone."""

from datbatch.norms.covariates import Covariates, fit_covariates
from datbatch.norms.harmonise import Harmonisation, fit_harmonisation
from datbatch.norms.kept import KeptRange
from datbatch.norms.measures import FAMILIES, measures
from datbatch.norms.normal_range import NormalRange, Prediction, fit_normal_range
from datbatch.norms.recovery import Recovered, RecoveryTable, read_recovery, recover
from datbatch.norms.warnings import WARNINGS, join_warnings, reconstruction_class

__all__ = [
    "FAMILIES",
    "WARNINGS",
    "Covariates",
    "Harmonisation",
    "KeptRange",
    "NormalRange",
    "Prediction",
    "Recovered",
    "RecoveryTable",
    "fit_covariates",
    "fit_harmonisation",
    "fit_normal_range",
    "join_warnings",
    "measures",
    "read_recovery",
    "reconstruction_class",
    "recover",
]
