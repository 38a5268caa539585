"""What a person gets for a mistake: the place, the field, the value, and what would be right."""

from __future__ import annotations

from pathlib import Path

import pytest

from opencolossus.specs.errors import UserError
from opencolossus.specs.load import load, loads

MISTAKES = {
    "unknown GPU": (
        "      node:\n        gpus: 8",
        "      node:\n        base: hgx-h10\n        gpus: 8",
        ["cluster.pools.h100.node", "'hgx-h10'", "did you mean 'hgx-h100'"],
    ),
    "negative power": ("tdp: 700 W", "tdp: -700 W", ["gpu.tdp", "-700 W", "greater than 0"]),
    "wrong unit": ("limit: 8 MW", "limit: 8 MB", ["power.grid.limit", "unit of size", "43 MW"]),
    "no unit": ("limit: 8 MW", "limit: 8", ["power.grid.limit", "no unit", "43 MW"]),
    "unknown field": (
        "  water_price",
        "  watre_price",
        ["watre_price", "did you mean 'water_price'"],
    ),
    "missing field": ("  layers: 2\n", "", ["model.layers", "is missing"]),
    "missing part": (
        "  cooling:\n",
        "  warming:\n",
        ["site.cooling", "the catalog has", "air-hall"],
    ),
    "unknown kind": ("kind: gensets", "kind: genset", ["'genset'", "did you mean 'gensets'"]),
    "no kind": ("      kind: gensets\n", "", ["power.engines", "kind is missing", "gensets"]),
    "fewer experts than top-k": (
        "  feed_forward: 128",
        "  experts: 4\n  experts_per_token: 5\n  expert_feed_forward: 64",
        ["model", "experts_per_token (5)", "experts (4)"],
    ),
    "heads and KV heads": (
        "kv_heads: 2",
        "kv_heads: 3",
        ["heads (4)", "kv_heads (3)", "[1, 2, 4]"],
    ),
    "half a server": ("      gpus: 1024", "      gpus: 1020", ["gpus (1020)", "1016 and 1024"]),
    "deliveries short": ("gpus: 512}]", "gpus: 256}]", ["add up to 768", "1024"]),
    "time backwards": ("date: 2024-08-01", "date: 2024-06-01", ["in order", "2024-06-01"]),
    "not a date": (
        "available: 2024-07-01",
        "available: July",
        ["engines.available", "'July'", "date"],
    ),
    "not a number": ("  layers: 2", "  layers: two", ["model.layers", "'two'", "whole number"]),
    "percent over 100": ("80 %", "180 %", ["liquid_share", "180 %", "at most 1"]),
    "sequence over context": (
        "  sequence: 128",
        "  sequence: 256",
        ["run.sequence", "context (128)"],
    ),
    "batch under one sequence": ("1024 tokens", "64 tokens", ["batch", "128 tokens"]),
    "unknown precision": (
        "  sequence: 128",
        "  sequence: 128\n  precision: bf61",
        ["run.precision", "'bf61'", "did you mean 'bf16'"],
    ),
    "tab": ("  layers: 2", "\tlayers: 2", ["tab", "spaces"]),
    "twice": ("  layers: 2", "  layers: 2\n  layers: 3", ["'layers'", "second time"]),
    "nothing": ("  layers: 2", "  layers:", ["model.layers", "empty value", "whole number"]),
    "two documents": ("  layers: 2", "  layers: 2\n---\nname: b", ["second document"]),
    "inside itself": ("  layers: 2", "  layers: &a [*a]", ["alias"]),
    "idle above rated": ("idle_power: 70 W", "idle_power: 900 W", ["idle_power (900 W)", "700 W"]),
    "not a grade": ("evidence: assumed", "evidence: rumour", ["'rumour'", "measured"]),
    "wet above dry": (
        "wet_bulb: 15 °C, swing: 10}\n",
        "wet_bulb: 25 °C, swing: 10}\n",
        ["wet_bulb (25)"],
    ),
    "a word for a mapping": ("run:\n  tokens", "run: fast\nother:\n  tokens", ["run", "'fast'"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named(whole: str, mistake: str) -> None:
    right, wrong, says = MISTAKES[mistake]
    assert right in whole
    with pytest.raises(UserError) as caught:
        loads(whole.replace(right, wrong, 1), file="site.yaml")
    message = str(caught.value)
    assert all(words in message for words in says), message
    assert message.startswith("site.yaml:"), message


def test_the_place_is_the_line_and_column(whole: str) -> None:
    lines = whole.splitlines()
    row = next(i for i, line in enumerate(lines) if "tdp" in line)
    with pytest.raises(UserError) as caught:
        loads(whole.replace("tdp: 700 W", "tdp: 700 MB"), file="s.yaml")
    assert str(caught.value).startswith(f"s.yaml:{row + 1}:{lines[row].index('700') + 1}:")


def test_every_mistake_is_told_at_once(whole: str) -> None:
    text = whole.replace("tdp: 700 W", "tdp: 0 W").replace("  layers: 2", "  layers: 0")
    with pytest.raises(UserError) as caught:
        loads(text)
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("assignment", "says"),
    [
        ("site.power.grid.limit", "write it like"),
        ("site.power.grid.limt=8 MW", "did you mean 'limit'"),
        ("site.power.grid.limit=8 GB", "--set: site.power.grid.limit: "),
        ("model=grok-11", "did you mean 'grok-1'"),
        (".x=3", "write it like"),
    ],
)
def test_a_wrong_override_is_named(whole: str, assignment: str, says: str) -> None:
    with pytest.raises(UserError, match=says.replace(".", r"\.")):
        loads(whole, sets=[assignment])


def test_a_missing_file_names_its_neighbour(tmp_path: Path, whole: str) -> None:
    (tmp_path / "site.yaml").write_text(whole)
    with pytest.raises(UserError, match=r"no such file \(did you mean 'site.yaml'\?\)"):
        load(tmp_path / "sit.yaml")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"\xff\xfe\x00", "not text"),
        (b"- 1\n", "a mapping"),
        (b"a: [1", "not YAML"),
    ],
)
def test_files_that_are_not_descriptions(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=says):
        load(path)
    with pytest.raises(UserError):
        load(tmp_path)
