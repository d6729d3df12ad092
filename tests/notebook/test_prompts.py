"""Prompts answered for real, through the stdin channel of a Jupyter kernel."""

import pathlib

import pytest
from jupyter_client import manager

PROJECT = pathlib.Path(__file__).resolve().parents[2]
SECONDS = 30
QUESTION = """
from helpers.notebook import questions
options = {"demo": "drawn", "stl10": "2.6 GB", "folder:": "a path of yours"}
answer = questions.ask("Which images?", options, "demo", "STL_TEST_PROMPT")
"""


@pytest.fixture(scope="module")
def kernel():
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
