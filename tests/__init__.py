import pytest

# Here, before any module of tests: one that is imported already cannot be rewritten.
pytest.register_assert_rewrite("tests.server.client", "tests.support.client")
