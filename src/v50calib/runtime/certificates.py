"""Who may speak to a cluster's scheduler and workers: holders of the site's certificate, or of one made for a single run.

Whoever reaches a Dask scheduler without certificates can run code in its workers: on loopback that is every user of the machine.
"""

from __future__ import annotations

import datetime
from pathlib import Path

from distributed.security import Security

from v50calib.config.runtime import QUEUES, RuntimeConfig, TlsConfig
from v50calib.errors import ConfigError

#: days before and after now that a run's own certificate is good for: clocks of nodes differ, and are set
_BEFORE, _AFTER = 30, 400


def security(runtime: RuntimeConfig) -> Security | None:
    """The same certificate for client, scheduler and workers: the given files, else one of this run alone where it starts the cluster.

    None for threads of this process, for a scheduler that runs already, for pods, and with runtime.tls.temporary=false.
    Raises ConfigError where a file is missing, or cryptography is not installed.
    """
    if runtime.tls.given:
        return _of_files(runtime.tls)
    if runtime.tls.temporary and runtime.processes.scheduler in ("local", *QUEUES):
        return temporary()
    return None


def _of_files(tls: TlsConfig) -> Security:
    for name in ("ca", "cert", "key"):
        if not Path(getattr(tls, name)).is_file():
            raise ConfigError(f"runtime.tls.{name} is not a file that can be read: give the path of a PEM file")
    pairs = {f"tls_{role}_{part}": getattr(tls, part) for role in ("client", "scheduler", "worker") for part in ("cert", "key")}
    return Security(tls_ca_file=tls.ca, require_encryption=True, **pairs)


def temporary() -> Security:
    """A key and its certificate in memory, of this run alone; worker processes of this machine get them through a pipe.

    Dask's own (`Security.temporary`) has an RSA key, which takes longer to make and to greet with, and is not yet good where a node's
    clock is behind.
    """
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import NameOID
    except ImportError as exc:
        raise ConfigError(
            f"worker processes that only this run can speak to need the package cryptography, which cannot be imported ({exc}): "
            "pip install cryptography, use runtime.scheduler=threads, or, on a machine that nobody else uses, runtime.tls.temporary=false"
        ) from exc
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "dask-internal")]), datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=_BEFORE))
        .not_valid_after(now + datetime.timedelta(days=_AFTER))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert = certificate.public_bytes(serialization.Encoding.PEM).decode()
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()  # fmt: skip
    pairs = {f"tls_{role}_cert": cert for role in ("client", "scheduler", "worker")}
    pairs |= {f"tls_{role}_key": secret for role in ("client", "scheduler", "worker")}
    return Security(tls_ca_file=cert, require_encryption=True, **pairs)
