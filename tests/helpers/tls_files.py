"""Certificates for tests of encrypted connections, as a site would hand them out: a CA, and one certificate signed by it."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

PARTS = ("ca", "cert", "key")


def make_tls(folder: Path) -> dict[str, Path]:
    """Writes ca.pem, cert.pem and key.pem into `folder`, valid for a day; paths by part. Skips without the package cryptography."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    folder.mkdir(parents=True, exist_ok=True)
    files = {part: folder / f"{part}.pem" for part in PARTS}
    authority, own = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = _name(x509, "v50calib test CA")
    files["ca"].write_bytes(_signed(x509, issuer, issuer, authority, authority, ca=True))
    files["cert"].write_bytes(_signed(x509, _name(x509, "v50calib test"), issuer, own, authority, ca=False))
    encoding = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    files["key"].write_bytes(own.private_bytes(serialization.Encoding.PEM, *encoding))
    return files


def tls_overrides(files: dict[str, Path]) -> list[str]:
    """What gives them to v50calib."""
    return [f"runtime.tls.{part}={path}" for part, path in files.items()]


def tls_options(files: dict[str, Path]) -> list[str]:
    """What gives them to `dask scheduler` and `dask worker`."""
    return ["--protocol", "tls", "--tls-ca-file", str(files["ca"]), "--tls-cert", str(files["cert"]), "--tls-key", str(files["key"])]


def _name(x509: Any, text: str) -> Any:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _signed(x509: Any, subject: Any, issuer: Any, key: Any, by: Any, *, ca: bool) -> bytes:
    from cryptography.hazmat.primitives import hashes, serialization

    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
    builder = builder.add_extension(x509.BasicConstraints(ca, None), critical=True)
    content: bytes = builder.sign(by, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    return content
