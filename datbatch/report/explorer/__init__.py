"""The cohort explorer: a folder of static files in which a whole cohort is looked at in a browser, offline."""

from datbatch.report.explorer.columns import Column
from datbatch.report.explorer.folder import Explorer, size_beforehand, write_columns, write_explorer

__all__ = ["Column", "Explorer", "size_beforehand", "write_columns", "write_explorer"]
