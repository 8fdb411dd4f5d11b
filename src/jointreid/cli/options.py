"""The options of a command: a dataclass with a documented field each, which cyclopts reads and describes.

A field made by `setting` is an option (`class_` is `--class`), one made by `argument` an argument without a name, and
one made by `overrides` takes settings of a run, each as `--section.field` and by its short name if it has one. A class
may have a static method `spell_out`, which rewrites an abbreviation of its command as these options.
"""

import dataclasses
import functools
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import MISSING
from typing import Annotated, Any, TypedDict, TypeVar, get_origin, get_type_hints

from cyclopts import App, CoercionError, CycloptsError, Group, Parameter, Token, UnusedCliTokensError
from cyclopts.help import DefaultFormatter, PanelSpec
from rich.box import Box
from rich.console import Console

from jointreid.config import SECTIONS, setting
from jointreid.messages.errors import JointreidError
from jointreid.messages.typed import conform, read_yaml

# Two ways to add one data set to `data.sources`; each may be given several times.
SOURCES = ("--data", "--manifest")

# Settings as `RunConfig.replace` takes them: section -> name -> value.
Overrides = dict[str, dict[str, Any]]

# What may follow an option's name as its value: that of a switch, or one that begins with "-".
_VALUE = re.compile("true|false|-[^-h].*")
# Values of a switch that YAML knows and cyclopts does not.
_SWITCHED = {"on": "true", "off": "false"}

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


def _signature(cls: type[Any], *, full: bool) -> inspect.Signature:
    """Return the options as the parameters of a function; with `full`, help shows every setting."""
    kinds, parameters = get_type_hints(cls), []
    for field in _fields(cls):
        kind: Any = kinds[field.name]
        place: Any = inspect.Parameter.KEYWORD_ONLY
        default = field.default if field.default_factory is MISSING else field.default_factory()
        if "keys" in field.metadata:
            kind = Annotated[_settings(field.metadata["keys"], full=full), Parameter(name="*")]
        elif "positional" in field.metadata:
            place, kind = inspect.Parameter.POSITIONAL_ONLY, _described(kind, field, [field.metadata["metavar"]])
        else:
            kind = _described(kind, field, [])
        default = inspect.Parameter.empty if default is MISSING else default
        parameters.append(inspect.Parameter(field.name, place, default=default, annotation=kind))
    return inspect.Signature(sorted(parameters, key=lambda parameter: parameter.kind))


def _settings(keys: Iterable[str], *, full: bool) -> Any:
    """Return a type of `Overrides`: a dict for each section, with those of its settings that are given."""
    typed_dict: Any = TypedDict
    sections: dict[str, dict[str, Any]] = {}
    for key in keys:
        section, _, name = key.partition(".")
        field, kind = SECTIONS[section].__dataclass_fields__[name], get_type_hints(SECTIONS[section])[name]
        names = [name for name in (field.metadata["short"], f"--{key}") if name]
        names += SOURCES if key == "data.sources" else ()  # after it, else --data would match --data.sources
        more: dict[str, Any] = _LIST if get_origin(kind) is tuple else {}
        if full:
            title = f"{section}: {(SECTIONS[section].__doc__ or '').splitlines()[0].rstrip('.')}"
            more = more | {"group": Group(title, sort_key=list(SECTIONS).index(section))}
        sections.setdefault(section, {})[name] = _described(kind, field, names, show=full or len(names) > 1, **more)
    unnamed = Parameter(name="*")  # else --data would stand for the whole section
    kinds = {name: Annotated[typed_dict(name, section, total=False), unnamed] for name, section in sections.items()}
    return typed_dict("Settings", kinds, total=False)


def _described(kind: Any, field: "dataclasses.Field[Any]", names: Sequence[str], **more: Any) -> Any:
    """Return the type of a field with its help, and with its default if that says something."""
    if kind is int:
        more["converter"] = _read
    if metavar := field.metadata["metavar"]:
        more["metavar"] = metavar
    shown = field.default not in (MISSING, None, "", (), False) and json.dumps(field.default).strip('"')
    return Annotated[kind, Parameter(name=names, help=field.metadata["help"], show_default=shown, **more)]


def _read(kind: Any, tokens: Sequence[Token]) -> Any:
    """Return a list, given as `[a, b]` or as data sets one by one, or a whole number, which cyclopts would round."""
    if tokens[-1].keyword in SOURCES:
        return tuple(token.value for token in tokens)
    try:
        return conform(kind, read_yaml(tokens[-1].value))
    except TypeError as error:
        raise CoercionError(msg=f"{error}.", token=tokens[-1]) from error


# How a setting that is a list is given, unlike an option that is repeated.
_LIST = {"converter": _read, "json_list": False, "n_tokens": 1, "metavar": "LIST"}


class _HelpConsole(Console):
    """A console wide enough for help, which leaves it to the caller that its reader is gone."""

    def __init__(self) -> None:
        super().__init__()
        self.width = max(self.width, 40)

    def on_broken_pipe(self) -> None:
        raise  # the error that rich is about to handle


def new_app(**more: Any) -> App:
    """Return a command line without commands, whose help has no frames."""
    return App(
        name="jointreid",
        help_flags=("--help", "-h", "--help-all"),
        help_format="plaintext",
        help_formatter=DefaultFormatter(panel_spec=PanelSpec(box=Box("    \n" * 8), padding=0)),
        default_parameter=Parameter(negative=(), allow_repeating=True),
        console=_HelpConsole(),
        **more,
    )


def add_command(
    app: App, name: str, options: type[Any] | None, run: Callable[[Any], Any], *, full: bool = False
) -> None:
    """Add a command such as `data check`, a function of its options; with `full`, its help shows every setting.

    Without `options` it is there for the help and the error messages of other commands.
    """
    signature = _signature(options, full=full) if options else inspect.Signature()

    def entry(*given: Any, **named: Any) -> Any:
        return run(options(**signature.bind(*given, **named).arguments) if options else None)

    entry.__doc__ = run.__doc__
    entry.__signature__ = signature  # type: ignore[attr-defined]
    entry.spell_out = getattr(options, "spell_out", list)  # type: ignore[attr-defined]
    group, _, last = name.rpartition(" ")
    if group and group not in app:
        app.command(App(name=group, help=sys.modules[run.__module__].__doc__, sort_key=len(list(app))))
    parent = app[group] if group else app
    parent.command(entry, name=last, sort_key=len(list(parent)))


def parse(app: App, argv: Sequence[str]) -> Callable[[], Any]:
    """Return what the arguments ask for: a command with its options, or help.

    Raises:
        JointreidError: a command or option that does not exist (names the nearest), a value of another type.
    """
    try:
        run, bound, _ = app.parse_args(_spelt(app, argv), exit_on_error=False, print_error=False)
    except CycloptsError as error:
        wrong = str(error)
        if isinstance(error, UnusedCliTokensError):
            wrong = f"{' '.join(error.unused_tokens or [])!r} is one argument too many."
        command = " ".join(["jointreid", *(error.command_chain or ())])
        raise JointreidError(f"{wrong} See `{command} --help`.") from error
    return functools.partial(run, *bound.args, **bound.kwargs)


def _spelt(app: App, argv: Sequence[str]) -> list[str]:
    """Return the arguments with `--x false`, `--x=off` and `--x -1` as `--x=false`, `--x=false` and `--x=-1`."""
    target = app.parse_commands(argv)[1][-1]
    spell_out: Callable[[Sequence[str]], Sequence[str]] = getattr(target.default_command, "spell_out", list)
    tokens: list[str] = []
    for token in spell_out(argv):
        name, _, value = token.partition("=")
        if tokens and tokens[-1].startswith("--") and "=" not in tokens[-1] and _VALUE.fullmatch(token):
            tokens[-1] += f"={token}"
        elif value in _SWITCHED and target.default_command and _is_switch(target, name):
            tokens.append(f"{name}={_SWITCHED[value]}")
        else:
            tokens.append(token)
    return tokens


def _is_switch(command: App, name: str) -> bool:
    return any(name in known.names and known.hint is bool for known in command.assemble_argument_collection())
