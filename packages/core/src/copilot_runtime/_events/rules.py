"""Rules for values inside events, composed to tables by `shapes` and `schema`.

A rule is called with a value and returns it as clients accept it: the same object where nothing has to change, which
is the common case, or a changed copy. It raises InvalidValueError for a value that clients reject, or returns ABSENT
to have the member that holds the value left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from .normalize import to_jsonable

Rule = Callable[[Any], Any]

ABSENT: Final = object()
"""Returned by a rule for a value that has to be left out."""

_MAX_SAFE_INTEGER = 2**53 - 1  # the largest that JavaScript reads exactly, and that clients accept


class InvalidValueError(Exception):
    """A value that clients reject.

    Args:
        problem: what is wrong with it, such as "must be a string".
        path: where it is in the value that was checked, such as ".messages[3].name".
    """

    def __init__(self, problem: str, path: str = "") -> None:
        super().__init__(problem, path)
        self.problem = problem
        self.path = path

    def inside(self, step: str) -> InvalidValueError:
        """Returns the same problem as seen from the value that contains the checked one."""
        return InvalidValueError(self.problem, f"{step}{self.path}")


def _plain(value: Any, description: str, check: Callable[[Any], bool]) -> Any:
    """Returns a model, a tuple or an enum as a plain value."""
    plain = to_jsonable(value)
    if not check(plain):
        raise InvalidValueError(f"must be {description}")
    return plain


def _instance_of(kind: type, description: str) -> Rule:
    def rule(value: Any) -> Any:
        if value.__class__ is kind or isinstance(value, kind):
            return value
        return _plain(value, description, lambda plain: isinstance(plain, kind))

    return rule


_accepting_strings: set[Rule] = set()


def accepting_strings(rule: Rule) -> Rule:
    """Marks a rule that returns every string as it is, so that `shape` need not call it for one."""
    _accepting_strings.add(rule)
    return rule


string = accepting_strings(_instance_of(str, "a string"))
boolean = _instance_of(bool, "true or false")
json_object = _instance_of(dict, "an object")
json_list = _instance_of(list, "a list")


_choices: dict[Rule, frozenset[str]] = {}


def choices(rule: Rule) -> frozenset[str]:
    """Returns strings that a rule returns as they are, so that it need not be called for one of them."""
    return _choices.get(rule, frozenset())


def one_of(*values: str) -> Rule:
    """Accepts these strings."""
    accepted, description = frozenset(values), f"one of {', '.join(values)}"

    def rule(value: Any) -> Any:
        if value.__class__ is str and value in accepted:
            return value
        return _plain(value, description, lambda plain: isinstance(plain, str) and plain in accepted)

    _choices[rule] = accepted
    return rule


def timestamp(value: Any) -> Any:
    """Accepts a number, as the integer that clients of AG-UI 1.0 require; one that is too large is left out."""
    is_number = value.__class__ is int or (isinstance(value, (int, float)) and not isinstance(value, bool))
    if not is_number or not math.isfinite(value):
        raise InvalidValueError("must be a finite number")
    if not -_MAX_SAFE_INTEGER <= value <= _MAX_SAFE_INTEGER:
        return ABSENT
    return value if value.__class__ is int else int(value)


def count(value: Any) -> Any:
    """Accepts a whole number that is not negative, and leaves out anything else: no run should fail for a statistic."""
    is_whole = isinstance(value, (int, float)) and not isinstance(value, bool) and value % 1 == 0
    return value if is_whole and 0 <= value <= _MAX_SAFE_INTEGER else ABSENT


def absent(value: Any) -> Any:
    """Leaves out any value."""
    return ABSENT


def or_absent(rule: Rule) -> Rule:
    """Leaves out a value that a rule does not accept."""

    def lenient(value: Any) -> Any:
        try:
            return rule(value)
        except InvalidValueError:
            return ABSENT

    return lenient


def or_unchanged(rule: Rule) -> Rule:
    """Returns a value that a rule does not accept as it is."""

    def lenient(value: Any) -> Any:
        try:
            return rule(value)
        except InvalidValueError:
            return value

    return lenient


def array(item: Rule, *, minimum: int = 0) -> Rule:
    """Accepts a list of at least ``minimum`` values that a rule accepts."""

    def rule(value: Any) -> Any:
        items = json_list(value)
        if len(items) < minimum:
            raise InvalidValueError("must not be empty")
        changed = None
        for index, old in enumerate(items):
            try:
                new = item(old)
            except InvalidValueError as error:
                raise error.inside(f"[{index}]") from None
            if new is not old:
                if changed is None:
                    changed = list(items)
                changed[index] = new
        return items if changed is None else changed

    return rule


def valid_items(item: Rule) -> Rule:
    """Accepts a list, and leaves out the values in it that a rule does not accept."""

    def rule(value: Any) -> Any:
        items = value if value.__class__ is list else json_list(value)
        kept: list[Any] | None = None
        for index, old in enumerate(items):
            try:
                new = item(old)
            except InvalidValueError:
                new = ABSENT
            if kept is None:
                if new is old:
                    continue
                kept = items[:index]
            if new is not ABSENT:
                kept.append(new)
        return items if kept is None else kept

    return rule


def shape(
    required: Mapping[str, Rule] | None = None,
    optional: Mapping[str, Rule] | None = None,
    *,
    defaults: Mapping[str, Any] | None = None,
    is_closed: bool = False,
) -> Rule:
    """Accepts an object with these members. Members that are null are left out.

    Args:
        required: the members that it must have.
        optional: members that it may have. Any others are not checked.
        defaults: the values of members that are absent or null, such as null for a member whose null is a value:
            encoders that leave out nulls leave out this one too.
        is_closed: whether other members are left out, for objects in which clients reject them.
    """
    required, optional, defaults = required or {}, optional or {}, defaults or {}
    rules = {**required, **optional}
    # Most members are strings, which these rules accept as they are: to call them would be most of the cost.
    texts = frozenset(name for name, member_rule in rules.items() if member_rule in _accepting_strings)
    needed = [name for name in required if name not in defaults]

    def rule(value: Any) -> Any:
        members = value if value.__class__ is dict else json_object(value)
        changes: dict[str, Any] = {}
        # Without calls of methods: this is where most of the time goes.
        for name, old in members.items():
            if old is None:
                changes[name] = ABSENT
            elif name in texts and old.__class__ is str:
                pass
            elif name in rules:
                try:
                    new = rules[name](old)
                except InvalidValueError as error:
                    raise error.inside(f".{name}") from None
                if new is not old:
                    changes[name] = new
            elif is_closed:
                changes[name] = ABSENT
        for name in needed:
            if name not in members or members[name] is None:
                try:
                    rules[name](None)
                except InvalidValueError as error:
                    raise error.inside(f".{name}") from None
        for name in defaults:
            if changes[name] is ABSENT if name in changes else name not in members:
                changes[name] = defaults[name]
        if not changes:
            return members
        return {name: item for name, item in {**members, **changes}.items() if item is not ABSENT}

    return rule


def by_member(name: str, shapes: Mapping[str, Rule], *, otherwise: Rule | None = None) -> Rule:
    """Accepts an object by the rule for the value of one of its members.

    Args:
        name: the member.
        shapes: the rules, by the member's value.
        otherwise: the rule for other strings, which are not accepted without it.
    """
    check_name = one_of(*shapes) if otherwise is None else string

    def rule(value: Any) -> Any:
        members = value if value.__class__ is dict else json_object(value)
        tag = members.get(name)
        if tag.__class__ is str and tag in shapes:
            return shapes[tag](members)
        members = to_jsonable(members)  # it may be an enum
        tag = members.get(name)
        try:
            check_name(tag)
        except InvalidValueError as error:
            raise error.inside(f".{name}") from None
        return shapes.get(tag, otherwise or absent)(members)

    return rule
