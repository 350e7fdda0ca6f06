"""Who vouches for a device's key: Android Key Attestation, its roots and who was revoked."""
