"""Settings of the server, and what is refused before it starts."""

import secrets
from dataclasses import dataclass
from ipaddress import ip_address

from jointreid.messages.errors import JointreidError

# A token of fewer characters can be guessed.
LEAST_TOKEN = 16
# Sent in place of a token, it asks for a random one.
RANDOM_TOKEN = "auto"


@dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """Limits of the server, and who may use it.

    Attributes:
        token: what every request must bring; empty for none.
        hosts: names of this server in a browser's address bar, beside localhost and its own address.
        max_bytes: of an image as it is sent.
        max_pixels: of an image, width times height.
        max_boxes: in an image.
        max_queue: requests that wait for the model; more are refused.
        rate: requests a minute from one address, of which all may come at once; 0 for any number.
        max_connections: open at once from one address; further ones are closed.
        header_seconds: time that a client has to send the headers of a request, since its connection or last answer.
        body_seconds: time that a client has to send the rest of a request.
        read_only: nobody may add or erase.
    """

    token: str = ""
    hosts: tuple[str, ...] = ()
    max_bytes: int = 20_000_000
    max_pixels: int = 25_000_000
    max_boxes: int = 32
    max_queue: int = 64
    rate: int = 600
    max_connections: int = 64
    header_seconds: float = 10.0
    body_seconds: float = 30.0
    read_only: bool = False

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            JointreidError: one is out of range.
        """
        for name in ("max_bytes", "max_pixels", "max_boxes", "max_queue", "max_connections"):
            if getattr(self, name) < 1:
                raise JointreidError(f"--{name.replace('_', '-')} is {getattr(self, name)}; expected 1 or more")
        if self.rate < 0:
            raise JointreidError(f"--rate is {self.rate}; expected requests a minute, or 0 for any number")
        if self.token and (len(self.token) < LEAST_TOKEN or not self.token.isascii() or " " in self.token):
            raise JointreidError(
                f"the token has {len(self.token)} characters; expected {LEAST_TOKEN} or more, of ASCII, without "
                f"spaces; `--token {RANDOM_TOKEN}` makes one"
            )

    @property
    def max_body(self) -> int:
        """Bytes of a request: an image in base64, and what is said of it."""
        return self.max_bytes * 4 // 3 + 65_536

    @property
    def memory(self) -> int:
        """Bytes of all requests that are being received or answered; more are refused."""
        return max(8 * self.max_body, 2**28)


def chosen_token(token: str) -> str:
    """Return a token, a random one for `auto`."""
    return secrets.token_urlsafe(24) if token == RANDOM_TOKEN else token


def is_loopback(address: str) -> bool:
    """Return whether only this machine reaches an IP address."""
    return ip_address(address.partition("%")[0]).is_loopback


def require_token(address: str, token: str) -> None:
    """Refuse to be reached from other machines without a token.

    Raises:
        JointreidError: the address is not of this machine alone, and there is no token.
    """
    if not token and not is_loopback(address):
        raise JointreidError(
            f"--host {address} is reached from other machines, and without a token everybody there could search, add "
            f"and erase people; add --token {RANDOM_TOKEN}, set JOINTREID_TOKEN, or leave --host at 127.0.0.1"
        )
