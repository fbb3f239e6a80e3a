"""`onrecord models`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from onrecord.cli.common import confirm, json_option, open_run, open_workspace, print_json, run_argument, yes_option
from onrecord.wording import Style, ago, columns, counted, local_time, narrate, printable, size

if TYPE_CHECKING:
    from onrecord.ledger.models import ModelRow
    from onrecord.model import Model
    from onrecord.workspace import Workspace


@click.group()
def command() -> None:
    """Models: list, show, download, register and delete them. A model is named NAME, or NAME:VERSION."""


def _model(workspace: Workspace, text: str) -> Model:
    from onrecord.model import Model

    return Model(workspace, id=text)


@command.command("ls")
@click.argument("name", required=False)
@click.option("-a", "--all", "everything", is_flag=True, help="Every version, not only the newest of each.")
@json_option
def list_models(name: str | None, everything: bool, as_json: bool) -> None:
    """List models, newest first; of NAME every version."""
    from onrecord.model import Model

    found = Model.list(open_workspace(), name, latest=not (everything or name))
    if as_json:
        print_json([model_document(model.row) for model in found])
        return
    if not found:
        narrate("no models" if name is None else printable(f"no model {name}"))
        return
    table = [["MODEL", "RUN", "FILES", "SIZE", "CREATED", "DESCRIPTION"]]
    for model in found:
        row = model.row
        said = row.description.partition("\n")[0] or " ".join(f"{k}={v}" if v else k for k, v in row.tags.items())
        table.append(
            [model.id, row.run[:10] if row.run else "-", str(len(row.contents)), size(model.size), ago(row.at),
             printable(said)]
        )  # fmt: skip
    style = Style(sys.stdout)
    for place, cells in enumerate(columns(table, right=frozenset({2, 3}))):
        line = "  ".join(cells).rstrip()
        print(style.bold(line) if place == 0 else line)


@command.command("show")
@click.argument("model")
@json_option
def show_model(model: str, as_json: bool) -> None:
    """Show one version of a model: its run, its files, what is said of it."""
    row = _model(open_workspace(), model).row
    if as_json:
        print_json(model_document(row))
        return
    style = Style(sys.stdout)
    print(style.bold(f"{row.name}:{row.number}"))
    facts = [
        ("run", row.run or "-"),
        ("made of", printable(row.path)),
        ("framework", printable(f"{row.framework} {row.framework_version}".strip()) or "-"),
        ("created", printable(f"{local_time(row.at)} {row.by}".strip())),
        *(("description", printable(line)) for line in row.description.split("\n") if line),
    ]
    for name, value in facts:
        print(f"  {style.dim(name.ljust(12))} {value}")
    for title, pairs in (("tags", row.tags), ("properties", row.properties)):
        if pairs:
            print(style.bold(title))
            for name, value in pairs.items():
                print(f"  {style.dim(printable(name))} {printable(value)}".rstrip())
    print(style.bold("files"))
    cells = [[size(row.sizes[name]), printable(name)] for name in sorted(row.contents)]
    for line in columns(cells, right=frozenset({0})):
        print(f"  {style.dim(line[0])}  {line[1]}")


@command.command("download")
@click.argument("model")
@click.argument("folder", required=False, default=".", type=click.Path())
@click.option("-f", "--force", is_flag=True, help="Replace what is there.")
@json_option
def download_model(model: str, folder: str, force: bool, as_json: bool) -> None:
    """Write a model's file or folder into FOLDER (default: the current one), verified."""
    found = _model(open_workspace(), model)
    path = found.download(folder, exist_ok=force)
    if as_json:
        print_json({"name": found.name, "version": found.version, "path": str(path.absolute())})
    else:
        narrate(printable(f"wrote {path} ({counted(len(found.get_file_names()), 'file')}, {size(found.size)})"))


@command.command("register")
@run_argument
@click.argument("name")
@click.argument("path", required=False)
@click.option("--description", metavar="TEXT", help="What it is.")
@click.option("-t", "--tag", "tags", multiple=True, metavar="KEY[=VALUE]", help="A tag; repeatable.")
@json_option
def register_model(
    run: str, name: str, path: str | None, description: str | None, tags: tuple[str, ...], as_json: bool
) -> None:
    """Make a new version of the model NAME of the file PATH of a run, or of all files below the folder PATH."""
    pairs = {key: value for key, _, value in (tag.partition("=") for tag in tags)}
    model = open_run(run).register_model(name, path, tags=pairs, description=description)
    if as_json:
        print_json(model_document(model.row))
    else:
        narrate(f"registered {model.id}: {counted(len(model.get_file_names()), 'file')}, {size(model.size)}")


@command.command("delete")
@click.argument("models", nargs=-1, required=True, metavar="NAME:VERSION...")
@yes_option
@json_option
def delete_models(models: tuple[str, ...], yes: bool, as_json: bool) -> None:
    """Delete versions of models; the files stay with the run that they are of."""
    workspace = open_workspace()
    for text in models:
        if ":" not in text:
            raise click.UsageError(f"'{printable(text)}' has no version: {printable(text)}:1 is one.")
    found = [_model(workspace, text) for text in dict.fromkeys(models)]
    confirm(f"delete {', '.join(model.id for model in found)}", yes)
    for model in found:
        model.delete()
    if as_json:
        print_json([model.id for model in found])
    else:
        narrate(f"deleted {', '.join(model.id for model in found)}")


def model_document(row: ModelRow) -> dict[str, object]:
    """One version of a model, as `onrecord models show --json` prints it."""
    from onrecord.documents import iso

    files = [{"name": name, "size": row.sizes[name], "digest": digest} for name, digest in sorted(row.contents.items())]
    return {
        "name": row.name,
        "version": row.number,
        "run_id": row.run,
        "path": row.path,
        "description": row.description,
        "framework": row.framework,
        "framework_version": row.framework_version,
        "tags": row.tags,
        "properties": row.properties,
        "created_at": iso(row.at),
        "created_by": row.by,
        "files": files,
    }
