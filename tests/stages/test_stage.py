"""A stage is one class: the runner does what the ledger lacks, and folds whatever happens."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from datbatch.cohort.cohort import Cohort
from datbatch.cohort.ledger import GranuleKey, Ledger, Row
from datbatch.cohort.store import Store
from datbatch.config import Config
from datbatch.errors import DONE
from datbatch.progress import Progress
from datbatch.stages.stage import Plan, Stage, Where, complete


@dataclass(frozen=True)
class Letters:
    """A task: the letters of one name."""

    store: Path
    name: str
    key: GranuleKey
    studies: int = 1


class Spell(Stage[Letters, int]):
    """All that a new stage needs to say."""

    command = "spell"

    def __init__(self, cohort: Cohort, names: Iterable[str], digest: str = "1") -> None:
        super().__init__(cohort)
        self.folded: list[bool] = []
        self._tasks = [
            Letters(Path(str(cohort.path)), name, GranuleKey("spell", digest, number, "0a"))
            for number, name in enumerate(names)
        ]

    def plan(self) -> Plan[Letters]:
        return Plan.of(self.cohort.ledger, self._tasks)

    @staticmethod
    def run(task: Letters) -> int:
        if not task.name:
            raise KeyboardInterrupt
        Ledger(task.store).commit(task.key, [Row(task.name, DONE, values={"letters": len(task.name)})])
        return len(task.name)

    def note(self, record: int, progress: Progress) -> None:
        progress.advance()

    def fold(self, *, complete: bool) -> None:
        self.folded.append(complete)
        rows = self.cohort.ledger.rows([task.key for task in self._tasks])
        self.cohort.store.set_attributes({"letters": sum(row.values["letters"] for row in rows)})


@pytest.fixture
def cohort(tmp_path: Path, inline: list[str]) -> Cohort:
    """An empty store, and a driver that runs tasks here."""
    Store.create(tmp_path / "cohort.zarr", granule_studies=2)
    return Cohort(tmp_path / "cohort.zarr")


def call(stage: Spell) -> list[int]:
    return complete(stage, Config(), Where(quiet=True))


def test_what_the_ledger_holds_is_not_done_again(cohort) -> None:
    assert call(Spell(cohort, ["caudate", "putamen"])) == [7, 7]
    assert call(Spell(cohort, ["caudate", "putamen", "pons"])) == [4]
    assert cohort.store.attributes["letters"] == 18
    (first, _) = cohort.runs.read()
    assert (first["command"], first["outcome"], first["stages"]) == ("spell", "finished", {"spell": "1"})


def test_what_is_no_longer_true_is_forgotten_before_anything_is_done(cohort) -> None:
    call(Spell(cohort, ["caudate", "putamen"]))
    assert call(Spell(cohort, ["pons"], digest="2")) == [4]
    assert cohort.ledger.stages() == [("spell", "2")]
    assert cohort.store.attributes["letters"] == 4


def test_an_interrupted_stage_is_folded_as_far_as_it_came_and_resumed(cohort) -> None:
    stopped = Spell(cohort, ["caudate", "", "pons"])
    with pytest.raises(KeyboardInterrupt):
        call(stopped)
    assert stopped.folded == [False]
    assert cohort.store.attributes["letters"] == 7
    assert cohort.runs.read()[-1]["outcome"] == "interrupted"
    resumed = Spell(cohort, ["caudate", "putamen", "pons"])
    assert call(resumed) == [7, 4]
    assert resumed.folded == [True]
