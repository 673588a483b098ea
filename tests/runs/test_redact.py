from __future__ import annotations

import pytest

from v50calib.runs.redact import redact, redact_config


def test_redaction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")
    pem = "-----BEGIN EC PRIVATE KEY-----\nMHc=\n-----END EC PRIVATE KEY-----"
    text = f"wJalrXUtnFEMI aws_secret_access_key='abc' x-amz-signature=ff {pem} kept"
    said = redact(text)
    for secret in ("wJalr", "abc", "=ff", "MHc"):
        assert secret not in said
    assert said.endswith("kept")
    masked = redact_config({"runtime": {"tls": {"ca": None, "key": "/home/me/key.pem"}, "retries": 2}})
    assert masked == {"runtime": {"tls": {"ca": None, "key": "***"}, "retries": 2}}
