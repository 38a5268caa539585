"""One self-contained HTML page: text, figures and lists, with Plotly inside and no network."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from opencolossus.specs.errors import UserError

Trace = dict[str, Any]


@dataclass(frozen=True)
class Figure:
    """A Plotly figure; colours are names of the style sheet such as ``--c1`` or ``--c1/0.3``."""

    key: str
    """Identifier on the page."""
    title: str
    data: list[Trace]
    layout: dict[str, Any] = field(default_factory=dict)
    note: str = ""
    height: int = 260
    timeline: bool = False
    """Whether it zooms together with the other time lines."""


@dataclass(frozen=True)
class Section:
    """A heading with what stands below it; ``body`` is HTML."""

    title: str = ""
    note: str = ""
    figures: Sequence[Figure] = ()
    body: str = ""
    pair: bool = False
    """Two figures side by side where there is room."""


@dataclass(frozen=True)
class Page:
    """A whole page."""

    title: str
    subtitle: str
    story: Sequence[str]
    """What happened, in sentences."""
    tiles: Sequence[tuple[str, str]]
    """(figure, what it is) for those in a hurry."""
    sections: Sequence[Section]
    footer: str = ""

    def render(self) -> str:
        """The page as HTML.

        Raises:
            UserError: plotly is not installed.
        """
        figures = [figure for section in self.sections for figure in section.figures]
        data = [
            {
                "key": f.key,
                "data": f.data,
                "layout": f.layout,
                "height": f.height,
                "timeline": f.timeline,
            }
            for f in figures
        ]
        parts = [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(self.title)}</title>",
            f"<style>{_resource('page.css')}</style></head><body><main>",
            f"<header><div><h1>{escape(self.title)}</h1>",
            f'<p class="subtitle">{escape(self.subtitle)}</p></div>',
            '<button id="theme" type="button" title="Light or dark">Light / dark</button></header>',
            '<div class="story">' + "".join(f"<p>{escape(s)}</p>" for s in self.story) + "</div>",
            _tiles(self.tiles),
            *(_section(section) for section in self.sections),
            f"<footer>{escape(self.footer)}</footer></main>",
            f"<script>{plotly()}</script>",
            f'<script type="application/json" id="figures">{embed(data)}</script>',
            f"<script>{_resource('page.js')}</script>",
            "</body></html>\n",
        ]
        return "\n".join(parts)


def escape(text: str) -> str:
    """Text that is safe inside HTML."""
    return html.escape(text)


def embed(data: Any) -> str:
    """JSON that is safe inside a script element; what is not a number becomes null."""
    return json.dumps(_finite(data), separators=(",", ":"), allow_nan=False).replace("</", "<\\/")


def rounded(values: Sequence[float], digits: int = 4) -> list[float | None]:
    """Numbers with as many digits as a picture shows."""
    return [float(f"{v:.{digits}g}") if math.isfinite(v) else None for v in values]


@cache
def plotly() -> str:
    """The JavaScript of Plotly, from its package.

    Raises:
        UserError: plotly is not installed.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        raise UserError("a page needs plotly: pip install 'opencolossus[report]'") from None
    return str(get_plotlyjs()).replace("</script", "<\\/script")


def _finite(data: Any) -> Any:
    if isinstance(data, float) and not math.isfinite(data):
        return None
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return data


def _resource(name: str) -> str:
    return (files("opencolossus.report") / name).read_text(encoding="utf-8")


def _tiles(tiles: Sequence[tuple[str, str]]) -> str:
    cells = "".join(
        f'<div class="tile"><b>{escape(number)}</b><span>{escape(what)}</span></div>'
        for number, what in tiles
    )
    return f'<div class="tiles">{cells}</div>' if tiles else ""


def _section(section: Section) -> str:
    heading = f"<h2>{escape(section.title)}</h2>" if section.title else ""
    note = f'<p class="note">{escape(section.note)}</p>' if section.note else ""
    figures = "".join(_figure(figure) for figure in section.figures)
    if section.pair:
        figures = f'<div class="pair">{figures}</div>'
    return f"<section>{heading}{note}{figures}{section.body}</section>"


def _figure(figure: Figure) -> str:
    note = f" {escape(figure.note)}" if figure.note else ""
    return (
        f'<div class="card"><figure><figcaption><b>{escape(figure.title)}</b>{note}</figcaption>'
        f'<div class="plot" id="{figure.key}" style="height:{figure.height}px"></div>'
        "</figure></div>"
    )
