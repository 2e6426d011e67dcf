"""Files for those who cite, report and contribute."""

import configparser
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]


def test_the_citation_is_of_this_version():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    names = {"title": "name", "version": "version", "license": "license", "abstract": "description"}
    assert {ours: citation[ours] for ours in names} == {ours: setup["metadata"][name] for ours, name in names.items()}


@pytest.mark.parametrize("form", ["bug", "question"])
def test_forms_of_issues_have_what_github_asks_for(form):
    fields = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / f"{form}.yml").read_text())
    assert fields["name"] and fields["description"]
    asked = [field for field in fields["body"] if field["type"] != "markdown"]
    assert all(field["id"] and field["attributes"]["label"] for field in asked)
    assert any(field.get("validations", {}).get("required") for field in asked)
