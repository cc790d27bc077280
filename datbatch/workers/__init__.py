"""Where functions run: a Dask cluster of any kind, and processes that may be lost. Knows nothing of studies."""
