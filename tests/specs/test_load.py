"""A description comes in whole, in SI, and says where each of its numbers comes from."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from opencolossus.specs import catalog, tree
from opencolossus.specs.document import Description
from opencolossus.specs.errors import UserError
from opencolossus.specs.evidence import Evidence
from opencolossus.specs.load import load, loads
from opencolossus.specs.schema import json_schema

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))


def test_units_become_si(whole: str) -> None:
    description = loads(whole).description
    assert description.site is not None
    assert description.cluster is not None
    grid = description.site.power["grid"]
    assert grid.limit == 8e6
    assert description.cluster.pools["h100"].node.nic_bandwidth == 50e9
    assert description.run.optimiser.learning_rate == 3e-4
    assert description.run.steps == -(-1_000_000 // 1024)


def test_supply_and_deliveries_follow_their_dates(whole: str) -> None:
    description = loads(whole).description
    assert description.site is not None
    assert description.cluster is not None
    assert description.site.power_limit(date(2024, 6, 30)) == 8e6
    assert description.site.power_limit(date(2024, 7, 1)) == 8e6 + 14 * 2.5e6
    pool = description.cluster.pools["h100"]
    assert [pool.delivered(date(2024, m, 1)) for m in (6, 7, 8)] == [0, 512, 1024]


def test_facts_keep_their_evidence(whole: str) -> None:
    loaded = loads(whole)
    fact = loaded.assumed()["site.power.engines.carbon"]
    assert fact.evidence is Evidence.ASSUMED
    assert "middling" in fact.note


def test_a_description_survives_json(whole: str) -> None:
    description = loads(whole).description
    assert Description.model_validate_json(description.model_dump_json()) == description


def test_set_overrides_one_field_and_leaves_the_others(whole: str) -> None:
    before = loads(whole).description
    after = loads(whole, sets=["site.power.grid.limit=12 MW", "run.precision=fp32"]).description
    assert after.site is not None
    assert before.site is not None
    assert after.site.power["grid"].limit == 12e6
    assert after.site.power["engines"] == before.site.power["engines"]
    assert after.run.precision == "fp32"


def test_null_takes_away(whole: str) -> None:
    description = loads(whole, sets=["site.power.engines=null"]).description
    assert description.site is not None
    assert list(description.site.power) == ["grid"]


def test_a_list_can_be_set(whole: str) -> None:
    assert loads(
        whole, sets=["run.optimiser.betas=[0.8, 0.9]"]
    ).description.run.optimiser.betas == (
        0.8,
        0.9,
    )


def test_an_override_can_change_the_kind_of_a_source(whole: str) -> None:
    sets = ["site.power.engines={kind: grid, limit: 1 MW, tariff: $1/kWh, carbon: 0 g/kWh}"]
    description = loads(whole, sets=sets).description
    assert description.site is not None
    assert description.site.power["engines"].kind == "grid"


def test_a_name_and_a_base_stand_for_a_catalog_entry(whole: str) -> None:
    named = loads(whole, sets=["model=grok-1"]).description.model
    assert named == catalog.entry("models", "grok-1")
    deeper = loads(whole, sets=["model={base: grok-1, layers: 65}"]).description.model
    assert deeper.layers == 65
    assert deeper.model_copy(update={"layers": named.layers}) == named


def test_a_named_entry_replaces_and_a_mapping_merges(whole: str) -> None:
    sets = ["model=grok-1", "model.layers=3"]
    assert loads(whole, sets=sets).description.model.layers == 3
    # The small model of the text had feed_forward 128: naming another model leaves nothing of it.
    assert loads(whole, sets=["model=grok-1"]).description.model.feed_forward != 128


def test_yaml_scalars_are_read_as_people_mean_them() -> None:
    node = tree.parse("{a: 3e-4, b: no, c: 0x10, d: 1_000, e: ~, f: '5', g: true}", "x").plain()
    assert node == {"a": 3e-4, "b": "no", "c": 16, "d": "1_000", "e": None, "f": "5", "g": True}


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text("abc xyz", min_size=1),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.text("abc", min_size=1), inner, max_size=3)
        ),
        max_leaves=8,
    )
)
def test_the_tree_agrees_with_yaml_on_what_yaml_writes(data: object) -> None:
    text = yaml.safe_dump({"top": data})
    assert tree.parse(text, "x").plain() == {"top": yaml.safe_load(text)["top"]}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_every_example_loads(path: Path) -> None:
    assert load(path).description.name


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_the_schema_accepts_every_example(path: Path) -> None:
    document = tree.parse(path.read_text(), path.name).plain()
    jsonschema.Draft202012Validator(json_schema()).validate(json.loads(json.dumps(document)))


def test_the_schema_refuses_what_the_loader_refuses(whole: str) -> None:
    document = tree.parse(whole, "x").plain()
    validator = jsonschema.Draft202012Validator(json_schema())
    validator.validate(document)
    document["model"]["layerz"] = 3
    assert list(validator.iter_errors(document))
    with pytest.raises(UserError, match="did you mean 'layers'"):
        loads(whole.replace("  layers: 2", "  layers: 2\n  layerz: 3"))


def test_paths_are_relative_to_the_file_or_to_the_shell(tmp_path: Path, whole: str) -> None:
    spec = tmp_path / "site.yaml"
    spec.write_text(whole.replace("  sequence: 128", "  data: {path: texts}\n  sequence: 128"))
    in_file, set_by_hand = load(spec), load(spec, ["run.data.path=texts"])
    assert in_file.description.run.data is not None
    assert set_by_hand.description.run.data is not None
    assert in_file.description.run.data.path == tmp_path / "texts"
    assert set_by_hand.description.run.data.path == Path("texts")


@pytest.mark.parametrize(
    ("names", "folder"),
    [
        (("eight nodes in a shed", None), "eight-nodes-in-a-shed"),
        (("Llama 3.1 / 8B", None), "llama-3.1-8b"),
        (("../etc", None), "etc"),
        (("anything", "Half hour"), "Half hour"),
    ],
)
def test_a_run_without_a_name_is_called_after_its_description(
    whole: str, names: tuple[str, str | None], folder: str
) -> None:
    title, run = names
    text = whole.replace("name: a small site", f"name: {title}", 1)
    if run is not None:
        text = text.replace("\nrun:\n", f"\nrun:\n  name: {run}\n", 1)
    assert loads(text).description.run_folder == folder
