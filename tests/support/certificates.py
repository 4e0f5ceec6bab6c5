"""A certificate authority for tests, and signers' certificates as C2PA wants them (specification 2, section 14.5)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

KEYS: dict[str, Any] = {
    "es256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "es384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ps256": lambda: rsa.generate_private_key(65537, 2048),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
}
USES = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
    "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
)  # fmt: skip


@cache
def authority() -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    builder = started("Test CA", key.public_key(), days=3650, ago=1)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    builder = builder.add_extension(uses("key_cert_sign", "crl_sign"), critical=True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    return key, builder.sign(key, hashes.SHA256())


def trusted() -> str:
    """The authority's certificate, PEM."""
    return authority()[1].public_bytes(Encoding.PEM).decode()


def signer(
    folder: Path,
    kind: str = "es256",
    days: int = 30,
    ago: int = 1,
    purpose: ObjectIdentifier = ExtendedKeyUsageOID.EMAIL_PROTECTION,
) -> tuple[Path, Path]:
    """Files with a new key and its chain; the certificate began this many days ago and is valid for `days`."""
    authority_key, authority_certificate = authority()
    key = KEYS[kind]()
    builder = started("Test signer", key.public_key(), days, ago)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(uses("digital_signature"), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    builder = builder.add_extension(identifier, critical=False)
    certificate = builder.sign(authority_key, hashes.SHA256())
    key_file, chain_file = folder / f"{kind}.key.pem", folder / f"{kind}.chain.pem"
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    chain = (certificate, authority_certificate)
    chain_file.write_bytes(b"".join(one.public_bytes(Encoding.PEM) for one in chain))
    return key_file, chain_file


def started(name: str, key: Any, days: int, ago: int) -> x509.CertificateBuilder:
    start = datetime.now(UTC) - timedelta(days=ago)
    builder = x509.CertificateBuilder().subject_name(named(name)).issuer_name(named("Test CA")).public_key(key)
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(start)
    return builder.not_valid_after(start + timedelta(days=days))


def named(name: str) -> x509.Name:
    organisation = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Test archive")
    return x509.Name([organisation, x509.NameAttribute(NameOID.COMMON_NAME, name)])


def uses(*names: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{name: name in names for name in USES})
