"""A run on a real S3 server, from archive to repaired store, as a user calls it."""

import xarray as xr

from datbatch import location
from datbatch.cohort.views.query import open_cohort
from tests.pipeline import call_command, copy_studies, write_config


def test_a_cohort_on_s3_equals_that_on_disk_and_is_repaired(
    s3, archive, cohort, studies_that_went_well, tmp_path
) -> None:
    part = tmp_path / "part"
    copy_studies(archive, studies_that_went_well[:5], part)
    # Another one is broken: it must fail there, too.
    location.write(s3 / "archive" / "broken.dcm", b"no image")
    for name in location.names(part):
        location.write(s3 / "archive" / name, (part / name).read_bytes())
    store = s3 / "cohort.zarr"
    options = ("--config", write_config(tmp_path / "config.toml"), "--workers", 1)
    assert call_command("run", s3 / "archive", store, *options, expect=3)["processed"] > 0
    assert call_command("run", s3 / "archive", store, *options, expect=3)["processed"] == 0

    # Another key gives other pseudonyms in another order: what is stored is compared as a set.
    def sorted_uptake(tree: xr.DataTree) -> list[float]:
        means = tree.uptake.mean(("x", "y", "z")).values
        return sorted(float(mean) for mean in means if mean == mean)

    expected = sorted_uptake(open_cohort(store))
    assert len(expected) == 5
    assert set(expected) <= set(sorted_uptake(open_cohort(cohort)))

    first = next(name for name in location.names(store) if name.startswith("uptake/c"))
    location.remove(store / first)
    assert call_command("verify", store, expect=1)["damages"]
    call_command("verify", store, "--repair", "--workers", 1)
    call_command("verify", store)
    assert sorted_uptake(open_cohort(store)) == expected
