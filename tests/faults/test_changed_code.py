"""A stage whose code changed between two runs runs again, and what depends on it; nothing else does."""

from dataclasses import replace

import pytest

from datbatch.cohort.store import Store
from datbatch.config import Config, StoreConfig
from datbatch.stages.imaging import prepare
from datbatch.stages.planning import plan_run
from datbatch.study import imaging as stages


@pytest.mark.parametrize(
    ("changed", "again"),
    [
        ("quantify", ["quantify"]),
        ("register", ["register", "quantify"]),
        ("reconstruct", ["reconstruct", "register", "quantify"]),
    ],
)
def test_a_new_version_of_a_stage_runs_it_and_what_depends_on_it(
    archive, cheap_whole, monkeypatch, changed, again
) -> None:
    config = Config(store=StoreConfig(1))
    manifest = prepare(archive, cheap_whole, config, participants=None, quiet=True)
    assert not plan_run(manifest, cheap_whole, config).pending
    newer = tuple(replace(s, version=s.version + 1) if s.name == changed else s for s in stages.IMAGING)
    monkeypatch.setattr(stages, "IMAGING", newer)
    plan = plan_run(manifest, cheap_whole, config)
    assert {stage.name for stage in plan.stages if stage.studies} == set(again)
    assert len(plan.pending) == len(Store(cheap_whole).studies)
    reasons = {stage.name: stage.reason for stage in plan.stages}
    assert "version" in reasons[changed] or "code" in reasons[changed], reasons[changed]
