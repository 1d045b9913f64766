# SPDX-License-Identifier: Apache-2.0
"""Who vouches for a bundle: Ed25519 signatures over its hash, in a file beside the manifest that the hash does not cover."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import yaml

from dex_core.config.strict import build, plain_yaml, to_plain
from dex_core.errors import BundleError, ConfigError

SIGNATURES = "signatures.yaml"
_CONTEXT = b"dex model bundle 1\n"
"""Stands before the hash, so that a signature means a bundle and nothing else the key may sign."""


@dataclass(frozen=True)
class Signature:
    """Public key and signature, hexadecimal."""

    key: str
    signature: str


@dataclass(frozen=True)
class Signatures:
    """The file: the bundle hash that was signed, and by whom."""

    hash: str
    signatures: tuple[Signature, ...]


def new_key(path: Path) -> str:
    """Writes a new private key (PEM, readable by its owner alone) and returns the public one. Raises ConfigError where the file is there."""
    keys, serialization = _ed25519()
    private = keys.Ed25519PrivateKey.generate()
    pem = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    try:
        path.touch(mode=0o600, exist_ok=False)
    except FileExistsError as error:
        raise ConfigError(f"{path} exists; a key is not overwritten") from error
    path.write_bytes(pem)
    return private.public_key().public_bytes_raw().hex()


def sign(folder: Path, bundle_hash: str, key: Path) -> str:
    """Adds (or renews) this key's signature of the bundle. Returns the public key. Raises ConfigError: no such key, or another kind of key."""
    keys, serialization = _ed25519()
    try:
        private = serialization.load_pem_private_key(key.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{key}: no private key in PEM: {error}") from error
    if not isinstance(private, keys.Ed25519PrivateKey):
        raise ConfigError(f"{key} holds a {type(private).__name__}; needed is an Ed25519 key, as --new-key makes")
    public = private.public_key().public_bytes_raw().hex()
    before = read_signatures(folder)
    kept = [s for s in before.signatures if s.key != public] if before is not None and before.hash == bundle_hash else []
    mine = Signature(public, private.sign(_CONTEXT + bundle_hash.encode("ascii")).hex())
    text = yaml.safe_dump(to_plain(Signatures(bundle_hash, (*kept, mine))), sort_keys=False, width=200)
    (folder / SIGNATURES).write_text(text, encoding="utf-8")
    return public


def read_signatures(folder: Path) -> Signatures | None:
    """The bundle's signatures; None: unsigned. Raises BundleError ``signature_refused`` for a file that is none."""
    path = folder / SIGNATURES
    if not path.exists():
        return None
    try:
        return build(Signatures, plain_yaml(path, str(path)), str(path))
    except ConfigError as error:
        raise BundleError(str(error), code="signature_refused") from error


def check_signature(folder: Path, bundle_hash: str, trusted: Sequence[str]) -> str:
    """Somebody who is trusted signed this very bundle; without a list of the trusted, says whose signatures it bears.

    Raises:
        BundleError: ``signature_refused``, with both values.
    """
    found = read_signatures(folder)
    if not trusted:
        return f"{len(found.signatures)} signature(s), no key is asked for" if found else "unsigned"
    if found is None:
        raise BundleError(f"{folder}: unsigned; trusted_keys names {[k[:16] for k in trusted]}", code="signature_refused")
    if found.hash != bundle_hash:
        raise BundleError(f"{folder}: bundle hash {bundle_hash}, {SIGNATURES} signs {found.hash}", code="signature_refused")
    by = [s for s in found.signatures if s.key in trusted]
    if not by:
        text = f"signed by {[s.key[:16] for s in found.signatures]}, trusted_keys names {[k[:16] for k in trusted]}"
        raise BundleError(f"{folder}: {text}", code="signature_refused")
    try:
        keys, _ = _ed25519()
    except ConfigError as error:
        raise BundleError(str(error), code="signature_refused") from error
    for s in by:
        try:
            keys.Ed25519PublicKey.from_public_bytes(bytes.fromhex(s.key)).verify(bytes.fromhex(s.signature), _CONTEXT + bundle_hash.encode("ascii"))
        except Exception as error:  # InvalidSignature, or a key or a number that is none
            raise BundleError(f"{folder}: the signature of {s.key[:16]} is not that of this bundle", code="signature_refused") from error
    return f"signed by {', '.join(s.key[:16] for s in by)}"


def _ed25519() -> tuple[ModuleType, ModuleType]:
    """The modules that sign and that read keys. Raises ConfigError naming what to install."""
    try:
        base = "cryptography.hazmat.primitives"
        return importlib.import_module(f"{base}.asymmetric.ed25519"), importlib.import_module(f"{base}.serialization")
    except ModuleNotFoundError as error:
        raise ConfigError("signatures need the package cryptography:  .venv/bin/pip install -r requirements-sign.txt") from error
