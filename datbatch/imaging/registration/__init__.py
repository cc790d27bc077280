"""Affine registration of a study to the template, and how far its result can be trusted."""
