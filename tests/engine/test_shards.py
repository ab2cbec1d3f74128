"""Work in shards: done once, kept, gone on with, and the same whatever the number of jobs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from xai.engine.shards import Kept, work_off
from xai.errors import UsageError


def square(number: int, check: Callable[[], None]) -> dict[str, int]:
    check()
    return {"square": number * number, "threads": torch.get_num_threads()}


@pytest.mark.parametrize("jobs", [1, 2, 5])
def test_every_shard_is_done_once(jobs: int) -> None:
    calls: list[int] = []

    def work(number: int, check: Callable[[], None]) -> dict[str, int]:
        calls.append(number)
        return square(number, check)

    kept = Kept(None, "plan")
    assert sorted(work_off(range(9), work, kept, jobs=jobs, threads=1)) == list(range(9))
    assert sorted(calls) == list(range(9))
    assert [kept[number]["square"] for number in range(9)] == [number**2 for number in range(9)]
    assert {kept[number]["threads"] for number in range(9)} == {1}


def test_threads_are_as_before_afterwards() -> None:
    before = torch.get_num_threads()
    list(work_off(range(3), square, Kept(None, ""), jobs=2, threads=1))
    assert torch.get_num_threads() == before


def test_a_killed_run_does_only_what_is_left(tmp_path: Path) -> None:
    calls: list[int] = []

    def work(number: int, check: Callable[[], None]) -> dict[str, int]:
        if number == 3 and 3 not in calls:
            calls.append(number)
            raise KeyboardInterrupt
        calls.append(number)
        return square(number, check)

    with pytest.raises(KeyboardInterrupt):
        list(work_off(range(6), work, Kept(tmp_path / "shards", "plan"), jobs=1, threads=1))
    assert calls == [0, 1, 2, 3]
    assert sorted(work_off(range(6), work, Kept(tmp_path / "shards", "plan"), jobs=1, threads=1)) == list(range(6))
    assert calls == [0, 1, 2, 3, 3, 4, 5]


def test_another_plan_does_not_go_on(tmp_path: Path) -> None:
    Kept(tmp_path / "shards", "one")
    with pytest.raises(UsageError, match="the beginning of another run"):
        Kept(tmp_path / "shards", "two")


def test_a_failure_stops_the_other_jobs_at_their_next_check() -> None:
    begun, ended = threading.Event(), []

    def work(number: int, check: Callable[[], None]) -> dict[str, int]:
        if number == 0:
            assert begun.wait(10)
            raise ValueError("broken")
        begun.set()
        try:
            while True:
                check()
        except InterruptedError:
            ended.append(number)
            raise
        return {}

    with pytest.raises(ValueError, match="broken"):
        list(work_off(range(4), work, Kept(None, ""), jobs=2, threads=1))
    assert ended == [1]
