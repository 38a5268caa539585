"""Markdown to HTML that is safe to show, whoever wrote it."""

from __future__ import annotations

from collections.abc import Sequence

import nh3
from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from markdown_it.token import Token

_PARSER = MarkdownIt("commonmark", {"html": False, "breaks": True}).enable(
    ["table", "strikethrough"]
)


def _link(_renderer: object, tokens: Sequence[Token], index: int, *_: object) -> str:
    """A link in the place of an image: fetching it would tell another server who reads what."""
    source = str(tokens[index].attrs["src"])
    return f'<a href="{escapeHtml(source)}">{escapeHtml(tokens[index].content or source)}</a>'


_PARSER.add_render_rule("image", _link)
_TAGS = {
    "a", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li",
    "ol", "p", "pre", "s", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul",
}  # fmt: skip
_ATTRIBUTES = {"a": {"href", "title"}, "ol": {"start"}, "code": {"class"}}


def render(text: str) -> str:
    """HTML of a message: Markdown, without scripts, images, styles or foreign attributes."""
    return nh3.clean(
        _PARSER.render(text),
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow",
        set_tag_attribute_values={"a": {"target": "_blank"}},
    )
