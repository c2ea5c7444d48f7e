"""What several suites share."""

import pytest

# So that a failing assert in here shows its values, as those in test files do.
pytest.register_assert_rewrite("tests.support.incus_contract", "tests.support.incus_stream_contract")
