"""Layer-wise relevance propagation in closed form, and statistics of its maps."""

from datbatch.relevance.orientation import Orientation, inconsistent, learn_orientation, orienting_studies
from datbatch.relevance.propagate import Explanation, explain_batch, propagate
from datbatch.relevance.regions import region_statistics
from datbatch.relevance.rounding import round_mantissa
from datbatch.relevance.rules import Rule
from datbatch.relevance.tables import RULES, check_rules

__all__ = [
    "RULES",
    "Explanation",
    "Orientation",
    "Rule",
    "check_rules",
    "explain_batch",
    "inconsistent",
    "learn_orientation",
    "orienting_studies",
    "propagate",
    "region_statistics",
    "round_mantissa",
]
