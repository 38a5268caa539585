"""Plans: what they hold, what they must not do, and how they refuse."""

from __future__ import annotations

import itertools
import json
from datetime import date

import numpy as np
import pytest

from opencolossus.plan import filled, lattice
from opencolossus.plan.plan import Plan
from opencolossus.plan.search import search
from opencolossus.specs import catalog
from opencolossus.specs.errors import UserError
from opencolossus.specs.run import Layout
from tests.plan.conftest import Make


@pytest.fixture(scope="module")
def plan() -> Plan:
    """The example that the README starts with."""
    from pathlib import Path

    from opencolossus.specs.load import load

    loaded = load(Path(__file__).parents[2] / "examples" / "memphis.yaml")
    return search(loaded.description, facts=loaded.facts)


def test_43_megawatts_carry_about_32000_capped_gpus(plan: Plan) -> None:
    """8 + 35 MW ran about 32,000 H100 "with some power limits" (press, July 2024)."""
    assert plan.power.limit == pytest.approx(43e6)
    most = max(point.gpus for point in plan.curve)
    assert most == pytest.approx(32_000, rel=0.10)
    full = min(plan.curve, key=lambda p: abs(p.cap - 700))
    assert full.gpus < 27_000  # uncapped, the same watts carry far fewer


def test_watts_stay_within_the_site(plan: Plan) -> None:
    assert plan.power.facility <= plan.power.limit
    assert plan.power.gpu <= plan.cap
    assert plan.power.it < plan.power.facility


def test_numbers_of_a_plan_agree_with_each_other(plan: Plan) -> None:
    step = sum(plan.step.model_dump().values())
    assert step == pytest.approx(plan.step_time)
    memory = plan.memory.model_dump()
    assert sum(v for k, v in memory.items() if k not in ("total", "limit")) == pytest.approx(
        memory["total"]
    )
    assert memory["total"] <= memory["limit"]
    assert plan.tokens_per_second == pytest.approx(plan.batch / plan.step_time)
    layout = plan.layout
    size = layout.tensor_parallel * layout.context_parallel * layout.pipeline_parallel
    assert size * plan.data_parallel == plan.gpus <= plan.available
    assert plan.energy == pytest.approx(plan.power.facility * plan.days * 86400)
    assert 0 < plan.mfu < 0.7
    assert plan.interval.low < plan.step_time < plan.interval.high


def test_no_alternative_is_faster_and_each_says_why(plan: Plan) -> None:
    assert 5 <= len(plan.alternatives) <= 10
    for other in plan.alternatives:
        assert other.why
        if other.tokens_per_second is None:
            assert other.memory > 0.97 * plan.memory.limit
        else:
            assert other.tokens_per_second <= plan.tokens_per_second * (1 + 1e-9)


def test_no_point_of_the_front_beats_another(plan: Plan) -> None:
    goals = [(p.days, p.energy, p.dollars) for p in plan.pareto]
    for a in goals:
        assert not any(all(y <= x for x, y in zip(a, b, strict=True)) and b != a for b in goals)


def test_more_of_anything_good_is_not_worse(plan: Plan) -> None:
    for item in plan.sensitivities:
        assert item.tokens > -0.01, item


def test_assumptions_are_named(plan: Plan) -> None:
    assert any("imbalance" in text for text in plan.assumptions)
    assert any("cap to clock" in text for text in plan.assumptions)


def test_a_plan_survives_json(plan: Plan) -> None:
    again = Plan.model_validate_json(plan.model_dump_json())
    assert again == plan
    assert json.loads(plan.model_dump_json())["version"] == 3


def test_more_power_is_never_slower(make: Make) -> None:
    description = make(gpus=2048)
    rates = [
        search(description, power_limit=watts, detail=False).tokens_per_day
        for watts in (1e6, 1.5e6, 2.2e6, 4e6)
    ]
    assert all(b >= a * 0.999 for a, b in itertools.pairwise(rates))


def test_a_given_layout_is_kept(make: Make) -> None:
    layout = Layout(tensor_parallel=4, pipeline_parallel=8, micro_batch=2, recompute="selective")
    plan = search(make(layout=layout), detail=False)
    assert plan.layout == layout


def test_one_replica_more_is_what_twice_the_gpus_buy(make: Make) -> None:
    """Weak scaling: twice GPUs and batch cost a few percent, never less than nothing."""
    small = search(make(gpus=512, batch=2**22), detail=False)
    large = search(make(gpus=4096, batch=2**25), detail=False)
    per = [p.tokens_per_second / p.gpus for p in (small, large)]
    assert 0.85 < per[1] / per[0] < 1.03


def test_a_mixed_fleet_shares_the_batch_by_speed(make: Make) -> None:
    description = make(
        pools={"a": ("hgx-h100", 1024), "b": ("hgx-h200", 512)},
        batch=8192 * 2048,
        model="llama3-70b",
    )
    plan = search(description, detail=False)
    alone = search(description, gpus={"b": 0}, detail=False)
    assert {share.pool for share in plan.pools} == {"a", "b"}
    assert sum(share.batch_share for share in plan.pools) == pytest.approx(1)
    assert plan.tokens_per_second > alone.tokens_per_second
    times = [share.step_time for share in plan.pools]
    assert max(times) / min(times) < 1.15
    assert plan.step_time == pytest.approx(max(times))


def test_a_pool_that_is_too_small_is_left_out_aloud(make: Make) -> None:
    description = make(
        pools={"a": ("hgx-h100", 1024), "b": ("hgx-a100-40", 8)}, model="llama3-405b"
    )
    plan = search(description, detail=False)
    assert [share.pool for share in plan.pools] == ["a"]
    assert any("gets no work" in text for text in plan.advice)


@pytest.mark.parametrize("model", ["llama3-70b", "deepseek-v3"])
def test_more_memory_never_means_fewer_layouts(make: Make, model: str) -> None:
    description = make(gpus=1024, model=model)
    counts = []
    for factor in (1.0, 1.25, 2.0):
        node = description.cluster.pools["main"].node
        gpu = node.gpu.model_copy(update={"memory": factor * node.gpu.memory})
        pool = description.cluster.pools["main"].model_copy(
            update={"node": node.model_copy(update={"gpu": gpu})}
        )
        cluster = description.cluster.model_copy(update={"pools": {"main": pool}})
        larger = description.model_copy(update={"cluster": cluster})
        counts.append(search(larger, power_limit=1e9, detail=False).layouts_feasible)
    assert counts == sorted(counts)
    assert counts[0] < counts[2]


def test_the_deadline_gets_a_probability(make: Make) -> None:
    late = search(make(deadline=date(2025, 6, 2)), detail=False).deadline
    early = search(make(deadline=date(2027, 6, 2)), detail=False).deadline
    assert late is not None
    assert early is not None
    assert not late.met
    assert late.probability < 0.05
    assert early.met
    assert early.probability > 0.95


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"gpus": 8, "model": "llama3-405b"}, ["fits in memory", "GPUs would hold it"]),
        (
            {"gpus": 16, "layout": Layout(tensor_parallel=8, pipeline_parallel=8)},
            ["needs 64 GPUs", "16"],
        ),
        ({"node": "hgx-a100-80", "precision": "fp8"}, ["fp8", "A100"]),
    ],
)
def test_what_cannot_be_is_refused_with_a_remedy(
    make: Make, changes: dict[str, object], words: list[str]
) -> None:
    with pytest.raises(UserError) as caught:
        search(make(**changes))  # type: ignore[arg-type]
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_too_little_power_names_what_would_do(make: Make) -> None:
    with pytest.raises(UserError, match=r"do not carry one server.*would"):
        search(make(), power_limit=3000.0)


@pytest.mark.parametrize(
    "options", [{"power_limit": 0.0}, {"power_limit": -1.0}, {"gpus": 0}, {"gpus": {"nope": 8}}]
)
def test_impossible_options_are_refused(make: Make, options: dict[str, object]) -> None:
    with pytest.raises(UserError):
        search(make(), **options)  # type: ignore[arg-type]


def test_before_the_first_source_nothing_runs(make: Make) -> None:
    from opencolossus.specs.load import load

    loaded = (
        load("examples/memphis.yaml")
        if __import__("os").path.exists("examples/memphis.yaml")
        else None
    )
    if loaded is None:
        pytest.skip("no examples here")
    with pytest.raises(UserError, match="no GPU is there"):
        search(loaded.description, day=date(2020, 1, 1))


def test_every_layout_of_the_lattice_is_valid(make: Make) -> None:
    description = make(model="grok-1", gpus=512)
    model, run = description.model, description.run
    node = catalog.entry("nodes", "hgx-h100")
    grid = lattice.axes(model, run, node, 512, ("1f1b", "zb-h1", "dualpipe"))
    those = lattice.lattice(grid, model.layers, run.batch_sequences, 512)
    assert those.tensor.size > 10_000
    assert np.all(those.gpus <= 512)
    assert np.all(those.data >= 1)
    assert np.all(np.mod(those.tensor * those.context * those.data, those.expert) == 0)
    assert np.all(np.abs(those.batch / run.batch_sequences - 1) <= filled.SLACK + 1e-9)
    assert np.all(those.micro_batches * those.data * those.micro_batch == those.batch)
    interleaved = those.virtual > 1
    rounds = np.maximum(np.floor(those.micro_batches / those.pipeline), 1)
    assert np.all(np.mod(those.micro_batches, rounds)[interleaved] == 0)
    assert np.all((those.micro_batches >= those.pipeline)[interleaved])
    assert np.all(those.virtual[those.schedule > 0] == 1)


def test_the_choice_is_the_best_of_all_layouts(make: Make) -> None:
    """Against pricing every layout one block after the other, without the search's shortcuts."""
    from opencolossus.plan.pricing import Pricing
    from opencolossus.specs import calibration

    description = make(gpus=256)
    plan = search(description, power_limit=1e9, detail=False)
    pool = description.cluster.pools["main"]
    software = catalog.entry("software", "nemo-2025")
    pricing = Pricing.of(
        description.model,
        description.run,
        description.cluster,
        pool,
        software,
        calibration.shipped(),
    )
    grid = lattice.axes(description.model, description.run, pool.node, 256, ("1f1b",))
    those = lattice.lattice(grid, 80, description.run.batch_sequences, 256)
    priced = pricing.price(those, 700.0, 256)
    best = np.max(np.where(pricing.fits(priced.memory), priced.tokens_per_second, 0))
    assert plan.tokens_per_second == pytest.approx(best, rel=1e-9)
