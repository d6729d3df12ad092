"""Flags: none is lost, every one is explained, and they mean what they say."""

import dataclasses
import pathlib
import re

import docstring_parser
import pytest

from helpers import methods
from helpers.cli import command_line, flags
from helpers.training import settings

# Who removes or renames a flag breaks scripts of others, and has to do it here too.
TRAINING = """
    batch-size epochs final-factor gradient-clip learning-rate momentum optimizer
    patience schedule seed warmup-epochs weight-decay
"""
SUPERVISED = f"{TRAINING} label-smoothing validation"
HEAD = " ".join(f"head.{name}" for name in SUPERVISED.split())
VIEW = """
    blur blur-sigma brightness contrast flip grayscale hue jitter photometric saturation
    scale size solarize
"""
IMAGES = (
    "data data-root folder-fit folder-image-size labels labels-seed storage workers"
)
EVALUATION = f"""
    {SUPERVISED} {VIEW} {IMAGES} backbone backbone-scale classifier folds mirror
    results-folder resume seeds stem
"""
PRETRAIN = f"""
    {TRAINING} {VIEW} {IMAGES} backbone checkpoints compile devices extend hidden-dim
    image-size-schedule init method mirror monitor-every nodes norm output-dim precision
    recipe resume save-minutes stem stop-after
"""
FROZEN = {
    "baseline": EVALUATION,
    "evaluate": f"{EVALUATION} {HEAD} figures protocols weights",
    "convert": "allow-unsafe-pickle folder path",
    "export": "backbone card output size weights",
    "predict": "output weights",
    "embed": "images output size weights",
    "search": "images output size weights",
    "list": "folder",
    "results": "folder readme",
    "pretrain pirl": f"""
        {PRETRAIN} bank-momentum cell grid head loss negatives patch patch-blur
        patch-scale pretext temperature weight
    """,
    "pretrain byol": f"""
        {PRETRAIN} asymmetric predictor-scale standardize target-momentum
    """,
    "pretrain simclr": f"{PRETRAIN} temperature",
    "pretrain simsiam": PRETRAIN,
    "pretrain supcon": f"{PRETRAIN} temperature",
    "pretrain swav": f"""
        {PRETRAIN} asymmetric epsilon frozen prototypes queue-size queue-start
        small-scale small-size small-views temperature
    """,
    "pretrain moco": f"{PRETRAIN} bn-splits queue-size target-momentum temperature",
    "pretrain barlow_twins": f"{PRETRAIN} asymmetric redundancy",
    "pretrain vicreg": f"{PRETRAIN} asymmetric covariance invariance variance",
    "pretrain dino": f"""
        {PRETRAIN} asymmetric frozen result small-scale small-size small-views
        target-momentum teacher-temperature
    """,
}


def test_every_command_and_every_method_is_frozen():
    names = {line.split()[0] for line in FROZEN}
    assert names == set(command_line.COMMANDS)
    chosen = {line.split()[1] for line in FROZEN if " " in line}
    assert chosen == set(methods.METHODS)


@pytest.mark.parametrize("line", FROZEN)
def test_no_flag_appears_or_disappears_by_accident(line, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as stopped:
        command_line.parse([*line.split(), "--help"])
    assert stopped.value.code == 0
    printed = capsys.readouterr().out
    shown = set(re.findall(r"^\W --([a-z][\w.-]*)", printed, flags=re.MULTILINE))
    frozen = set(FROZEN[line].split())
    assert (shown - frozen, frozen - shown) == (set(), set())


def fields(args):
    """Every field that is a flag, with the class it belongs to."""
    for field in dataclasses.fields(args):
        value = getattr(args, field.name)
        if dataclasses.is_dataclass(value):
            yield from fields(value)
        else:
            yield type(args), field.name


def test_every_flag_is_explained():
    everything = [
        flags.Pretrain(settings.configure(name, recipe))
        for name, method in methods.METHODS.items()
        for recipe in method.recipes
    ]
    everything += [flags.Evaluate(weights=""), flags.Baseline(), flags.List()]
    everything += [flags.Convert(pathlib.Path()), flags.Results()]
    everything += [flags.Export("", pathlib.Path("x.pth")), flags.Predict(("x",), "")]
    everything += [flags.Embed("", "", pathlib.Path("x.npz")), flags.Search("", "", "")]
    assert {type(args) for args in everything} == {
        kind for kind, _ in command_line.COMMANDS.values()
    }
    for kind, name in {pair for args in everything for pair in fields(args)}:
        explained = {
            param.arg_name
            for parent in kind.__mro__[:-1]
            for param in docstring_parser.parse(parent.__doc__).params
            if param.description
        }
        assert name in explained, f"{kind.__name__}.{name}"


def parse(line):
    return command_line.parse(line.split())[1]


def test_booleans_mean_what_they_say(capsys):
    assert parse("pretrain byol").location.resume
    assert parse("pretrain byol --resume").location.resume
    assert not parse("pretrain byol --no-resume").location.resume
    assert parse("baseline").folds
    assert not parse("baseline --no-folds").folds
    for line in ("baseline --folds False", "pretrain byol --resume False"):
        with pytest.raises(SystemExit) as stopped:
            parse(line)
        assert stopped.value.code == 2
        assert "Unrecognized options: False" in capsys.readouterr().err


def test_folds_are_a_second_set_of_labels_where_there_are_some(dataset):
    folded = dataclasses.replace(dataset, folds=(dataset.train.labels[:3],))
    assert parse("baseline").label_sets(dataset) == ("all",)
    assert parse("baseline").label_sets(folded) == ("all", "folds")
    assert parse("baseline --no-folds").label_sets(folded) == ("all",)


def test_seeds_count_from_the_first():
    args = parse("baseline --seeds 2 --seed 5")
    assert list(args.seeds_from(args.training.seed)) == [5, 6]
