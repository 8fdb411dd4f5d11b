"""The options of a command: a dataclass with a documented field each, which argparse reads and describes.

A field made by `setting` is an option (`class_` is `--class`), one made by `argument` an argument without a name, and
one made by `overrides` takes settings of a run, each as `--section.field` and by its short name if it has one. A class
may have a static method `spell_out`, which rewrites an abbreviation of its command as these options.
"""

import argparse
import dataclasses
import functools
import re
import shutil
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import MISSING, dataclass
from typing import Any, Literal, NoReturn, TypeVar, get_args, get_origin, get_type_hints

from jointreid.config import SECTIONS, setting
from jointreid.messages.errors import JointreidError, no_such
from jointreid.messages.typed import expected, from_text

# Settings as `RunConfig.replace` takes them: section -> name -> value.
Overrides = dict[str, dict[str, Any]]

# Two ways to add one data set to `data.sources`; each may be given several times.
SOURCES = {
    "--data": ("NAME=PATH", "a data set: a reader's folder or a manifest; repeat for more"),
    "--manifest": ("FILE", "a table, with all of its domains; repeat for more (see docs/data.md)"),
}
_WIDEST_CHOICES = 24

Options = TypeVar("Options")


def _fields(cls: Any) -> "tuple[dataclasses.Field[Any], ...]":
    return dataclasses.fields(cls)


def argument(metavar: str, help: str, default: Any = MISSING) -> Any:
    """Return a field for an argument without an option's name; a field of type `tuple` takes several."""
    return dataclasses.field(default=default, metadata={"help": help, "metavar": metavar, "positional": True})


def overrides(keys: Iterable[str]) -> Any:
    """Return a field, of type `Overrides`, for those of the settings `keys` that the command line gives."""
    return dataclasses.field(default_factory=dict, metadata={"keys": tuple(keys)})


def device() -> Any:
    """Return the field for where to compute."""
    return setting("auto", "where to compute; auto takes cuda, then mps, then cpu")


def cache() -> Any:
    """Return the field for the folder of decoded images."""
    return setting("", "folder for decoded images (default: the run's)", metavar="DIR")


def moved() -> Any:
    """Return the field for where the data of runs lie now."""
    words = "where a data set of the runs lies now, if it was moved (the images must be the same); repeat for more"
    return setting((), words, metavar="NAME=PATH")


def as_json(what: str) -> Any:
    """Return the field that asks for JSON on standard output."""
    return setting(False, f"print {what} as JSON")


def skip_unreadable() -> Any:
    """Return the field for leaving out unreadable images of data sets that the settings of a run name."""
    return setting(False, "leave unreadable images out, with a list of them, instead of stopping")


def short_keys(section: str) -> list[str]:
    """Return the settings of a section that have a short name; of `data` they say how data sets are read."""
    fields = _fields(SECTIONS[section])
    return [f"{section}.{field.name}" for field in fields if field.metadata["short"] or field.name == "sources"]


@dataclass(frozen=True)
class _Entry:
    """An option or argument: where its value goes, what it may be and how it is described."""

    dest: str  # the field's name, or a setting's section.field
    kind: Any
    field: "dataclasses.Field[Any]"
    names: tuple[str, ...] = ()  # none: an argument

    @property
    def many(self) -> bool:
        """Return whether it takes several values: a repeated option, or an argument such as RUN..."""
        return get_origin(self.kind) is tuple and "." not in self.dest

    @property
    def is_hidden(self) -> bool:
        """Return whether only `--help-all` shows it, because it is a setting without a short name."""
        return "." in self.dest and len(self.names) == 1

    @property
    def _choices(self) -> list[str]:
        return list(map(str, get_args(self.kind) if get_origin(self.kind) is Literal else ()))

    @property
    def metavar(self) -> str:
        """Return the word for the value in help; none for a switch."""
        if self.kind is bool:
            return "true|false" if self.field.default else ""
        if self._choices and len("|".join(self._choices)) <= _WIDEST_CHOICES:
            return "|".join(self._choices)
        words = {int: "N", float: "NUMBER", tuple: "LIST", Literal: "NAME"}
        return self.field.metadata.get("metavar") or words.get(get_origin(self.kind) or self.kind, "TEXT")

    @property
    def help(self) -> str:
        """Return the help with the choices, where neither it nor `metavar` names them all, and the default."""
        text: str = self.field.metadata["help"]
        named = set(re.findall(r"[\w-]+", f"{text} {self.metavar}"))
        if not named.issuperset(self._choices):
            text += f"; one of {', '.join(self._choices)}"
        default = self.field.default
        if default in (MISSING, "", (), False):
            return text
        shown = str(default).lower() if isinstance(default, bool) else str(default)
        if isinstance(default, tuple):
            shown = f"[{', '.join(map(str, default))}]"
        return f"{text} (default {shown})"

    def read(self, given: str | list[str]) -> Any:
        """Return the value that a text of the command line stands for.

        Raises:
            JointreidError: it is of another type, or not one of the choices.
        """
        if isinstance(given, list):
            return tuple(given)
        try:
            return from_text(self.kind, given)
        except TypeError as error:
            name = self.names[-1] if self.names else self.metavar
            raise JointreidError(f"{name} is {given!r}; {expected(self.kind, given)}") from error


class _Parser(argparse.ArgumentParser):
    """A parser that raises `JointreidError`, and names the nearest option, instead of leaving the process."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing and leaving."""
        raise JointreidError(f"{message}. Usage: {self.usage}")

    def read(self, argv: Sequence[str]) -> dict[str, Any]:
        """Return the given options by field, each as text, or as a list of texts if it takes several."""
        given, left = self.parse_known_args(self._joined(argv))
        for token in left:
            name = token.partition("=")[0]
            if name.startswith("-"):
                raise JointreidError(no_such("option", name, self._option_string_actions))
            self.error(f"{token!r} is one argument too many")
        return vars(given)

    def _joined(self, argv: Sequence[str]) -> list[str]:
        """Join each option to its value by `=`.

        So a value may begin with `-`, and a switch may have one, `--eval.flip false`, yet does not take an argument.
        """
        joined: list[str] = []
        tokens = list(argv)
        while tokens:
            token = tokens.pop(0)
            if action := self._option_string_actions.get(token):
                is_switch = action.metavar in ("", "true|false")
                if is_switch and tokens[:1] not in (["true"], ["false"]):
                    token += "=true"
                elif not tokens or tokens[0].startswith("--"):
                    raise JointreidError(f"{token} needs a value, {action.metavar}")
                else:
                    token += f"={tokens.pop(0)}"
            joined.append(token)
        return joined


class _Formatter(argparse.HelpFormatter):
    """Help in which an option's name, or with `full` each of its names, stands before its value."""

    def __init__(self, prog: str, *, full: bool) -> None:
        super().__init__(prog, max_help_position=34, width=min(120, shutil.get_terminal_size((120, 40)).columns))
        self.full = full

    def _format_action_invocation(self, action: argparse.Action) -> str:
        names = ", ".join(action.option_strings if self.full else action.option_strings[:1])
        return f"{names} {action.metavar or ''}".strip()

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(text, width, break_on_hyphens=False)


def _entries(cls: type[Any]) -> Iterable[_Entry]:
    """Yield the options and arguments of a command."""
    kinds = get_type_hints(cls)
    for field in _fields(cls):
        if "keys" in field.metadata:
            yield from map(_setting_entry, field.metadata["keys"])
        elif "positional" in field.metadata:
            yield _Entry(field.name, kinds[field.name], field)
        else:
            yield _Entry(field.name, kinds[field.name], field, (f"--{field.name.rstrip('_').replace('_', '-')}",))


def _setting_entry(key: str) -> _Entry:
    section, _, name = key.partition(".")
    (field,) = (field for field in _fields(SECTIONS[section]) if field.name == name)
    names = [name for name in (field.metadata["short"], f"--{key}") if name]
    return _Entry(key, get_type_hints(SECTIONS[section])[name], field, tuple(names))


def _parser(cls: type[Any], command: str, summary: str = "", *, full: bool = False) -> _Parser:
    entries = list(_entries(cls))
    keys = {entry.dest for entry in entries}
    hidden = {entry.dest.partition(".")[0] for entry in entries if entry.is_hidden and entry.dest != "data.sources"}
    more = f"--{hidden.pop() if len(hidden) == 1 else 'section'}.field VALUE" if hidden else ""
    needed = [entry for entry in entries if entry.field.default is MISSING and "." not in entry.dest]
    usage = ["jointreid", command]
    usage += [f"{entry.metavar}{'...' * entry.many}" for entry in needed if not entry.names]
    usage += [f"[{entry.metavar}]{'...' * entry.many}" for entry in entries if not entry.names and entry not in needed]
    usage += [f"{entry.names[0]} {entry.metavar}" for entry in needed if entry.names]
    usage += ["[--data NAME=PATH]... [--manifest FILE]..."] if "data.sources" in keys else []
    usage += [f"[{more}]..."] if more else []
    parser = _Parser(
        usage=" ".join([*usage, "[options]"]),
        description=summary,
        formatter_class=functools.partial(_Formatter, full=full),
        argument_default=argparse.SUPPRESS,
        add_help=False,
        allow_abbrev=False,
    )
    arguments, options = parser.add_argument_group("arguments"), parser.add_argument_group("options")
    for entry in entries:
        text = entry.help.replace("%", "%%")
        if not entry.names:
            nargs = ("+" if entry in needed else "*") if entry.many else None
            arguments.add_argument(entry.dest, metavar=entry.metavar, nargs=nargs, help=text)
            continue
        if entry.dest == "data.sources":
            for name, (metavar, words) in SOURCES.items():
                options.add_argument(name, action="append", dest="sources", metavar=metavar, help=words)
        group = _section_group(parser, entry.dest) if full and "." in entry.dest else options
        group.add_argument(
            *entry.names,
            dest=entry.dest,
            action="append" if entry.many else "store",
            required=entry in needed,
            metavar=entry.metavar,
            help=argparse.SUPPRESS if entry.is_hidden and not full else text,
        )
    if more and not full:
        parser.epilog = f"Every other setting is given as {more}; --help-all lists all, with their defaults."
    return parser


def _section_group(parser: _Parser, key: str) -> Any:
    """Return the group of a setting's section, with what the section is for as its title."""
    section = key.partition(".")[0]
    title = f"{section}: {(SECTIONS[section].__doc__ or '').splitlines()[0].rstrip('.')}"
    known = [group for group in parser._action_groups if group.title == title]
    return known[0] if known else parser.add_argument_group(title)


def help_text(cls: type[Any], command: str, summary: str, *, full: bool = False) -> str:
    """Return the help of a command: its usual options, or with `full` every setting."""
    return _parser(cls, command, summary, full=full).format_help()


def read_options(cls: type[Options], command: str, argv: Sequence[str]) -> Options:
    """Return the options of a command that a command line gives; the others have their defaults.

    Raises:
        JointreidError: an option that does not exist (names the nearest), one missing, a value of another type.
    """
    spell_out: Callable[[Sequence[str]], Sequence[str]] = getattr(cls, "spell_out", list)
    given = _parser(cls, command).read(spell_out(argv))
    if sources := given.pop("sources", None):
        given["data.sources"] = sources
    values: dict[str, Any] = {}
    changed: Overrides = {}
    for entry in _entries(cls):
        if entry.dest not in given:
            continue
        section, dot, name = entry.dest.partition(".")
        (changed.setdefault(section, {}) if dot else values)[name or section] = entry.read(given[entry.dest])
    overridden = {field.name: changed for field in _fields(cls) if "keys" in field.metadata}
    return cls(**values, **overridden)
