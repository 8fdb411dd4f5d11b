"""Finding out which process is gone, by those that are left."""

import os
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from jointreid.machine.system import is_running
from jointreid.messages.errors import JointreidError, ReportedElsewhere

# Within so many seconds the system surely shows that a process is gone.
SECONDS_TO_GO = 3.0


class Peer(NamedTuple):
    """A process: its machine's name, and its number there."""

    host: str
    pid: int

    @classmethod
    def here(cls) -> "Peer":
        """Return this process."""
        return cls(socket.gethostname(), os.getpid())


def is_connection_error(error: Exception) -> bool:
    """Say whether an error means that another process did not answer; gloo errors are known by their text only."""
    signs = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "Timed out waiting", "Socket")
    lost = (torch.distributed.DistBackendError, torch.distributed.DistNetworkError)
    return isinstance(error, lost) or (isinstance(error, RuntimeError) and any(sign in str(error) for sign in signs))


def lost_process_error(peers: Sequence[Peer], rank: int, run: Path, advice: str) -> JointreidError:
    """Return the error to report, or `ReportedElsewhere` if a process of lower rank on this machine reports it.

    Args:
        peers: all processes, by rank.
        rank: of this one.
        run: the run directory.
        advice: how to resume.
    """
    host = peers[rank].host
    here = [number for number, peer in enumerate(peers) if peer.host == host]
    gone = _wait_for(lambda: [number for number in here if not is_running(peers[number].pid)])
    speaker = min(number for number in here if number not in gone)
    if rank != speaker:  # wait for it: if this process ended first, the speaker would take it for the lost one
        _wait_for(lambda: [] if is_running(peers[speaker].pid) else [speaker])
        return ReportedElsewhere(f"process {speaker} reports what happened")
    if gone:
        ids = ", ".join(f"{number} (id {peers[number].pid})" for number in gone)
        who = f"process {ids} of {len(peers)}, on {host}, is gone: killed from outside, or out of memory"
    else:
        others = ", ".join(sorted({peer.host for peer in peers} - {host})) or host
        who = f"a process on {others} is gone, or cannot be reached"
    return JointreidError(
        f"{who}; its own error, if any, is printed above. The other processes end now. {run} holds the last "
        f"checkpoint: {advice}"
    )


def _wait_for(find: Callable[[], list[int]]) -> list[int]:
    until = time.monotonic() + SECONDS_TO_GO
    while not (found := find()) and time.monotonic() < until:
        time.sleep(0.02)
    return found
