"""Settings filled from recipes, and the names of runs."""

import dataclasses

import pytest

from helpers import methods, settings


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


def test_a_recipe_fills_what_is_not_changed():
    for name, method in methods.METHODS.items():
        for recipe, values in method.recipes.items():
            chosen = settings.configure(name, recipe, seed=3)
            flat = dataclasses.asdict(chosen)
            flat |= flat["options"] | flat["options"]["view"]
            for key, value in values.items():
                assert flat[key] == value, (name, recipe, key)
            assert chosen.seed == 3


def test_the_learning_rate_follows_the_batch_size():
    chosen = settings.configure("byol", batch_size=64, learning_rate=0.4)
    assert chosen.peak_learning_rate == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"method": "vae"}, "Unknown method 'vae'"),
        (
            {"recipe": "long"},
            "Unknown recipe 'long' of byol: choose one of .*published",
        ),
        ({"colour": 1}, "Unknown setting 'colour' of byol: see `python -m helpers"),
        ({"epochs": 0}, "epochs must be at least 1, not 0"),
        ({"batch_size": 0}, "batch_size must be at least 1, not 0"),
        ({"monitor_every": -1}, "monitor_every must be at least 1, not -1"),
    ],
)
def test_what_is_wrong_is_one_sentence(wrong, message):
    with pytest.raises(ValueError, match=message):
        settings.configure(**{"method": "byol"} | wrong)


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
        )
    ]
    names = [chosen.run_name(dataset) for chosen in changed]
    assert names[0] == first.run_name(dataset)
    assert len(set(names)) == len(names)
    assert names[0].startswith("byol-small-3ep-seed0-")
    limited = dataclasses.replace(dataset, name="small, 2 labels a class")
    assert first.run_name(limited) not in names
    assert "," not in first.run_name(limited)


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
    assert (about["epochs_done"], about["images"], about["knn"]) == (2, 96, 33.0)
    assert about["minutes"] == pytest.approx(1.5)
    assert {"arch", "stem", "mean", "std", "seed", "batch_size"} <= set(about)
