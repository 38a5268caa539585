"""Layouts for the processes of the machine at hand, the fastest first."""

from __future__ import annotations

from itertools import islice

import pytest

from opencolossus.plan import here
from opencolossus.plan.facts import Facts
from opencolossus.plan.ranked import ranked
from opencolossus.specs import catalog
from opencolossus.specs.run import Run

MODEL = catalog.entry("models", "grok-tiny")
RUN = Run(tokens=1e8, batch=64 * 256, sequence=256, precision="fp32")


def machine_of(processes, local, sent=1e9):
    facts = Facts(1e11, 1e11, 2e10, sent=sent, start=1e-4)
    return here.several(processes, local, facts)


@pytest.mark.parametrize("processes", [1, 2, 4, 8])
def test_every_layout_uses_all_processes(processes):
    machine = machine_of(processes, processes)
    found = list(islice(ranked(MODEL, RUN, machine), 50))
    assert found
    for layout, data in found:
        inner = layout.tensor_parallel * layout.context_parallel * layout.pipeline_parallel
        assert data * inner <= processes
        assert layout.micro_batch * data <= RUN.batch_sequences
    assert any(
        data * x.tensor_parallel * x.context_parallel * x.pipeline_parallel == processes
        for x, data in found
    )


def test_slow_messages_move_the_choice_away_from_tensor_parallel():
    """At a link of 1 MB/s nobody sends activations of every layer."""
    slow = next(ranked(MODEL, RUN, machine_of(4, 4, 1e6)))[0]
    assert slow.tensor_parallel == 1


def test_processes_share_one_machine():
    whole, part = (machine_of(n, n).pools["here"].node.gpu for n in (1, 4))
    assert part.memory == pytest.approx(whole.memory / 4)
    assert part.tdp == pytest.approx(whole.tdp / 4)
    assert part.flops == whole.flops  # as measured, while all compute
    several = machine_of(8, 4)
    assert several.pools["here"].gpus == 8
    assert several.fabric.kind != "none"


def test_a_model_that_fits_nowhere_has_no_layout():
    big = catalog.entry("models", "grok-1")
    assert not list(ranked(big, RUN, machine_of(2, 2)))
