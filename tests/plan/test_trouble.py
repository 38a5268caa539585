"""What cannot be planned is refused in one sentence that names the field and a way out."""

from __future__ import annotations

from datetime import date

import pytest

from opencolossus.plan.search import search
from opencolossus.specs import catalog
from opencolossus.specs.document import Description
from opencolossus.specs.errors import UserError
from opencolossus.specs.run import Layout
from tests.plan.conftest import Make, cluster


@pytest.mark.parametrize(
    ("layout", "words"),
    [
        ({"tensor_parallel": 3}, ["tensor_parallel is 3", "64 heads", "2, 4"]),
        ({"pipeline_parallel": 128}, ["pipeline_parallel is 128", "at most 80"]),
        ({"virtual_stages": 4}, ["one pipeline stage"]),
        ({"pipeline_parallel": 8, "virtual_stages": 40}, ["virtual_stages is 40", "at most 10"]),
        ({"expert_parallel": 8}, ["no experts"]),
        ({"micro_batch": 4096}, ["micro_batch is 4096", "at most 512"]),
        ({"context_parallel": 7}, ["context_parallel is 7", "8192 tokens"]),
        (
            {"tensor_parallel": 8, "pipeline_parallel": 4, "micro_batch": 32},
            ["fits in memory", "recompute full in run.layout would fit"],
        ),
        ({"tensor_parallel": 8, "zero": 0}, ["fits in memory", "zero 1 in run.layout would fit"]),
    ],
)
def test_layouts_that_contradict_themselves(
    make: Make, layout: dict[str, int], words: list[str]
) -> None:
    with pytest.raises(UserError) as caught:
        search(make(layout=Layout.model_validate(layout)), power_limit=1e9)
    for word in words:
        assert word in str(caught.value)


def test_the_change_that_is_said_to_fit_does_fit(make: Make) -> None:
    layout = Layout(tensor_parallel=8, pipeline_parallel=4, micro_batch=64)
    with pytest.raises(UserError) as caught:
        search(make(layout=layout), power_limit=1e9, detail=False)
    told = str(caught.value).split("; ")[-1].removesuffix(" in run.layout would fit")
    changes = dict(part.rsplit(" ", 1) for part in told.split(" and "))
    again = Layout.model_validate({**layout.model_dump(), **changes})
    assert search(make(layout=again), power_limit=1e9, detail=False).layout == again


def test_servers_without_a_network_are_refused(make: Make) -> None:
    bare = cluster(main=("hgx-h100", 64)).model_copy(
        update={"fabric": catalog.entry("fabrics", "none")}
    )
    alone = make(gpus=64, model="llama3-8b").model_copy(update={"cluster": bare})
    with pytest.raises(UserError, match=r"cluster.fabric is none.*--gpus 8"):
        search(alone)
    assert search(alone, gpus=8, detail=False).gpus == 8


def test_spares_that_leave_nothing_are_named(make: Make) -> None:
    description = make(gpus=64)
    bare = description.cluster
    assert bare is not None
    bare = bare.model_copy(update={"spares": 0.99})
    with pytest.raises(UserError, match=r"cluster.spares: 99%"):
        search(description.model_copy(update={"cluster": bare}))


def test_a_deadline_before_the_day_of_the_plan_is_missed(make: Make) -> None:
    late = search(make(deadline=date(2025, 12, 31)), day=date(2030, 1, 1), detail=False)
    assert late.deadline is not None
    assert not late.deadline.met
    assert late.deadline.probability < 0.01


def test_one_gpu_of_a_server_can_be_planned(make: Make) -> None:
    description = make(gpus=8, model="llama3-8b", batch=2**19, tokens=1e9)
    smaller = description.model_copy(
        update={"model": description.model.model_copy(update={"layers": 8}), "site": None}
    )
    one, eight = search(smaller, gpus=1), search(smaller)
    assert (one.gpus, eight.gpus) == (1, 8)
    assert one.power.node == pytest.approx(eight.power.node / 8, rel=0.05)


def test_a_cluster_needs_no_site(make: Make) -> None:
    """Without a site there is no limit but what is asked for, no cooling and no bill."""
    alone = make(gpus=64, model="llama3-8b").model_copy(update={"site": None})
    free = search(alone)
    assert (free.gpus, free.power.pue, free.dollars) == (64, 1, 0)
    held = search(alone, power_limit=40e3)
    assert held.gpus < 64
    assert held.power.peak <= 40e3
    with pytest.raises(UserError, match=r"--power: 100 W do not carry"):
        search(alone, power_limit=100.0)


def test_a_site_needs_a_cluster(make: Make) -> None:
    given = make()
    with pytest.raises(ValueError, match="site needs a cluster"):
        Description(name="x", site=given.site, model=given.model, run=given.run)


def test_a_sequence_longer_than_memory_says_what_would_hold_it(make: Make) -> None:
    description = make(gpus=8, model="llama3-405b", batch=2**17)
    longer = description.model.model_copy(update={"context": 131072})
    run = description.run.model_copy(update={"sequence": 131072, "batch": 131072.0 * 8})
    with pytest.raises(UserError, match=r"fits in memory.*about [\d,]+ GPUs would hold it"):
        search(description.model_copy(update={"model": longer, "run": run}))
