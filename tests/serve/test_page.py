"""The page in a real browser."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from servers import MODEL, PASSWORD, Parrot, Server, wait_until

from opencolossus.serve.accounts import conversations, users

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
from playwright.sync_api import Browser, BrowserContext, Page, expect  # noqa: E402

expect.set_options(timeout=30_000)
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
ABORTED = "net::ERR_ABORTED"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    opened = browser.new_context(viewport={"width": 1200, "height": 800})
    opened.set_default_timeout(60_000)
    yield opened
    opened.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    opened = context.new_page()
    wrong: list[str] = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    # A stop aborts a request, and so does leaving the page in the middle of one.
    opened.on(
        "requestfailed",
        lambda request: wrong.append(request.url) if request.failure != ABORTED else None,
    )
    opened.on("console", lambda m: wrong.append(m.text) if "Content Security" in m.text else None)
    elsewhere: list[str] = []
    opened.on(
        "request",
        lambda request: elsewhere.append(request.url) if "127.0.0.1" not in request.url else None,
    )
    yield opened
    assert elsewhere == []
    assert wrong == []


def sign_up(page: Page, server: Server, name: str) -> None:
    page.goto(server.url)
    page.get_by_role("button", name="Make an account").click()
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Password", exact=True).first.fill(PASSWORD)
    page.get_by_role("button", name="Make the account").click()
    expect(page.get_by_role("heading", name="What shall we talk about?")).to_be_visible()


def ask(page: Page, text: str) -> None:
    page.get_by_role("textbox", name="Message").fill(text)
    page.keyboard.press("Enter")


def test_sign_up_chat_stop_reload_and_a_second_user_sees_none_of_it(
    server: Server, parrot: Parrot, page: Page, browser: Browser
) -> None:
    sign_up(page, server, "alice")
    parrot.words = ["This is ", "**bold** ", "and\n\n```python\n", "x = 1 < 2\n", "```\n"]
    ask(page, "a delicate question")
    expect(page.locator(".message.assistant strong")).to_have_text("bold")
    expect(page.locator("pre code")).to_have_text("x = 1 < 2\n")
    expect(page.get_by_role("heading", level=1, name="a delicate question")).to_be_visible()

    parrot.words, parrot.pause = ["word "] * 500, 0.5
    ask(page, "go on")
    last = page.locator(".message.assistant").last
    expect(last).to_contain_text("word word")
    page.get_by_role("button", name="Stop the answer").click()
    expect(last).to_contain_text("Stopped.")
    assert last.inner_text().count("word") < 400
    wait_until(lambda: len(parrot.cancelled) == 1)

    page.reload()
    expect(page.locator(".message")).to_have_count(4)
    expect(page.locator(".message.user").first).to_contain_text("a delicate question")

    other = browser.new_context()
    theirs = other.new_page()
    sign_up(theirs, server, "bob")
    expect(theirs.get_by_text("No conversations yet")).to_be_visible()
    theirs.goto(page.url)
    expect(theirs.get_by_text("you have no such conversation")).to_be_visible()
    assert "delicate" not in theirs.content()
    other.close()


def test_edit_answer_again_rename_search_and_delete(
    server: Server, parrot: Parrot, page: Page
) -> None:
    sign_up(page, server, "carol")
    ask(page, "first")
    expect(page.locator(".message.assistant")).to_have_count(1)
    parrot.words = ["Something else"]
    page.get_by_role("button", name="Answer again").click()
    expect(page.locator(".message.assistant .body")).to_have_text("Something else")

    page.get_by_role("textbox", name="Message").press("ArrowUp")
    editor = page.get_by_role("textbox", name="Edit the message")
    expect(editor).to_be_focused()
    editor.fill("first, but better")
    editor.press("Enter")
    expect(page.locator(".message.user .body")).to_have_text("first, but better")
    expect(page.locator(".message.assistant")).to_have_count(1)

    listed = page.get_by_role("navigation", name="Conversations").get_by_role("listitem")
    listed.hover()
    page.get_by_role("button", name="Rename first").click()
    page.get_by_role("dialog").get_by_role("textbox").fill("My talk")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1, name="My talk")).to_be_visible()
    page.keyboard.press("Control+k")
    page.keyboard.type("nothing like it")
    expect(page.get_by_text("Nothing found")).to_be_visible()
    page.get_by_role("searchbox").fill("better")
    expect(listed).to_have_count(1)
    listed.hover()
    page.get_by_role("button", name="Delete My talk").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_role("heading", name="What shall we talk about?")).to_be_visible()


def test_instructions_keys_themes_and_signing_out(
    server: Server, parrot: Parrot, page: Page
) -> None:
    sign_up(page, server, "dave")
    page.get_by_role("button", name="Instructions and temperature").click()
    page.get_by_role("textbox", name="Instructions").fill("Answer in rhyme.")
    page.get_by_role("slider").fill("0.3")
    page.get_by_role("button", name="Save").click()
    ask(page, "hello")
    expect(page.locator(".message.assistant")).to_contain_text("Hello there!")
    said = server.hub.tokenizer.decode(parrot.seen[-1].prompt)
    assert "Answer in rhyme." in said
    assert parrot.seen[-1].sampling.temperature == 0.3

    page.get_by_role("button", name="dave").click()
    page.get_by_label("Name of the new key").fill("laptop")
    page.get_by_role("button", name="Make a key").click()
    expect(page.locator("#key-secret")).to_contain_text("sk-")
    secret = page.locator("#key-secret").inner_text()
    with server.api(secret) as client:
        assert client.get("/v1/models").json()["data"][0]["id"] == MODEL
    page.get_by_label("Dark").check()
    paper = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(paper) == "rgb(22, 21, 19)"
    page.reload()
    assert page.evaluate(paper) == "rgb(22, 21, 19)"
    page.get_by_role("button", name="dave").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert "hello" not in page.content()


def test_a_crash_of_the_engine_is_told_and_what_was_said_is_kept(
    server: Server, parrot: Parrot, page: Page
) -> None:
    sign_up(page, server, "erin")
    parrot.breaks_after = 2
    ask(page, "hello")
    expect(page.get_by_role("alert").filter(has_text="the engine stopped")).to_be_visible()
    expect(page.locator(".message.assistant")).to_contain_text("Broken off.")
    parrot.breaks_after = None
    page.get_by_role("button", name="Answer again").click()
    expect(page.locator(".message.assistant .body")).to_have_text("Hello there!")


def test_a_question_that_a_killed_server_left_can_be_answered(
    server: Server, parrot: Parrot, page: Page
) -> None:
    sign_up(page, server, "ivan")
    with server.database.begin() as begin:
        user = users.find(begin, "ivan")
        talk = conversations.create(begin, user, "", None)
        conversations.append(begin, talk, "user", "is anybody there?")
    page.goto(f"{server.url}/#/{talk.id}")
    page.get_by_role("button", name="Answer this").click()
    expect(page.locator(".message.assistant .body")).to_have_text("Hello there!")
    expect(page.locator(".message.user")).to_have_count(1)
    expect(page.get_by_role("button", name="Answer this")).to_have_count(0)
    page.reload()
    expect(page.locator(".message")).to_have_count(2)


def test_a_phone_shows_all_of_it_within_its_width(
    server: Server, parrot: Parrot, browser: Browser
) -> None:
    phone = browser.new_context(viewport={"width": 360, "height": 640}, has_touch=True)
    page = phone.new_page()
    sign_up(page, server, "fred")
    parrot.words = [
        "a" * 300 + "\n\n```\n" + "b" * 300 + "\n```\n\n|x|y|\n|-|-|\n|" + "c " * 80 + "|"
    ]
    ask(page, "long " * 10)
    expect(page.locator("pre")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    expect(page.get_by_role("searchbox")).not_to_be_visible()
    page.get_by_role("button", name="Open the list of conversations").tap()
    page.get_by_role("button", name="New conversation").tap()
    expect(page.get_by_role("searchbox")).not_to_be_visible()
    wait_until(lambda: page.evaluate("document.activeElement.id") == "question")
    phone.close()


def test_a_list_that_lies_over_the_page_keeps_the_focus_and_gives_it_back(
    server: Server, browser: Browser
) -> None:
    phone = browser.new_context(viewport={"width": 360, "height": 640})
    page = phone.new_page()
    sign_up(page, server, "hugo")
    opener = page.get_by_role("button", name="Open the list of conversations")
    expect(opener).to_have_attribute("aria-expanded", "false")
    opener.click()
    expect(page.get_by_role("button", name="Close the list")).to_be_focused()
    for _ in range(8):
        page.keyboard.press("Tab")
        assert not page.evaluate(
            "document.querySelector('main.talk').contains(document.activeElement)"
        )
    page.get_by_role("searchbox").focus()
    page.keyboard.press("Escape")
    expect(opener).to_be_focused()
    expect(opener).to_have_attribute("aria-expanded", "false")
    page.keyboard.press("Control+k")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.set_viewport_size({"width": 1200, "height": 640})
    expect(page.get_by_role("textbox", name="Message")).to_be_editable()
    page.get_by_role("textbox", name="Message").click()
    phone.close()


def test_every_control_has_a_name_and_is_reached_by_keyboard(server: Server, page: Page) -> None:
    sign_up(page, server, "gina")
    ask(page, "hello")
    expect(page.locator(".message.assistant")).to_contain_text("Hello there!")
    nameless = page.evaluate(
        """[...document.querySelectorAll('button, input, textarea, a')].filter(e =>
            e.getClientRects().length && !(e.innerText || '').trim()
            && !e.getAttribute('aria-label') && !(e.labels && e.labels.length)).length"""
    )
    assert nameless == 0
    expect(page.get_by_role("status")).to_have_text("The model said: Hello there!")
    reached = set()
    page.get_by_role("textbox", name="Message").focus()
    for _ in range(25):
        page.keyboard.press("Tab")
        name = "document.activeElement.id || document.activeElement.ariaLabel"
        reached.add(page.evaluate(name))
    assert {"new", "search", "open-settings", "open-tuning", "question", "Copy"} <= reached
