"""Training learns, can be stopped and continued without a trace, and stops itself where it diverges."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from datbatch.classifier import predict, train_network
from datbatch.classifier.loss import class_weights, target_probabilities
from datbatch.classifier.memory import plan_memory
from datbatch.classifier.train import Epoch, TrainedModel, _learning_rates
from datbatch.config import TrainConfig
from datbatch.errors import ConfigurationError, DivergedError, ModelError, TrainingDataError

SHAPE = (11, 12, 10)
STUDIES = 24
CONFIG = TrainConfig(epochs=4, batch_size=4, learning_rate=3e-4)
NONE_TO_SPARE = plan_memory(SHAPE, CONFIG, processes=1, threads=1).total
"""Every epoch reads its volumes again."""


@pytest.fixture(scope="module")
def cohort():
    """Two classes that differ in the brightness of one of two blobs."""
    rng = np.random.default_rng(0)
    labels = (np.arange(STUDIES) % 2).astype(np.int64)
    images = rng.normal(0.5, 0.1, (STUDIES, *SHAPE)).astype(np.float32)
    images[:, 2:5, 5:8, 4:7] += np.where(labels == 1, 0.5, 2.0)[:, None, None, None]
    images[:, 7:10, 5:8, 4:7] += 2.0
    split = np.array(["train"] * 16 + ["validation"] * 4 + ["test"] * 4)
    return images, labels, split


def train(cohort, **options):
    images, labels, split = cohort
    options = {"shape": SHAPE, "config": CONFIG, "threads": 1} | options
    return train_network(images, labels, split, **options)


def assert_same(one, other):
    assert one.history == other.history
    for name, value in one.network.state_dict().items():
        assert torch.equal(value, other.network.state_dict()[name]), name


def test_the_network_learns_to_tell_two_classes_apart(cohort):
    trained = train(cohort, config=TrainConfig(epochs=30, batch_size=4, learning_rate=3e-4))
    images, labels, _ = cohort
    test = np.arange(20, 24)
    assert (predict(trained.network, images, test, shape=SHAPE).argmax(axis=1) == labels[test]).all()
    assert trained.history[-1].train_loss < 0.2 < trained.history[0].train_loss
    assert trained.history[-1].validation_accuracy == 1.0
    assert not trained.network.training


class StoppedError(Exception):
    """Stands for a killed process."""


def stopping_after(last):
    def stop(epoch, total):
        if epoch.epoch == last:
            raise StoppedError

    return stop


@pytest.mark.parametrize(("after", "schedule"), [(1, "constant"), (3, "cosine")])
def test_a_run_stopped_after_any_epoch_continues_to_the_same_bits(cohort, tmp_path, after, schedule):
    config = replace(CONFIG, schedule=schedule, checkpoint_minutes=0.0)
    uninterrupted = train(cohort, config=config)
    checkpoint = tmp_path / "run.safetensors"
    with pytest.raises(StoppedError):
        train(cohort, checkpoint=checkpoint, progress=stopping_after(after), config=config)
    seen = []
    torch.manual_seed(99)  # the state of the global generator must not matter
    continued = train(
        cohort, checkpoint=checkpoint, progress=lambda epoch, total: seen.append(epoch.epoch), config=config
    )
    assert seen == list(range(after + 1, CONFIG.epochs + 1))
    assert_same(continued, uninterrupted)
    assert list(tmp_path.iterdir()) == [checkpoint]


def test_a_finished_run_is_not_trained_further(cohort, tmp_path):
    checkpoint = tmp_path / "run.safetensors"
    first = train(cohort, checkpoint=checkpoint)
    again = train(cohort, checkpoint=checkpoint, progress=lambda *_: pytest.fail("an epoch was run again"))
    assert_same(again, first)


def test_a_checkpoint_of_other_parameters_is_not_continued(cohort, tmp_path):
    checkpoint = tmp_path / "run.safetensors"
    train(cohort, checkpoint=checkpoint, config=TrainConfig(epochs=1, batch_size=4, seed=2))
    assert train(cohort, checkpoint=checkpoint).history == train(cohort).history


def test_a_damaged_checkpoint_is_refused_not_used(cohort, tmp_path):
    checkpoint = tmp_path / "run.safetensors"
    train(cohort, checkpoint=checkpoint, config=TrainConfig(epochs=1, batch_size=4))
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    with pytest.raises(ModelError, match="damaged"):
        train(cohort, checkpoint=checkpoint)


def test_training_disturbs_neither_torchs_generator_nor_its_threads(cohort):
    torch.manual_seed(3)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    train(cohort, config=TrainConfig(epochs=1, batch_size=4))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_a_loss_that_is_no_number_stops_names_the_studies_and_keeps_the_last_checkpoint(cohort, tmp_path):
    images, labels, split = cohort
    checkpoint = tmp_path / "run.safetensors"
    broken = list(images)

    def break_study_seven(epoch, total):
        broken[7] = np.full(SHAPE, np.nan, dtype=np.float32)

    config = replace(CONFIG, checkpoint_minutes=0.0)
    options = {"checkpoint": checkpoint, "progress": break_study_seven, "memory_bytes": NONE_TO_SPARE}
    with pytest.raises(DivergedError, match=r"epoch 2 .* positions .*\b7\b") as raised:
        train((broken, labels, split), config=config, **options)
    assert len(raised.value.reason.split("positions ")[1].split(", ")) == CONFIG.batch_size
    assert all(torch.isfinite(value).all() for value in load_file(checkpoint).values())
    mended = train(cohort, config=config, checkpoint=checkpoint)
    assert mended.history == train(cohort).history


def test_a_training_set_of_one_class_is_refused(cohort):
    images, labels, split = cohort
    with pytest.raises(TrainingDataError, match="no positive study"):
        train_network(images, np.zeros_like(labels), split, shape=SHAPE, config=CONFIG)
    unlabelled = np.where(labels == 0, -1, labels)
    with pytest.raises(TrainingDataError, match="no negative study"):
        train_network(images, unlabelled, split, shape=SHAPE, config=CONFIG)


def test_without_validation_studies_there_is_no_validation_loss(cohort):
    images, labels, split = cohort
    config = TrainConfig(epochs=1, batch_size=4)
    trained = train((images, labels, np.where(split == "validation", "", split)), config=config)
    assert trained.history == (Epoch(1, trained.history[0].train_loss, None, None),)


def test_test_studies_are_never_read(cohort):
    images, labels, split = cohort

    class Guarded:
        def __getitem__(self, index):
            assert split[index] != "test"
            return images[index]

    train((Guarded(), labels, split), config=TrainConfig(epochs=1, batch_size=4))


def test_a_cosine_schedule_falls_from_the_full_step_to_nearly_none():
    config = replace(CONFIG, schedule="cosine", epochs=3)
    rates = [rate for epoch in (1, 2, 3) for rate in _learning_rates(config, epoch, 4)]
    expected = config.learning_rate * (1 + np.cos(np.pi * np.arange(12) / 12)) / 2
    np.testing.assert_allclose(rates, expected)
    assert _learning_rates(CONFIG, 2, 3) == [CONFIG.learning_rate] * 3


def test_a_run_stopped_within_an_epoch_continues_to_the_same_bits(cohort, tmp_path):
    uninterrupted = train(cohort)
    checkpoint = tmp_path / "run.safetensors"
    images, labels, split = cohort
    read = []

    class Failing:
        """A store that fails while the third epoch is being read."""

        def __getitem__(self, index):
            read.append(index)
            if len(read) > 2 * 20 + 13:
                raise StoppedError
            return images[index]

    config = replace(CONFIG, checkpoint_minutes=0.0)
    with pytest.raises(StoppedError):
        train((Failing(), labels, split), config=config, checkpoint=checkpoint, memory_bytes=NONE_TO_SPARE)
    with safe_open(checkpoint, framework="pt") as stored:
        position = json.loads(stored.metadata()["position"])
    assert len(position["history"]) == 2
    assert 0 < position["step"] < 4
    assert_same(train(cohort, config=config, checkpoint=checkpoint), uninterrupted)


def test_before_a_checkpoint_is_due_none_is_written(cohort, tmp_path):
    checkpoint = tmp_path / "run.safetensors"
    with pytest.raises(StoppedError):
        train(cohort, checkpoint=checkpoint, progress=stopping_after(3))
    assert not checkpoint.exists()
    train(cohort, checkpoint=checkpoint)
    assert checkpoint.exists()


@pytest.mark.parametrize(("batch_size", "micro_batch"), [(0, 2), (8, 0)])
def test_a_batch_without_studies_is_refused(cohort, batch_size, micro_batch):
    with pytest.raises(ConfigurationError, match="at least 1"):
        train(cohort, config=replace(CONFIG, batch_size=batch_size, micro_batch=micro_batch))


def test_the_number_of_threads_leaves_no_trace_in_the_weights(cohort):
    assert_same(train(cohort, threads=1), train(cohort, threads=3))


def test_bfloat16_products_learn_as_float32_ones_do(cohort):
    config = replace(CONFIG, epochs=8)
    exact, rounded = train(cohort, config=config), train(cohort, config=replace(config, precision="bfloat16"))
    assert exact.history != rounded.history
    assert rounded.history[-1].train_loss == pytest.approx(exact.history[-1].train_loss, abs=0.1)
    assert all(value.dtype == torch.float32 for value in rounded.network.state_dict().values())


def test_balanced_weights_give_each_class_the_same_sum_over_the_studies():
    labels = np.array([0] * 6 + [1] * 2)
    balanced = class_weights("balanced", labels)
    assert (balanced * torch.tensor([6, 2])).tolist() == [4.0, 4.0]
    assert class_weights("none", labels).tolist() == [1.0, 1.0]


def test_a_diverged_batch_is_named_by_the_pseudonyms_of_its_studies(cohort):
    _, labels, split = cohort
    broken = [np.full(SHAPE, np.nan, dtype=np.float32)] * STUDIES
    names = [f"pseudonym-{index}" for index in range(STUDIES)]
    with pytest.raises(DivergedError, match=r"studies (pseudonym-\d+(, )?){4} "):
        train((broken, labels, split), names=names)


def test_soft_labels_are_the_readers_votes_and_the_label_where_nobody_voted(cohort):
    share = np.array([0.25, np.nan, 1.0])
    expected = [[0.75, 0.25], [0.0, 1.0], [0.0, 1.0]]
    np.testing.assert_allclose(target_probabilities(np.array([0, 1, 1]), share), expected)
    _, labels, _ = cohort
    voted = np.where(labels == 1, 0.8, 0.2)
    config = replace(CONFIG, epochs=1)
    assert train(cohort, config=config).history != train(cohort, config=config, positive_share=voted).history


def test_augmented_volumes_train_other_weights_and_validate_on_the_volumes_as_they_are(cohort):
    config = replace(CONFIG, epochs=1, augment_blur_fwhm_mm=6.0, augment_noise=0.1)
    one, same = train(cohort, config=config), train(cohort, config=config)
    assert one.history == same.history
    assert one.history != train(cohort, config=replace(CONFIG, epochs=1)).history


def test_overfitting_begins_after_the_least_loss_of_the_validation_studies():
    def history(*losses):
        return TrainedModel(None, tuple(Epoch(n + 1, 0.1, loss, 0.9) for n, loss in enumerate(losses)))

    assert history(0.9, 0.5, 0.6, 0.7).overfitting_since == 3
    assert history(0.9, 0.5, 0.4).overfitting_since is None
    assert history(None, None).overfitting_since is None
