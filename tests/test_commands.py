"""Commands, their help and the pages agree: nothing is documented that does not exist, and nothing is left unsaid.

The table of all options is made from the help. After a change of an option, make it again:

    python runs/options_table.py
"""

import ast
import csv
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from runs.options_table import HEAD, TABLE, leaves, rows
from speech2face import cli

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
OPTION = re.compile(r"(?<![\w-])--?[a-zA-Z][\w-]*")


COMMANDS = dict(leaves(typer.main.get_command(cli.app)))
GROUPS = {name.split()[0] for name in COMMANDS if " " in name}


def options_of(command: Any) -> set[str]:
    """Every spelling of a command's options."""
    parameters = [one for one in command.params if one.param_type_name == "option"]
    return {"--help", "-h", *(name for one in parameters for name in (*one.opts, *one.secondary_opts))}


def options_of_scripts() -> set[str]:
    """Options of the programs beside the package: recipes, runs, benchmarks, the fuzzer and start.py."""
    found = set(re.findall(r'"(--[a-z][a-z-]*)"', (ROOT / "start.py").read_text(encoding="utf-8")))
    for folder in ("recipes", "runs", "benchmarks", "tests", "examples"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("add_argument"):
                    found |= {str(word.value) for word in node.args if isinstance(word, ast.Constant)}
    return found


def code_of(page: str) -> Iterator[str]:
    """Lines of a page's blocks of code, continued ones joined, and its code within sentences."""
    blocks = re.findall(r"```\w*\n(.*?)```", page, re.DOTALL)
    rest = re.sub(r"```\w*\n.*?```", "", page, flags=re.DOTALL)
    blocks += re.findall(r"^    \S.*$", rest, re.MULTILINE)
    for block in blocks:
        yield from block.replace("\\\n", " ").splitlines()
    yield from (" ".join(span.split()) for span in re.findall(r"`([^`\n]+(?:\n[^`\n]+)?)`", rest))


def command_in(line: str) -> tuple[str, list[str]] | None:
    """The command of the program that a line of code calls, and its other words; None where it calls none."""
    called = re.search(r"(?:^|[|;(] *|\s)(?:python3 start\.py|(?:python3? -m )?speech2face) ([a-z].*)", line)
    bare = re.match(rf"({'|'.join(COMMANDS)}) (--?[a-z].*)", line)  # `inspect --trust`, in a sentence
    text = called[1] if called else line if bare else ""
    text = re.split(r"\s#|[|;<>&]", text)[0]
    try:
        words = shlex.split(text)
    except ValueError:  # cut off within quotation marks
        words = text.split()
    if not words or words[0] in ("test", "fresh", "matrix", "import"):  # of start.py, or a line of Python
        return None
    if words[0] not in GROUPS:
        return words[0], words[1:]
    alone = words[1:2] in ([], ["[OPTIONS]"])  # a group is named, not called
    return None if alone else (" ".join(words[:2]), words[2:])


def mistakes(line: str) -> list[str]:
    """What a line of code asks of the program that it does not have."""
    found = command_in(line)
    if found is None:
        return []
    name, words = found
    if name not in COMMANDS:
        return [f"no command {name!r}"]
    stated = [word.split("=")[0] for word in words if OPTION.match(word)]
    return [f"{name} has no {option}" for option in stated if option not in options_of(COMMANDS[name])]


def test_the_table_of_all_options_is_that_of_the_help() -> None:
    with TABLE.open(encoding="utf-8", newline="") as file:
        said = [tuple(row) for row in csv.reader(file)]
    assert said[0] == HEAD
    assert {name for name, _, _ in said[1:]} == set(COMMANDS)
    assert [row for row in rows() if row not in said] == []
    assert said[1:] == rows()


def test_every_command_line_on_a_page_can_be_called() -> None:
    lines = [(page.name, line) for page in PAGES for line in code_of(page.read_text(encoding="utf-8"))]
    assert sum(command_in(line) is not None for _, line in lines) > 50
    assert [(page, line, wrong) for page, line in lines for wrong in mistakes(line)] == []


def test_no_page_names_an_option_that_nothing_has() -> None:
    commands = (typer.main.get_command(cli.app), *COMMANDS.values())
    known = options_of_scripts().union(*map(options_of, commands))
    wrong = []
    for page in PAGES:
        for line in code_of(page.read_text(encoding="utf-8")):
            if line.startswith("-"):  # an option in a sentence, without its command
                wrong += [(page.name, option) for option in OPTION.findall(line) if option not in known]
    assert wrong == []


def test_every_command_option_and_argument_says_what_it_is() -> None:
    silent = [name for name, command in COMMANDS.items() if not command.help]
    for name, command in COMMANDS.items():
        silent += [f"{name} {one.name}" for one in command.params if not getattr(one, "help", None)]
    assert silent == []


def test_a_wrong_line_is_found() -> None:
    assert mistakes("speech2face portrait a.wav --sample 3  # --nothing") == ["portrait has no --sample"]
    assert mistakes("speech2face data forgot NAME") == ["no command 'data forgot'"]
    assert mistakes("cat a | speech2face portrait - --out face.png | less --chop") == []
    assert mistakes("inspect --trusted FILE") == ["inspect has no --trusted"]
