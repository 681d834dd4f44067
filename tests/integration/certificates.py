"""Certificates of a test's own: an authority, a broker's and a client's, and another authority that nobody trusts."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

#: Of the encrypted key.
KEY_PASSWORD: Final = "unlock-4c1d"  # noqa: S105  (this test's own)


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM files.

    Attributes
    ----------
    ca, stranger : Path
        Certificates of the authority that signed all others, and of one that signed nothing.
    broker : Path
        Key and certificate in one file, as a broker reads it.
    client, client_key, client_key_encrypted : Path
    """

    ca: Path
    stranger: Path
    broker: Path
    client: Path
    client_key: Path
    client_key_encrypted: Path


def _openssl(*args: object, text: str | None = None) -> None:
    command = ["openssl", *map(str, args)]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _key(path: Path) -> Path:
    _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", path)
    return path


def _authority(directory: Path, name: str) -> tuple[Path, Path]:
    key, certificate = _key(directory / f"{name}.key"), directory / f"{name}.pem"
    extensions = ("-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign")
    _openssl("req", "-x509", "-new", "-key", key, "-subj", f"/CN={name}", "-days", 2, *extensions, "-out", certificate)
    return key, certificate


def _signed(directory: Path, name: str, authority: tuple[Path, Path], extensions: str) -> tuple[Path, Path]:
    key, request, certificate = (directory / f"{name}.{ending}" for ending in ("key", "csr", "pem"))
    _key(key)
    _openssl("req", "-new", "-key", key, "-subj", f"/CN={name}", "-out", request)
    (directory / "extensions").write_text(extensions + "\nauthorityKeyIdentifier=keyid\n", encoding="utf-8")
    signing = ("-CA", authority[1], "-CAkey", authority[0], "-CAcreateserial", "-extfile", directory / "extensions")
    _openssl("x509", "-req", "-in", request, *signing, "-days", 2, "-out", certificate)
    return key, certificate


def make_certificates(directory: Path) -> Certificates:
    """Make certificates in `directory`; the broker's is for the address 127.0.0.1 and no name."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make certificates with: install it")
    authority, (_, stranger) = _authority(directory, "authority"), _authority(directory, "stranger")
    key, certificate = _signed(directory, "broker", authority, "subjectAltName=IP:127.0.0.1")
    broker = directory / "broker-both.pem"
    broker.write_text(key.read_text("utf-8") + certificate.read_text("utf-8"), encoding="utf-8")
    client_key, client = _signed(directory, "desk", authority, "extendedKeyUsage=clientAuth")
    encrypted = directory / "desk-encrypted.key"
    _openssl("pkcs8", "-topk8", "-in", client_key, "-passout", "stdin", "-out", encrypted, text=f"{KEY_PASSWORD}\n")
    return Certificates(authority[1], stranger, broker, client, client_key, encrypted)
