"""Defines `Registry`, the table from names and aliases to items that every name table uses."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Generic, TypeVar

from jinit import errors

_T = TypeVar("_T")


WORDS = ("keep", "norm", "own")
"""What a rule or an arm may say instead of an initializer's name."""


class Registry(Generic[_T]):
    """A table from names to items, in the order of registration.

    Only :meth:`register`, :meth:`remove` and :func:`restore` change a registry.

    Args:
      kind: the noun for one item, in the singular: ``"clip"``.
      listing: the public call that lists the names: ``"jinit.clipping.names()"``.
      items: the built-in items by name.
      aliases: alternative spelling → name.
      item_type: the class of every item; None if items are callables.
      reserved: words that mean something else wherever a name may stand; no item can have them.
      beside: the kind of the registry whose names may stand at the same places; its names are
        reserved, too.
    """

    def __init__(
        self,
        kind: str,
        listing: str,
        items: Mapping[str, _T],
        aliases: Mapping[str, str] | None = None,
        item_type: type[_T] | None = None,
        reserved: Collection[str] = (),
        beside: str = "",
    ) -> None:
        self.kind = kind
        self.listing = listing
        self._items = dict(items)
        self._aliases = dict(aliases or {})
        self._item_type = item_type
        self._reserved, self._beside = frozenset(reserved), beside
        self._built_in = frozenset(items)
        _REGISTRIES[kind] = self
        self._restore(_WAITING.pop(kind, {}))

    def __contains__(self, name: object) -> bool:
        return name in self._items or name in self._aliases

    def names(self) -> tuple[str, ...]:
        """All names, without aliases, in the order of registration."""
        return tuple(self._items)

    def canonical(self, name: str) -> str:
        """The name that an alias stands for; any other text is returned unchanged."""
        return self._aliases.get(name, name)

    def get(self, name: str) -> _T:
        """The item of a name or an alias.

        Raises:
          ValueError: the name is unknown; the message offers the nearest name.
        """
        item = self._items.get(self.canonical(name)) if isinstance(name, str) else None
        if item is None:
            raise self.unknown(name)
        return item

    def unknown(self, name: object) -> errors.ValueRefusal:
        """The error for a name that is not in the registry; the caller raises it."""
        return errors.unknown_name(self.kind, name, self._items, self.listing, self._aliases)

    def register(self, name: str, item: _T, aliases: Iterable[str] = ()) -> None:
        """Adds an item. Registering an equal item under the same name again changes nothing.

        Args:
          name: an identifier that is not yet taken.
          item: the item that the name stands for.
          aliases: alternative spellings of the name, not yet taken.

        Raises:
          ValueError: a name or alias is taken by another item, reserved, or not an identifier.
          TypeError: the item has the wrong type.
        """
        spellings = (name, *aliases)
        for spelling in spellings:
            if not (isinstance(spelling, str) and spelling.isidentifier()):
                raise errors.refusal(
                    f"{self.kind} name", spelling, "an identifier", "use letters, digits and _"
                )
        self._check_item(name, item)
        if self._items.get(name) == item and all(self.canonical(s) == name for s in spellings):
            return
        for spelling in spellings:
            if spelling in self:
                raise errors.refusal(
                    f"{self.kind} name", spelling, "a name not yet taken", "choose another"
                )
            if spelling in self._reserved or spelling in _REGISTRIES.get(self._beside, ()):
                raise errors.refusal(
                    f"{self.kind} name",
                    spelling,
                    f"a word without another meaning where the name of a {self.kind} may stand",
                    "choose another",
                )
        self._items[name] = item
        self._aliases.update(dict.fromkeys(spellings[1:], name))

    def remove(self, name: str) -> None:
        """Removes an item, under its name or an alias, with its aliases: for tests and examples.

        Raises:
          ValueError: the name is unknown.
        """
        self.get(name)
        name = self.canonical(name)
        del self._items[name]
        self._aliases = {alias: to for alias, to in self._aliases.items() if to != name}

    def _additions(self) -> dict[str, tuple[_T, tuple[str, ...]]]:
        return {
            name: (item, tuple(alias for alias, to in self._aliases.items() if to == name))
            for name, item in self._items.items()
            if name not in self._built_in
        }

    def _restore(self, added: Mapping[str, tuple[_T, tuple[str, ...]]]) -> None:
        for name, (item, aliases) in added.items():
            self._items[name] = item
            self._aliases.update(dict.fromkeys(aliases, name))

    def _check_item(self, name: str, item: _T) -> None:
        what = f"{self.kind} {name!r}"
        if self._item_type is None and not callable(item):
            raise errors.wrong_type(what, item, "a callable", "pass a function or a factory")
        if self._item_type is not None and not isinstance(item, self._item_type):
            name_of_type = self._item_type.__name__
            raise errors.wrong_type(what, item, f"a {name_of_type}", f"pass a {name_of_type}")


# Kind → its registry, and additions for registries whose module is not imported yet.
_REGISTRIES: dict[str, Registry[Any]] = {}
_WAITING: dict[str, Mapping[str, tuple[Any, tuple[str, ...]]]] = {}


def additions() -> dict[str, dict[str, tuple[Any, tuple[str, ...]]]]:
    """Kind → name → (item, aliases) of everything that was registered after import.

    >>> clips = Registry("clip of an example", "", {})
    >>> clips.register("mine", abs, aliases=("my",))
    >>> additions()["clip of an example"]
    {'mine': (<built-in function abs>, ('my',))}
    """
    found = {kind: registry._additions() for kind, registry in _REGISTRIES.items()}
    return {kind: added for kind, added in found.items() if added}


def restore(added: Mapping[str, Mapping[str, tuple[Any, tuple[str, ...]]]]) -> None:
    """Registers what :func:`additions` found in another process; equal names are replaced.

    >>> restore({"clip to come": {"mine": (abs, ())}})
    >>> Registry("clip to come", "", {}).names()
    ('mine',)
    """
    for kind, items in added.items():
        if kind in _REGISTRIES:
            _REGISTRIES[kind]._restore(items)
        else:
            _WAITING[kind] = items
