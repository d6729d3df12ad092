"""Every value of a recipe stands in docs/recipes.md with its source, and is that."""

import ast
import dataclasses
import inspect
import json
import pathlib

import pytest

from helpers import methods
from helpers.evaluation import records
from helpers.models import nearest_neighbors, weight_files
from helpers.training import settings
from helpers.training.supervised import FineTuningSettings, HeadSettings

PAGE = pathlib.Path(__file__).resolve().parents[1] / "docs" / "recipes.md"
PIRL, PRESETS = ("paper", "mlp_blur"), "PIRL's `paper` and `mlp_blur`"


def rows(title):
    """Cells of the table below a heading: whose value, setting, value, source."""
    section = PAGE.read_text("utf-8").split(f"\n## {title}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def values(title, general, own):
    """Setting to value, as the page has it, for one method or one preset."""
    found = {}
    for whose in (general, own):
        for owner, setting, value, _ in rows(title):
            if owner == whose:
                found[setting] = value
    return found


def flat(method, recipe):
    """Every setting of a recipe with its value, views and options included."""
    chosen = dataclasses.asdict(settings.configure(method, recipe))
    return chosen | chosen["options"] | chosen["options"]["view"]


def same(value, written):
    """Whether a value is the one written down: a literal, or a word."""
    try:
        return value == ast.literal_eval(written)
    except (ValueError, SyntaxError):
        return value == written


GPU_HOUR = ("pirl", "byol", "simclr")
CASES = [(name, "long", "`long`", "all", name) for name in methods.METHODS]
CASES += [(name, "gpu_hour", "`gpu_hour`", "all", name) for name in GPU_HOUR]
CASES += [("pirl", name, PRESETS, "both", name) for name in PIRL]
# Where it is computed from others, or of no consequence for what is learned.
ELSEWHERE = {"view", "solarize", "photometric", "cell", "patch"}


@pytest.mark.parametrize(("method", "recipe", "title", "general", "own"), CASES)
def test_the_page_has_every_value_and_the_recipe_has_those_of_the_page(
    method, recipe, title, general, own
):
    written, chosen = values(title, general, own), flat(method, recipe)
    if recipe == "gpu_hour":  # where it has no row, it has the value of long
        written = values("`long`", general, own) | written
    wrong = {k: (chosen[k], v) for k, v in written.items() if not same(chosen[k], v)}
    assert wrong == {}
    needed = set(methods.get(method).recipes[recipe])
    if recipe == "long":  # the method's own options have defaults, which are its too
        options = methods.get(method).Options
        needed |= {field.name for field in dataclasses.fields(options)}
    assert needed - ELSEWHERE - set(written) == set()


@pytest.mark.parametrize("protocol", ["k-NN", "MLP head", "fine-tuning"])
def test_the_page_has_the_settings_of_the_protocols(protocol):
    written = values("Evaluation", "all", protocol)
    if protocol == "k-NN":
        taken = inspect.signature(nearest_neighbors.classify).parameters
        chosen = {name: taken[name].default for name in written}
    else:
        kinds = {"fine-tuning": FineTuningSettings, "MLP head": HeadSettings}
        chosen = dataclasses.asdict(kinds[protocol]())
        chosen |= chosen.get("view", {})
        own = {field.name for field in dataclasses.fields(HeadSettings)}
        own -= {field.name for field in dataclasses.fields(settings.TrainingSettings)}
        assert own <= set(written)
    wrong = {k: (chosen[k], v) for k, v in written.items() if not same(chosen[k], v)}
    assert wrong == {}
    assert len(written) > 1


def test_every_row_names_a_known_owner_and_a_source():
    for title, owners in (
        ("`long`", {"all", *methods.METHODS}),
        ("`gpu_hour`", {"all", *GPU_HOUR}),
        (PRESETS, {"both", *PIRL}),
        ("Evaluation", {*records.PROTOCOLS}),
    ):
        for owner, setting, value, source in rows(title):
            assert owner in owners
            assert setting, value
            assert len(source) > 3


def test_the_recipe_for_an_hour_on_a_gpu_is_for_the_methods_it_was_measured_with():
    have = {name for name in methods.METHODS if "gpu_hour" in methods.get(name).recipes}
    assert have == set(GPU_HOUR)


# What depends on the time and the machine, and the name, which came afterwards.
FREE = {"recipe", "epochs", "warmup_epochs", "monitor_every"}


@pytest.mark.parametrize("method", GPU_HOUR)
def test_the_released_backbones_were_trained_with_the_recipe_for_an_hour_on_a_gpu(
    method,
):
    about = weight_files.read_about(PAGE.parents[1] / f"weights/{method}.safetensors")
    chosen = dataclasses.asdict(settings.configure(method, "gpu_hour"))
    for name, value in json.loads(json.dumps(chosen)).items():
        assert name in FREE or about[name] == value, name


def test_the_former_name_of_long_is_understood_and_not_listed():
    assert "published" not in methods.get("byol").recipes
    assert (
        methods.get("byol").recipes["published"] == methods.get("byol").recipes["long"]
    )
    assert settings.configure("byol", "published") == settings.configure("byol", "long")
    with pytest.raises(KeyError):
        methods.get("byol").recipes["days"]


# The short recipes are ours: measured with these values, on other drawings.
SHORT = {
    "batch_size": 64,
    "optimizer": "adamw",
    "learning_rate": 6e-3,
    "weight_decay": 1e-4,
}
MINUTES, HOUR = {"epochs": 8, "size": 40}, {"epochs": 20, "size": 48}
OWN = {
    "pirl": {"cell": 27, "patch": 20},
    "byol": {"target_momentum": 0.97, "hidden_dim": 512, "standardize": True},
    "simclr": {},
    "simsiam": {"hidden_dim": 512, "output_dim": 512},
    "supcon": {},
    "swav": {"small_size": 24, "epsilon": 0.02, "queue_start": 0.5},
    "moco": {"target_momentum": 0.97, "bn_splits": 1},
    "barlow_twins": {"hidden_dim": 512, "output_dim": 512},
    "vicreg": {"hidden_dim": 512, "output_dim": 512},
    "dino": {
        "small_size": 24,
        "target_momentum": 0.97,
        "teacher_temperature": (0.02, 0.02),
        "output_dim": 256,
        "result": "student",
    },
}
OF_MINUTES = {
    "pirl": {
        "epochs": 9,
        "learning_rate": 12e-3,
        "brightness": 0.6,
        "contrast": 0.6,
        "saturation": 0.8,
        "hue": 0.5,
    },
    "byol": {"learning_rate": 3e-3},
    "swav": {"prototypes": 64, "queue_size": 256},
    "moco": {"queue_size": 1024},
}
OF_HOUR = {
    "pirl": {"epochs": 40},
    "byol": {
        "epochs": 24,
        "batch_size": 32,
        "learning_rate": 1.5e-3,
        "target_momentum": 0.96,
        "predictor_scale": 10.0,
    },
}


@pytest.mark.parametrize("name", methods.METHODS)
def test_the_short_recipes_are_those_that_were_measured(name):
    for recipe, shared, own in (
        ("minutes", MINUTES, OF_MINUTES),
        ("hour", HOUR, OF_HOUR),
    ):
        expected = SHORT | shared | OWN[name] | own.get(name, {})
        assert methods.get(name).recipes[recipe] == expected
        chosen = flat(name, recipe)
        assert {key: chosen[key] for key in expected} == expected
