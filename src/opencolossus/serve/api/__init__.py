"""The HTTP side: OpenAI's API, accounts, the page."""
