"""What became of a transaction, in one sentence for whoever answers for a till, in two languages.

One template for each outcome and reason of reference broker.md §3.4, and one ending for what the
product is owed. No name, number or word of anybody else stands in them, so Arabic text is Arabic
from end to end and needs no marks of direction.
"""

from typing import Final

import msgspec

from domain.transaction.facts import (
    Decision,
    FailClosedReason,
    NotRecognizedReason,
    RefusedReason,
    StandInReason,
    TransactionAllowed,
    TransactionDenied,
    TransactionFailedClosed,
    TransactionFailedOpen,
    TransactionForbidden,
    TransactionNotRecognized,
    TransactionRefused,
    VendorFailure,
)
from domain.transaction.lifecycle import Debt, Transaction


class Sentence(msgspec.Struct, frozen=True, kw_only=True):
    """The same in English and in Arabic."""

    en: str
    ar: str

    def __add__(self, ending: "Sentence") -> "Sentence":
        return Sentence(en=self.en + ending.en, ar=self.ar + ending.ar)


def _said(en: str, ar: str) -> Sentence:
    return Sentence(en=en, ar=ar)


ALLOWED: Final = _said(
    "The palm matched and the product allowed it", "تطابقت راحة اليد ووافق المنتج على العملية"
)
DENIED: Final = _said(
    "The palm matched, but the product refused it", "تطابقت راحة اليد لكن المنتج رفض العملية"
)
FORBIDDEN: Final = _said(
    "The palm vendor does not accept this kind of palm, and the other hand was asked for",
    "لا تقبل خدمة راحة اليد هذا النوع من الراحات وطُلبت اليد الأخرى",
)
NOT_RECOGNIZED: Final[dict[NotRecognizedReason, Sentence]] = {
    "no_candidate": _said(
        "The palm is nobody's who is enrolled here", "راحة اليد لا تعود إلى أي شخص مسجل هنا"
    ),
    "low_confidence": _said(
        "The palm resembled an enrolled one, but not enough for the match policy",
        "تشبه راحة اليد راحة مسجلة لكن ليس بما يكفي لسياسة المطابقة",
    ),
    "ambiguous": _said(
        "The palm resembled those of two people too closely to tell whose it is",
        "تشبه راحة اليد راحتي شخصين إلى حد لا يسمح بالتمييز بينهما",
    ),
}
REFUSED: Final[dict[RefusedReason, Sentence]] = {
    "user_suspended": _said(
        "The palm matched, but the person is suspended", "تطابقت راحة اليد لكن حساب الشخص موقوف"
    ),
    "user_erased": _said(
        "The palm matched, but the person's data has been erased or is being erased",
        "تطابقت راحة اليد لكن بيانات الشخص مُحيت أو قيد المحو",
    ),
    "consent_withdrawn": _said(
        "The palm matched, but the person has withdrawn consent",
        "تطابقت راحة اليد لكن الشخص سحب موافقته",
    ),
    "consent_required": _said(
        "The palm matched, but the person has not given the consent that is asked for",
        "تطابقت راحة اليد لكن الشخص لم يعطِ الموافقة المطلوبة",
    ),
    "kyc_required": _said(
        "The palm matched, but the person's identity has not been verified yet",
        "تطابقت راحة اليد لكن هوية الشخص لم يُتحقق منها بعد",
    ),
    "palm_removed": _said(
        "The palm matched, but it has been removed from the person since",
        "تطابقت راحة اليد لكنها أُزيلت من سجل الشخص بعد ذلك",
    ),
}
FAILED_CLOSED: Final[dict[FailClosedReason, Sentence]] = {
    "authorize_timeout": _said(
        "The palm matched, but the product did not answer in time, and nothing was allowed",
        "تطابقت راحة اليد لكن المنتج لم يجب في الوقت المحدد ولم يُسمح بشيء",
    ),
    "circuit_open": _said(
        "The palm matched, but the product was not asked since it has been failing, and nothing was"
        " allowed",
        "تطابقت راحة اليد لكن المنتج لم يُسأل لأنه يتعطل منذ مدة ولم يُسمح بشيء",
    ),
    "connect_error": _said(
        "The palm matched, but the product could not be reached, and nothing was allowed",
        "تطابقت راحة اليد لكن تعذر الوصول إلى المنتج ولم يُسمح بشيء",
    ),
    "product_5xx": _said(
        "The palm matched, but the product had an error of its own, and nothing was allowed",
        "تطابقت راحة اليد لكن المنتج واجه خطأ داخليا ولم يُسمح بشيء",
    ),
    "product_malformed": _said(
        "The palm matched, but the product's answer could not be understood, and nothing was"
        " allowed",
        "تطابقت راحة اليد لكن جواب المنتج غير مفهوم ولم يُسمح بشيء",
    ),
    "assertion_rejected": _said(
        "The palm matched, but the product did not accept our assertion, and nothing was allowed",
        "تطابقت راحة اليد لكن المنتج لم يقبل إثبات الهوية ولم يُسمح بشيء",
    ),
    "egress_blocked": _said(
        "The palm matched, but the product's address may not be called, and nothing was allowed",
        "تطابقت راحة اليد لكن عنوان المنتج غير مسموح بالاتصال به ولم يُسمح بشيء",
    ),
    "stand_in_limit": _said(
        "The palm matched, but the product was silent and the budget for allowing in its place is"
        " used up",
        "تطابقت راحة اليد لكن المنتج لم يجب ورصيد السماح نيابة عنه قد نفد",
    ),
    "linked_service_unavailable": _said(
        "The palm matched, but the device's product is suspended or gone",
        "تطابقت راحة اليد لكن المنتج المرتبط بالجهاز موقوف أو محذوف",
    ),
    "action_not_allowed": _said(
        "The palm matched, but the product does not allow this device's action",
        "تطابقت راحة اليد لكن المنتج لا يسمح بإجراء هذا الجهاز",
    ),
    "abandoned": _said(
        "The palm matched, but nobody finished the transaction in time, and nothing was allowed",
        "تطابقت راحة اليد لكن العملية لم تكتمل في الوقت المحدد ولم يُسمح بشيء",
    ),
}
FAILED_OPEN: Final[dict[StandInReason, Sentence]] = {
    "authorize_timeout": _said(
        "The palm matched, the product did not answer in time, and it was allowed in its place",
        "تطابقت راحة اليد ولم يجب المنتج في الوقت المحدد فسُمح بالعملية نيابة عنه",
    ),
    "circuit_open": _said(
        "The palm matched, the product was not asked since it has been failing, and it was allowed"
        " in its place",
        "تطابقت راحة اليد ولم يُسأل المنتج لأنه يتعطل منذ مدة فسُمح بالعملية نيابة عنه",
    ),
    "connect_error": _said(
        "The palm matched, the product could not be reached, and it was allowed in its place",
        "تطابقت راحة اليد وتعذر الوصول إلى المنتج فسُمح بالعملية نيابة عنه",
    ),
    "product_5xx": _said(
        "The palm matched, the product had an error of its own, and it was allowed in its place",
        "تطابقت راحة اليد وواجه المنتج خطأ داخليا فسُمح بالعملية نيابة عنه",
    ),
}
VENDOR_FAILED: Final[dict[VendorFailure, Sentence]] = {
    "palm_vendor_error": _said(
        "The palm vendor had an error, so nobody was recognised and no product was asked",
        "واجهت خدمة راحة اليد خطأ فلم يُتعرف على أحد ولم يُسأل أي منتج",
    ),
    "palm_vendor_timeout": _said(
        "The palm vendor did not answer in time, so nobody was recognised and no product was asked",
        "لم تجب خدمة راحة اليد في الوقت المحدد فلم يُتعرف على أحد ولم يُسأل أي منتج",
    ),
}
UNDECIDED: Final = _said(
    "The palm matched and the product is being asked", "تطابقت راحة اليد ويجري سؤال المنتج الآن"
)
BEGUN: Final = _said(
    "The device has asked and nothing is decided yet", "طلب الجهاز ولم يُحسم شيء بعد"
)

_NOTHING: Final = _said("", "")
_STOP: Final = _said(".", ".")
VOIDS: Final[dict[Debt, Sentence]] = {
    "none": _NOTHING,
    "owed": _said(
        "; whatever the product allowed is being cancelled", "، ويجري إلغاء ما سمح به المنتج"
    ),
    "settled": _said("; whatever the product allowed is cancelled", "، وأُلغي ما سمح به المنتج"),
    "failed": _said(
        "; what the product may have allowed could not be cancelled and must be settled by hand",
        "، وتعذر إلغاء ما قد يكون المنتج سمح به ويجب تسويته يدويا",
    ),
}
ADVICE: Final[dict[Debt, Sentence]] = {
    "none": _NOTHING,
    "owed": _said("; the product is being told", "، ويجري إبلاغ المنتج"),
    "settled": _said("; the product has been told", "، وأُبلغ المنتج"),
    "failed": _said(
        "; the product could not be told and must be told by hand",
        "، وتعذر إبلاغ المنتج ويجب إبلاغه يدويا",
    ),
}


def sentence(transaction: Transaction) -> Sentence:
    """What became of it so far, and of what the product is owed."""
    return _main(transaction) + VOIDS[transaction.void] + ADVICE[transaction.advice] + _STOP


def _main(transaction: Transaction) -> Sentence:
    if transaction.decision is not None:
        return _decided(transaction.decision)
    if transaction.intent is not None:
        return UNDECIDED
    if transaction.vendor_failed is not None:
        return VENDOR_FAILED[transaction.vendor_failed.reason]
    return BEGUN


def _decided(decision: Decision) -> Sentence:
    match decision:
        case TransactionAllowed():
            return ALLOWED
        case TransactionDenied():
            return DENIED
        case TransactionForbidden():
            return FORBIDDEN
        case TransactionNotRecognized():
            return NOT_RECOGNIZED[decision.reason]
        case TransactionRefused():
            return REFUSED[decision.reason]
        case TransactionFailedClosed():
            return FAILED_CLOSED[decision.reason]
        case TransactionFailedOpen():
            return FAILED_OPEN[decision.reason]
