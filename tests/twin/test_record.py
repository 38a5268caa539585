"""The record on disk: whole or not there."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from twin_planner import plain

from opencolossus.specs.document import Description
from opencolossus.specs.errors import UserError
from opencolossus.twin import record as records
from opencolossus.twin.record import Record, read
from opencolossus.twin.simulate import simulate


@pytest.fixture(scope="module")
def record(small: Description) -> Record:
    return simulate(small, planner=plain)


def test_what_is_written_is_read_again(record: Record, tmp_path: Path) -> None:
    record.write(tmp_path / "out", {"index.html": "<p>hello</p>"})
    again = read(tmp_path / "out")
    assert again.name == record.name
    assert again.summary == record.summary
    assert again.assumptions == record.assumptions
    assert again.events == tuple(
        replace(event, time=np.datetime64(event.time, "us")) for event in record.events
    )
    np.testing.assert_array_equal(again.hours, record.hours)
    for name, column in record.columns.items():
        np.testing.assert_array_equal(again[name], column)
    np.testing.assert_array_equal(again.rhythm["power"], record.rhythm["power"])
    assert (tmp_path / "out" / "index.html").read_text() == "<p>hello</p>"


def test_the_record_is_plain_parquet(record: Record, tmp_path: Path) -> None:
    record.write(tmp_path / "out")
    table = pq.read_table(tmp_path / "out" / "record.parquet")
    assert table.num_rows == record.hours.size
    assert {"time", "tokens", "power.facility", "source.grid", "pue"} <= set(table.column_names)


def test_a_new_record_takes_the_place_of_the_old_one(record: Record, tmp_path: Path) -> None:
    record.write(tmp_path / "out", {"old.txt": "old"})
    record.write(tmp_path / "out")
    assert not (tmp_path / "out" / "old.txt").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]


def test_an_interrupted_write_leaves_the_old_record(
    record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record.write(tmp_path / "out", {"index.html": "old"})
    written = []

    def interrupted(*args: object, **kwargs: object) -> None:
        if written:
            raise KeyboardInterrupt
        written.append(1)

    monkeypatch.setattr(records.pq, "write_table", interrupted)
    with pytest.raises(KeyboardInterrupt):
        record.write(tmp_path / "out", {"index.html": "new"})
    assert (tmp_path / "out" / "index.html").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_full_disk_is_one_sentence(
    record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(records.pq, "write_table", full)
    with pytest.raises(UserError, match="No space left on device"):
        record.write(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_somebody_elses_folder_is_left_alone(record: Record, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="is no record"):
        record.write(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_no_record_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no record"):
        read(tmp_path)
