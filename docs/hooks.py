"""Hooks of mkdocs: flags are described by the parsers themselves; links out of this folder lead to the repository;
notebooks are pages."""

import argparse
import dataclasses
import json
import re
from pathlib import Path

from hf_distill.parsing import COMMANDS, make_parser

DOCS = Path(__file__).parent
FLAGS = re.compile(r"<!-- flags: (\w+) -->")
LINK = re.compile(r"\[([^\]]+)\]\((\.\./[^)#\s]+)(#[^)\s]*)?\)")
NOTEBOOK = re.compile(r"\]\((\w+)\.ipynb\)")
TEXT = re.compile(r">[^<]*--[^<]*<")
KINDS = {int: "whole number", float: "number", str: "text", None: "text"}


def on_files(files, config):
    from mkdocs.structure.files import File  # here, because the tests load this file without mkdocs

    for path in sorted(DOCS.glob("*.ipynb")):
        files.append(File.generated(config, f"{path.stem}.md", content=read_notebook(path)))


def on_page_markdown(markdown, page, config, files):
    repository = config.extra["repository"]

    def link(match):
        text, target, anchor = match.groups()
        path = (DOCS / page.file.src_uri).parent.joinpath(target).resolve()
        if path.is_relative_to(DOCS):
            return match[0]
        if not path.exists():
            raise FileNotFoundError(f"{page.file.src_uri} links to {target}")
        if not repository:
            return text
        kind = "tree" if path.is_dir() else "blob"
        return f"[{text}]({repository}/{kind}/main/{path.relative_to(DOCS.parent)}{anchor or ''})"

    markdown = NOTEBOOK.sub(r"](\1.md)", markdown)
    return LINK.sub(link, FLAGS.sub(lambda match: describe_flags(match[1]), markdown))


def on_page_content(html, page, config, files):
    """Mark flags, which browsers would break after their hyphens."""
    return TEXT.sub(lambda text: re.sub(r"(?<![\w-])--\w+", r'<span class="flag">\g<0></span>', text[0]), html)


def read_notebook(path: Path) -> str:
    """Return a notebook with its outputs as Markdown."""
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                parts.append(f"![Output](data:image/png;base64,{''.join(data['image/png']).strip()})")
            else:
                text = "".join(output.get("text") or data["text/plain"])
                parts.append(f"```text\n{text.rstrip()}\n```")
    return "\n\n".join(parts)


def describe_flags(name: str) -> str:
    """Return the usage and the flags of a command ("run": of the one without a name) as Markdown."""
    command = "" if name == "run" else name
    parser = make_parser(command)
    parser.prog = f"hf-distill {command}".strip()
    own = {field.name: field for group in COMMANDS[command][0] for field in dataclasses.fields(group)}
    usage = [line.strip() for line in parser.format_usage().removeprefix("usage: ").splitlines()]
    lines = ["```text", *usage, "```", ""]
    for section in parser._action_groups:
        if section._group_actions and not (command and section.title == "options"):
            lines += [f"### {section.title}", ""] if not command and section.title != "options" else []
            for action in section._group_actions:
                lines += describe_flag(action, own.get(action.dest), f"{command}-".lstrip("-"))
    return "\n".join(lines)


def describe_flag(action: argparse.Action, field: dataclasses.Field | None, prefix: str) -> list[str]:
    help = (action.help or "").removesuffix(" (default: %(default)s)").replace("%%", "%")
    if action.nargs == 0:
        kind = ""
    elif action.choices:
        kind = ", ".join(f"`{choice}`" for choice in action.choices)
    else:
        kind = "`1` or `0`" if action.const is True else KINDS[action.type]
    kind += ", one or more" if action.nargs == "+" else ""
    about = [kind, "required"] if action.required else [kind]
    if not action.required and action.default not in (None, "", [], argparse.SUPPRESS):
        about.append(f"default: {show(action.default)}")
    if field and field.default not in (dataclasses.MISSING, action.default):
        about.append(f"with `--preset original`: {show(field.default)}")
    flag = next(option for option in action.option_strings if option.startswith("--"))
    anchor = prefix + flag.removeprefix("--")
    return [f"`{flag}`{{ #{anchor} }} {'; '.join(filter(None, about))}", "", f":   {as_markdown(help)}", ""]


def show(value: object) -> str:
    if value is None:
        return "not set"
    return f"`{int(value) if isinstance(value, bool) else value}`"


def as_markdown(text: str) -> str:
    """Return a flag's help with flags as code, and other signs as they stand."""
    parts = re.split(r"(`[^`]*`|--\w+)", text)
    escaped = [re.sub(r"([\\*_<\[\]])", r"\\\1", part) for part in parts]
    return "".join(
        escaped[i] if i % 2 == 0 else part if part.startswith("`") else f"`{part}`" for i, part in enumerate(parts)
    )
