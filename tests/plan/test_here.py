"""The machine at hand, and what our trainer decides on it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from opencolossus.plan import facts, here, mode
from opencolossus.plan.facts import Facts
from opencolossus.plan.search import search
from opencolossus.specs import calibration, catalog
from opencolossus.specs.document import Description
from opencolossus.specs.hardware import Precision
from opencolossus.specs.run import Run

FOUND = Facts(fp32=1e11, bf16=4e11, copied=2e10)


@pytest.fixture(autouse=True)
def no_memory_of_other_plans(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def describe(**run: object) -> Description:
    values: dict[str, object] = {"tokens": 1e6, "batch": 4096, "sequence": 256}
    return Description(
        name="tiny",
        model=catalog.entry("models", "grok-tiny"),
        run=Run.model_validate(values | run),
    )


def test_numpy_measures_what_is_plausible() -> None:
    found = facts.by_numpy()
    assert 1e9 < found.fp32 < 1e14
    assert 1e9 < found.copied < 1e13
    assert facts.memory() > 2e8


def test_what_was_measured_is_remembered_and_never_gets_slower() -> None:
    assert facts.remembered() is None
    facts.remember(FOUND)
    facts.remember(Facts(fp32=2e11, bf16=1e11, copied=1e10))
    assert facts.known() == Facts(fp32=2e11, bf16=4e11, copied=2e10)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"fp32": 1}', '{"other": 1}'])
def test_a_damaged_memory_is_passed_over(content: str) -> None:
    facts.remember(FOUND)
    file = next(Path(facts._file()).parent.glob("machine-*.json"))
    file.write_text(content)
    assert facts.remembered() is None
    assert facts.known().fp32 > 0
    file.write_text(json.dumps({"fp32": 1e11, "bf16": 4e11, "copied": 2e10}))
    assert facts.remembered() == FOUND


def test_a_small_model_is_planned_without_site_and_cluster() -> None:
    plan = search(describe(precision="fp32"), found=FOUND)
    assert plan.gpus == 1
    assert plan.day is None
    assert plan.step.bubble == 0
    assert plan.memory.total < plan.memory.limit


def test_a_time_limit_that_ends_a_run_early_is_told_and_no_other() -> None:
    whole = search(describe(), found=FOUND).days * 86400
    cut = search(describe(time_limit=whole / 4), found=FOUND)
    assert any("time_limit" in text and "25% of the tokens" in text for text in cut.advice)
    assert not any(
        "time_limit" in text for text in search(describe(time_limit=2 * whole), found=FOUND).advice
    )


def test_one_device_is_worth_no_network() -> None:
    worth = {item.input for item in search(describe(), found=FOUND).sensitivities}
    assert "memory bandwidth" in worth
    assert not worth & {"NIC bandwidth", "scale-up bandwidth"}


def test_measured_rates_are_taken() -> None:
    slow = search(describe(), found=FOUND, detail=False)
    fast = search(describe(), found=Facts(2e11, 8e11, 4e10), detail=False)
    assert fast.step_time < slow.step_time


@pytest.mark.parametrize(
    ("run", "compiled"),
    [
        ({}, "none"),
        ({"tokens": 1e9}, "functions"),
        ({"tokens": 1e9, "time_limit": 60.0}, "none"),
        ({"compile": "blocks"}, "blocks"),
    ],
)
def test_the_mode_is_that_of_the_trainer(
    run: dict[str, object], compiled: mode.Compiling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facts, "has_compiler", lambda: True)
    ready, software = here.ready(describe(**run), FOUND)
    assert software == mode.ON_CPU[compiled] + "-amx"
    assert ready.run.precision == "bf16"
    assert ready.run.layout is not None
    assert ready.run.layout.micro_batch == 16


@pytest.mark.parametrize(
    ("precision", "gain", "software"),
    [
        ("bf16", 4.0, "opencolossus-cpu-amx"),
        ("bf16", 2.0, "opencolossus-cpu"),
        ("fp32", 4.0, "opencolossus-cpu-32"),
    ],
)
def test_kernels_differ_by_precision_and_matrix_units(
    precision: Precision, gain: float, software: str
) -> None:
    cluster = here.several(1, 1, Facts(fp32=1e11, bf16=gain * 1e11, copied=2e10))
    assert here.software(cluster, "functions", precision) == software
    assert catalog.entry("software", software).era in calibration.shipped().eras


@pytest.mark.parametrize(
    ("flags", "name"), [("avx512f amx_bf16 amx_tile", "A chip with AMX"), ("avx512f", "A chip")]
)
def test_one_name_of_two_generations_is_told_apart(
    flags: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = f"processor\t: 0\nmodel name\t: A chip\nflags\t\t: fpu {flags}\n\n"
    monkeypatch.setattr(Path, "read_text", lambda self: told)
    assert facts.cpu_name() == name


def test_without_gain_or_compiler_a_run_is_in_32_bits_and_as_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(facts, "has_compiler", lambda: False)
    ready, software = here.ready(describe(tokens=1e9), Facts(1e11, 1e11, 2e10))
    assert ready.run.precision == "fp32"
    assert software == "opencolossus-cpu-eager-32"


@pytest.mark.parametrize(
    ("compiled", "said"), [("blocks", True), ("functions", False), ("none", False)]
)
def test_a_mode_that_a_single_run_was_fitted_to_says_so(compiled: str, said: bool) -> None:
    plan = search(describe(compile=compiled), found=FOUND, detail=False)
    assert any("a single run" in line for line in plan.assumptions) == said


def test_what_is_not_compiled_is_slower_and_takes_more_memory() -> None:
    plans = [search(describe(compile=c), found=FOUND, detail=False) for c in ("functions", "none")]
    assert plans[0].step_time < plans[1].step_time
    assert plans[0].memory.total < plans[1].memory.total


@pytest.mark.parametrize(
    ("wanted", "rows", "found"), [(5, 16, 4), (16, 16, 16), (99, 12, 12), (0, 7, 1)]
)
def test_micro_batches_divide_what_a_process_has(wanted: int, rows: int, found: int) -> None:
    assert mode.micro_rows(wanted, rows) == found
