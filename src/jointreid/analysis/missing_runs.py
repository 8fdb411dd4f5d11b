"""The runs that a comparison of solo with joint training lacks, in words, with a command that trains one of them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from jointreid.analysis.arms import Arm, letters_of
from jointreid.analysis.evaluated_run import EvaluatedRun
from jointreid.config import BY_DOMAIN, keep_domains, to_dict
from jointreid.data.sources import split_source
from jointreid.machine.paths import user_path
from jointreid.messages.commands import command, source_word
from jointreid.messages.listing import first_few
from jointreid.run import read_config


def missing_runs(arms: Sequence[Arm], names: Sequence[str]) -> Iterator[str]:
    """Yield what cannot be told about joint training on some data sets, and which run would tell it.

    Args:
        arms: the arms with runs on these data sets or on one of them.
        names: the data sets.
    """
    if len(names) == 1:
        yield f"No run was trained on two data sets or more, so there is nothing to compare. {_joint(arms)}"
        return
    if not any(arm.trained_on(names) for arm in arms):
        yield f"No run was trained on all of {', '.join(names)} jointly, so there is no gain to show"
    alone: dict[tuple[str, ...], list[Arm]] = {}
    for arm in arms:
        joint = list(arm.trained_on(names).values())
        if not joint:
            if arm.is_plain:
                yield f"What joining gains for: {arm.label}. No run was trained on all of the data sets jointly"
            continue
        for name in (n for n in names if not any(n in run.domains for run in joint)):
            evaluate = command("evaluate", joint[0].path)
            yield f"{arm.label} on {name}. Its joint run was not evaluated there; evaluate it: `{evaluate}`"
        if _is_grown(arm):
            yield (
                f"What joining gains for: {arm.label}. Its joint run was grown by add-domain from a run on other data, "
                f"so it is no joint training from the start; that would be `{_from_the_start(joint[0])}`"
            )
            continue
        untrained = tuple(name for name in names if not arm.trained_on([name]))
        if untrained:
            alone.setdefault(untrained, []).append(arm)
    for untrained, lacking in alone.items():
        of = "any of the data sets" if len(untrained) == len(names) else first_few(untrained)
        first = next(iter(lacking[0].trained_on(names).values()))
        labels = first_few((arm.label for arm in lacking), sep="; ")
        yield (f"What joining gains for: {labels}. No run was trained on {of} alone{_solo(first, untrained[0])}")
    joint_arms = [arm for arm in arms if arm.trained_on(names) and not _is_grown(arm)]
    for arm in joint_arms:
        if (
            "sample" in arm.factors[:1]
            and len(arm.factors) > 1
            and not any(other.is_sample_of(arm) for other in joint_arms)
        ):
            options = ["--dcsd.factors", "[sample]"]
            if arm.settings.get("dcsd.camera_shrinkage"):  # which needs the factor camera
                options += ["--dcsd.camera_shrinkage", "0"]
            for key in ("dcsd.context_held_out", "dcsd.context_dropout"):  # which need a context
                if arm.settings.get(key):
                    options += [f"--{key}", "0"]
            if arm.settings.get("dcsd.context_stages"):
                options += ["--dcsd.context_stages", "[]"]
            if arm.settings.get("loss.context_labels") == "shuffled":
                options += ["--loss.context_labels", "correct"]
            other = _other(arm, names, "s", *options)
            yield (
                f"How much of its gain {arm.label} owes to S, and how much to {letters_of(arm.factors[1:])}. No run "
                f"generates filters from the sample alone: `{other}`"
            )
    if joint_arms and not any(arm.is_plain for arm in arms):
        host = joint_arms[0].host
        yield (
            "What generated filters gain over a plain network. No run is of one (bot or agw): "
            f"`{_other(joint_arms[0], names, host, '--model.name', host)}`"
        )


def _is_grown(arm: Arm) -> bool:
    """Return whether its runs started from a run on other data, and not from weights that any run could start from."""
    return arm.runs[0].config.train.init_classes


def _from_the_start(grown: EvaluatedRun) -> str:
    """Return the command that trains on all data sets of a grown run at once."""
    words = ["train", *_settings_of_start(grown)]
    for source in grown.config.data.sources:
        words += ["--data", source_word(*split_source(source))]
    return command(*words, "--out", grown.path.with_name(f"{grown.path.name}-joint"))


def _settings_of_start(run: EvaluatedRun) -> list[str | Path]:
    """Return the options that give the settings of a run; of a grown one those of the run that it was grown from first.

    Where that run is gone, the grown run's own settings are taken, without their start.
    """
    config, first = run.config, run.path
    while config.train.init_classes and (user_path(config.train.init) / "config.yaml").is_file():
        first = user_path(config.train.init)
        config = read_config(first / "config.yaml")
    reset = ["--train.init=", "--train.init_classes=false"] if config.train.init_classes else []
    return ["--config", first / "config.yaml", *reset]


def _other(arm: Arm, names: Sequence[str], suffix: str, *options: str) -> str:
    """Return the command that trains another network as a joint run of an arm was."""
    run = next(iter(arm.trained_on(names).values()))
    words: list[str | Path] = ["train", "--config", run.path / "config.yaml", *options]
    return command(*words, "--out", run.path.with_name(f"{run.path.name}-{suffix}"))


def _solo(joint: EvaluatedRun, name: str) -> str:
    """Return the command that trains on one data set alone with the settings of a joint run, where it can be told."""
    source = source_of(joint, name)
    if not source:
        return ""
    out = joint.path.with_name(f"{joint.path.name}-{name}")
    words: list[str | Path] = ["--config", joint.path / "config.yaml", *_of_one(joint, name), "--data", source]
    return f"; for {name}: `{command('train', *words, '--out', out)}`"


def _of_one(joint: EvaluatedRun, name: str) -> Iterator[str]:
    """Yield the options that take out of the settings of a joint run what they say of other data sets."""
    before, after = (to_dict(config) for config in (joint.config, keep_domains(joint.config, name.__eq__)))
    for key in BY_DOMAIN:
        section, _, field = key.partition(".")
        if before[section][field] != after[section][field]:
            yield from (f"--{key}", f"[{','.join(after[section][field])}]")


def source_of(run: EvaluatedRun, name: str) -> str:
    """Return what `--data` takes for one data set of a run; empty if the settings leave it open."""
    sources = [split_source(source) for source in run.config.data.sources]
    named = [path for known, path in sources if known == name]
    tables = [path for known, path in sources if not known]
    if len(found := named or tables) != 1:
        return ""
    return source_word(name, found[0])


def _joint(arms: Sequence[Arm]) -> str:
    run = next(run for arm in arms for run in arm.runs)
    return f"Train one with `{command('train', *_settings_of_start(run), '--data', 'NAME=PATH')}`"
