"""Settings filled from recipes, and the names of runs."""

import dataclasses
import itertools
import re

import pytest
import small
import torch
import tyro

from helpers import methods
from helpers.data.dataset import Split, limit_labels
from helpers.models import weight_files
from helpers.training import optimizers, settings, supervised
from helpers.views.settings import ViewSettings


def test_changes_reach_the_settings_the_options_and_the_views():
    chosen = settings.configure(
        "pirl", epochs=7, temperature=0.3, image_size=40, blur=0.25
    )
    assert chosen.epochs == 7
    assert chosen.options.temperature == 0.3
    assert chosen.options.view.size == chosen.image_size == 40
    assert chosen.options.view.blur == 0.25
    assert chosen.recipe == "minutes"
    assert isinstance(chosen.options, methods.METHODS["pirl"].Options)


@pytest.mark.parametrize("method", methods.METHODS.values(), ids=methods.METHODS)
def test_a_name_sets_one_field_only(method):
    owners = (ViewSettings, method.Options, settings.PretrainingSettings)
    names = [{field.name for field in dataclasses.fields(owner)} for owner in owners]
    pairs = itertools.combinations(names, 2)
    assert all(one.isdisjoint(other) for one, other in pairs)
    assert settings.COMPOSED < set().union(*names)


@pytest.mark.parametrize("changes", [{"backbone": "vgg16"}, {"init": "imagenet"}])
def test_a_recipes_stem_gives_way_to_what_the_network_has(changes):
    assert settings.configure("byol", "long").stem == "pool"
    assert settings.configure("byol", "long", **changes).stem == "imagenet"


def test_the_schedule_reaches_the_rate():
    chosen = settings.configure(
        "byol", epochs=10, warmup_epochs=2, schedule="cosine", final_factor=0.1
    )
    rates = [chosen.rate_factor(step, 5, []) for step in range(50)]
    expected = [
        optimizers.schedule(step, total=50, warmup=10, final=0.1) for step in range(50)
    ]
    assert rates == expected
    waiting = dataclasses.replace(chosen, schedule="plateau", patience=1)
    assert waiting.rate_factor(4, 5, [1.0] * 3) == pytest.approx(0.5 * 0.1)
    assert waiting.rate_factor(20, 5, [1.0] * 3) == pytest.approx(0.1)


def test_the_warm_up_that_a_recipe_names_is_a_share_of_the_epochs():
    def warmup(recipe, **changes):
        return settings.configure("simclr", recipe, **changes).warmup_epochs

    assert (warmup("gpu_hour"), warmup("gpu_hour", epochs=25)) == (6.0, 1.25)
    assert warmup("gpu_hour", epochs=25, warmup_epochs=3) == 3
    assert warmup("gpu_hour", warmup_epochs=3) == 3
    assert warmup("hour", epochs=5) == warmup("hour") == 1.0  # it names none


def test_the_views_that_a_recipe_lets_grow_begin_with_its_own_size():
    growing = ((0.9, 96),)
    for changes, schedule, largest in (
        ({}, growing, 128),
        ({"size": 64}, growing, 128),
        ({"size": 224}, (), 296),
        ({"image_size": 224}, (), 296),
        ({"size": 224, "image_size_schedule": growing}, growing, 224),
    ):
        chosen = settings.configure("simclr", "gpu_hour", **changes)
        assert chosen.image_size_schedule == schedule
        assert chosen.largest_side == largest


def test_the_learning_rate_follows_the_batch_size():
    chosen = settings.configure("byol", batch_size=64, learning_rate=0.4)
    assert chosen.peak_learning_rate == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"method": "vae"}, "Unknown method 'vae'"),
        (
            {"recipe": "days"},
            "Unknown recipe 'days' of byol: choose one of .*long",
        ),
        ({"colour": 1}, "Unknown setting 'colour' of byol: see `python -m helpers"),
        ({"options": 1}, "Unknown setting 'options' of byol: see `python -m helpers"),
        ({"epochs": 0}, "epochs must be at least 1, not 0"),
        ({"batch_size": 0}, "batch_size must be at least 1, not 0"),
        ({"batch_size": 1}, "batch_size must be at least 2: BatchNorm"),
        ({"monitor_every": -1}, "monitor_every must be at least 1, not -1"),
        ({"compile": "yes"}, "Unknown compile 'yes': choose one of auto, on, off"),
        ({"image_size_schedule": ((1.5, 96),)}, "growing shares between 0 and 1"),
        ({"image_size_schedule": ((0.0, 96),)}, "growing shares between 0 and 1"),
        ({"image_size_schedule": ((0.5, 64), (0.5, 96))}, "growing shares between"),
        ({"image_size_schedule": ((0.5, 0),)}, "each with a side in pixels"),
        ({"learning_rate": -1.0}, "learning_rate must be at least 0, not -1.0"),
        ({"weight_decay": float("nan")}, "weight_decay must be at least 0, not nan"),
        ({"patience": -1}, "patience must be at least 0, not -1"),
        ({"optimizer": "adagrad"}, "Unknown optimizer 'adagrad': choose one of sgd"),
        ({"schedule": "steps"}, "Unknown schedule 'steps': choose one of cosine"),
        ({"backbone": "vgg"}, "Unknown backbone 'vgg'"),
        ({"backbone": "vgg11", "stem": "pool"}, "vgg11 has only stem 'imagenet'"),
        ({"init": "imagenet", "stem": "pool"}, "ImageNet weights fit only"),
        ({"size": 16}, "resnet18 with stem 'imagenet' needs .* 17 px, these have 16"),
        ({"flip": 1.5}, r"flip must be a probability in \[0, 1\], not 1.5"),
        ({"scale": (0.5, 0.2)}, r"scale must be two shares in \(0, 1\], the small"),
        ({"hue": 0.6}, r"hue must be a share .* in \[0, 0.5\], not 0.6"),
    ],
)
def test_what_is_wrong_is_one_sentence(wrong, message):
    with pytest.raises(ValueError, match=message):
        settings.configure(**{"method": "byol"} | wrong)


# Numbers that are checked elsewhere: by the views.
ELSEWHERE = {"small_size", "small_scale", "patch_scale"}


def numbers(owner):
    """The fields of a class that hold numbers."""
    for field in dataclasses.fields(owner):
        if re.search(r"\b(int|float)\b", str(field.type)):
            yield field.name, "tuple" in str(field.type)


@pytest.mark.parametrize("name", methods.METHODS)
def test_every_number_has_a_range(name):
    owners = (methods.METHODS[name].Options, settings.PretrainingSettings, ViewSettings)
    for owner in owners:
        for field, is_pair in numbers(owner):
            if field in ELSEWHERE | {"image_size_schedule"}:
                continue
            for extreme in (-1, float("nan"), float("inf"), 1e308, 2**64):
                value = (extreme, extreme) if is_pair else extreme
                with pytest.raises(ValueError, match=rf"^{field} must be"):
                    settings.configure(name, **{field: value})


def test_numbers_have_names_of_fields():
    owners = [method.Options for method in methods.METHODS.values()]
    owners += [settings.PretrainingSettings, supervised.FineTuningSettings]
    known = {name for owner in owners for name, _ in numbers(owner)}
    assert settings.RANGES.keys() <= known


def test_how_often_the_gauge_is_read_does_not_change_the_name(dataset):
    first, other = (settings.configure("byol", monitor_every=n) for n in (1, 5))
    assert first.run_name(dataset) == other.run_name(dataset)


def test_every_setting_and_the_data_change_the_name_of_the_run(dataset):
    first = settings.configure("byol", epochs=3)
    changed = [
        settings.configure("byol", **{"epochs": 3} | change)
        for change in (
            {},
            {"seed": 1},
            {"batch_size": 32},
            {"target_momentum": 0.5},
            {"flip": 0.1},
            {"image_size_schedule": ((0.75, 96),)},
        )
    ]
    names = [chosen.run_name(dataset) for chosen in changed]
    assert names[0] == first.run_name(dataset)
    assert len(set(names)) == len(names)
    assert names[0].startswith("byol-small-3ep-seed0-")
    limited = dataclasses.replace(dataset, name="small, 2 labels a class")
    assert first.run_name(limited) not in names
    fewer = dataclasses.replace(dataset, pretraining=dataset.pretraining[:40])
    assert first.run_name(fewer) not in names
    smaller = Split(dataset.pretraining.images[..., :20], fewer.train.labels)
    assert (
        first.run_name(dataclasses.replace(dataset, pretraining=smaller)) not in names
    )
    elsewhere = dataclasses.replace(dataset, files="1a2b")
    assert first.run_name(elsewhere) not in names
    named = dataclasses.replace(
        dataset, name="folder:my pets at 32 px, 2 labels a class"
    )
    assert first.run_name(named).startswith("byol-my-pets-at-32-px-3ep-seed0-")


def test_other_labels_have_another_name(dataset):
    names = {limit_labels(dataset, 2, seed).name for seed in range(3)}
    assert len(names) == 3
    assert limit_labels(dataset, 2).name == "small, 2 labels a class"


def test_every_side_of_a_schedule_must_suit_the_backbone():
    with pytest.raises(ValueError, match=r"vgg11 .*32"):
        settings.configure(
            "byol", backbone="vgg11", size=64, image_size_schedule=((0.5, 16),)
        )


def test_a_backbone_says_how_it_was_made(dataset):
    chosen = settings.configure("pirl", image_size=40)
    history = [
        {"epoch": 1, "images": 48, "knn": 33.0, "seconds": 30.0},
        {"epoch": 2, "images": 96, "seconds": 60.0},
    ]
    about = chosen.about(dataset, history)
    assert about["method"] == "pirl"
    assert about["data"] == "small"
    assert about["image_size"] == 40
    assert (about["stored_size"], about["fit"]) == (32, "crop")
    assert (about["epochs_done"], about["images"], about["knn"]) == (2, 96, 33.0)
    assert about["minutes"] == pytest.approx(1.5)
    assert {"backbone", "stem", "mean", "std", "seed", "batch_size"} <= set(about)


def test_views_grow_by_the_schedule_and_the_backbone_says_so(dataset):
    chosen = settings.configure(
        "byol", epochs=10, image_size=48, image_size_schedule=((0.5, 64), (0.7, 96))
    )
    sides = [chosen.view_at(epoch).size for epoch in range(10)]
    assert sides == [48] * 5 + [64] * 2 + [96] * 3
    assert dataclasses.replace(chosen.view_at(9), size=48) == chosen.options.view
    assert (chosen.image_size, chosen.evaluation_size) == (96, 128)
    stopped = [{"epoch": 1, "images": 48, "seconds": 30.0}] * 6
    about = chosen.about(dataset, stopped)
    assert (about["image_size"], about["evaluation_size"]) == (64, 88)


def test_the_schedule_can_be_given_on_the_command_line():
    chosen = settings.configure("byol")
    flags = ["--image-size-schedule", "0.5", "64", "0.75", "96", "--compile", "off"]
    given = tyro.cli(settings.PretrainingSettings, default=chosen, args=flags)
    assert given.image_size_schedule == ((0.5, 64), (0.75, 96))
    assert given.compile == "off"


def test_a_run_is_named_by_the_content_of_its_initial_weights(dataset, tmp_path):
    torch.manual_seed(0)
    network, names, about = small.backbone(), [], {"backbone": "resnet18"}
    for place in ("here", "there", "other"):
        if place == "other":
            network[0].weight.data[0] += 1
        file = tmp_path / place / "b.safetensors"
        weight_files.save_backbone(file, network, about)
        chosen = settings.configure("byol", init=str(file))
        names.append(chosen.run_name(dataset))
        history = [{"images": 48, "seconds": 1.0}]
        assert str(tmp_path) not in str(chosen.about(dataset, history))
    assert names[0] == names[1] != names[2]
    # The file may be gone, or another, while the run goes on.
    before = chosen.about(dataset, history)
    network[0].weight.data[0] += 1
    weight_files.save_backbone(file, network, about)
    assert chosen.about(dataset, history) == before
    file.unlink()
    assert chosen.about(dataset, history) == before
    assert chosen.run_name(dataset) == names[2]
