"""The table of measurements: reading, pricing, fitting, leaving out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from opencolossus.plan import (
    accuracy,
    calibrate,
    checks,
    constants,
    measured,
    memory_cases,
    rows,
    unseen,
)
from opencolossus.plan.measured import Measured
from opencolossus.plan.rows import Row
from opencolossus.specs import calibration
from opencolossus.specs.errors import UserError
from opencolossus.specs.software import Era, GpuReach


@pytest.fixture(scope="module")
def table() -> Measured:
    folder = rows.folder()
    return measured.load(folder / "throughput.csv", folder / "platforms.yaml")


def test_all_rows_with_a_full_layout_are_priced(table: Measured) -> None:
    """561 rows say layout, shape and a step time or tokens per second."""
    full = 0
    wanted = ("tp", "pp", "dp", "micro_batch", "global_batch_sequences", "n_gpus")
    wanted += ("n_layers", "d_model", "n_heads", "seq_len")
    for row in rows.read_table(rows.folder() / "throughput.csv"):
        if row.text("metric") in ("step_time_s", "tokens_per_s_per_gpu"):
            told = all(row.text(name) for name in wanted)
            full += told
            assert not told or row.key in table.keys, row.key
    assert full == 561
    assert len(table) >= 561


def test_shipped_constants_are_as_right_as_the_page_says(table: Measured) -> None:
    """Fitted rows: median below 6 %, mean below 10 % (rows left out: docs/accuracy.md)."""
    found = accuracy.summary("all", accuracy.log_errors(table, calibration.shipped()))
    assert found.median < 0.06
    assert found.mean < 0.10
    assert abs(found.bias) < 0.03


def test_a_recipe_tells_what_its_table_leaves_out() -> None:
    """Llama 3 70B on GB200 under FSDP recomputes nothing: half its layers wait in host memory."""
    folder = rows.folder()
    rules = rows.read_rules(folder / "platforms.yaml")
    table = {row.key: row for row in rows.read_table(folder / "throughput.csv")}
    moved, pipelined = table["MBRIDGE-096"], table["MBRIDGE-094"]
    assert rows.recompute(moved, rows.recipe(moved, rules)) == "none"
    assert rows.recompute(moved, {}) is None
    assert rows.recipe(pipelined, rules) == {}, "the same model without FSDP"
    found = measured.resolve([moved, pipelined], rules, calibration.shipped())
    assert found.layouts.offloaded.tolist() == [0.5, 0.0]


def test_an_empty_cell_is_not_guessed() -> None:
    row = Row({"id": "X", "n_gpus": "8", "tp": "", "metric": "step_time_s", "value": "1"})
    with pytest.raises(rows.UnusableError, match="tp"):
        row.number("tp")


@pytest.mark.parametrize(
    ("text", "stage"),
    [
        ("FSDP FULL_SHARD (zero3)", 3),
        ("FSDP SHARD_GRAD_OP (zero2)", 2),
        ("zero1 (distributed fused adam)", 1),
        ("FSDP (group 64)", 3),
        ("", None),
    ],
)
def test_zero_stages_are_read(text: str, stage: int | None) -> None:
    assert rows.zero(Row({"fsdp_or_zero_stage": text})) == stage


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("fp8-mx", "fp8"),
        ("nvfp4", "fp4"),
        ("amp_bf16", "bf16"),
        ("", "bf16"),
    ],
)
def test_precisions_are_read(text: str, kind: str) -> None:
    assert rows.precision(Row({"precision": text})) == kind


def test_a_fit_finds_constants_that_it_was_given(table: Measured) -> None:
    """Step times made by the law itself: the fit must return to them, from elsewhere."""
    base = calibration.shipped()
    known = constants.constants(table)
    index = next(i for i, c in enumerate(known) if c.path == ("gpus", "hopper", "matrix16"))
    values = np.array([constants.value_of(base, c) for c in known])
    truth = values.copy()
    truth[index] = 0.60
    made = constants.with_values(base, known, truth)
    fake = replace(table, seconds=table.predict(made).time)
    found = calibrate.fit(fake, base, start=base, steps=12)
    assert found.gpus["hopper"].matrix16 == pytest.approx(0.60, rel=0.03)


def test_derivatives_of_a_fit_are_those_of_one_constant_at_a_time(table: Measured) -> None:
    """Constants that share no row are moved together; that must change nothing."""
    base = calibration.shipped()
    known = constants.constants(table)
    problem = calibrate.Problem(table, base, known)
    x = np.log([constants.value_of(base, c) for c in known])
    together = problem.jacobian(x)
    assert len(problem.groups) < len(known) / 1.5
    for i in range(0, len(known), 5):
        step = 1e-4 * (np.arange(x.size) == i)
        alone = (problem.residuals(x + step) - problem.residuals(x)) / 1e-4
        np.testing.assert_allclose(together[:, i], alone, atol=1e-6)


def test_a_constant_is_where_its_rows_look_for_it(table: Measured) -> None:
    """Setting a constant in a calibration changes the rows that it holds for, and no others."""
    base = calibration.shipped()
    before = table.predict(base).time
    for constant in constants.constants(table):
        value = constants.value_of(base, constant)
        moved = constants.with_values(base, [constant], np.array([0.9 * value]))
        changed = table.predict(moved).time != before
        assert np.any(changed), constant.path
        assert not np.any(changed & ~constants.holds_for(constant, table)), constant.path


def test_constants_belong_to_parts_and_eras_only(table: Measured) -> None:
    base = calibration.shipped()
    known = constants.constants(table)
    for constant in known:
        assert constant.path[0] in ("gpus", "fabrics", "eras", "jitter")
        assert constant.kind.low < constant.kind.prior < constant.kind.high
        value = constants.value_of(base, constant)
        assert constant.kind.low <= value * (1 + 1e-9)
        assert value <= constant.kind.high * (1 + 1e-9)
    assert len(known) <= 22


def test_rows_kept_apart_are_strangers_to_every_fit(table: Measured) -> None:
    """No row of theirs is in the table that constants are fitted to; and no source, or no model of
    that source."""
    apart = unseen.findings(calibration.shipped())
    assert not apart.measured.unusable
    groups = ("looked at", "kept back", "fresh", "late")
    assert [int(apart.of(g).sum()) for g in groups] == [39, 39, 65, 119]
    assert not set(apart.measured.keys) & set(table.keys)
    pairs = set(zip(table.sources, table.models, strict=True))
    assert not pairs & set(zip(apart.measured.sources, apart.measured.models, strict=True))
    first = apart.of("looked at") | apart.of("kept back")
    assert not set(np.array(apart.measured.sources)[first]) & set(table.sources)
    assert set(apart.addresses) == set(apart.measured.sources)
    assert all(apart.addresses.values())
    assert accuracy.summary("unseen", apart.errors).median < 0.15
    assert apart.covered(dict.fromkeys(accuracy.KINDS, 1e9), "fresh") == 1.0


def test_runs_that_died_for_want_of_memory_do_not_fit() -> None:
    found = memory_cases.findings(calibration.shipped())
    assert not found.cases.unusable
    assert len(found.died) == 8
    for key, share in found.died.items():
        assert share > 1.0, key


def test_bytes_are_no_step_times() -> None:
    """The table of memory has nothing to price in seconds, and that of step times no bytes."""
    folder = rows.folder()
    with pytest.raises(UserError, match=r"no row can be priced.*no step time"):
        checks.validate(folder / "memory.csv", None, quick=True)
    some = rows.read_table(folder / "throughput.csv")[:20]
    known = rows.read_rules(folder / "platforms.yaml")
    assert len(measured.resolve(some, known, calibration.shipped(), memory=True)) == 0


def test_runs_that_print_their_memory_hold_about_what_the_law_says() -> None:
    """21 rows of BLOOM's topologies, in whole gigabytes: half of them within a tenth."""
    errors = memory_cases.findings(calibration.shipped()).errors
    assert errors.size == 21
    assert float(np.median(np.abs(errors))) < 0.10
    assert abs(float(np.mean(errors))) < 0.05


def test_intervals_cover_by_construction() -> None:
    r = np.random.default_rng(0)
    errors = r.normal(0, 0.1, 5000)
    width = np.log(accuracy.half_width(errors))
    fresh = r.normal(0, 0.1, 5000)
    assert np.mean(np.abs(fresh) <= width) == pytest.approx(0.9, abs=0.02)


def test_a_table_that_is_none_is_refused(tmp_path: Path) -> None:
    bad = tmp_path / "t.csv"
    bad.write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="no column"):
        checks.validate(bad, None, quick=True)
    with pytest.raises(UserError, match="cannot be read"):
        checks.validate(tmp_path / "missing.csv", None, quick=True)


def test_a_torn_calibration_is_refused(tmp_path: Path) -> None:
    torn = tmp_path / "c.json"
    torn.write_text('{"version": 1, "date"')
    with pytest.raises(UserError, match="not a calibration"):
        calibration.read(torn)


def test_no_constant_of_a_chip_has_the_name_of_one_of_software() -> None:
    assert not set(GpuReach.model_fields) & set(Era.model_fields), "both are kept in one table"
