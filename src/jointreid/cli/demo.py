"""`jointreid demo`."""

from dataclasses import dataclass

from jointreid.config import setting
from jointreid.machine.paths import user_path
from jointreid.messages.errors import JointreidError


@dataclass(frozen=True, kw_only=True)
class DemoOptions:
    """Options of `jointreid demo`."""

    out: str = setting("out/demo", "where to draw, train and write", metavar="DIR")
    scale: str = setting("full", "full, or test: does it work at all?", metavar="NAME")
    cache: str = setting("", "folder for decoded images (default: DIR/cache)", metavar="DIR")
    make_weights: bool = setting(False, "train anew the weights that the demo starts from, into DIR")


def demo(options: DemoOptions) -> int:
    """See it work: BoT, BoT-DCSD and joint trained on several domains of synthetic people, a page with the outcome."""
    if options.make_weights and (options.scale != "full" or options.cache):
        raise JointreidError(
            "--make-weights trains at full scale with a cache of its own; leave out --scale and --cache"
        )
    if options.make_weights:
        from jointreid.demo.weights import make_weights

        make_weights(user_path(options.out))
    else:
        from jointreid.demo import demo

        demo(user_path(options.out), options.scale, cache=options.cache)
    return 0
