"""The demo's pages in a real Chromium, talking to a real server."""

import pytest

pytest.register_assert_rewrite("tests.browser.chat", "tests.browser.looks")
