"""Certificates for local servers: a self-signed one, and one signed by an authority."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

try:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID
except ImportError:  # it has no wheels for some systems of the node
    pytest.skip("cryptography is not installed", allow_module_level=True)

_NOW = dt.datetime.now(dt.UTC)


@dataclass(frozen=True)
class Certificate:
    """The certificate of a server.

    Attributes:
        server: context for the server.
        authority: file with the certificate that signed it, possibly itself.
    """

    server: ssl.SSLContext
    authority: Path


def make_certificate(
    folder: Path, *, signed: bool = False, address: str = "127.0.0.1", expired: bool = False
) -> Certificate:
    """Create a certificate for an address, in a new folder."""
    folder.mkdir(parents=True, exist_ok=True)
    authority_key = ec.generate_private_key(ec.SECP256R1())
    key = ec.generate_private_key(ec.SECP256R1()) if signed else authority_key
    authority = _certificate("authority", authority_key, "authority", authority_key, ca=True)
    if signed:
        made = _certificate("camera", key, "authority", authority_key, address, expired=expired)
    else:
        authority = made = _certificate("camera", key, "camera", key, address, expired=expired)
    (folder / "authority.pem").write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    (folder / "camera.pem").write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "camera.pem")
    return Certificate(server, folder / "authority.pem")


@contextmanager
def refused_by_readers() -> Iterator[None]:
    """Expect clients that reject the certificate; asyncio would report this as an error."""
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not isinstance(context.get("exception"), ssl.SSLError):
            (before or asyncio.AbstractEventLoop.default_exception_handler)(loop, context)

    loop.set_exception_handler(handle)
    try:
        yield
    finally:
        loop.set_exception_handler(before)


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    by: str,
    signing: ec.EllipticCurvePrivateKey,
    address: str | None = None,
    *,
    ca: bool = False,
    expired: bool = False,
) -> x509.Certificate:
    def named(common: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])

    until = dt.timedelta(days=-1 if expired else 30)
    builder = (
        x509.CertificateBuilder()
        .subject_name(named(name))
        .issuer_name(named(by))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_NOW - dt.timedelta(days=60))
        .not_valid_after(_NOW + until)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()),
            critical=False,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if address is not None:
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(signing, hashes.SHA256())
