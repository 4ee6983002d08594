"""What every test shares."""

import pytest
import pytest_socket
from hypothesis import settings

# How long an example takes says nothing about whether it is right.
settings.register_profile("edge_vision", deadline=None)
settings.load_profile("edge_vision")


@pytest.hookimpl(trylast=True)
def pytest_runtest_setup() -> None:
    """Keep tests on this machine, and let them speak to a node over its unix socket."""
    pytest_socket.socket_allow_hosts(["127.0.0.1"], allow_unix_socket=True)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name what is long by its length: whole files make no name that can be read or typed."""
    if isinstance(val, str | bytes) and len(val) > 80:
        return f"{argname}-{len(val)}"
    return None
