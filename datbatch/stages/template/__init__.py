"""A template of the normal brain: from a cohort's own studies, or from simulated ones."""
