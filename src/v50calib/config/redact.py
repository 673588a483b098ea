"""Masks secrets in texts that are kept: error messages and tracebacks in the manifest, the written config."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any

MASK = "***"
#: names of environment variables, keys and headers whose values are secret
_SECRET_NAME = re.compile(r"(?i)(secret|token|passw|credential|private|signature|api_?key|access_?key|session_?key)")
_URL_LOGIN = re.compile(r"(?P<scheme>\b[a-z][a-z0-9+.-]*://)[^\s/@:]+(?::[^\s/@]*)?@", re.IGNORECASE)
_PAIR = re.compile(
    r"(?i)(?P<name>[\w-]*(?:secret|token|passw|credential|signature|api_?key|access_?key)[\w-]*)(?P<sep>['\"]?\s*[=:]\s*['\"]?)(?P<value>[^\s'\"&,;)}]+)"
)
_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
#: shortest value that is masked: shorter ones are words that occur in any text
_SHORTEST = 6
#: parts of the config that name key files or hold a user's shell lines
HIDDEN = ("runtime.tls.ca", "runtime.tls.cert", "runtime.tls.key", "runtime.queue.prologue", "runtime.queue.directives")


def redact(text: str) -> str:
    """The text without private keys, logins in URLs, `secret=value` pairs and values of secret environment variables.

    >>> redact("cannot read s3://me:hunter2@host/data?token=abc")
    'cannot read s3://***@host/data?token=***'
    """
    return _redact(text, secret_values())


def secret_values() -> list[str]:
    """Values of the environment variables that are secret by their names."""
    return [value for name, value in os.environ.items() if len(value) >= _SHORTEST and _SECRET_NAME.search(name)]


def _redact(text: str, secrets: list[str]) -> str:
    text = _PEM.sub(MASK, text)
    text = _URL_LOGIN.sub(rf"\g<scheme>{MASK}@", text)
    text = _PAIR.sub(rf"\g<name>\g<sep>{MASK}", text)
    for value in secrets:
        text = text.replace(value, MASK)
    return text


def redact_config(tree: dict[str, Any], secrets: Sequence[str] | None = None) -> dict[str, Any]:
    """A dumped config with the HIDDEN parts masked if they are set, and secrets in all its texts, those in lists included.

    secrets: texts that are secret wherever they stand (default: `secret_values`).

    >>> redact_config({"runtime": {"tls": {"key": "/home/me/key.pem", "ca": None}, "retries": 2}})
    {'runtime': {'tls': {'key': '***', 'ca': None}, 'retries': 2}}
    """
    known = list(secret_values() if secrets is None else secrets)

    def walk(node: Any, path: str) -> Any:
        if path in HIDDEN:
            return MASK if node else node
        if isinstance(node, dict):
            return {k: MASK if v and isinstance(v, str) and _SECRET_NAME.search(str(k)) else walk(v, f"{path}.{k}" if path else str(k))
                    for k, v in node.items()}  # fmt: skip
        if isinstance(node, (list, tuple)):
            return [walk(item, f"{path}[]") for item in node]
        return _redact(node, known) if isinstance(node, str) else node

    masked = walk(tree, "")
    assert isinstance(masked, dict)
    return masked
