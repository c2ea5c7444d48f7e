"""The daemon's network door, opened on loopback for a test and closed again."""

from __future__ import annotations

import base64
import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from coi_web.incus.rest import IncusRest
from coi_web.incus.types import IncusConfig
from tests.support.incus_lab import HTTPS_ADDRESS, OWNER, IncusLab, this_process

_LIMIT_S = 30.0


def make_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A self-signed certificate and its key, in two PEM files."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / f"{name}.crt", folder / f"{name}.key"
    cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return cert_file, key_file


@contextmanager
def https_door(lab: IncusLab, folder: Path) -> Iterator[IncusConfig]:
    """The lab's project by https, with a client certificate that is trusted meanwhile.

    An address that the daemon has already is used and left alone.
    """
    rest = IncusRest(replace(lab.config, project="default"))
    try:
        server: dict[str, Any] = rest.ask("GET", doing="look at the engine")
        address = server["config"].get(HTTPS_ADDRESS, "")
        ours = not address
        if ours:
            address = f"127.0.0.1:{_free_port()}"
            _set_address(rest, address)
        try:
            cert, key = make_certificate(folder, lab.name)
            server_cert = folder / "server.crt"
            server_cert.write_text(server["environment"]["certificate"])
            der = ssl.PEM_cert_to_DER_cert(cert.read_text())
            body = {
                "name": lab.name,
                "type": "client",
                "restricted": False,
                "certificate": base64.b64encode(der).decode(),
            }
            rest.change("POST", "certificates", json=body, timeout_s=_LIMIT_S, doing="trust a certificate")
            try:
                yield IncusConfig(
                    f"https://{_reachable(address)}",
                    lab.config.project,
                    os.fspath(cert),
                    os.fspath(key),
                    os.fspath(server_cert),
                )
            finally:
                fingerprint = x509.load_pem_x509_certificate(cert.read_bytes()).fingerprint(hashes.SHA256())
                path = ("certificates", fingerprint.hex())
                rest.change("DELETE", *path, timeout_s=_LIMIT_S, doing="distrust a certificate")
        finally:
            if ours:
                _set_address(rest, "")
    finally:
        rest.close()


def _set_address(rest: IncusRest, address: str) -> None:
    body = {"config": {HTTPS_ADDRESS: address, OWNER: this_process() if address else ""}}
    rest.change("PATCH", json=body, timeout_s=_LIMIT_S, doing="set the engine's address")


def _reachable(address: str) -> str:
    """From what Incus listens on, such as ``[::]:8443``, to where it can be reached."""
    host, _, port = address.rpartition(":")
    return f"127.0.0.1:{port or '8443'}" if host in ("", "[::]", "0.0.0.0") else address


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
