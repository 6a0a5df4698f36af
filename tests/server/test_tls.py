"""Certificates that can be used, and those that cannot."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from connect_logging.exceptions import ConfigurationError
from connect_logging.server.tls import Certificate


def write(directory: Path, authority: trustme.CA) -> tuple[Path, Path]:
    issued = authority.issue_cert("127.0.0.1")
    cert, key = directory / "cert.pem", directory / "key.pem"
    issued.private_key_pem.write_to_path(key)
    cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    return cert, key


def test_what_cannot_be_used_is_told_and_leaves_the_earlier_one(tmp_path: Path) -> None:
    cert, key = write(tmp_path, trustme.CA())
    certificate = Certificate(cert, key)
    whole = key.read_bytes()
    encrypted = load_pem_private_key(whole, None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )
    for content, message in (
        (b"", "no certificate with its private key in PEM"),
        (b"nonsense", "no certificate with its private key in PEM"),
        (trustme.CA().issue_cert("x").private_key_pem.bytes(), "no certificate with its private key in PEM"),
        (encrypted, "encrypted"),
    ):
        key.write_bytes(content)
        with pytest.raises(ConfigurationError, match=message):
            certificate.reload()
    key.unlink()
    with pytest.raises(ConfigurationError, match=r"key\.pem cannot be read: No such file"):
        Certificate(cert, key)
    key.write_bytes(whole)
    certificate.reload()
