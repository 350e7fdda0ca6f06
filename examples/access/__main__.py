"""`python -m examples.access --port 9102 --jwks URL --issuer URL --audience URL [--ca FILE]`."""

from examples.access.app import access_app
from examples.product_endpoint import arguments, serve, settings_of

given = arguments("A small access control that opens gates for palms.").parse_args()
serve(access_app(settings_of(given)), given)
