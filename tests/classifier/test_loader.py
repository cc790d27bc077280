"""Studies come in the order of seed and epoch, each once, read one by one."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from datbatch.classifier.loader import Kept, epoch_order, load_groups
from datbatch.errors import GridMismatchError

SHAPE = (3, 4, 5)


class Store:
    """Gives volumes filled with the study's number and notes what was asked for."""

    def __init__(self, odd=None):
        self.asked, self.odd = [], odd

    def __getitem__(self, index):
        self.asked.append(index)
        return np.full((9, 9, 9) if index == self.odd else SHAPE, index, dtype=np.float32)


def loaded(store, order, size):
    groups = [order[start : start + size] for start in range(0, len(order), size)]
    return load_groups(store, groups, shape=SHAPE, device=torch.device("cpu"))


@given(st.integers(1, 30), st.integers(1, 9))
def test_every_study_comes_once_in_order_with_its_own_image(studies, batch_size):
    order = epoch_order(np.arange(studies), seed=3, epoch=1).tolist()
    batches = list(loaded(Store(), order, batch_size))
    assert [float(image[0, 1, 2, 3]) for batch in batches for image in batch] == order
    for batch in batches:
        assert batch.shape[1:] == (1, *SHAPE)
        assert batch.dtype == torch.float32


def test_the_order_depends_on_seed_and_epoch_alone():
    members = np.array([4, 8, 15, 16, 23, 42])
    order = epoch_order(members, seed=1, epoch=2)
    np.random.seed(0)  # noqa: NPY002
    assert (order == epoch_order(members[::-1], seed=1, epoch=2)).all()
    assert sorted(order) == members.tolist()
    others = [epoch_order(members, seed=seed, epoch=epoch) for seed, epoch in ((1, 3), (2, 2))]
    assert all((order != other).any() for other in others)


def test_studies_are_asked_for_one_by_one():
    store = Store()
    list(loaded(store, range(6), 4))
    assert sorted(store.asked) == list(range(6))
    assert all(type(index) is int for index in store.asked)


@given(st.lists(st.integers(0, 7), max_size=40), st.integers(0, 9))
def test_volumes_that_fit_are_read_once_and_the_others_each_time(asked, room):
    store = Store()
    kept = Kept(store, room * 4 * int(np.prod(SHAPE)) + 3)
    assert [float(kept[index][0, 0, 0]) for index in asked] == asked
    stay = list(dict.fromkeys(asked))[:room]
    assert sorted(store.asked) == sorted([*stay, *(index for index in asked if index not in stay)])


def test_a_consumer_that_stops_leaves_no_reads_behind():
    store = Store()
    loader = loaded(store, range(100), 2)
    next(loader)
    loader.close()
    assert len(store.asked) <= 8


def test_a_volume_of_another_grid_is_refused():
    with pytest.raises(GridMismatchError, match="study 1 has a grid"):
        list(loaded(Store(odd=1), range(3), 2))
