"""The sandboxes' own certificate authority, so that they speak https as a server with a domain does.

It is valid only for the addresses of sandboxes: its name constraints say so.
"""

import ipaddress
import os
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID

from . import disk

Key = ec.EllipticCurvePrivateKey
SANDBOXES = "10.76.0.0/16"
CA_DAYS, DAYS, RENEW_DAYS = 3650, 90, 30


def ca_file() -> Path:
    return disk.STATE / "ca.pem"


def certificate(folder: Path, address: str) -> tuple[Path, Path]:
    """PEM files of a certificate for the address, with its chain, and of its key; renewed before it expires."""
    chain, key = folder / "certificate.pem", folder / "certificate.key"
    with disk.lock("authority"):
        authority, authority_key = _authority()
        if not _good(chain, address, authority):
            made = ec.generate_private_key(ec.SECP256R1())
            leaf = _signed(address, made, authority, authority_key)
            _write(key, _pem(made))
            _write(chain, leaf.public_bytes(Encoding.PEM) + authority.public_bytes(Encoding.PEM))
    return chain, key


def _good(chain: Path, address: str, authority: x509.Certificate) -> bool:
    try:
        leaf, issuer = x509.load_pem_x509_certificates(chain.read_bytes())
    except (FileNotFoundError, ValueError):
        return False
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    right = ipaddress.ip_address(address) in names.get_values_for_type(x509.IPAddress) and issuer == authority
    return right and leaf.not_valid_after_utc > _now() + timedelta(days=RENEW_DAYS)


def _authority() -> tuple[x509.Certificate, Key]:
    path, key_path = ca_file(), disk.STATE / "ca.key"
    try:
        key = load_pem_private_key(key_path.read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return x509.load_pem_x509_certificate(path.read_bytes()), key
    except (FileNotFoundError, ValueError):
        key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "Ashore sandbox of this machine")])
    network = ipaddress.ip_network(SANDBOXES)
    only = x509.NameConstraints(permitted_subtrees=[x509.IPAddress(network)], excluded_subtrees=[x509.DNSName("")])
    made = (
        _builder(name, name, key, CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(certificates=True), critical=True)
        .add_extension(only, critical=True)
        .sign(key, hashes.SHA256())
    )
    _write(key_path, _pem(key))
    _write(path, made.public_bytes(Encoding.PEM))
    return made, key


def _signed(
    address: str,
    key: ec.EllipticCurvePrivateKey,
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "Ashore sandbox")])
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
    return (
        _builder(name, authority.subject, key, DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(names, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )


def _builder(subject: x509.Name, issuer: x509.Name, key: Key, days: int) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_now() - timedelta(hours=1))
        .not_valid_after(_now() + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, certificates: bool) -> x509.KeyUsage:
    """What a key is for: signing certificates, or handshakes."""
    off = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only")
    named = dict.fromkeys((*off, "decipher_only"), False)
    return x509.KeyUsage(digital_signature=not certificates, key_cert_sign=certificates, crl_sign=certificates, **named)


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _pem(key: Key) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(path: Path, data: bytes) -> None:
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
    os.replace(fresh, path)
