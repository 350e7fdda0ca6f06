"""Mobile numbers as people type them, in the one form that is compared and kept: E.164."""

import phonenumbers

from domain.errors import Invalid


class E164PhoneNumbers:
    """`application.ports.PhoneNumbers` over Google's number plans."""

    def normalise(self, text: str) -> str:
        """Raises Invalid (`mobile_invalid`) for what is no possible international number."""
        try:
            number = phonenumbers.parse(text, None)
        except phonenumbers.NumberParseException as error:
            raise Invalid("mobile_invalid", "an international number such as +966…") from error
        if not phonenumbers.is_possible_number(number):
            raise Invalid("mobile_invalid", "an international number such as +966…")
        return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)

    def country(self, mobile: str) -> str | None:
        """ISO 3166-1 alpha-2; None for numbers of no country, such as satellite phones."""
        region = phonenumbers.region_code_for_number(phonenumbers.parse(mobile, None))
        return None if region in (None, "001") else region
