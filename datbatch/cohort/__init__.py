"""The cohort store: schema, arrays on disk, the ledger of what is done, and views for xarray.

Nothing is imported here: `datbatch.schema` must stay importable without zarr and xarray.
"""
