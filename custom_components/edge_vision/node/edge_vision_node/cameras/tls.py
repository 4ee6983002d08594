"""Certificates of cameras: which are trusted, and why one is not."""

from __future__ import annotations

import importlib
import os
import socket
import ssl
from urllib.parse import urlsplit

# Encrypted schemes and their default ports.
PORTS = {"https": 443, "rtsps": 322}
_TIMEOUT_S = 5.0


def trusted_file() -> str | None:
    """Return the file of trusted authorities; None if only FFmpeg may have one.

    It is the same as Home Assistant's. FFmpeg's wheels look for it where their build system has it,
    which does not exist on other systems.
    """
    if named := os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE"):
        return named
    try:
        return str(importlib.import_module("certifi").where())
    except ImportError:
        # None if there is no such file.
        return ssl.get_default_verify_paths().cafile


def trouble(url: str, *, verify: bool) -> str | None:
    """Return why an encrypted connection to an address fails; None if it works.

    FFmpeg reports "Input/output error" for every reason.
    """
    parts = urlsplit(url)
    if parts.scheme not in PORTS or not parts.hostname:
        return None
    context = ssl.create_default_context(cafile=trusted_file())
    # FFmpeg does not apply the newer, stricter rules.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        address = (parts.hostname, parts.port or PORTS[parts.scheme])
        with (
            socket.create_connection(address, _TIMEOUT_S) as connection,
            context.wrap_socket(connection, server_hostname=parts.hostname),
        ):
            return None
    except ssl.SSLCertVerificationError as err:
        return f"The camera's certificate is not trusted: {err.verify_message}"
    except ssl.SSLError as err:
        why = (err.reason or type(err).__name__).replace("_", " ").lower()
        return f"The camera's encryption cannot be used: {why}"
    except OSError:
        return None
