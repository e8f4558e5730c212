"""Real server processes, and clients of the protocol that talk to them."""

import pytest

pytest.register_assert_rewrite("tests.server.client", "tests.support.client")
