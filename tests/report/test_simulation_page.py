"""The page of a simulation: self-contained, safe, and drawn by a real browser."""

import html.parser
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from opencolossus.report import (
    simulation_account,
    simulation_figures,
    simulation_halls,
    simulation_lines,
    simulation_page,
)
from opencolossus.report.simulation_story import story
from opencolossus.specs import catalog
from opencolossus.specs.document import Calendar, Description
from opencolossus.specs.run import Run
from opencolossus.twin.record import Record
from opencolossus.twin.simulate import simulate

BROWSER = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)


@pytest.fixture(scope="module")
def record() -> Record:
    fleet = catalog.entry("clusters", "colossus-100k")
    pool = next(iter(fleet.pools.values()))
    pools = {"h100": pool.model_copy(update={"gpus": 4096, "deliveries": ()})}
    return simulate(
        Description(
            name="a small site",
            site=catalog.entry("sites", "memphis-2024-07"),
            cluster=fleet.model_copy(update={"pools": pools}),
            model=catalog.entry("models", "llama3-70b"),
            run=Run(tokens=1e13, batch=2**23, sequence=8192, deadline=date(2024, 7, 20)),
            calendar=Calendar(start=date(2024, 7, 1), end=date(2024, 7, 14)),
        )
    )


@pytest.fixture(scope="module")
def page(record: Record) -> str:
    return simulation_page.render(record)


class Tags(html.parser.HTMLParser):
    """Collects attributes, open tags and the text of scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.attributes: list[tuple[str, str, str | None]] = []
        self.scripts: dict[str, str] = {}
        self._script: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value) for name, value in attrs]
        self._script = dict(attrs).get("id") or "" if tag == "script" else None

    def handle_data(self, data: str) -> None:
        if self._script is not None:
            self.scripts[self._script] = self.scripts.get(self._script, "") + data

    def handle_endtag(self, tag: str) -> None:
        self._script = None


def tags(page: str) -> Tags:
    found = Tags()
    found.feed(page)
    return found


def test_the_page_asks_nobody_for_anything(page: str) -> None:
    outside = [
        (tag, name, value)
        for tag, name, value in tags(page).attributes
        if name in ("src", "href", "action", "data") or (value or "").startswith("http")
    ]
    assert outside == []
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style


def test_every_event_and_every_figure_is_there(record: Record, page: str) -> None:
    found = tags(page)
    times = [value for _, name, value in found.attributes if name == "data-time"]
    assert times == [str(event.time) for event in record.events]
    figures = json.loads(found.scripts["figures"])
    ids = {value for _, name, value in found.attributes if name == "id"}
    assert {figure["key"] for figure in figures} <= ids
    assert {"supply", "gpus", "tokens", "waterfall", "rhythm"} <= ids


def test_the_pictures_show_the_record(record: Record) -> None:
    figure = simulation_figures.tokens(record)
    drawn = next(t for t in figure.data if t["name"] == "tokens, T")
    assert drawn["y"][-1] == pytest.approx(record["tokens"].sum() / 1e12, rel=1e-3)
    bars = simulation_account.waterfall(record).data[0]
    left = sum(bars["x"][:-1])
    assert left == pytest.approx(100 * record.summary["goodput"], abs=0.1)


def test_the_story_has_five_sentences_and_the_right_numbers(record: Record) -> None:
    told = story(record)
    assert len(told) == 5
    assert f"{record.summary['gpus']['powered']:,.0f}" in told[0]
    assert f"{record.summary['interruptions']:,} times" in told[2]


def test_the_halls_hold_every_rack_once(record: Record) -> None:
    halls = simulation_halls.plan(record)
    assert halls is not None
    racks = [part for hall in halls["halls"] for part in hall if part[0] >= 0]
    assert sum(count for _, _, count in racks) == 4096 / 64
    (kind,) = halls["kinds"]
    day = halls["first"]
    assert kind["powered"][day] * 64 == pytest.approx(record["gpus.powered"].max(), abs=63)
    # A rack of eight servers draws some 60 kW; water warms by no more than the loop's rise.
    assert 30 < kind["kw"][day] < 82
    supply = record["temperature.supply"].max()
    assert record["temperature.supply"].min() < kind["celsius"][day] <= supply + 10


def test_two_kinds_of_racks_share_the_halls() -> None:
    site = {
        "halls": 3,
        "gpus_per_hall": 256,
        "pools": {"h100": 320, "gb200": 144},
        "gpus_per_rack": {"h100": 64, "gb200": 72},
    }
    assert simulation_halls._halls(site) == [
        [[0, 0, 4]],
        [[0, 4, 1], [1, 0, 2], [-1, 0, 1]],
        [[-1, 0, 4]],
    ]


def test_names_cannot_break_out(record: Record) -> None:
    nasty = "</script><script>alert(1)</script>"
    page = simulation_page.render(replace(record, name=nasty))
    assert nasty not in page


def test_long_records_are_thinned_not_cut(record: Record) -> None:
    hours, short = simulation_lines.thin(record.hours, record["power.it"], last=False)
    assert len(hours) == len(short) <= simulation_lines.POINTS
    assert short.mean() == pytest.approx(record["power.it"].mean(), rel=0.05)


FRAMES = [(390, "light"), (390, "dark"), (1280, "light"), (1280, "dark")]
WATCH = """<!doctype html><body>FRAMES<pre id="seen"></pre><script>
function look() {
  const seen = [...document.querySelectorAll("iframe")].map((frame) => {
    const page = frame.contentDocument;
    const root = page && page.documentElement;
    if (!root || root.dataset.drawn !== "yes") return null;
    const plots = [...page.querySelectorAll(".plot")];
    return {
      theme: root.dataset.theme,
      paper: frame.contentWindow.getComputedStyle(page.body).backgroundColor,
      wide: root.scrollWidth,
      plots: plots.length,
      drawn: plots.filter((plot) => plot.querySelector(".main-svg")).length,
      racks: page.querySelectorAll(".hall canvas").length,
    };
  });
  if (seen.every((one) => one && one.drawn === one.plots)) touch(seen);
  else setTimeout(look, 100);
}
async function touch(seen) {
  const { contentWindow: inside, contentDocument: page } = document.querySelector("iframe");
  const plot = (key) => page.getElementById(key);
  const from = "2024-07-03", to = "2024-07-05";
  await inside.Plotly.relayout(plot("supply"), { "xaxis.range[0]": from, "xaxis.range[1]": to });
  await new Promise((done) => setTimeout(done, 500));
  seen[0].zoomed = plot("temperatures").layout.xaxis.range;
  const event = page.querySelector("[data-time]");
  event.click();
  await new Promise((done) => setTimeout(done, 500));
  seen[0].marked = plot("gpus").layout.shapes.map((shape) => shape.x0);
  seen[0].pressed = event.getAttribute("aria-pressed");
  seen[0].event = event.dataset.time;
  seen[0].kept = plot("supply").layout.xaxis.range;
  const rack = () => [...page.querySelector(".hall canvas").getContext("2d")
    .getImageData(2, 2, 1, 1).data].join();
  const minor = page.querySelector(".minor"), trips = page.getElementById("trips");
  seen[0].trips = minor ? [minor.offsetHeight, trips.click() || minor.offsetHeight] : null;
  seen[0].halls = [];
  for (const by of ["kw", "celsius"]) {
    page.querySelector(`[data-colour=${by}]`).click();
    const said = page.querySelector(".hall span").textContent;
    seen[0].halls.push([said, rack(), page.getElementById("hall-high").textContent]);
  }
  document.getElementById("seen").textContent = JSON.stringify(seen);
}
look();
</script></body>"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_a_browser_draws_it_on_desk_and_phone_and_answers(page: str, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    frames = "".join(
        f'<iframe src="page.html?theme={theme}" width="{width}" height="900"></iframe>'
        for width, theme in FRAMES
    )
    (tmp_path / "watch.html").write_text(WATCH.replace("FRAMES", frames), encoding="utf-8")
    assert BROWSER is not None
    command = [
        BROWSER,
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *("--allow-file-access-from-files", "--virtual-time-budget=30000", "--dump-dom"),
        f"--user-data-dir={tmp_path / 'profile'}",
        (tmp_path / "watch.html").as_uri(),
    ]
    found = subprocess.run(command, capture_output=True, text=True, timeout=120)
    seen = json.loads(found.stdout.split('<pre id="seen">')[1].split("</pre>")[0])
    for (width, theme), one in zip(FRAMES, seen, strict=True):
        assert one["theme"] == theme
        assert one["wide"] <= width, "nothing sticks out sideways"
        assert one["plots"] == one["drawn"] > 5
        assert one["racks"] == 4
    assert seen[0]["paper"] != seen[1]["paper"]
    touched = seen[0]
    assert [moment[:10] for moment in touched["zoomed"]] == ["2024-07-03", "2024-07-05"]
    assert touched["marked"] == [touched["event"]]
    assert touched["pressed"] == "true"
    assert touched["kept"] == touched["zoomed"]
    hidden, shown = touched["trips"]
    assert hidden == 0 < shown
    (power, hot, most), (heat, warm, warmest) = touched["halls"]
    assert power.startswith("Hall 1: ")
    assert power.endswith(" kW")
    assert heat.endswith(" °C")
    assert most.endswith(" kW")
    assert warmest.endswith(" °C")
    assert hot != warm


def test_the_command_line_writes_record_and_page(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "opencolossus", "simulate", "examples/july.yaml"]
    root = Path(__file__).parents[2]
    out = tmp_path / "july"
    found = subprocess.run(
        [*command, "--out", str(out), "--json", "--set", "calendar.end=2024-07-03"],
        capture_output=True,
        text=True,
        cwd=root,
    )
    assert found.returncode == 0, found.stderr
    summary = json.loads(found.stdout)
    assert summary["tokens"] > 0
    assert {p.name for p in out.iterdir()} == {
        "record.parquet",
        "events.parquet",
        "failures.parquet",
        "minutes.parquet",
        "rhythm.parquet",
        "summary.json",
        "index.html",
    }


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        (["site.power.grid.limit=1 kW", "site.power.gensets=null"], "site.power"),
        (["calendar.end=2024-06-01"], "end (2024-06-01) must not be before start"),
        (["run.start=2025-01-01"], "run.start (2025-01-01) comes after calendar.end"),
        (["calendar=null"], "simulate needs a calendar"),
        (["calendar.seed=-1"], "calendar.seed: is -1, but must be at least 0"),
        (
            ["site.orders=[{start: yesterday, duration: 3 h, reduction: 25 %}]"],
            "site.orders.0.start: 'yesterday' is not a moment like 2025-07-15 15:00",
        ),
        (
            ["site.orders=[{start: 2024-07-05T15:00Z, duration: 3 h, reduction: 25 %}]"],
            "without a time zone",
        ),
        (["site.climate.months=[{dry_bulb: 5 °C, wet_bulb: 4 °C, swing: 9}]"], "climate.months"),
        (
            [
                "site.power.gensets.permit={nox: 0 tons}",
            ],
            "permit",
        ),
        (
            [
                "site.power.b={kind: battery, energy: 1 MWh, limit: 1 MW, "
                "available: 2020-01-01, until: 2021-01-01}",
                "site.power.grid.available=2024-01-01",
                "site.power.gensets.available=2024-01-01",
            ],
            "has no way to charge",
        ),
    ],
)
def test_mistakes_are_one_sentence(tmp_path: Path, sets: list[str], said: str) -> None:
    command = [sys.executable, "-m", "opencolossus", "simulate", "examples/july.yaml"]
    arguments = [part for one in sets for part in ("--set", one)]
    root = Path(__file__).parents[2]
    found = subprocess.run(
        [*command, "--out", str(tmp_path / "x"), *arguments],
        capture_output=True,
        text=True,
        cwd=root,
    )
    assert found.returncode == 2, found.stdout + found.stderr
    assert said in found.stderr
    assert "Traceback" not in found.stderr
    assert list(tmp_path.iterdir()) == []
