"""``colossus launch`` as typed: how many nodes, what is written, and what is refused."""

from __future__ import annotations

import shlex
import sys

import pytest
import yaml

from opencolossus.cli import app
from opencolossus.specs.errors import UserError
from opencolossus.specs.load import loads
from opencolossus.train.launch import nodes

PLAIN = """
name: plain
model: grok-micro
run: {name: plain, data: {corpus: chitchat}, tokens: 10240, batch: 512, sequence: 64}
"""
CLUSTER = """
name: large
site: here
cluster:
  fabric: spectrum-x-400
  pools: {pools}
model: grok-1
run:
  {{name: a/b, data: {{path: texts}}, tokens: 1B tokens, batch: 8M tokens, sequence: 8192{more}}}
"""
SIZED = ("-n", "2", "--gpus-per-node", "8")
SIZED_FOR_MICRO = ("-n", "2", "--gpus-per-node", "2")
IMAGE = ("--image", "registry/colossus:1", "--claim", "runs")
SITE = "site: colossus-2024-09"
H100 = "{h100: {node: hgx-h100-bf3, gpus: 1024}}"
TWO = "{h100: {node: hgx-h100-bf3, gpus: 1024}, h200: {node: hgx-h200-bf3, gpus: 512}}"
NVL = "{gb200: {node: nvl72-gb200, gpus: 720}}"


def large(pools: str = H100, more: str = "") -> str:
    return CLUSTER.format(pools=pools, more=more).replace("site: here", SITE)


@pytest.fixture
def launch(tmp_path, monkeypatch, capsys):
    """Run the command on a description in an empty folder; what it prints."""
    monkeypatch.chdir(tmp_path)

    def run(text: str, *words: str) -> str:
        (tmp_path / "spec.yaml").write_text(text)
        app(["launch", "spec.yaml", *words], standalone_mode=False)
        return capsys.readouterr().out

    return run


def words(text: str) -> list[list[str]]:
    return [shlex.split(line) for line in text.splitlines() if not line.startswith("#")]


def test_plain_commands_for_named_nodes_meet_at_the_first(launch, tmp_path):
    said = launch(PLAIN, "--hosts", "a, b", "--gpus-per-node", "8", "--set", "run.seed=1")
    first, second = words(said)
    assert "# on a\n" in said
    assert {"--rdzv-endpoint=a:29400", "--rdzv-conf=is_host=1"} <= set(first)
    assert {"--rdzv-endpoint=a:29400", "--rdzv-conf=is_host=0"} <= set(second)
    assert first[first.index("train") :] == [
        *("train", f"{tmp_path}/spec.yaml", "--set", "run.seed=1"),
        *("--out", f"{tmp_path}/runs/plain"),
    ]


def test_options_after_the_dashes_go_to_train(launch):
    (command,) = words(launch(PLAIN, *SIZED, "--", "--metrics-port", "9"))
    assert command[-2:] == ["--metrics-port", "9"]
    with pytest.raises(Exception, match="--metrics-prt"):
        launch(PLAIN, *SIZED, "--", "--metrics-prt", "9")


def test_a_layout_that_cannot_train_the_model_is_refused_before_it_waits_in_a_queue(launch):
    assert "--layout tp=2" in launch(PLAIN, *SIZED_FOR_MICRO, "--", "--layout", "tp=2")
    with pytest.raises(UserError, match="tp 4 does not divide kv_heads 2; the nearest that can"):
        launch(PLAIN, *SIZED_FOR_MICRO, "--", "--layout", "tp=4")


def test_a_run_without_data_is_refused_before_it_waits_in_a_queue(launch):
    with pytest.raises(UserError, match=r"run\.data is missing"):
        launch(PLAIN.replace("data: {corpus: chitchat}, ", ""), *SIZED)


def test_one_node_needs_no_meeting_point(launch):
    (command,) = words(launch(PLAIN, "-n", "1", "--gpus-per-node", "4"))
    assert "--standalone" in command
    assert "--nproc-per-node=4" in command


def test_the_script_stands_beside_the_run_and_its_log_folder_is_there(launch, tmp_path):
    said = launch(PLAIN, "--slurm", "-n", "2", "--gpus-per-node", "8", "--time", "2 h")
    file = tmp_path / "runs/plain/launch.sbatch"
    assert said.strip() == str(file)
    assert "#SBATCH --time=0-02:00:00\n" in file.read_text()
    assert f"python={sys.executable}\n" in file.read_text()
    assert (tmp_path / "runs/plain/slurm").is_dir()


def test_printing_writes_nothing(launch, tmp_path):
    said = launch(PLAIN, "--slurm", "-n", "2", "--gpus-per-node", "8", "--print")
    assert said.startswith("#!/bin/bash\n")
    assert [path.name for path in tmp_path.iterdir()] == ["spec.yaml"]


@pytest.mark.parametrize(
    ("option", "kind"), [("--kubernetes", "JobSet"), ("--trainjob", "TrainJob")]
)
def test_a_manifest_carries_the_description(launch, tmp_path, option, kind):
    wanted = (
        "-n",
        "2",
        "--gpus-per-node",
        "8",
        "--image",
        "registry/colossus:1",
        "--claim",
        "runs",
    )
    assert launch(PLAIN, option, *wanted).strip() == "plain.yaml"
    config, manifest = yaml.safe_load_all((tmp_path / "plain.yaml").read_text())
    assert manifest["kind"] == kind
    assert loads(config["data"]["description.yaml"]).description.name == "plain"
    assert "/runs/plain" in str(manifest)
    assert str(tmp_path) not in str(manifest)


def test_servers_and_gpus_come_from_the_cluster(launch):
    said = launch(large(), "--slurm", "--print", "-n", "16")
    assert "#SBATCH --nodes=16\n" in said
    assert "#SBATCH --gres=gpu:8\n" in said
    assert "segment" not in said
    assert "#SBATCH --job-name=a-b\n" in said


def test_without_a_number_the_plan_says_how_many(monkeypatch):
    from opencolossus.plan.search import search

    description = loads(large()).description
    found = nodes.find(description)
    assert found.count * 8 == search(description, detail=False).gpus <= 1024


def test_racks_of_one_scale_up_network_are_kept_together(launch):
    said = launch(large(NVL), "--slurm", "--print", "-n", "36")
    assert "#SBATCH --segment=18\n" in said  # 18 servers of 4 GPUs in an NVL72
    assert "#SBATCH --gres=gpu:4\n" in said
    said = launch(large(NVL), "--slurm", "--print", "-n", "36", "--sbatch", "segment=0")
    assert "segment" not in said


def test_a_run_in_the_folder_is_neither_continued_nor_begun_anew_unasked(launch, tmp_path):
    wanted = ("--slurm", "--print", "-n", "2", "--gpus-per-node", "8")
    with pytest.raises(UserError, match="holds no run to resume"):
        launch(PLAIN, *wanted, "--resume")
    (tmp_path / "runs/plain").mkdir(parents=True)
    (tmp_path / "runs/plain/tokenizer.json").touch()
    with pytest.raises(UserError, match="holds a run already; go on with it by --resume"):
        launch(PLAIN, *wanted)
    assert launch(PLAIN, *wanted, "--resume")


@pytest.mark.parametrize(
    ("text", "options", "sentence"),
    [
        (PLAIN, (), "no cluster, so give --nodes and --gpus-per-node"),
        (PLAIN, ("--nodes", "2"), "no cluster, so give --nodes and --gpus-per-node"),
        (PLAIN, (*SIZED, "--slurm", "--kubernetes"), "one of them"),
        (PLAIN, (*SIZED, "--submit"), "give --slurm too"),
        (PLAIN, (*SIZED, "--hosts", "a,b,c"), "--nodes 2, but --hosts names 3"),
        (PLAIN, (*SIZED, "--hosts", "a,a"), "names a node twice"),
        (PLAIN, (*SIZED, "--slurm", "--time", "soon"), "--time: 'soon' is not a"),
        (PLAIN, (*SIZED, "--slurm", "--grace", "0 s"), "--grace 0 s is no time"),
        (PLAIN, (*SIZED, "--kubernetes"), "needs --image"),
        (PLAIN, (*SIZED, "--kubernetes", "--image", "i"), "needs --claim"),
        (PLAIN, (*SIZED, "--kubernetes", *IMAGE, "--out", "/home/me"), "give /runs/me"),
        (PLAIN, (*SIZED, "--kubernetes", *IMAGE, "--resource", "a"), "--resource KEY=VALUE"),
        (
            PLAIN.replace("corpus: chitchat", "path: texts"),
            (*SIZED, "--kubernetes", *IMAGE),
            "say where the pods see it, for example --set run.data.path=/runs/data",
        ),
        (large(), ("--nodes", "200"), "pool h100 has 128 servers; give at most 128"),
        (large(), ("--nodes", "2", "--pool", "h10"), "did you mean 'h100'"),
        (large(TWO), ("--nodes", "2"), "pools h100, h200; a job runs on one of them"),
        (
            large(more=", layout: {tensor_parallel: 8, pipeline_parallel: 4}"),
            ("--nodes", "6"),
            r"groups of 32 processes \(tensor 8 x pipeline 4\), which 6 nodes of 8 do not fill; "
            "nearest are 4 and 8 nodes",
        ),
        (
            large(more=", layout: {tensor_parallel: 8, pipeline_parallel: 4}"),
            ("--nodes", "3"),
            "the fewest are 4 nodes",
        ),
    ],
)
def test_what_a_person_gets_wrong_is_one_sentence(launch, text, options, sentence):
    with pytest.raises(UserError, match=sentence) as caught:
        launch(text, *options)
    assert "\n" not in str(caught.value)


def test_nothing_here_needs_torch():
    import subprocess

    code = (
        "import sys, opencolossus.train.launch.ask, opencolossus.train.launch.slurm;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
