"""The server's certificate, which can be renewed while it serves."""

from __future__ import annotations

import ssl
from pathlib import Path

from ..exceptions import ConfigurationError


class Certificate:
    """``context``: for TLS 1.2 and later, with the certificate chain in ``cert`` and its private key in ``key``, PEM
    both. Raises ConfigurationError when these cannot be used.
    """

    def __init__(self, cert: Path, key: Path) -> None:
        self._cert = cert
        self._key = key
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.set_alpn_protocols(["http/1.1"])
        self.reload()

    def reload(self) -> None:
        """Read both files again; new connections use them, those that are open go on. Raises ConfigurationError.

        After an error the earlier certificate stays in use.
        """
        for file in (self._cert, self._key):
            try:
                file.open("rb").close()
            except OSError as error:
                raise ConfigurationError(f"{file} cannot be read: {error.strerror}") from None
        try:
            # First into a context of its own: a pair that does not match would be half in use.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self._cert, self._key, _no_password)
            self.context.load_cert_chain(self._cert, self._key, _no_password)
        except (ssl.SSLError, ValueError) as error:
            reason = getattr(error, "reason", None) or str(error)
            raise ConfigurationError(
                f"{self._cert} and {self._key} are no certificate with its private key in PEM: {reason}"
            ) from None


def _no_password() -> str:
    """Asked for when the key is encrypted; without an answer OpenSSL would ask on the terminal."""
    raise ValueError("the key is encrypted")
