"""The pages: links lead somewhere, and the commands' options are those of the program."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from minid.cli.main import COMMANDS, make_parser

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page: Path):
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text())
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert missing == []


def section(command: str) -> str:
    text = (ROOT / "docs/reference/cli.md").read_text()
    return text.partition(f"\n## minid {command}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_on_the_page_and_no_other(command: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        make_parser(command).parse_args([command, "--help"])
    helped = set(re.findall(r"(?<![\w-])--?[a-z][a-z0-9-]*", capsys.readouterr().out))
    synopsis = "\n".join(line for line in section(command).splitlines() if line[:4] == "    ")
    written = set(re.findall(r"(?<![\w-])--?[a-z][a-z0-9-]*", section(command)))
    assert synopsis.strip().startswith(f"minid {command}")
    assert helped - {"-h", "--help"} == written
