from __future__ import annotations

import pytest

from v50calib.config import load
from v50calib.config.provenance import config_hash, decisive, product_attrs
from v50calib.config.redact import redact, redact_config


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


def test_lists_and_keys_are_walked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_PASSWORD", "hunter2hunter2")
    tree = {"a": ["x", {"b": ["token=abcdef", "kept"]}, "--with hunter2hunter2"], "api_key": "zzz", "n": [1, None]}
    assert redact_config(tree) == {"a": ["x", {"b": ["token=***", "kept"]}, "--with ***"], "api_key": "***", "n": [1, None]}
    masked = redact_config({"runtime": {"queue": {"directives": ["--export=TOKEN=abc"], "prologue": []}}})
    assert masked == {"runtime": {"queue": {"directives": "***", "prologue": []}}}


def test_products_hold_no_secret_and_hashes_stay() -> None:
    named = "calib.flat.master.path='s3://me:hunter2@host/flat.npy?token=abcdef'"
    config = load("calib/fast", [named, "calib.flat.flat_model.method=master"])
    attrs = product_attrs(config, {}, {})
    assert "hunter2" not in str(attrs)
    assert "abcdef" not in str(attrs)
    assert attrs["config_hash"] == config_hash(config)
    plain = load("calib/fast")
    assert product_attrs(plain, {}, {})["config"] == decisive(plain)
