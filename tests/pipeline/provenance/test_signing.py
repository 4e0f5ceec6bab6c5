"""C2PA manifests, read back by the reader of the C2PA library with the test's own authority as its trust anchor."""

from __future__ import annotations

import io
import json
import pickle
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import c2pa
import numpy as np
import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID

from pipeline.config.limits import Limits
from pipeline.config.secrets import Signing
from pipeline.provenance.record import DIGITAL_SOURCE_TYPE
from pipeline.provenance.signing import ASSERTION, CARRIERS, SigningError, ingredient, load_signing, sign
from pipeline.sandbox import parent as sandbox
from tests.support.certificates import KEYS, signer, trusted
from tests.support.pictures import decoded, encoded, hopper
from tests.support.provenance import OWN, RECORD

PHOTO = encoded(hopper(), "JPEG")
RESTORED = {name: encoded(hopper()[::-1].copy(), name.upper()) for name in CARRIERS}


@pytest.fixture(scope="module")
def signing(tmp_path_factory: pytest.TempPathFactory) -> Signing:
    return load_signing(*signer(tmp_path_factory.mktemp("signer")))


@pytest.fixture(autouse=True, scope="module")
def ended_sandbox() -> Iterator[None]:
    yield
    sandbox.stop()


def read(data: bytes, format: str = "jpeg", trust: str = "") -> dict[str, Any]:
    """The result of C2PA's reader for a file; by default it trusts the test's authority."""
    settings = {"verify": {"verify_trust": True}, "trust": {"user_anchors": trust or trusted()}}
    with (
        c2pa.Context.from_dict(settings) as context,
        c2pa.Reader(CARRIERS[format], io.BytesIO(data), context=context) as reader,
    ):
        return dict(
            json.loads(reader.detailed_json()), state=reader.get_validation_state(), active=reader.get_active_manifest()
        )


@pytest.mark.parametrize("format", CARRIERS)
def test_a_signed_file_is_trusted_and_has_the_same_pixels(format: str, signing: Signing) -> None:
    data = sign(RESTORED[format], format, PHOTO, "jpeg", RECORD, signing)
    assert read(data, format)["state"] == "Trusted"
    np.testing.assert_array_equal(decoded(data), decoded(RESTORED[format]))


def test_the_manifest_says_what_was_done(signing: Signing) -> None:
    active = read(sign(RESTORED["jpeg"], "jpeg", PHOTO, "jpeg", RECORD, signing))["active"]
    (parent,) = active["ingredients"]
    assert (parent["relationship"], parent["format"], parent["title"]) == ("parentOf", "image/jpeg", RECORD.member)
    assertions = {one["label"]: one["data"] for one in active["assertions"]}
    opened, edited = assertions["c2pa.actions.v2"]["actions"]
    assert opened["action"] == "c2pa.opened" and "c2pa.ingredient" in opened["parameters"]["ingredients"][0]["url"]
    assert (edited["action"], edited["digitalSourceType"]) == ("c2pa.edited", DIGITAL_SOURCE_TYPE)
    assert edited["softwareAgent"] == {"name": "InterLCM", "version": "1.2.3"}
    regions = [[10, 20, 30, 60], [-4, 100, 20, 140]]
    assert assertions[ASSERTION] == OWN | {"SourceMember": RECORD.member, "Regions": regions}


@pytest.mark.parametrize("kind", KEYS)
def test_every_kind_of_key(kind: str, tmp_path: Path) -> None:
    loaded = load_signing(*signer(tmp_path, kind))
    assert loaded.algorithm == kind
    assert read(sign(RESTORED["jpeg"], "jpeg", PHOTO, "jpeg", RECORD, loaded))["state"] == "Trusted"


def test_one_changed_byte_is_noticed(signing: Signing) -> None:
    data = bytearray(sign(RESTORED["png"], "png", PHOTO, "jpeg", RECORD, signing))
    data[data.rindex(b"IDAT") + 40] ^= 1
    found = read(bytes(data), "png")
    assert found["state"] == "Invalid"
    codes = [one["code"] for one in found["validation_results"]["activeManifest"]["failure"]]
    assert codes == ["assertion.dataHash.mismatch"]


def test_a_stranger_s_signature_is_not_trusted(signing: Signing, tmp_path: Path) -> None:
    data = sign(RESTORED["jpeg"], "jpeg", PHOTO, "jpeg", RECORD, signing)
    _, chain = signer(tmp_path)
    own_certificate = chain.read_text().partition("-----END CERTIFICATE-----\n")
    assert read(data, trust=own_certificate[0] + own_certificate[1])["state"] == "Valid"


def test_the_chain_of_a_signed_source_goes_on(signing: Signing) -> None:
    source = sign(PHOTO, "jpeg", PHOTO, "jpeg", RECORD, signing)
    found = read(sign(RESTORED["tiff"], "tiff", source, "jpeg", RECORD, signing), "tiff")
    assert (found["state"], len(found["manifests"])) == ("Trusted", 2)
    assert found["active"]["ingredients"][0]["active_manifest"] in found["manifests"]


def test_a_source_that_was_tampered_with_is_recorded_as_such(signing: Signing) -> None:
    source = bytearray(sign(PHOTO, "jpeg", PHOTO, "jpeg", RECORD, signing))
    source[-100] ^= 1
    found = read(sign(RESTORED["jpeg"], "jpeg", bytes(source), "jpeg", RECORD, signing))
    assert found["state"] == "Trusted"  # our own claim is valid; the earlier one is not
    results = found["active"]["ingredients"][0]["validation_results"]["activeManifest"]
    assert [one["code"] for one in results["failure"]] == ["assertion.dataHash.mismatch"]


@pytest.mark.parametrize(
    ("source", "format"),
    [(b"", "png"), (b"BM what C2PA has no reader for", "bmp"), (PHOTO[:300], "jpeg"), (b"x", "other")],
)
def test_a_source_without_c2pa_s_help_is_a_parent_all_the_same(source: bytes, format: str, signing: Signing) -> None:
    found = read(sign(RESTORED["jpeg"], "jpeg", source, format, RECORD, signing))
    assert found["state"] == "Trusted"
    assert [one["relationship"] for one in found["active"]["ingredients"]] == ["parentOf"]


def test_no_address_in_a_source_is_asked(signing: Signing) -> None:
    from PIL import Image

    asked = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)

        def answer() -> None:
            try:
                asked.append(server.accept()[1])
            except TimeoutError:
                return

        waiting = threading.Thread(target=answer)
        waiting.start()
        address = f"http://127.0.0.1:{server.getsockname()[1]}/manifest.c2pa"
        packet = (
            '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:d="http://purl.org/dc/terms/">'
            f'<rdf:Description rdf:about="" d:provenance="{address}"/></rdf:RDF>'
        )
        buffer = io.BytesIO()
        Image.fromarray(hopper()).save(buffer, "JPEG", xmp=packet.encode())
        assert ingredient(buffer.getvalue(), "jpeg", "a.jpg")
        assert sign(RESTORED["jpeg"], "jpeg", buffer.getvalue(), "jpeg", RECORD, signing)
        waiting.join()
    assert asked == []


def test_a_format_that_cannot_carry_a_manifest(signing: Signing) -> None:
    with pytest.raises(SigningError, match="C2PA cannot sign bmp: choose another --format, one of jpeg, png"):
        sign(b"BM", "bmp", PHOTO, "jpeg", RECORD, signing)
    with pytest.raises(SigningError, match="C2PA cannot sign this jpeg file"):
        sign(b"no picture", "jpeg", PHOTO, "jpeg", RECORD, signing)


def test_a_source_is_looked_at_in_the_sandbox_and_the_key_stays_outside(
    signing: Signing, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []
    original = sandbox.run

    def run(*call: Any, limits: Limits) -> Any:
        calls.append((*call, limits))
        return original(*call, limits=limits)

    monkeypatch.setattr(sandbox, "run", run)
    limits = Limits(seconds=7)
    assert read(sign(RESTORED["jpeg"], "jpeg", PHOTO, "jpeg", RECORD, signing, limits))["state"] == "Trusted"
    assert calls == [(ingredient, PHOTO, "jpeg", RECORD.member, limits)]


def test_the_key_shows_nowhere(signing: Signing) -> None:
    secret = signing.key.decode().splitlines()[1]
    assert repr(signing) == str(signing) == "Signing(hidden)" and secret not in f"{[signing]}"
    assert vars(pickle.loads(pickle.dumps(signing))) == vars(signing)
    assert secret.encode() not in sign(RESTORED["jpeg"], "jpeg", PHOTO, "jpeg", RECORD, signing)


def refused(key: Path, cert: Path) -> str:
    with pytest.raises(SigningError) as stopped:
        load_signing(key, cert)
    message = str(stopped.value)
    assert "\n" not in message
    return message


def test_files_that_are_missing_or_something_else(tmp_path: Path) -> None:
    key, cert = signer(tmp_path)
    gone = tmp_path / "gone.pem"
    assert refused(gone, cert).startswith(f"{gone}: cannot be read (No such file or directory)")
    assert refused(key, tmp_path).startswith(f"{tmp_path}: cannot be read (Is a directory)")
    assert refused(cert, cert) == f"{cert}: not a private key in PEM; give a PKCS #8 key"
    assert refused(key, key).startswith(f"{key}: not certificates in PEM")


def test_a_key_that_is_encrypted(tmp_path: Path) -> None:
    key, cert = signer(tmp_path)
    private = load_pem_private_key(key.read_bytes(), None)
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))
    assert refused(key, cert).startswith(f"{key}: the key is encrypted; give it decrypted")


def test_a_key_that_c2pa_does_not_know(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import NoEncryption

    key, cert = signer(tmp_path)
    weak = rsa.generate_private_key(65537, 1024)
    key.write_bytes(weak.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    assert refused(key, cert).startswith(f"{key}: C2PA does not allow this type of key")


def test_certificates_that_do_not_fit(tmp_path: Path) -> None:
    key, _ = signer(tmp_path)
    _, others = signer(tmp_path, "ed25519")
    assert refused(key, others).startswith(f"{others}: the first certificate does not belong to {key}")
    key, cert = signer(tmp_path, days=5, ago=10)
    assert "the certificate expired on " in refused(key, cert)
    key, cert = signer(tmp_path, ago=-3)
    assert "check the clock, or wait" in refused(key, cert)
    key, cert = signer(tmp_path, purpose=ExtendedKeyUsageOID.SERVER_AUTH)
    assert refused(key, cert).startswith(f"{cert}: C2PA refuses this certificate (")
