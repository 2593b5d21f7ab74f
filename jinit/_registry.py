"""One table of names with aliases: every list of names in jinit is an instance of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

from jinit import errors

_T = TypeVar("_T")


class Registry(Generic[_T]):
    """Names and what they stand for, in the order of registration.

    The only global state in jinit. A registry changes only when somebody calls :meth:`register`.

    Args:
      kind: what the names name, in the singular: ``"clip"``.
      home: the public module that lists them: ``"jinit.clipping"``.
      items: the built-in names.
      aliases: other spelling → name.
    """

    def __init__(
        self,
        kind: str,
        home: str,
        items: Mapping[str, _T],
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        self.kind = kind
        self.home = home
        self._items = dict(items)
        self._aliases = dict(aliases or {})

    def __contains__(self, name: object) -> bool:
        return name in self._items or name in self._aliases

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def names(self) -> tuple[str, ...]:
        """All names without aliases, in the order of registration."""
        return tuple(self._items)

    def canonical(self, name: str) -> str:
        """The name that an alias stands for; any other text is returned unchanged."""
        return self._aliases.get(name, name)

    def get(self, name: str) -> _T:
        """What a name or an alias stands for.

        Raises:
          ValueError: an unknown name; the message offers the nearest one.
        """
        found = self._items.get(self.canonical(name)) if isinstance(name, str) else None
        if found is None:
            raise self.unknown(name)
        return found

    def unknown(self, name: object) -> ValueError:
        """The error for a name that is not in the registry."""
        return errors.unknown_name(
            self.kind, name, self._items, f"{self.home}.names()", self._aliases
        )

    def register(self, name: str, item: _T) -> None:
        """Adds a name. Registering the same item under the same name again changes nothing.

        Raises:
          ValueError: the name is taken by another item, or is not an identifier.
          TypeError: the item is not callable.
        """
        if not (isinstance(name, str) and name.isidentifier()):
            raise errors.refusal(
                f"{self.kind} name", name, "an identifier", "use letters, digits and _"
            )
        if self._items.get(name) is item:
            return
        if name in self:
            raise errors.refusal(
                f"{self.kind} name", name, "a name not yet taken", "choose another"
            )
        if not callable(item):
            raise errors.wrong_type(
                f"{self.kind} {name!r}", item, "a callable", "pass a function or a factory"
            )
        self._items[name] = item

    def remove(self, name: str) -> None:
        """Takes out a name that :meth:`register` added: for tests and examples.

        Raises:
          ValueError: an unknown name.
        """
        self.get(name)
        del self._items[name]
