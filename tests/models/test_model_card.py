"""Model cards: everything a reader needs, and no mark-up from names."""

import pytest

from helpers import views
from helpers.models import model_card


def card(about, outputs="features"):
    return model_card.write("net.onnx", about, image_size=40, outputs=outputs)


def test_a_card_has_data_recipe_numbers_and_how_to_normalise():
    about = {"method": "pirl", "data": "stl10", "epochs": 200, "knn": 71.25}
    about |= {"loss": {"temperature": 0.07}}
    text = card(about)
    assert text.startswith("# net.onnx\n")
    assert "images (B, 3, 40, 40) to features" in text
    assert f"mean = {list(views.MEAN)}" in text
    assert f"std = {list(views.STD)}" in text
    numbers, _, made = text.partition("## Data and recipe")
    assert "| knn | 71.25 |" in numbers
    for row in ("| method | pirl |", "| epochs | 200 |", "| loss.temperature | 0.07 |"):
        assert row in made
    assert "## Licence" in text
    assert "## Classes" not in text


def test_a_classifiers_card_numbers_its_classes():
    text = card({"classes": ["cat", "dog"], "top1": 90.0, "stored_size": 96}, "logits")
    assert "0. cat\n1. dog" in text
    assert "to 96 x 96 and then to 40 x 40 pixels" in text
    assert "and then" not in card({})
    assert "| top1 | 90 |" in text


FROM_IMAGENET = "The photographs are from ImageNet, whose terms"
DRAWN = "drawn by this project's code"
BLANK = "Write their licence here: ____"


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ({"data": "stl10, 20 labels a class"}, {FROM_IMAGENET}),
        ({"data": "demo", "init": "random"}, {DRAWN}),
        ({"data": "demo", "init": "imagenet"}, {DRAWN, FROM_IMAGENET}),
        ({"data": "demo", "init": "byol 1234abcd"}, {BLANK}),
        ({"data": "folder:pets"}, {BLANK}),
        ({"data": "demo", "pretraining": {"data": "stl10"}}, {DRAWN, FROM_IMAGENET}),
        ({"data": "demo", "pretraining": {"data": "folder:pets"}}, {BLANK}),
        ({"data": "demo", "pretraining": {"init": "imagenet"}}, {DRAWN, FROM_IMAGENET}),
        ({"data": "demo", "pretraining": {"converted": "solo-learn"}}, {BLANK}),
        ({"data": "folder:pets", "licence": "Mine: CC0."}, {"Mine: CC0."}),
        ({}, {BLANK}),
    ],
)
def test_the_licence_is_that_of_all_images_the_weights_have_seen(about, said):
    text = card(about).partition("## Licence")[2]
    every = {FROM_IMAGENET, DRAWN, BLANK, "Mine: CC0."}
    assert {one for one in every if one in text} == said


def test_without_metadata_a_card_says_so():
    text = card({})
    assert "None were measured" in text
    assert "The file does not say." in text


def test_names_cannot_break_the_page():
    text = card({"data": "a|b\n# <b>[x](y)", "classes": ["a\n# b"]})
    assert text.count("\n# ") == 0
    assert r"| data | a\|b # \<b\>\[x\](y) |" in text


def test_a_card_says_how_its_images_became_squares_and_upright():
    assert "EXIF orientation" in card({})
    assert "cut out its middle square" in card({})
    for fit, said in (("squash", "squash it to"), ("pad", "pad it with black")):
        text = card({"fit": fit})
        assert said in text
        assert "cut out its middle square" not in text


def test_a_loss_that_has_a_name_is_no_number():
    numbers, _, made = card({"options": {"loss": "infonce"}}).partition("## Data and")
    assert "infonce" not in numbers
    assert "| options.loss | infonce |" in made
