"""The normalisation template, built anew from simulated normal studies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from datbatch.execution.progress import Progress
from datbatch.imaging import build_template
from datbatch.simulation import acquire, canonical_normal, draw_subject
