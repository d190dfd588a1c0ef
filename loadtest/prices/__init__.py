"""What an hour of a machine costs, from where, and as of when. A price without a source is refused."""

from loadtest.prices.price import Price
from loadtest.prices.table import find_price, price_table

__all__ = ["Price", "find_price", "price_table"]
