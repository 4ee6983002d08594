"""Fixtures and settings for all tests."""

import pytest
import pytest_socket
from hypothesis import settings

# The time of an example does not matter for its correctness.
settings.register_profile("edge_vision", deadline=None)
settings.load_profile("edge_vision")


@pytest.hookimpl(trylast=True)
def pytest_runtest_setup() -> None:
    """Forbid connections to other machines, but allow the unix sockets of nodes."""
    pytest_socket.socket_allow_hosts(["127.0.0.1"], allow_unix_socket=True)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Use the length of long values as their ID: whole files are not readable names."""
    if isinstance(val, str | bytes) and len(val) > 80:
        return f"{argname}-{len(val)}"
    return None
