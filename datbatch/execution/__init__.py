"""Stages on a Dask cluster: what runs where, how it resumes, and one study without any cluster."""
