"""Croissant metadata (JSON-LD) of a release, checked by mlcroissant before it is kept."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlcroissant as mlc
import pyarrow as pa
import pyarrow.parquet as pq

from cqa_helpers.provenance import sha256
from cqa_helpers.records import write_atomically

if TYPE_CHECKING:
    from cqa_helpers.card import Facts

_TYPES = {pa.string(): mlc.DataType.TEXT, pa.int64(): mlc.DataType.INTEGER,
          pa.float64(): mlc.DataType.FLOAT, pa.bool_(): mlc.DataType.BOOL}  # fmt: skip


class CroissantError(ValueError):
    """Mlcroissant refuses what was written."""


def write(path: Path, facts: Facts, folder: Path) -> None:
    """Write and validate the metadata of the parquet files in a folder.

    Nested columns are described as far as the format's readers go: by their flat parents.

    Raises
    ------
    CroissantError
        What the validator says.
    """
    distribution, record_sets = [], []
    for table, sides in facts.files.items():
        for side, name in sides.items():
            id = f"{table}-{side}"
            distribution.append(
                mlc.FileObject(
                    id=f"{id}.parquet", name=f"{id}.parquet", content_url=name,
                    encoding_formats=["application/x-parquet"], sha256=sha256(folder / name),
                )
            )  # fmt: skip
            schema = pq.read_schema(folder / name)
            fields = [
                mlc.Field(
                    id=f"{id}/{column.name}", name=column.name, data_types=[_TYPES[column.type]],
                    source=mlc.Source(
                        file_object=f"{id}.parquet", extract=mlc.Extract(column=column.name)
                    ),
                )
                for column in schema if column.type in _TYPES
            ]  # fmt: skip
            record_sets.append(mlc.RecordSet(id=id, name=id, fields=fields))
    metadata = mlc.Metadata(
        name=facts.name(),
        description=facts.description(),
        license=[facts.people.licence],
        cite_as=facts.citation(),
        date_published=datetime.fromisoformat(facts.git.get("git_date") or "1970-01-01"),
        version="1.0.0",
        conforms_to="http://mlcommons.org/croissant/1.1",
        distribution=distribution,
        record_sets=record_sets,
    )
    write_atomically(path, json.dumps(_plain(metadata.to_json()), indent=1, ensure_ascii=False))
    try:
        checked = mlc.Dataset(jsonld=str(path))
    except (mlc.ValidationError, ValueError) as error:
        raise CroissantError(f"Croissant refused: {error}") from error
    if checked.metadata.ctx.issues.errors:
        raise CroissantError(f"Croissant refused: {checked.metadata.ctx.issues.report()}")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return value.isoformat() if isinstance(value, datetime) else value
