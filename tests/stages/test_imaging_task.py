"""What a worker and the process of its studies hold and hand to each other."""

import os
from pathlib import Path

import numpy as np
import psutil

from datbatch.archive import Acquisition
from datbatch.config import Config, LimitsConfig
from datbatch.stages import estimate, imaging_task
from datbatch.study import imaging, space
from datbatch.study.imaged import ImagedStudy
from datbatch.workers.losable import call_losable


def peak_bytes(process: int) -> int:
    lines = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def test_projections_are_not_handed_back_to_a_worker_that_has_no_use_for_them(monkeypatch, tmp_path) -> None:
    acquisition = Acquisition(np.ones((4, 3, 2), np.uint16), np.arange(4) * 90.0, 4.0, 4.0, np.full(4, 140.0))
    imaged = ImagedStudy({}, seconds={"read": 1.0}, facts=acquisition.study, acquisition=acquisition)
    monkeypatch.setattr(space, "store_space", lambda store, config: None)
    monkeypatch.setattr(imaging, "image_study", lambda *arguments: imaged)
    found = imaging_task.image_one(imaging_task.StudyTask("study", (), tmp_path, Config(), {}))
    assert found.acquisition is None
    assert (found.seconds, found.facts) == (imaged.seconds, imaged.facts)


def test_the_memory_of_a_sample_counts_the_process_of_its_studies(monkeypatch, tmp_path) -> None:
    limits = LimitsConfig(study_seconds=60.0)
    monkeypatch.setattr(estimate, "image_granule", lambda task: call_losable(abs, -1, limits))
    task = imaging_task.ImagingTask(tmp_path, tmp_path, 0, (), {}, Config())
    memory = estimate.image_sample(task).memory_bytes
    studies = [child.pid for child in psutil.Process().children()]
    assert studies
    assert memory >= 0.95 * (peak_bytes(os.getpid()) + sum(map(peak_bytes, studies)))
