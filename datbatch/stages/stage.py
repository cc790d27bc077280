"""What a stage is, and how every stage runs: tasks on workers, results in the ledger, tables folded from it.

A stage says what its results depend on and which tasks make them. The ledger alone says which of them are done. The
runner does the rest: it forgets what is no longer true, runs what is missing, keeps the command's record and its
progress, and folds, also after an interruption.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from datbatch.cohort.cohort import Cohort
from datbatch.cohort.ledger import GranuleKey, Ledger
from datbatch.cohort.record import CommandRecord, recorded_command
from datbatch.cohort.shadow import refresh
from datbatch.config import Config
from datbatch.progress import Progress
from datbatch.workers import driver
from datbatch.workers.cluster_file import ACCELERATOR, IMAGER

Task = TypeVar("Task")
Record = TypeVar("Record")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Where:
    """Where tasks run."""

    cluster: str | None = None
    """Cluster file or address of a running scheduler; by default this machine."""
    workers: int | None = None
    """Worker processes on this machine."""
    quiet: bool = False
    """Whether to show no progress."""


class Keyed(Protocol):
    """A task of one object of the ledger."""

    @property
    def key(self) -> GranuleKey:
        """Identify its object."""

    @property
    def studies(self) -> int:
        """Count its studies."""


KeyedTask = TypeVar("KeyedTask", bound=Keyed)


@dataclass(frozen=True)
class Plan(Generic[Task]):
    """What a stage has to do."""

    digests: Mapping[str, str]
    """Digest of each stage of the ledger that the tasks fill, by its name there."""
    names: Mapping[str, Set[str]]
    """Names of the objects of each of these stages that stay true."""
    pending: Sequence[Task]
    """What is not done, in order."""
    studies: int
    """Studies of the pending tasks."""

    @classmethod
    def of(cls, ledger: Ledger, tasks: Sequence[KeyedTask], *, keep: bool = False) -> Plan[KeyedTask]:
        """Compare tasks of one object each, all of one stage, with the ledger; `keep` other objects of its digest."""
        stage, value = tasks[0].key.stage, tasks[0].key.digest
        done = ledger.names(stage, value)
        damaged = {key.name for key in ledger.damaged([task.key for task in tasks])} if keep else set()
        pending = [task for task in tasks if task.key.name not in done - damaged]
        names = done if keep else {task.key.name for task in tasks}
        return Plan({stage: value}, {stage: names}, pending, sum(task.studies for task in pending))


class Stage(ABC, Generic[Task, Record]):
    """A step of the method. Its task computes on a worker and commits an object to the ledger, last of all."""

    command: str
    """Name of the command, in its record."""
    activity: ClassVar[str] = ""
    """What progress calls it; the command by default."""
    on_accelerator: ClassVar[bool] = False
    """Whether tasks need a worker that holds the accelerator."""

    def __init__(self, cohort: Cohort) -> None:
        self.cohort = cohort

    @abstractmethod
    def plan(self) -> Plan[Task]:
        """Compare what is wanted with what the ledger holds."""

    def facts(self) -> dict[str, Any]:
        """Give what the record needs besides the parameters to redo it."""
        return {}

    def is_folded(self) -> bool:
        """Tell whether the tables are known to follow from the ledger as it is."""
        return False

    @property
    def tables(self) -> Sequence[str]:
        """Name the columns that the fold writes: from the first task on they are behind the ledger."""
        return ()

    def begin(self) -> None:
        """Prepare the store, once the objects that are no longer true are forgotten."""

    @staticmethod
    @abstractmethod
    def run(task: Task) -> Record:
        """Do one task on a worker and commit its object; returns a small record."""

    def on_lost(self, client: Any, task: Task) -> Iterable[Task]:
        """Give the tasks to run in place of one that ended its worker again and again."""
        return [task]

    @abstractmethod
    def note(self, record: Record, progress: Progress) -> None:
        """Count what a task did."""

    def found(self, records: Sequence[Record]) -> dict[str, Any]:
        """Give what the record says at the end."""
        return {}

    @abstractmethod
    def fold(self, *, complete: bool) -> None:
        """Write the tables that follow from the ledger; `complete` where nothing is pending any more."""


def complete(stage: Stage[Task, Record], config: Config, where: Where, *, started: float | None = None) -> list[Record]:
    """Bring a stage to its end: what the ledger holds stays, the rest is computed, the tables are folded.

    Ends early and safely on `KeyboardInterrupt`: what is done stays, and the tables say so.

    Parameters
    ----------
    stage : Stage
        What to do.
    config : Config
        All parameters, for the record.
    where : Where
        Where its tasks run.
    started : float, optional
        When the command began, by `time.monotonic`; now by default.
    """
    cohort, plan = stage.cohort, stage.plan()
    records: list[Record] = []
    called = {"cluster": where.cluster is not None, "workers": where.workers}
    facts = {"stages": dict(plan.digests), **called, **stage.facts()}
    with recorded_command(cohort.path, stage.command, config, started=started, **facts) as record:
        if plan.pending or not stage.is_folded():
            refresh(cohort.store)
            cohort.store.begin(stage.tables)
            for name, digest in plan.digests.items():
                cohort.ledger.retire(name, digest, plan.names[name])
            stage.begin()
            ended = False
            try:
                if plan.pending:
                    _run_tasks(stage, plan, where, records, record)
                ended = True
            finally:
                stage.fold(complete=ended)
        record.note(**stage.found(records))
    return records


def _run_tasks(
    stage: Stage[Task, Record], plan: Plan[Task], where: Where, records: list[Record], record: CommandRecord
) -> None:
    progress = record.watch(Progress(stage.activity or stage.command, plan.studies, quiet=where.quiet))

    def note(ended: Record) -> None:
        records.append(ended)
        stage.note(ended, progress)

    resource = ACCELERATOR if stage.on_accelerator else IMAGER
    with driver.connect(where.cluster, workers=where.workers, resource=resource) as client:
        driver.run_tasks(
            client,
            type(stage).run,
            plan.pending,
            on_record=note,
            on_lost=lambda task: stage.on_lost(client, task),
            on_accelerator=stage.on_accelerator,
            progress=progress,
        )
    progress.close()


class Whole(ABC, Generic[Result]):
    """A step that makes one result of the whole cohort; facts of the ledger say what it is and what it came from."""

    command: ClassVar[str]
    """Name of the command, in its record."""

    def __init__(self, cohort: Cohort, config: Config) -> None:
        self.cohort, self.config = cohort, config

    def standing(self) -> Result | None:
        """Give the result that stands there, made from the same; None where there is none."""
        return None

    def facts(self) -> dict[str, Any]:
        """Give what the record needs besides the parameters to redo it."""
        return {}

    @abstractmethod
    def make(self, record: CommandRecord) -> Result:
        """Make the result and tell it to the ledger; `record` is shown while it is made."""


def settle(step: Whole[Result], *, again: bool = False) -> Result:
    """Give the result of a step: the one that stands there, or a new one, with a record of the command.

    `again` makes it anew even where it stands there.
    """
    found = None if again else step.standing()
    if found is None:
        refresh(step.cohort.store)
        with recorded_command(step.cohort.path, step.command, step.config, **step.facts()) as record:
            found = step.make(record)
    return found
