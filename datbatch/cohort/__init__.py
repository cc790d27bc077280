"""The cohort store: schema, arrays on disk, the ledger of what is done, and the views that people read it by.

Nothing is imported here: `datbatch.schema` must stay importable without zarr and xarray.
"""
