"""A transaction with what its product wrote opened, for those who answer or quote it."""

import msgspec

from application.ports import ProductTexts
from domain import transaction as x


async def worded(texts: ProductTexts, transaction: x.Transaction) -> x.Transaction:
    """As it is where there is nothing sealed, or it is kept no more."""
    commitment, known = x.sealed_text(transaction), transaction.identified
    if commitment is None or transaction.text is not None:
        return transaction
    assert known is not None, "no product is asked about nobody"
    text = await texts.open(transaction.tenant_id, known.user_id, transaction.id, commitment)
    return msgspec.structs.replace(transaction, text=text)
