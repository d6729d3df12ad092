"""Questions: answered by a stand-in for the keyboard, and through a real kernel."""

import builtins
import pathlib

import pytest
from jupyter_client import manager

from helpers.notebook import questions

PROJECT = pathlib.Path(__file__).resolve().parents[2]
IMAGES = {"demo": "drawn", "stl10": "2.6 GB", "folder:": "a path of yours"}
SECONDS = 30  # that a kernel may take
QUESTION = f"""
from helpers.notebook import questions
answer = questions.ask("Which images?", {IMAGES}, "demo", "STL_TEST_PROMPT")
"""


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


@pytest.mark.parametrize(
    ("typed", "expected"),
    [("all", None), ("20", "20"), ("10%", "10%"), ("12.5 %", "12.5 %"), ("", None)],
)
def test_labels_are_all_a_number_or_a_share(typed, expected, keyboard):
    keyboard(typed)
    assert questions.ask_labels() == expected


def test_another_number_of_labels_is_asked_for_again(keyboard, capsys):
    prompts = keyboard("few", "1%")
    assert questions.ask_labels() == "1%"
    assert len(prompts) == 2
    assert "a share such as 10%" in capsys.readouterr().out


def test_a_path_may_be_copied_with_its_quotes(keyboard, monkeypatch):
    keyboard('folder:"C:/my pets"')
    assert ask_images() == "folder:C:/my pets"
    monkeypatch.setenv("STL_DATA", "'stl10'")
    assert ask_images() == "stl10"
    keyboard('"a b"', '"')
    for expected in ("a b", '"'):
        assert questions.ask("What?", None, "", "STL_NONE") == expected


@pytest.fixture(scope="module")
def kernel():
    """A Jupyter kernel, whose stdin channel takes the answers."""
    running, client = manager.start_new_kernel(
        startup_timeout=SECONDS, kernel_name="python3", cwd=str(PROJECT)
    )
    yield client
    client.stop_channels()
    running.shutdown_kernel(now=True)


def execute(client, code, answers=None):
    """Run code, typing `answers`; return its printed text, prompts and error."""
    left, prompts, printed, errors = list(answers or []), [], [], []

    def answer(message):
        prompts.append(message["content"]["prompt"])
        # One prompt too many would hang: it gets a right answer and is counted.
        client.input(left.pop(0) if left else "demo")

    def listen(message):
        if message["msg_type"] == "stream":
            printed.append(message["content"]["text"])
        if message["msg_type"] == "error":
            errors.append(message["content"]["evalue"])

    client.execute_interactive(
        code,
        allow_stdin=answers is not None,
        stdin_hook=answer if answers is not None else None,
        output_hook=listen,
        timeout=SECONDS,
    )
    return "".join(printed), prompts, errors


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (["stl10"], "stl10"),
        (["2"], "stl10"),
        ([""], "demo"),
        (["folder:/my pictures"], "folder:/my pictures"),
        (["nothing of the kind", "9", "STL10"], "stl10"),
    ],
)
def test_a_typed_answer_arrives(kernel, answers, expected):
    printed, prompts, errors = execute(kernel, QUESTION + "print([answer])", answers)
    assert errors == []
    assert prompts == ["Which images? [demo] "] * len(answers)
    assert printed.endswith(f"Which images? -> {expected}\n['{expected}']\n")
    assert printed.count("  1. demo  drawn\n") == len(answers)


def test_the_options_are_printed_before_the_prompt_is_answered(kernel):
    request = kernel.execute(QUESTION, allow_stdin=True)
    assert kernel.get_stdin_msg(timeout=SECONDS)["msg_type"] == "input_request"
    printed = ""
    while "3. folder:  a path of yours\n" not in printed:
        printed += kernel.get_iopub_msg(timeout=SECONDS)["content"].get("text", "")
    kernel.input("")
    reply = kernel.get_shell_msg(timeout=SECONDS)
    assert reply["parent_header"]["msg_id"] == request
    assert reply["content"]["status"] == "ok"


def test_without_stdin_the_default_is_taken_at_once(kernel):
    printed, _, errors = execute(kernel, QUESTION)
    assert errors == []
    assert printed.endswith("Which images? -> demo\n")


def test_the_environment_answers_without_a_prompt(kernel):
    preset = "import os; os.environ['STL_TEST_PROMPT'] = {!r}\n"
    try:
        printed, prompts, _ = execute(kernel, preset.format("stl10") + QUESTION, [])
        assert prompts == []
        assert printed.endswith("Which images? -> stl10\n")
        _, prompts, errors = execute(kernel, preset.format("wrong") + QUESTION, [])
        assert prompts == []
        assert len(errors) == 1 and "STL_TEST_PROMPT is wrong" in errors[0]
    finally:
        execute(kernel, "import os; del os.environ['STL_TEST_PROMPT']")


def test_numbers_and_checkpoints_are_asked_too(kernel):
    code = """
from helpers.notebook import questions
epochs = questions.ask_number("Epochs?", 5, "STL_TEST_EPOCHS", maximum=100)
byol, none = ("BYOL, 5 epochs", 1, "byol"), ("none", 2, "no")
lines = [questions.Choice(*byol), questions.Choice(*none)]
print([epochs, questions.choose("Weights?", lines, 0, "STL_TEST_WEIGHTS")])
"""
    printed, prompts, errors = execute(kernel, code, ["1000", "20", "none", "no"])
    assert errors == []
    assert prompts == ["Epochs? [5] "] * 2 + ["Weights? [1] "] * 2
    assert printed.endswith("[20, 2]\n")


def test_a_path_alone_is_answered_with_what_to_type(keyboard, tmp_path, capsys):
    keyboard("~nobody-here", str(tmp_path), f"folder:{tmp_path}")  # nobody has a home
    assert ask_images() == f"folder:{tmp_path}"
    printed = capsys.readouterr().out
    assert f"'{tmp_path}' is a path: type folder:{tmp_path}\n" in printed
