"""Plans on the terminal and on a page."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from rich.console import Console

from opencolossus.plan.plan import Plan
from opencolossus.plan.search import search
from opencolossus.report import plan_page, plan_table
from opencolossus.report.times import duration
from opencolossus.specs.load import load

BROWSER = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
FRAMES = [(390, "light"), (390, "dark"), (1280, "light"), (1280, "dark")]
WATCH = """<!doctype html><body>FRAMES<pre id="seen"></pre><script>
function look() {
  const seen = [...document.querySelectorAll("iframe")].map((frame) => {
    const page = frame.contentDocument;
    const plots = page ? [...page.querySelectorAll(".plot")] : [];
    if (!plots.length || !plots.every((plot) => plot.querySelector(".main-svg"))) return null;
    const inside = (one) => one.getBoundingClientRect().right <= frame.width;
    return {
      theme: page.documentElement.dataset.theme,
      paper: frame.contentWindow.getComputedStyle(page.body).backgroundColor,
      wide: page.documentElement.scrollWidth,
      plots: plots.map((plot) => plot.id),
      outside: [...page.querySelectorAll(".main-svg, .bar, .card")].filter((one) => !inside(one))
        .length,
      longest: Math.max(...[...page.querySelectorAll("#step i")].map((bar) => bar.offsetWidth)),
      room: page.querySelector("#step").offsetWidth,
      lines: page.querySelectorAll("#caps .js-line").length,
    };
  });
  if (seen.every((one) => one))
    document.getElementById("seen").textContent = JSON.stringify(seen);
  else setTimeout(look, 100);
}
look();
</script></body>"""
EXAMPLE = Path(__file__).parents[2] / "examples" / "memphis.yaml"


@pytest.fixture(scope="module")
def plan() -> Plan:
    loaded = load(EXAMPLE)
    return search(loaded.description, facts=loaded.facts)


def test_the_answer_comes_first_and_fits_a_terminal(plan: Plan) -> None:
    out = io.StringIO()
    plan_table.show_plan(Console(file=out, width=100), plan)
    lines = out.getvalue().splitlines()
    assert f"{plan.gpus:,} of {plan.available:,} GPUs" in lines[1]
    assert all(len(line) <= 100 for line in lines)
    for words in ("One step", "Memory of one GPU", "What lost, and why", "assumptions"):
        assert any(words in line for line in lines)


def test_the_page_needs_no_network_and_holds_its_figures(plan: Plan) -> None:
    text = plan_page.render(plan)
    assert not re.search(r'<(script|link|img|iframe)[^>]+(src|href)="https?://', text)
    for key in ("step", "memory", "caps", "gpus", "energy", "front", "inputs"):
        assert f'id="{key}"' in text
    assert plan.model.replace("'", "&#x27;") in text


@pytest.mark.parametrize(
    ("days", "text"),
    [
        (5 / 86400, "5 seconds"),
        (0.01, "14.4 minutes"),
        (1.0, "24.0 hours"),
        (122, "122 days"),
        (3652.5, "10.0 years"),
        (3.6525e19, "1e+17 years"),
    ],
)
def test_durations_are_said_as_people_say_them(days: float, text: str) -> None:
    assert duration(days) == text


@pytest.mark.parametrize("width", [80, 120])
def test_no_line_is_wider_than_the_terminal(plan: Plan, width: int) -> None:
    out = io.StringIO()
    plan_table.show_plan(Console(file=out, width=width), plan, whole=True)
    assert max(map(len, out.getvalue().splitlines())) <= width


def test_the_page_says_no_terminal_markup(plan: Plan) -> None:
    text = plan_page.render(plan)
    assert "[bold]" not in text
    assert "[/]" not in text


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_a_browser_draws_the_plan_on_desk_and_phone(plan: Plan, tmp_path: Path) -> None:
    assert BROWSER is not None
    (tmp_path / "page.html").write_text(plan_page.render(plan), encoding="utf-8")
    frames = "".join(
        f'<iframe src="page.html?theme={theme}" width="{width}" height="900"></iframe>'
        for width, theme in FRAMES
    )
    (tmp_path / "watch.html").write_text(WATCH.replace("FRAMES", frames), encoding="utf-8")
    command = [
        BROWSER,
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *("--allow-file-access-from-files", "--virtual-time-budget=30000", "--dump-dom"),
        f"--user-data-dir={tmp_path / 'profile'}",
        (tmp_path / "watch.html").as_uri(),
    ]
    found = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    seen = json.loads(found.stdout.split('<pre id="seen">')[1].split("</pre>")[0])
    for (width, theme), one in zip(FRAMES, seen, strict=True):
        assert one["theme"] == theme
        assert one["wide"] <= width, "nothing sticks out sideways"
        assert one["outside"] == 0
        assert set(one["plots"]) == {"caps", "gpus", "energy", "front"}
        assert one["lines"] >= 1
        assert 0.3 * one["room"] < one["longest"] < one["room"]
    assert seen[0]["paper"] != seen[1]["paper"]


def test_a_cpu_is_not_called_a_gpu() -> None:
    here = load(EXAMPLE.with_name("tiny.yaml")).description
    plan = search(here, detail=False)
    if not plan.gpu.startswith("CPU"):
        pytest.skip("a machine with a GPU")
    out = io.StringIO()
    plan_table.show_plan(Console(file=out, width=100), plan)
    facts = out.getvalue().partition("assumptions")[0]
    assert "Memory of one CPU" in facts
    assert "GPU" not in facts
