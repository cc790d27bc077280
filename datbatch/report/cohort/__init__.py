"""The report of a cohort: one page, and a folder of its figures and tables."""
