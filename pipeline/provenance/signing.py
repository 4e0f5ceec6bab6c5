"""C2PA manifests (Content Credentials, specification 2): load a signer, and sign a restored file.

Nothing here uses the network: no timestamp authority, no revocation list, and no manifest that a source names by its
address.
"""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import c2pa
import pyvips
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from interlcm.errors import InterLCMError, one_line
from pipeline.config.limits import Limits
from pipeline.config.secrets import Signing
from pipeline.provenance.record import DIGITAL_SOURCE_TYPE, Provenance
from pipeline.sandbox import parent as sandbox

# The output formats and their media types in C2PA.
CARRIERS = {
    "jpeg": "image/jpeg", "png": "image/png", "tiff": "image/tiff", "webp": "image/webp", "avif": "image/avif",
}  # fmt: skip
INGREDIENTS = CARRIERS | {"bmp": "image/bmp", "gif": "image/gif", "jp2": "image/jp2"}

DEFAULT_LIMITS = Limits()
UNKNOWN = "application/octet-stream"

# The first part of a label should be a domain of its owner (section 6.2); this project has no domain.
ASSERTION = "interlcm.restoration"
PARENT = "source"  # the id of the ingredient while a manifest is being built

OPENED = {"action": "c2pa.opened", "parameters": {"ingredientIds": [PARENT]}}

CONTEXT = {
    "builder": {"thumbnail": {"enabled": False}},
    "core": {"allowed_network_hosts": []},
    "verify": {"verify_trust": False, "remote_manifest_fetch": False, "ocsp_fetch": False},
}


class SigningError(InterLCMError):
    """A key or certificate cannot sign, or a file cannot be signed: one line with its name and the remedy."""


def load_signing(key: Path, cert: Path) -> Signing:
    """Read a key and its certificates, and sign a trial picture with them. Raises SigningError."""
    secret, chain = _read(key), _read(cert)
    private = _private_key(key, secret)
    signing = Signing(secret, chain, _algorithm(key, private))
    try:
        certificate = x509.load_pem_x509_certificates(chain)[0]
    except ValueError as error:
        raise SigningError(f"{cert}: not certificates in PEM; give the signer's certificate and its chain") from error
    if certificate.public_key() != private.public_key():
        raise SigningError(f"{cert}: the first certificate does not belong to {key}; give a matching pair")
    _check_dates(cert, certificate)
    _try(signing, cert)
    return signing


def sign(
    data: bytes,
    format: str,
    source: bytes,
    source_format: str,
    record: Provenance,
    signing: Signing,
    limits: Limits = DEFAULT_LIMITS,
) -> bytes:
    """A restored file (`format` of CARRIERS) with a signed manifest: its source, the actions and the record.

    The source is untrusted and is read only in the sandbox, where there is no key. Raises SigningError, and PhotoError
    if the source crashes the sandbox.
    """
    if format not in CARRIERS:
        raise SigningError(f"C2PA cannot sign {format}: choose another --format, one of {', '.join(CARRIERS)}")
    parent = sandbox.run(ingredient, source, source_format, record.member, limits=limits)
    return signed(data, format, parent, manifest(record), signing)


def ingredient(source: bytes, source_format: str, name: str) -> bytes:
    """The source as an ingredient with its own manifests, checked, as a builder's archive (C2PA's format).

    A source that C2PA cannot parse still becomes an ingredient, without manifests.
    """
    described = {"title": name, "relationship": "parentOf", "label": PARENT}
    kind = INGREDIENTS.get(source_format, UNKNOWN)
    with _context() as context:
        try:
            return _archived(described, kind, source, context)
        except c2pa.C2paError as error:
            described |= {"format": kind, "description": f"not read as C2PA: {one_line(error)}"}
            return _archived(described, UNKNOWN, b"", context)


def _archived(described: dict[str, str], kind: str, source: bytes, context: c2pa.Context) -> bytes:
    archive = io.BytesIO()
    with c2pa.Builder({}, context=context) as builder:
        builder.add_ingredient(described, kind, io.BytesIO(source))
        builder.write_ingredient_archive(PARENT, archive)
    return archive.getvalue()


def manifest(record: Provenance) -> dict[str, Any]:
    """The claims (sections 18.15, actions, and 18.16, ingredients)."""
    agent = {"name": "InterLCM", "version": record.software_version}
    edited = {
        "action": "c2pa.edited",
        **({"digitalSourceType": DIGITAL_SOURCE_TYPE} if record.composite else {}),
        "softwareAgent": agent,
        "description": f"faces restored by a trained model: {len(record.regions)}",
    }
    regions = [[round(edge, 2) for edge in box] for box in record.regions]
    return {
        "claim_generator_info": [agent],
        "title": record.member,
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [OPENED, edited]}},
            {"label": ASSERTION, "data": {**record.statement(), "Regions": regions}},
        ],
    }


def signed(data: bytes, format: str, parent: bytes, claimed: dict[str, Any], signing: Signing) -> bytes:
    """The file with the signed manifest embedded. Raises SigningError."""
    result = io.BytesIO()
    info = c2pa.C2paSignerInfo(signing.algorithm, signing.chain, signing.key, None)
    try:
        with (
            _context() as context,
            c2pa.Signer.from_info(info) as signer,
            c2pa.Builder(claimed, context=context) as builder,
        ):
            builder.add_ingredient_from_archive(io.BytesIO(parent))
            builder.sign(signer, CARRIERS[format], io.BytesIO(data), result)
    except c2pa.C2paError as error:
        raise SigningError(f"C2PA cannot sign this {format} file: {one_line(error)}") from error
    return result.getvalue()


def _context() -> c2pa.Context:
    return c2pa.Context.from_dict(CONTEXT)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SigningError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from error


def _private_key(path: Path, secret: bytes) -> PrivateKeyTypes:
    try:
        return load_pem_private_key(secret, password=None)
    except TypeError as error:
        raise SigningError(f"{path}: the key is encrypted; give it decrypted (openssl pkcs8 -in {path})") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SigningError(f"{path}: not a private key in PEM; give a PKCS #8 key") from error


def _algorithm(path: Path, private: PrivateKeyTypes) -> str:
    """The signature algorithm of a key, one that C2PA allows (section 13.2). Raises SigningError for other keys."""
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(private, rsa.RSAPrivateKey) and private.key_size >= 2048:
        return "ps256"
    if isinstance(private, ec.EllipticCurvePrivateKey):
        curves = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
        if private.curve.name in curves:
            return curves[private.curve.name]
    words = "make one for ES256, PS256 (2048 bits) or Ed25519"
    raise SigningError(f"{path}: C2PA does not allow this type of key; {words}")


def _check_dates(path: Path, certificate: x509.Certificate) -> None:
    start, end, now = certificate.not_valid_before_utc, certificate.not_valid_after_utc, datetime.now(UTC)
    if now > end:
        raise SigningError(f"{path}: the certificate expired on {end:%Y-%m-%d}; renew it")
    if now < start:
        raise SigningError(f"{path}: the certificate is not valid before {start:%Y-%m-%d}; check the clock, or wait")


def _try(signing: Signing, cert: Path) -> None:
    """Sign a trial picture, so that C2PA's own library checks its rules for certificates (section 14.5)."""
    picture = bytes(pyvips.Image.black(8, 8).pngsave_buffer())
    claimed = {"assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [OPENED]}}]}
    try:
        signed(picture, "png", ingredient(picture, "png", "trial"), claimed, signing)
    except SigningError as error:
        reason = one_line(str(error.__cause__))
        raise SigningError(
            f"{cert}: C2PA refuses this certificate ({reason}); get a certificate for signing C2PA manifests"
        ) from error
