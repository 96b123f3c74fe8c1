from typing import Any

import pytest

from cluster.memory_plan import (
    PROCESS_BYTES,
    SMALLEST_STORE_BYTES,
    STORE_SLACK,
    Machine,
    MemoryPlan,
    check_plan,
    plan_memory,
    trainer_bytes,
)
from shared.active_configs import TopKConfig
from shared.config import Job
from shared.errors import UserError
from shared.penalty_configs import ReluL1Config

GIB = 2**30
WIDTHS = {"h.0": 768}
ROW_BYTES = 20 + 4 * 768
WEIGHT_BYTES = 500 * 2**20


def job(num_trainers: int = 1, **changes: Any) -> Job:
    trainers = [
        {"name": f"t{index}", "architecture": "topk", "num_latents": 4096, "k": 32} for index in range(num_trainers)
    ]
    raw = {"name": "a", "model": {"name": "m", "hookpoints": ["h.0"]}, "corpus": {"source": "stdlib"}, "tokens": 10**6}
    return Job.model_validate({**raw, "trainers": trainers, **changes})


def plan(num_trainers: int = 1, **changes: Any) -> MemoryPlan:
    return plan_memory(job(num_trainers, **changes), WIDTHS, ROW_BYTES, WEIGHT_BYTES)


def test_reservoir_is_the_greater_part_of_a_lane() -> None:
    small, large = plan(stream={"buffer_rows": 100_000}), plan(stream={"buffer_rows": 200_000})
    assert large.lanes_bytes - small.lanes_bytes == 100_000 * ROW_BYTES
    assert plan(stream={"buffer_rows": 100_000, "lanes": 3, "window_units": 3}).lanes_bytes == 3 * small.lanes_bytes


def test_store_holds_logs_pushes_and_blocks_that_trainers_read() -> None:
    def store(num_trainers: int = 1, lanes: int = 1) -> int:
        return plan(num_trainers, stream={"lanes": lanes, "log_bytes": "1GiB", "block_rows": 8192}).store_bytes

    assert store() > STORE_SLACK * GIB
    assert store(lanes=2) - store() == pytest.approx(STORE_SLACK * GIB, abs=2)
    assert store(num_trainers=2) - store() == pytest.approx(STORE_SLACK * 4 * 8192 * ROW_BYTES, abs=2)


def test_an_evaluator_takes_memory_only_where_one_is_asked_for() -> None:
    def evaluator(num_trainers: int = 1, **evaluation: int) -> int:
        job_of = job(num_trainers, evaluation=evaluation)
        return plan_memory(job_of, WIDTHS, ROW_BYTES, WEIGHT_BYTES, vocab_size=50_000).evaluator_bytes

    assert evaluator() == 0
    asked = evaluator(every_blocks=10)
    assert asked > 2 * WEIGHT_BYTES + 3 * 4 * 16 * 128 * 50_000
    assert evaluator(2, every_blocks=10) - asked == 8 * 4096 * 768
    assert evaluator(every_blocks=10, contexts_per_forward=32) - asked == 3 * 4 * 16 * 128 * 50_000
    assert evaluator(every_blocks=10, gpus=1) < asked - 3 * 4 * 16 * 128 * 50_000
    whole = plan_memory(job(evaluation={"every_blocks": 10}), WIDTHS, ROW_BYTES, WEIGHT_BYTES)
    assert "evaluator" in whole.summary and "evaluator" not in plan().summary
    assert whole.total_bytes == plan().total_bytes + whole.evaluator_bytes


def test_log_holds_two_blocks_at_least() -> None:
    tiny = plan(stream={"log_bytes": 1, "block_rows": 65536})
    assert tiny.store_bytes > STORE_SLACK * 2 * 65536 * ROW_BYTES


def test_store_is_never_smaller_than_ray_takes() -> None:
    narrow = plan_memory(job(stream={"log_bytes": 1, "block_rows": 16}), {"h.0": 4}, 36, 1000)
    assert narrow.store_bytes == SMALLEST_STORE_BYTES


def test_each_producer_has_a_model() -> None:
    stream = {"window_units": 3}
    one, four = plan(stream=stream), plan(stream=stream, producers={"count": 4})
    assert four.producers_bytes == 4 * one.producers_bytes > 4 * WEIGHT_BYTES


def test_trainer_takes_sixteen_bytes_for_each_weight() -> None:
    def bytes_of(num_latents: int) -> int:
        return trainer_bytes(TopKConfig(name="a", architecture="topk", num_latents=num_latents, k=8, batch_rows=1), 768)

    assert (bytes_of(20_000) - bytes_of(10_000)) / (10_000 * 2 * 768) == pytest.approx(16, rel=0.01)


def test_trainer_on_a_gpu_takes_memory_for_what_it_saves_alone() -> None:
    def bytes_of(gpus: float, batch_rows: int = 4096) -> int:
        config = ReluL1Config(name="a", architecture="relu_l1", num_latents=10_000, batch_rows=batch_rows, gpus=gpus)
        return trainer_bytes(config, 768)

    assert bytes_of(1) == bytes_of(0.5, batch_rows=1) < bytes_of(0)
    assert bytes_of(1) - PROCESS_BYTES == pytest.approx(12 * 2 * 768 * 10_000, rel=0.01)


def test_lane_has_address_space_for_units_ahead() -> None:
    sizes = plan(stream={"buffer_rows": 100_000, "window_units": 5}).lane
    assert sizes.num_slots > 100_000 + sizes.chunk_rows + 5 * 256 * 128


def test_plan_that_fits_is_let_through() -> None:
    fits = plan()
    check_plan(fits, Machine(fits.total_bytes, fits.store_bytes))


def test_too_little_shared_memory_names_the_keys() -> None:
    with pytest.raises(UserError, match=r"of shared memory and /dev/shm has 64\.0 MiB: lower stream\.log_bytes"):
        check_plan(plan(), Machine(1000 * GIB, 64 * 2**20))


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"stream": {"buffer_rows": 10**9}}, "stream.buffer_rows"),
        ({"producers": {"count": 500}}, "producers.count"),
        ({"num_trainers": 200}, "trainers' num_latents or their number"),
        ({"stream": {"log_bytes": "900GiB"}}, "stream.log_bytes"),
    ],
)
def test_too_little_memory_names_the_key_that_takes_most(changes: dict[str, Any], key: str) -> None:
    too_much = plan(**changes)
    with pytest.raises(UserError) as caught:
        check_plan(too_much, Machine(2 * GIB, 10**15))
    assert str(caught.value).endswith(f"this machine has 2.0 GiB free: lower {key}")
    assert too_much.summary in str(caught.value)
