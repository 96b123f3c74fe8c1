"""Curves out of measurements: what a resume undid is gone, pauses stay open, long runs stay small."""

import numpy as np
import pytest

from cluster.curves import MAX_POINTS, Curves, summed, thinned
from cluster.metrics_store import MetricsStore, read_metrics
from shared.registry_facts import Measurement


def curves_of(folder, *measurements):
    store = MetricsStore(folder)
    store.add([Measurement("", time_ms, source, fields) for time_ms, source, fields in measurements])
    store.flush()
    return Curves.of(read_metrics(folder))


def test_the_latest_of_each_number_of_tokens_counts(tmp_path):
    tokens = [10, 20, 30, 20, 30, 40]
    lines = [(at, "trainer-a", {"tokens": one, "fvu": at / 100}) for at, one in enumerate(tokens)]
    x, y = curves_of(tmp_path, *lines).along("tokens", "trainer-a", "fvu")
    assert x.tolist() == [10, 20, 30, 40]
    assert y.tolist() == [0.0, 0.03, 0.04, 0.05]


def test_what_lies_beyond_a_resume_is_undone_even_off_its_grid(tmp_path):
    lines = [(at, "trainer-a", {"tokens": one, "fvu": 0.5}) for at, one in enumerate([10, 25, 37, 20, 30])]
    x, _ = curves_of(tmp_path, *lines).along("tokens", "trainer-a", "fvu")
    assert x.tolist() == [10, 20, 30]


def test_fields_that_were_not_measured_with_tokens_are_left_out(tmp_path):
    lines = [(1, "trainer-a", {"tokens": 10}), (2, "trainer-a", {"tokens": 20, "fvu": 0.5})]
    curves = curves_of(tmp_path, *lines)
    assert curves.along("tokens", "trainer-a", "fvu")[0].tolist() == [20]
    assert curves.along("tokens", "trainer-a", "l0") is None
    assert curves.along("tokens", "trainer-b", "fvu") is None


def test_a_loss_that_is_not_finite_is_not_drawn(tmp_path):
    lines = [(at, "trainer-a", {"tokens": at, "fvu": value}) for at, value in ((1, 0.5), (2, float("nan")))]
    assert curves_of(tmp_path, *lines).along("tokens", "trainer-a", "fvu")[0].tolist() == [1]


def test_rates_of_several_sources_add_up(tmp_path):
    lines = [(1000 * at, f"producer-{one}", {"rows_per_s": 100.0}) for at in range(20) for one in range(3)]
    times, total = summed(curves_of(tmp_path, *lines), [f"producer-{one}" for one in range(3)], "rows_per_s")
    assert total.tolist() == [300.0] * 20
    assert (times[0], times[-1]) == (0, 19_000)


def test_a_source_that_left_counts_no_more(tmp_path):
    lines = [(1000 * at, "producer-0", {"rows_per_s": 100.0}) for at in range(200)]
    lines += [(1000 * at, "producer-1", {"rows_per_s": 100.0}) for at in range(50)]
    times, total = summed(curves_of(tmp_path, *lines), ["producer-0", "producer-1"], "rows_per_s")
    assert total[times < 50_000].tolist() == [200.0] * 50
    assert total[times > 81_000].max() == 100.0


def test_a_pause_is_open(tmp_path):
    times = [*range(0, 60_000, 1000), *range(3_600_000, 3_660_000, 1000)]
    lines = [(at, "lane-0", {"rows_per_s": 5.0}) for at in times]
    grid, total = summed(curves_of(tmp_path, *lines), ["lane-0"], "rows_per_s")
    inside = (grid > 61_000) & (grid < 3_599_000)
    assert inside.any() and np.isnan(total[inside]).all()
    assert total[0] == total[-1] == 5.0


def test_nothing_adds_up_to_nothing(tmp_path):
    assert summed(curves_of(tmp_path), ["lane-0"], "rows_per_s") is None
    assert curves_of(tmp_path).span_ms is None


@pytest.mark.parametrize("length", [1, MAX_POINTS, MAX_POINTS + 1, 100_000])
def test_thinning_keeps_the_mean_and_the_end(length):
    x, y = thinned((np.arange(length), np.full(length, 2.5)))
    assert len(x) <= MAX_POINTS and x[-1] == length - 1
    assert np.all(y == 2.5) and np.all(np.diff(x) > 0)
