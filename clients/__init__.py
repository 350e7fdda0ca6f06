"""What integrators import: small packages that know nothing of the rooms of the platform."""
