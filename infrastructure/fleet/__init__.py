"""What devices need of the world: certificates, signatures, presence."""
