"""Pictures signed with content credentials by certificates that are made here."""

from __future__ import annotations

import io
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import c2pa
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

from detector.imaging.provenance.content_credentials import MEDIA_TYPES

AI = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
CAPTURE = "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture"

_NO_USE = dict.fromkeys(
    (
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
        *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    ),
    False,
)


@dataclass(frozen=True)
class Chain:
    """Certificates of a signer, its key, and the certificate that a trust list would name; all as PEM."""

    certificates: bytes
    key: bytes
    root: bytes


@cache
def chain(
    organisation: str = "Test News Agency", status_address: str | None = None, seconds: int = 30 * 86_400
) -> Chain:
    """A root and a signer of it; ``status_address`` is where one may ask whether the signer's was withdrawn."""
    start = datetime.now(UTC) - timedelta(days=60)
    end = datetime.now(UTC) + timedelta(seconds=seconds)
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())

    def named(name: str) -> x509.Name:
        return x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
                x509.NameAttribute(NameOID.COMMON_NAME, name),
            ]
        )

    def begun(name: str, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder(named("Root"), named(name), public, x509.random_serial_number(), start, end)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.BasicConstraints(ca=name == "Root", path_length=None), critical=True)
        )

    root = (
        begun("Root", root_key.public_key())
        .add_extension(x509.KeyUsage(**{**_NO_USE, "key_cert_sign": True, "crl_sign": True}), critical=True)
        .sign(root_key, hashes.SHA256())
    )
    leaf = (
        begun("Signer", key.public_key())
        .add_extension(x509.KeyUsage(**{**_NO_USE, "digital_signature": True}), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False)
    )
    if status_address is not None:
        place = x509.AccessDescription(
            AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(status_address)
        )
        leaf = leaf.add_extension(x509.AuthorityInformationAccess([place]), critical=False)
    pem = serialization.Encoding.PEM
    return Chain(
        leaf.sign(root_key, hashes.SHA256()).public_bytes(pem) + root.public_bytes(pem),
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
        root.public_bytes(pem),
    )


def signed(
    data: bytes,
    file_format: str = "JPEG",
    *,
    by: Chain | None = None,
    program: str = "Test camera",
    source_type: str = CAPTURE,
    assertions: tuple[dict[str, Any], ...] = (),
    ingredients: tuple[tuple[str, str, bytes], ...] = (),
    elsewhere: str | None = None,
    embedded: bool = True,
    compressed: bool = False,
    thumbnail: bytes | None = None,
    title: str = "picture",
) -> bytes:
    """A copy with content credentials.

    ``ingredients`` are title, relationship and bytes of JPEGs; ``elsewhere`` is an address at which the file says that
    its manifest is stored.
    """
    by = by or chain()
    created = {"action": "c2pa.created", "softwareAgent": {"name": program}, "digitalSourceType": source_type}
    actions: list[dict[str, Any]] = [created]
    for name, relation, _ in ingredients:
        used = {"parameters": {"ingredientIds": [name]}}
        if relation == "parentOf":
            actions[0] = {"action": "c2pa.opened", **used}
        else:
            actions.append({"action": "c2pa.placed", **used})
    manifest: dict[str, Any] = {
        "claim_generator_info": [{"name": program, "version": "1.0"}],
        "title": title,
        "assertions": [{"label": "c2pa.actions", "data": {"actions": actions}}, *assertions],
    }
    if thumbnail is not None:
        manifest["thumbnail"] = {"format": "image/jpeg", "identifier": "thumbnail.jpg"}
    settings = {
        "builder": {"thumbnail": {"enabled": False}},
        "verify": {"verify_after_sign": False},
        "core": {"prefer_compress_manifests": compressed},
    }
    builder = c2pa.Builder(manifest, c2pa.Context.from_dict(settings))
    for name, relation, content in ingredients:
        ingredient = {"title": name, "label": name, "relationship": relation}
        builder.add_ingredient(ingredient, "image/jpeg", io.BytesIO(content))
    if thumbnail is not None:
        builder.add_resource("thumbnail.jpg", io.BytesIO(thumbnail))
    if elsewhere is not None:
        builder.set_remote_url(elsewhere)
    if not embedded:
        builder.set_no_embed()
    signer = c2pa.Signer.from_info(c2pa.C2paSignerInfo(b"es256", by.certificates, by.key, None))
    made = io.BytesIO()
    builder.sign(signer, MEDIA_TYPES[file_format], io.BytesIO(data), made)
    return made.getvalue()
