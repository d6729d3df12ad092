"""The questions, Drive, files and sources of a notebook, without a kernel."""

import builtins
import pathlib

import IPython.display
import pytest

from helpers.notebook import questions
from helpers.notebook.source import show_source

IMAGES = {"demo": "drawn", "stl10": "2.6 GB", "folder:": "a path of yours"}


def ask_images(check=str):
    return questions.ask("Which images?", IMAGES, "demo", "STL_DATA", check)


def test_environment_answers_before_the_keyboard(monkeypatch, keyboard, capsys):
    prompts = keyboard("demo")
    monkeypatch.setenv("STL_DATA", "STL10")
    assert ask_images() == "stl10"
    assert prompts == []
    assert capsys.readouterr().out.endswith("Which images? -> stl10\n")


def test_an_empty_environment_variable_is_no_answer(monkeypatch, keyboard):
    keyboard("stl10")
    monkeypatch.setenv("STL_DATA", "")
    assert ask_images() == "stl10"


def test_a_wrong_environment_variable_is_one_sentence(monkeypatch):
    monkeypatch.setenv("STL_DATA", "stl11")
    with pytest.raises(ValueError, match=r"STL_DATA is wrong: 'stl11'.*stl10") as error:
        ask_images()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ("", "demo"),
        ("  ", "demo"),
        ("2", "stl10"),
        ("Stl10 ", "stl10"),
        ("folder:/My Pictures", "folder:/My Pictures"),
        ("FOLDER: a:b", "folder:a:b"),
    ],
)
def test_what_may_be_typed(keyboard, typed, answer):
    keyboard(typed)
    assert ask_images() == answer


@pytest.mark.parametrize(
    "wrong", ["no", "0", "4", "3", "folder:", "folder: ", "demo:x"]
)
def test_a_wrong_answer_is_asked_again_with_the_options(keyboard, capsys, wrong):
    prompts = keyboard(wrong, "stl10")
    assert ask_images() == "stl10"
    assert len(prompts) == 2
    printed = capsys.readouterr().out
    assert printed.count("  2. stl10  2.6 GB\n") == 2
    assert repr(wrong.strip()) in printed


@pytest.mark.parametrize(
    "error", [EOFError, OSError, questions.StdinNotImplementedError]
)
def test_without_a_keyboard_the_default_is_taken(monkeypatch, capsys, error):
    def typed(prompt=""):
        raise error

    monkeypatch.setattr(builtins, "input", typed)
    assert ask_images() == "demo"
    assert capsys.readouterr().out.splitlines()[-1] == "Which images? -> demo"


def test_the_check_makes_the_answer_or_refuses_it(keyboard, capsys):
    def check(answer):
        if answer == "stl10":
            raise ValueError("Not today.")
        return len(answer)

    keyboard("stl10", "demo")
    assert ask_images(check) == 4
    assert "Not today." in capsys.readouterr().out


def test_free_text_is_kept_as_typed(keyboard):
    keyboard("My Name")
    assert questions.ask("Name?", None, "none", "STL_NAME") == "My Name"


def test_a_wrong_default_does_not_ask_for_ever(keyboard):
    keyboard("")
    with pytest.raises(ValueError, match="default of 'Which images"):
        questions.ask("Which images?", IMAGES, "nothing", "STL_DATA")


def test_numbers_are_checked(keyboard, capsys):
    keyboard("many", "1.5", "0", "11", "-3", "10")
    assert questions.ask_number("Epochs?", 5, "STL_EPOCHS", maximum=10) == 10
    assert capsys.readouterr().out.count("whole number (1 or more, 10 at most)") == 5
    keyboard("")
    assert questions.ask_number("Epochs?", 5, "STL_EPOCHS") == 5
    keyboard("-3")
    assert questions.ask_number("Shift?", 5, "STL_SHIFT", minimum=-4) == -3


def test_choose_returns_the_value_of_a_line(monkeypatch, keyboard, capsys):
    choices = [
        questions.Choice(
            "here: BYOL, demo, 5 epochs", pathlib.Path("byol"), "here:byol"
        ),
        questions.Choice("random weights", None, "random"),
    ]
    keyboard("1")
    assert questions.choose("Which?", choices, 1, "STL_FROM") == pathlib.Path("byol")
    keyboard("")
    assert questions.choose("Which?", choices, 1, "STL_FROM") is None
    assert capsys.readouterr().out.endswith("Which? -> random weights\n")
    for preset in ("here:byol", "1"):
        monkeypatch.setenv("STL_FROM", preset)
        assert questions.choose("Which?", choices, 1, "STL_FROM") == pathlib.Path(
            "byol"
        )


def test_show_source_names_the_place_and_fences_the_code(monkeypatch):
    shown = []
    monkeypatch.setattr(
        IPython.display, "display", lambda data, raw: shown.append(data)
    )
    show_source(questions.Choice, questions.ask, questions)
    assert [next(iter(data["text/plain"].split())) for data in shown] == [
        "@dataclasses.dataclass(frozen=True)",
        "def",
        '"""What',
    ]
    caption, _, code = shown[1]["text/markdown"].partition("\n\n")
    start = int(
        caption.removeprefix("`helpers/notebook/questions.py`, lines ").split()[0]
    )
    lines = pathlib.Path(questions.__file__).read_text().splitlines()
    assert lines[start - 1].startswith("def ask(")
    assert code.startswith("```python\ndef ask(") and code.endswith(
        "default, name, parse)\n```\n"
    )
    assert shown[2]["text/markdown"].startswith("`helpers/notebook/questions.py`\n\n")


def test_show_source_dedents_methods_and_survives_fences(monkeypatch):
    shown = []
    monkeypatch.setattr(
        IPython.display, "display", lambda data, raw: shown.append(data)
    )

    class Lesson:
        def step(self):
            return "```"

    show_source(Lesson.step)
    assert shown[0]["text/plain"].startswith("def step")
    assert "~~~~python\ndef step" in shown[0]["text/markdown"]
    with pytest.raises(ValueError, match="has no source"):
        show_source(len)


@pytest.mark.parametrize(
    ("typed", "expected"), [("all", None), ("20", "20"), ("10%", "10%"), ("", None)]
)
def test_labels_are_all_a_number_or_a_share(typed, expected, keyboard):
    keyboard(typed)
    assert questions.ask_labels() == expected


def test_another_number_of_labels_is_asked_for_again(keyboard, capsys):
    prompts = keyboard("few", "1%")
    assert questions.ask_labels() == "1%"
    assert len(prompts) == 2
    assert "a share such as 10%" in capsys.readouterr().out
