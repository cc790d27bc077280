"""What is sent over a channel arrives as it was, arrays without copies, and an end that closes is noticed."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from datbatch.workers.channel import Channel

ARRAYS = hnp.arrays(
    st.sampled_from([np.float32, np.float64, np.uint8, np.bool_, np.int16]), hnp.array_shapes(min_dims=0, min_side=0)
)


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    both = [Channel(end) for end in socket.socketpair()]
    yield both[0], both[1]
    for end in both:
        end.close()


@given(values=st.lists(ARRAYS, max_size=3), turned=st.booleans(), text=st.text())
def test_what_arrives_is_what_was_sent(values: list[np.ndarray], turned: bool, text: str) -> None:
    sent = [value.T[..., ::2] if turned and value.ndim else value for value in values]
    first, second = (Channel(end) for end in socket.socketpair())
    first.send((text, {"arrays": sent}))
    name, content = second.receive(5.0)
    first.close()
    second.close()
    assert name == text
    for before, after in zip(sent, content["arrays"], strict=True):
        assert before.dtype == after.dtype
        np.testing.assert_array_equal(before, after)
        after[...] = 0


def test_more_than_the_socket_holds_comes_whole_and_in_order(ends: tuple[Channel, Channel]) -> None:
    volumes = [np.random.default_rng(n).normal(size=(91, 109, 63)).astype(np.float32) for n in range(5)]

    def send() -> None:
        for volume in volumes:
            ends[0].send({"volume": volume})

    sender = threading.Thread(target=send)
    sender.start()
    for volume in volumes:
        np.testing.assert_array_equal(ends[1].receive(30.0)["volume"], volume)
    sender.join()


def test_nothing_in_time_is_told_apart_from_a_closed_end(ends: tuple[Channel, Channel]) -> None:
    with pytest.raises(TimeoutError):
        ends[1].receive(0.05)
    ends[0].close()
    with pytest.raises(EOFError):
        ends[1].receive()


def test_an_end_that_closes_in_the_middle_is_noticed() -> None:
    sender, receiver = socket.socketpair()
    # One part of 100 bytes was promised, ten came.
    sender.sendall((1).to_bytes(8, "little") + (100).to_bytes(8, "little") + b"0123456789")
    sender.close()
    end = Channel(receiver)
    with pytest.raises(EOFError):
        end.receive()
    end.close()
