"""Markdown: what is shown, and what never is."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencolossus.serve.api.markdown import render

ATTACKS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "![x](https://evil.example/pixel.png)",
    "[x](javascript:alert(1))",
    "[x](data:text/html,<script>alert(1)</script>)",
    "[x](vbscript:alert(1))",
    "<a href='https://a' onclick='alert(1)'>x</a>",
    "<style>body{display:none}</style>",
    "<iframe src=https://evil.example></iframe>",
    "```<script>\nalert(1)\n```",
    '``` " onmouseover=alert(1) x="\nx\n```',
    '<https://a.example/" onmouseover="alert(1)>',
]


@pytest.mark.parametrize("text", ATTACKS)
def test_nothing_that_runs_or_loads_gets_through(text: str) -> None:
    html = render(text)
    assert not re.search(r"<(script|img|style|iframe|svg|object)", html)
    assert not re.search(r"<[^>]*\son\w+\s*=", html)
    assert not re.search(r"href=\"(?!https?:|mailto:)", html)


@given(st.text(alphabet="<>\"'`*[]()!#&;/= \nabonscript:", max_size=80))
def test_whatever_is_written_only_known_tags_come_out(text: str) -> None:
    known = (
        "a blockquote br code del em h1 h2 h3 h4 h5 h6 hr li ol p pre s strong table tbody td th "
        "thead tr ul"
    )
    assert set(re.findall(r"<\s*/?\s*([a-zA-Z0-9]+)", render(text))) <= set(known.split())


def test_what_people_write_looks_as_they_mean_it() -> None:
    html = render(
        "**bold** `code`\n\n```python\nx = 1 < 2\n```\n\n- one\n- two\n\n|a|b|\n|-|-|\n|1|2|"
    )
    assert "<strong>bold</strong>" in html
    assert '<code class="language-python">x = 1 &lt; 2' in html
    assert html.count("<li>") == 2
    assert "<td>1</td>" in html
    link = render("[site](https://example.org)")
    assert 'href="https://example.org"' in link
    assert "noopener" in link
    image = render("![a <cat>](https://example.org/cat.png)")
    assert 'href="https://example.org/cat.png"' in image
    assert ">a &lt;cat&gt;</a>" in image
