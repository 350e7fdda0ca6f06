"""What a person reads when a one-time code arrives."""

from typing import Final

SUBJECTS: Final = {"en": "Your verification code", "ar": "رمز التحقق الخاص بك"}

TEXTS: Final = {
    "en": "{code} is your verification code. Do not share it with anyone.",
    "ar": "{code} هو رمز التحقق الخاص بك. لا تشاركه مع أي شخص.",
}


def language(locale: str) -> str:
    """The language we write in for a locale such as `ar-SA`; English when we have no other."""
    tongue = locale.replace("_", "-").partition("-")[0].lower()
    return tongue if tongue in TEXTS else "en"


def text(code: str, locale: str) -> str:
    """The message with the code in it, one line, short enough for a single SMS."""
    return TEXTS[language(locale)].format(code=code)


def subject(locale: str) -> str:
    """The subject of an e-mail; it never holds the code, which previews would show."""
    return SUBJECTS[language(locale)]
