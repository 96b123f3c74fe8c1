import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.placement import Reservation, fit, idle_gpus, shortage, wanted, wanted_collectors
from shared.errors import UserError
from shared.job_file import parse_job

SIX = {f"trainer-{index}": Reservation(1.0, 0.0) for index in range(6)}


def test_six_actors_start_on_two_cpus() -> None:
    fitted = fit(SIX, cpus=2.0, gpus=0.0)
    assert sum(one.cpus for one in fitted.values()) <= 2.0
    assert all(one.cpus > 0.3 for one in fitted.values())


def test_what_fits_stays_as_asked() -> None:
    assert fit(SIX, cpus=8.0, gpus=0.0) == SIX


def test_too_few_gpus_are_refused() -> None:
    with pytest.raises(UserError, match="asks for 2 GPUs and there are 1"):
        fit({"a": Reservation(1, 1), "b": Reservation(1, 1)}, cpus=2.0, gpus=1.0)


def test_what_others_hold_is_named() -> None:
    assert shortage(SIX, free_cpus=6.0, free_gpus=0.0) is None
    waiting = shortage({"a": Reservation(2, 1)}, free_cpus=0.5, free_gpus=0.0)
    assert waiting is not None and "CPUs (2 wanted, 0.5 free) and GPUs (1 wanted, 0 free)" in waiting


def test_gpus_that_nobody_uses_are_named() -> None:
    text = (
        "{name: a, model: {name: m, hookpoints: [h]}, corpus: {source: stdlib}, tokens: 10, producers: {gpus: %s}, "
        "trainers: [{name: t, architecture: topk, num_latents: 8, k: 1}]}"
    )
    without, using = parse_job(text % "0"), parse_job(text % "0.5")
    assert idle_gpus(without, 0.0) is None and idle_gpus(using, 1.0) is None
    assert (idle_gpus(without, 1.0) or "").startswith("there is 1 GPU and producers.gpus is 0")
    assert (idle_gpus(without, 8.0) or "").startswith("there are 8 GPUs")


def test_an_evaluator_has_a_place_where_one_is_asked_for() -> None:
    text = (
        "{name: a, model: {name: m, hookpoints: [h]}, corpus: {source: stdlib}, tokens: 10, "
        "trainers: [{name: t, architecture: topk, num_latents: 8, k: 1}], evaluation: {gpus: 0.5, cpus: 2%s}}"
    )
    assert "evaluator" not in wanted(parse_job(text % ""))
    assert wanted(parse_job(text % ", every_blocks: 10"))["evaluator"] == Reservation(2, 0.5)


def test_job_says_what_each_role_gets() -> None:
    job = parse_job(
        "{name: a, model: {name: m, hookpoints: [h]}, corpus: {source: stdlib}, tokens: 10, "
        "producers: {count: 2, gpus: 1, cpus: 3}, stream: {lanes: 2}, "
        "trainers: [{name: t, architecture: topk, num_latents: 8, k: 1, gpus: 0.5, cpus: 2}]}"
    )
    assert wanted(job) == {
        "lane-0": Reservation(1, 0),
        "lane-1": Reservation(1, 0),
        "producer-0": Reservation(3, 1),
        "producer-1": Reservation(3, 1),
        "trainer-t": Reservation(2, 0.5),
    }


def test_collectors_are_placed_as_producers_are() -> None:
    job = parse_job(
        "{name: a, model: {name: m, hookpoints: [h]}, corpus: {source: stdlib}, tokens: 10, "
        "producers: {count: 2, gpus: 0.5, cpus: 3}, trainers: [{name: t, architecture: topk, num_latents: 8, k: 1}]}"
    )
    three = wanted_collectors(job, 3)
    assert three == {f"collector-{index}": Reservation(3, 0.5) for index in range(3)}
    with pytest.raises(UserError, match=r"asks for 1\.5 GPUs and there are 1: lower --collectors$"):
        fit(three, cpus=9.0, gpus=1.0, gpu_advice="lower --collectors")


def test_parts_of_a_gpu_are_shared() -> None:
    fit({"a": Reservation(1, 0.5), "b": Reservation(1, 0.5)}, cpus=2.0, gpus=1.0)
    with pytest.raises(UserError, match=r"asks for 1\.5 GPUs and there are 1: lower producers\.gpus"):
        fit({"a": Reservation(1, 0.5), "b": Reservation(1, 1)}, cpus=2.0, gpus=1.0)


@given(
    st.lists(st.floats(0, 9, allow_subnormal=False), min_size=1, max_size=9),
    st.floats(0.5, 64),
)
def test_reservations_are_such_as_ray_takes_and_fit(asked: list[float], cpus: float) -> None:
    fitted = fit({str(index): Reservation(one, 0) for index, one in enumerate(asked)}, cpus, 0)
    assert sum(one.cpus for one in fitted.values()) <= cpus * (1 + 1e-9)
    for index, one in enumerate(asked):
        given_cpus = fitted[str(index)].cpus
        assert 0 <= given_cpus <= one
        assert given_cpus < 1 or given_cpus == int(given_cpus), "Ray takes no fractions above one"
