"""`python -m examples.wallet --port 9101 --jwks URL --issuer URL --audience URL [--ca FILE]`."""

from examples.product_endpoint import arguments, serve, settings_of
from examples.wallet.app import wallet_app
from examples.wallet.money import read_money

parser = arguments("A small wallet that pays for palms.")
parser.add_argument("--opening-balance", default="0", help="what a new person has (decimal text)")
parser.add_argument("--currency", default="SAR")
given = parser.parse_args()
serve(wallet_app(settings_of(given), read_money(given.opening_balance, given.currency)), given)
