"""A certificate that says the right things and comes from the wrong CA, for the platform to refuse.

It is what a thief can make who has read a device's certificate and has no key of ours: the same
names, the same usage, another signature.
"""

from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from examples.device_simulator.credentials import KEY, Credentials, key_pem, write_private


def forge(of: Credentials, folder: Path) -> Credentials:
    """Credentials in `folder` that copy a device's certificate, signed by a CA of our own."""
    real = x509.load_pem_x509_certificate(of.chain_file.read_bytes())
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Somebody's CA")])
    copy = (
        x509.CertificateBuilder()
        .subject_name(real.subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(real.serial_number)
        .not_valid_before(real.not_valid_before_utc)
        .not_valid_after(real.not_valid_after_utc)
    )
    about_keys = (x509.SubjectKeyIdentifier, x509.AuthorityKeyIdentifier)
    for extension in real.extensions:
        if not isinstance(extension.value, about_keys):
            copy = copy.add_extension(extension.value, extension.critical)
    forged = copy.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    write_private(folder / KEY, key_pem(key))
    return Credentials.store(
        folder,
        device_id=of.device_id,
        tenant_id=of.tenant_id,
        device_api=of.device_api,
        chain_pem=forged.decode(),
        ca_pem=of.ca_file.read_text(),
    )
