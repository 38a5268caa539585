"""``colossus schema``: the JSON schema of a description, for editors; of a plan, for programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def schema(
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write to a file instead of the terminal.")
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Of what 'colossus plan --json' prints instead.")
    ] = False,
) -> None:
    """Print the JSON schema of a description, so that an editor completes and checks it.

    Put '# yaml-language-server: $schema=colossus.schema.json' in the first line of a description.
    """
    from opencolossus.specs.files import write_atomic
    from opencolossus.specs.schema import json_schema

    if plan:
        from opencolossus.plan.plan import Plan
        from opencolossus.specs.docs import WithDocs

        found = Plan.model_json_schema(mode="serialization", schema_generator=WithDocs)
    else:
        found = json_schema()
    text = json.dumps(found, indent=2, ensure_ascii=False) + "\n"
    if out is None:
        typer.echo(text, nl=False)
    else:
        write_atomic(out, text)
