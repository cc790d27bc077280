"""Reprocess whole archives of DAT-SPECT studies and explain a classifier's decision for each.

Research software, not a medical device.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "open_cohort": "datbatch.accessor",
    "explain_study": "datbatch.study.explain",
    "DatbatchError": "datbatch.errors",
    "Config": "datbatch.config",
}
__all__ = ["Config", "DatbatchError", "__version__", "explain_study", "open_cohort"]

if TYPE_CHECKING:
    from datbatch.accessor import open_cohort
    from datbatch.config import Config
    from datbatch.errors import DatbatchError
    from datbatch.study.explain import explain_study


def __getattr__(name: str) -> Any:
    # Loaded on first use: importing torch or xarray here would make `datbatch --help` wait for seconds.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'datbatch' has no attribute {name!r}")
