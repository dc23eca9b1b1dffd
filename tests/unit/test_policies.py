"""Timeouts and retries: every preset ends, and the gaps between attempts stay within bounds."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from temporalio.workflow import ActivityConfig

from models import policies
from models.errors import PERMANENT, TEMPORARY, ErrorType
from models.names import TaskQueue
from models.settings import Settings

PRESETS = {
    "store": policies.STORE_WORK,
    "read": policies.READ,
    "ask": policies.ASK_SERVER,
    "open": policies.OPEN_MAILBOX,
    "transmit": policies.transmit(30, 600),
    "mailbox": policies.mailbox(30, 86_400),
}


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_every_preset_ends(preset: ActivityConfig) -> None:
    assert preset["start_to_close_timeout"] is not None
    assert TaskQueue(str(preset["task_queue"]))
    policy = preset["retry_policy"]
    assert policy is not None
    once = policy.maximum_attempts == 1
    assert once or preset["schedule_to_close_timeout"] is not None


def test_a_transmission_is_never_repeated_by_temporal() -> None:
    preset = policies.transmit(5, 100)
    assert preset["retry_policy"] is not None
    assert preset["retry_policy"].maximum_attempts == 1
    assert preset["heartbeat_timeout"] == timedelta(seconds=5)


def test_permanent_errors_are_not_retried() -> None:
    for preset in (policies.STORE_WORK, policies.READ, policies.ASK_SERVER):
        policy = preset["retry_policy"]
        assert policy is not None
        assert set(PERMANENT) <= set(policy.non_retryable_error_types or ())
        assert ErrorType.STORE_UNAVAILABLE not in (policy.non_retryable_error_types or ())
    assert set(PERMANENT).isdisjoint(TEMPORARY)
    assert len(PERMANENT) + len(TEMPORARY) == len(ErrorType)


def test_callbacks_share_one_execution_timeout() -> None:
    policy = policies.callback_retry(3, 0.5)
    assert policy.maximum_attempts == 3
    assert policy.initial_interval == timedelta(seconds=0.5)


DELAYS = st.lists(st.floats(min_value=0.1, max_value=10_000), min_size=1, max_size=8)


@given(
    attempts=st.integers(1, 1000),
    delays=DELAYS,
    jitter=st.floats(0, 0.5),
    cap=st.floats(1, 10_000),
    hint=st.none() | st.floats(0, 100_000),
    seed=st.integers(),
)
def test_gaps_stay_within_bounds(
    attempts: int, delays: list[float], jitter: float, cap: float, hint: float | None, seed: int
) -> None:
    gap = policies.next_send_delay(
        attempts, delays, jitter=jitter, cap=cap, hint=hint, rng=random.Random(seed)
    ).total_seconds()
    base = delays[min(attempts, len(delays)) - 1]
    close = 1e-5
    assert gap <= cap + close
    assert gap >= min(base * (1 - jitter), cap) - close
    # A server's hint is obeyed, but it cannot park a mail.
    assert gap >= min(hint or 0, cap) - close
    assert gap <= max(base * (1 + jitter), hint or 0) + close


def test_the_last_gap_repeats() -> None:
    gaps = [
        policies.next_send_delay(
            n, [60, 300], jitter=0, cap=4000, hint=None, rng=random.Random(1)
        ).total_seconds()
        for n in (1, 2, 3, 50)
    ]
    assert gaps == [60, 300, 300, 300]


def test_jitter_spreads() -> None:
    rng = random.Random(7)
    gaps = {
        policies.next_send_delay(1, [100], jitter=0.2, cap=4000, hint=None, rng=rng)
        for _ in range(50)
    }
    assert len(gaps) == 50
    assert min(gaps) < timedelta(seconds=90)
    assert max(gaps) > timedelta(seconds=110)


def test_the_default_gaps() -> None:
    settings = Settings()
    assert settings.retry_delays_seconds == [60, 120, 300, 600, 900, 1800, 3600]
    rng = random.Random(3)
    gaps = [
        policies.next_send_delay(
            n,
            settings.retry_delays_seconds,
            jitter=settings.retry_jitter,
            cap=settings.max_retry_delay_seconds,
            hint=None,
            rng=rng,
        ).total_seconds()
        for n in range(1, 200)
    ]
    assert max(gaps) <= 3900, "with an attempt of a minute, no gap above 4,000 s"
