"""Rows of a table of published measurements, and what each says about model, layout and machine.

An empty cell means that the source does not say. What a convention or the model's own paper
settles is filled in here, by rules that hold for every row alike; a row that still lacks
something is left out and says why.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from opencolossus.specs.errors import UserError

NEEDED = ("n_gpus", "tp", "pp", "micro_batch", "global_batch_sequences", "value", "metric")


class UnusableError(Exception):
    """A row cannot be priced; the text says what is missing."""


@dataclass(frozen=True)
class Rules:
    """How rows map to machines, software and shapes (``platforms.yaml`` beside the table)."""

    platforms: list[dict[str, Any]]
    software: list[dict[str, Any]]
    by_year: dict[int, str]
    models: list[dict[str, Any]]
    recipes: list[dict[str, Any]]


@dataclass(frozen=True)
class Row:
    """One measurement as it stands in the table."""

    cells: dict[str, str]

    def text(self, name: str) -> str:
        """A cell, stripped."""
        return (self.cells.get(name) or "").strip()

    def number(self, name: str, default: float | None = None) -> float:
        """A cell as a number.

        Raises:
            UnusableError: it is empty without a default, or no number.
        """
        text = self.text(name)
        if not text:
            if default is None:
                raise UnusableError(f"{name} is not told")
            return default
        try:
            return float(text)
        except ValueError:
            raise UnusableError(f"{name} is {text!r}, not a number") from None

    def positive(self, name: str, default: float | None = None) -> float:
        """A cell as a number above 0.

        Raises:
            UnusableError: it is empty without a default, or not above 0.
        """
        value = self.number(name, default)
        if not 0 < value < float("inf"):
            raise UnusableError(f"{name} is {value:g}, not above 0")
        return value

    @property
    def key(self) -> str:
        """The row's identifier."""
        return self.text("id") or "?"

    @property
    def about(self) -> str:
        """Everything that tells which software it was."""
        return " ".join(
            self.text(k) for k in ("id", "source", "url_or_repo_path", "model_name", "gpu", "notes")
        )


def folder() -> Path:
    """The folder ``validation`` of the project: here, or beside the package's source.

    Raises:
        UserError: it is in neither place.
    """
    for base in (Path.cwd(), *Path(__file__).resolve().parents):
        if (base / "validation" / "platforms.yaml").is_file():
            return base / "validation"
    raise UserError(
        "no folder 'validation' with throughput.csv here; run in a checkout or give --table"
    )


def read_table(path: Path) -> list[Row]:
    """All rows of a table.

    Raises:
        UserError: the file cannot be read or lacks a needed column.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = [name for name in NEEDED if name not in (reader.fieldnames or [])]
            if missing:
                raise UserError(
                    f"{path} has no column {missing[0]!r}; needed are {', '.join(NEEDED)}"
                )
            return [Row(dict(row)) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read as a table: {_why(error)}") from None


def read_rules(path: Path) -> Rules:
    """The mapping of rows to machines and software.

    Raises:
        UserError: the file is missing or not YAML.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read: {_why(error)}") from None
    return Rules(
        data["platforms"], data["software"], data["by_year"], data["models"], data["recipes"]
    )


def platform(row: Row, rules: Rules) -> dict[str, Any]:
    """The machine of a row.

    Raises:
        UnusableError: no pattern fits its GPU.
    """
    for entry in rules.platforms:
        if not re.search(entry["gpu"], row.text("gpu"), re.IGNORECASE):
            continue
        where = {"source": row.about, "interconnect": row.text("interconnect")}
        if all(re.search(entry[k], text, re.IGNORECASE) for k, text in where.items() if k in entry):
            return entry
    raise UnusableError(f"GPU {row.text('gpu')!r} is not known")


def _why(error: Exception) -> str:
    """What the system says, without its number and a path that was said."""
    return (isinstance(error, OSError) and error.strerror) or str(error)


def software(row: Row, rules: Rules) -> str:
    """Name of the software of a row, by its source, else by its year."""
    stage = zero(row)
    for entry in rules.software:
        if "zero" in entry and (stage != entry["zero"] or not row.key.startswith(entry["ids"])):
            continue
        if re.search(entry["pattern"], row.about, re.IGNORECASE):
            return str(entry["software"])
    year = int(row.number("year", 2024))
    return rules.by_year[min(max(year, min(rules.by_year)), max(rules.by_year))]


def zero(row: Row) -> int | None:
    """ZeRO stage, or nothing where the row does not say."""
    text = row.text("fsdp_or_zero_stage").lower()
    if found := re.search(r"zero\s*-?([0-3])", text):
        return int(found.group(1))
    if "shard_grad_op" in text:
        return 2
    if "fsdp" in text:
        return 3
    return None


def shard_group(row: Row) -> float:
    """Ranks that share states, where it is fewer than all replicas; 0 for all."""
    text = row.text("fsdp_or_zero_stage")
    if found := re.search(r"(?:over |group |\()(\d+)(?: ranks)?", text):
        return float(found.group(1))
    if "HSDP from 512" in text and row.number("n_gpus") >= 512:
        return 128.0
    return 0.0


def precision(row: Row) -> str:
    """Precision of the linear layers."""
    text = row.text("precision").lower()
    return "fp4" if "fp4" in text else "fp8" if "fp8" in text else "bf16"


def schedule(row: Row) -> str:
    """Pipeline schedule by the name that the row gives it."""
    name = row.text("model_name")
    if "ZB-2p" in name:
        return "zb-h2"
    return "zb-h1" if "ZB-1p" in name else "1f1b"


def recipe(row: Row, rules: Rules) -> dict[str, Any]:
    """What the recipe of a row's release tells beside the table; nothing if it was not read."""
    stage = zero(row)
    for entry in rules.recipes:
        fits = re.search(entry["pattern"], row.about, re.IGNORECASE)
        if fits and entry.get("zero", stage) == stage:
            return entry
    return {}


def recompute(row: Row, recipe: dict[str, Any]) -> str | None:
    """What is recomputed, or nothing where neither the row nor its recipe says."""
    text = row.text("recompute").lower() or recipe.get("recompute", "")
    if text in ("none", "selective", "full"):
        return text
    if "4 passes" in row.text("flops_convention") or "incl. recompute" in row.text(
        "flops_convention"
    ):
        return "full"
    return None
