"""Options and fixtures for every test."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

import pytest
from hypothesis import HealthCheck, settings

# No deadline: how long an example takes says more about the machine than about the code.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("default")
# A hundred rounds of a loop on a busy machine.
_LONG_SECONDS = 1800


# No test leaves a checkpoint in the state directory of whoever runs the tests, in whatever process it works.
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="onrecord-tests-state-")
atexit.register(shutil.rmtree, os.environ["XDG_STATE_HOME"], ignore_errors=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--long` runs the soak tests too."""
    parser.addoption("--long", action="store_true", help="run the tests marked long, and the loops at full length")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the soak tests out unless they are asked for, and then give each test the time for its full length."""
    if config.getoption("--long"):
        for item in items:
            if not item.get_closest_marker("timeout"):
                item.add_marker(pytest.mark.timeout(_LONG_SECONDS))
        return
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker(pytest.mark.skip(reason="a soak test: --long runs it"))


@pytest.fixture(scope="session")
def long_form(request: pytest.FixtureRequest) -> bool:
    """Whether loops run at full length."""
    return bool(request.config.getoption("--long"))
