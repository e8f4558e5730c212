import sys

# Here, before any module of tests: one that is imported already cannot be rewritten. The servers of
# tests import this too, without pytest.
if "pytest" in sys.modules:
    sys.modules["pytest"].register_assert_rewrite("tests.server.client", "tests.support.client")
