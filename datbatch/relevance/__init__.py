"""Layer-wise relevance propagation in closed form, and statistics of its maps.

Public names load on first use: imaging, which asks what the sign of a map means, does without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datbatch.relevance.orientation import Orientation, inconsistent, learn_orientation, orienting_studies
    from datbatch.relevance.propagation import Explanation, explain_batch, propagate
    from datbatch.relevance.regions import region_statistics
    from datbatch.relevance.rounding import round_mantissa
    from datbatch.relevance.rules import Rule
    from datbatch.relevance.tables import RULES, check_rules

_HOMES = {
    "orientation": ("Orientation", "inconsistent", "learn_orientation", "orienting_studies"),
    "propagation": ("Explanation", "explain_batch", "propagate"),
    "regions": ("region_statistics",),
    "rounding": ("round_mantissa",),
    "rules": ("Rule",),
    "tables": ("RULES", "check_rules"),
}
__all__ = [
    "RULES", "Explanation", "Orientation", "Rule", "check_rules", "explain_batch", "inconsistent", "learn_orientation",
    "orienting_studies", "propagate", "region_statistics", "round_mantissa",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
