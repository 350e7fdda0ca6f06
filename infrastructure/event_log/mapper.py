"""Turns an event into a name and bytes, and the bytes of any released version back into it.

The stored form is JSON, `{"v":2,"data":{…}}`: `v` is the version of the event when it was
written. Data of an older version takes one pure step after the other up to the current one.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from domain.events import DomainEvent, Payload

_JSON: Final = msgspec.json.Encoder()


class _Versioned(msgspec.Struct):
    v: int
    data: Payload


_VERSIONED: Final = msgspec.json.Decoder(_Versioned)


class UnknownEvent(Exception):
    """This process cannot read the event: it holds there, and never skips it."""

    def __init__(self, name: str, version: int | None, reason: str) -> None:
        self.name = name
        self.version = version
        super().__init__(f"{name} v{version}: {reason}" if version else f"{name}: {reason}")


class _Form:
    """How one event class is stored: what its current bytes begin with, and their decoder."""

    __slots__ = ("current", "decoder", "head", "name")

    def __init__(self, name: str, current: type[DomainEvent]) -> None:
        self.name = name
        self.current = current
        self.head = b'{"v":%d,"data":' % current.VERSION
        self.decoder: msgspec.json.Decoder[DomainEvent] = msgspec.json.Decoder(current)


class EventMapper:
    """`events` maps stored names to current classes; `upcasters` a (name, version) to the step
    that leads to the next version."""

    def __init__(
        self,
        events: Mapping[str, type[DomainEvent]],
        upcasters: Mapping[tuple[str, int], Callable[[Payload], Payload]],
    ) -> None:
        self._by_name = {name: _Form(name, current) for name, current in events.items()}
        self._by_class: dict[type[Any], _Form] = {
            form.current: form for form in self._by_name.values()
        }
        self._upcasters = dict(upcasters)

    def encode(self, event: DomainEvent) -> tuple[str, bytes]:
        """Name and payload. Raises UnknownEvent for a class that nobody could read back."""
        form = self._by_class.get(type(event))
        if form is None:
            raise UnknownEvent(type(event).__name__, None, "is not in the catalogue")
        return form.name, b"%b%b}" % (form.head, _JSON.encode(event))

    def decode(self, name: str, payload: bytes) -> DomainEvent:
        """The event as today's class.

        Raises UnknownEvent for a name, a version or a missing step that this process does not
        know, msgspec.DecodeError for bytes that no released version ever wrote.
        """
        form = self._by_name.get(name)
        if form is None:
            raise UnknownEvent(name, None, "is not in the catalogue")
        if payload.startswith(form.head):
            return form.decoder.decode(memoryview(payload)[len(form.head) : -1])
        return self._upcast(form, payload)

    def _upcast(self, form: _Form, payload: bytes) -> DomainEvent:
        stored = _VERSIONED.decode(payload)
        if stored.v > form.current.VERSION:
            raise UnknownEvent(form.name, stored.v, f"this process knows v{form.current.VERSION}")
        data = stored.data
        for version in range(stored.v, form.current.VERSION):
            step = self._upcasters.get((form.name, version))
            if step is None:
                raise UnknownEvent(form.name, version, "has no upcaster")
            data = step(data)
        return msgspec.convert(data, form.current)
