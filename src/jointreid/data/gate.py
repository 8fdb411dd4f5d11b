"""The gate: the check of the data that stands before everything that trains, evaluates, shows or compares."""

from collections.abc import Collection, Mapping, Sequence

from jointreid.config import DataConfig, RunConfig
from jointreid.data.findings import CheckResult, Purpose
from jointreid.data.preflight import check
from jointreid.data.records import Domain
from jointreid.data.trained import TrainedImages
from jointreid.machine.paths import cache_folder
from jointreid.messages.errors import JointreidError


def require_ready(
    domains: Sequence[Domain],
    data: DataConfig,
    threads: int,
    purpose: Purpose = "both",
    *,
    trained: TrainedImages | None = None,
    trained_pids: Mapping[str, Collection[str]] | None = None,
    training: RunConfig | None = None,
) -> tuple[CheckResult, tuple[Domain, ...]]:
    """Check data sets as `data check` does, and refuse them if there are errors.

    Args:
        domains: the data sets.
        data: the settings, of which `cache` and `skip_unreadable` are used.
        threads: images decoded at a time.
        purpose: use of the data, see `check`.
        trained: the images that the run to be evaluated was trained on.
        trained_pids: domain -> the identities that it was trained on.
        training: the settings of the training that the data are for.

    Returns:
        The result, and the domains: as given, or with `data.skip_unreadable` without unreadable images.

    Raises:
        JointreidError: there are errors; the message lists them.
    """
    result, checked = check(
        domains,
        cache_dir=cache_folder(data.cache),
        skip_unreadable=data.skip_unreadable,
        threads=threads,
        purpose=purpose,
        trained=trained,
        trained_pids=trained_pids,
        training=training,
    )
    if not result.ok:
        errors = "; ".join(problem.message for problem in result.problems if problem.level == "error")
        raise JointreidError(f"the data are not ready: {errors}. `jointreid data check` shows all findings")
    return result, checked
