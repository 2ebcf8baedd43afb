"""What the README and the page of the command line say is true: commands, options, codes, numbers, files and Python."""

import csv
import re
import shlex
import shutil
import tomllib
from pathlib import Path

import pytest
import typer.main

import start
from speech2face import __version__, cli, errors
from speech2face.errors import Speech2FaceError
from speech2face.models.release import MANIFEST, SHIPPED

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMAND_LINE = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
COMMAND = typer.main.get_command(cli.app)
SUBCOMMANDS = COMMAND.commands  # type: ignore[attr-defined]


def blocks(language: str, page: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def commands(page: str = README) -> list[list[str]]:
    """Every command of a page as words, comments and redirections cut off."""
    lines = [re.split("[#<>]", line)[0] for block in blocks("sh", page) for line in block.splitlines()]
    return [shlex.split(line) for line in lines if line.strip()]


def test_the_first_screen_holds_one_sentence_one_picture_two_commands_and_a_table() -> None:
    first = README.split("\n## ")[0]
    assert first.count("![") == 1
    assert [words[:3] for words in commands()[:2]] == [
        ["python3", "start.py", "portrait"],
        ["python3", "start.py", "test"],
    ]
    assert len(first.splitlines()) < 30
    assert len(README.encode()) <= 10_000


@pytest.mark.parametrize("words", [*commands(), *commands(COMMAND_LINE)], ids=" ".join)
def test_every_command_exists_with_its_options_and_files(words: list[str]) -> None:
    if words[:3] == ["python3", "start.py", "test"]:
        return
    if words[0] == ".":
        assert words[1:] == [Path(start.environment_program("activate")).relative_to(ROOT).as_posix()]
        return
    if words[0] == "pip":
        assert words[2] == "-e"
        extras = re.fullmatch(r"\.(?:\[([\w,]+)\])?", words[3])
        assert words[1] == "install" and extras is not None
        declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        assert set((extras[1] or "").split(",")) - {""} <= set(declared)
        return
    if words[0] == "bash":
        assert (ROOT / words[1]).exists()
        return
    if words[:2] == ["python", "-m"]:
        assert (ROOT / f"{words[2].replace('.', '/')}.py").exists()
        return
    program, *rest = words[1:] if words[0] == "python3" else words
    assert program in ("start.py", "speech2face")
    name, *arguments = rest
    command = SUBCOMMANDS[name]
    if hasattr(command, "commands"):  # a group, such as data
        command = command.commands[arguments.pop(0)]
    options = ["--help", *(option for parameter in command.params for option in parameter.opts)]
    assert [word for word in arguments if word.startswith("-") and word != "-" and word not in options] == []
    assert [word for word in arguments if word.startswith("examples/") and not (ROOT / word).exists()] == []


def test_the_option_table_is_complete() -> None:
    table = COMMAND_LINE.split("\n## Options of `portrait`\n")[1].split("\n## ")[0]
    documented = set(re.findall(r"`(--[a-z-]+)`", table))
    own = {name for parameter in SUBCOMMANDS["portrait"].params for name in parameter.opts if name.startswith("--")}
    assert documented == own - {"--help"}


def test_the_exit_code_table_is_that_of_the_errors() -> None:
    with (ROOT / "docs" / "exit_codes.csv").open(encoding="utf-8", newline="") as file:
        documented = {row["error"]: int(row["code"]) for row in csv.DictReader(file) if row["error"]}
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Speech2FaceError)]
    assert documented == {kind.__name__: kind.exit_code for kind in kinds if kind is not Speech2FaceError}


def test_every_extra_that_a_user_may_want_is_in_the_table() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    table = README.split("\n| extra | for |\n")[1].split("\n\n")[0]
    assert {name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1])} == set(declared)


def test_every_measured_number_of_the_results_is_one_of_the_scores() -> None:
    measured: set[tuple[str, ...]] = set()
    for name in ("starter_scores.csv", "planted_scores.csv"):
        with (ROOT / "docs" / name).open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                low, high = (row.get(end) or row.get(f"{end}_95") for end in ("low", "high"))
                if low and high:
                    measured |= {
                        tuple(f"{float(number):.{places}f}" for number in (row["value"], low, high))
                        for places in (1, 2, 3)
                    }
    said = re.findall(r"(\d\.\d+)[\w ]* \[([\d.]+), ([\d.]+)\]", README)
    assert len(said) == 6
    assert set(said) <= measured


def cell(table: str, column: str, **wanted: str) -> float:
    """The one number of a table of docs/ in a column and the row that says what is wanted."""
    with (ROOT / "docs" / f"{table}.csv").open(encoding="utf-8", newline="") as file:
        (row,) = (row for row in csv.DictReader(file) if wanted.items() <= row.items())
    return float(row[column])


def score(metric: str, column: str = "value", channel: str = "clean") -> float:
    whole = {"channel": channel, "seconds": "all (3 or more)", "source": "all"}
    return cell("starter_scores", column, metric=metric, **whole)


def test_every_sentence_with_a_number_about_the_shipped_model_says_what_was_measured() -> None:
    """The sentences once told of weights that were no longer shipped: each is made from the tables here."""
    flat = " ".join(README.split())
    made = {"condition": "sounds without speech", "what": "refused"}
    sounds = round(cell("caution_rates", "n", **made))
    age = score("age_mae_years"), score("age_mae_years", "trivial_baseline")
    for sentence in (
        f"| {score('gender_balanced_accuracy_adults', 'trivial_baseline'):.3f} |",
        f"| {score('age_mae_years_each_decade_alike', 'trivial_baseline'):.1f} |",
        f"| {round(sounds * cell('caution_rates', 'share', **made))} of {sounds} |",
        f"people over 50 are stated some {-score('age_bias_years_from_50'):.0f} years too young",
        f"stated age is {age[0]:.1f} years off, where stating one age for all is {age[1]:.1f} off",
    ):
        assert sentence in flat, sentence


def test_the_answers_to_questions_say_what_was_measured() -> None:
    flat = " ".join((ROOT / "docs" / "faq.md").read_text(encoding="utf-8").split())
    gender = [
        score("gender_balanced_accuracy_adults", channel=name) for name in ("clean", "telephone", "room", "noisy")
    ]
    short, long = (
        cell("starter_scores", "value", metric="age_mae_years", channel="clean", seconds=seconds, source="all")
        for seconds in ("1", "9")
    )
    for sentence in (
        f"Gender is read right in {gender[0]:.3f} of clean recordings, {gender[1]:.3f} over the telephone,"
        f" {gender[2]:.3f} across a room and {gender[3]:.3f} in noise",
        f"With 1 s of speech the stated age is {short:.1f} years off, with 9 s {long:.1f}",
        f"people over 50 are stated some {-score('age_bias_years_from_50'):.0f} years too young",
        f"holds the true age for {100 * score('age_interval_80_coverage'):.0f} of 100 adults",
        f"right for {gender[0]:.3f} of both genders alike",
        f"at 150 Hz and higher for {score('gender_recall_high_pitched_men'):.3f}",
        f"balanced accuracy of {score('child_balanced_accuracy'):.3f}",
    ):
        assert sentence in flat, sentence


def test_the_citation_is_that_of_the_package() -> None:
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    (version,) = re.findall(r"^version: (.+)$", citation, re.MULTILINE)
    title, paper = re.findall(r'^ *(?:- )?title: "(.+)"$', citation, re.MULTILINE)
    (entries,) = blocks("bibtex")
    assert version == __version__
    assert f"title = {{{title}}}, version = {{{version}}}" in entries
    assert f"title = {{{paper}}}" in entries
    families = re.findall(r"family-names: (.+)", citation)
    assert re.findall(r"(\w+), ", entries.split("author = {Oh")[1]) == families[1:]


@pytest.mark.skipif(not (SHIPPED / MANIFEST).exists(), reason="no weights are shipped yet")
def test_the_python_block_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    (block,) = blocks("python")
    exec(block, names)
    portrait = names["portrait"]
    assert portrait.image.shape == (512, 512, 3)  # type: ignore[attr-defined]
    assert len(portrait.samples) == 2  # type: ignore[attr-defined]


def test_the_pythons_of_the_package_of_the_readme_and_of_the_first_command_are_the_same() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    versions = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    assert project["requires-python"] == f">={versions[0]},<3.{int(versions[-1].removeprefix('3.')) + 1}"
    assert f"Python {', '.join(versions[:-1])} or {versions[-1]}" in README.replace("\n", " ")


def test_every_library_has_a_lower_and_an_upper_bound() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    wanted = [*project["dependencies"], *(text for texts in extras for text in texts)]
    bound = re.compile(r"(speech2face\[\w+\])|[\w.-]+(\[\w+\])?>=[\w.]+,<[\w.]+(;.*)?")
    assert [text for text in wanted if not bound.fullmatch(text)] == []
