from hypothesis import given
from hypothesis import strategies as st

from shared.job_file import parse_job
from shared.stream_plan import StreamPlan

PLANS = st.builds(
    StreamPlan,
    tokens=st.integers(1, 5000),
    block_rows=st.integers(1, 400),
    lanes=st.integers(1, 9),
    every_blocks=st.integers(1, 30),
)


@given(PLANS)
def test_blocks_hold_every_row_once(plan: StreamPlan) -> None:
    sizes = [plan.block_size(block) for block in range(plan.num_blocks)]
    assert sum(sizes) == plan.tokens and min(sizes) >= 1
    assert set(sizes[:-1]) <= {plan.block_rows}
    assert plan.block_size(plan.num_blocks) == 0


@given(PLANS)
def test_lanes_share_blocks_and_rows(plan: StreamPlan) -> None:
    lanes = range(plan.lanes)
    assert sum(map(plan.lane_blocks, lanes)) == plan.num_blocks
    assert sum(map(plan.lane_rows, lanes)) == plan.tokens
    for lane in lanes:
        blocks = range(lane, plan.num_blocks, plan.lanes)
        assert plan.lane_rows(lane) == sum(map(plan.block_size, blocks))


@given(PLANS, st.integers(0, 100))
def test_lanes_share_units(plan: StreamPlan, num_units: int) -> None:
    shares = [plan.lane_units(lane, num_units) for lane in range(plan.lanes)]
    assert sum(shares) == num_units and max(shares) - min(shares) <= 1


@given(PLANS, st.integers(0, 6000))
def test_rows_below_a_block_are_those_of_all_before(plan: StreamPlan, block: int) -> None:
    assert plan.rows_below(block) == sum(plan.block_size(one) for one in range(min(block, plan.num_blocks)))


@given(PLANS, st.integers(0, 6000))
def test_next_barrier_is_the_first_that_is_not_behind(plan: StreamPlan, block: int) -> None:
    barrier = plan.next_barrier(block)
    assert barrier % plan.every_blocks == 0 and block <= barrier < block + plan.every_blocks


def test_plan_is_read_from_the_job() -> None:
    job = parse_job(
        "{name: a, model: {name: m, hookpoints: [h]}, corpus: {source: stdlib}, tokens: 1000, "
        "stream: {lanes: 3, block_rows: 64}, checkpoint: {every_blocks: 7}, "
        "trainers: [{architecture: topk, num_latents: 8, k: 1}]}"
    )
    assert StreamPlan.of(job) == StreamPlan(tokens=1000, block_rows=64, lanes=3, every_blocks=7)
