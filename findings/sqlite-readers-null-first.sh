#!/usr/bin/env bash
# polars 2.1.0 and ADBC 1.13.0 read a SQLite column by its first rows, not by its declared type.
#
# The table declares `accuracy real`. Its first 3,000 rows are NULL (runs that diverged, for example)
# and 1,000 numbers follow. SQLite, pandas and connectorx read 1,000 numbers.
#
#   reader                                              result
#   pandas 3.1.1 read_sql                               float64, 3,000 NaN and 1,000 numbers
#   connectorx 0.4.6 read_sql                           float64, 3,000 nulls and 1,000 numbers
#   polars 2.1.0 read_database                          ComputeError; infer_schema_length=None reads it
#   adbc-driver-sqlite 1.13.0 fetch_arrow_table         OSError: "expected INT64 but got DOUBLE"
#
# Expected before the run: a float64 column with nulls from each of them, since the column is declared.
#
# Prints what each reader gave and exits 0 while that is as above, 1 if one of them changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "polars==2.1.0" "pandas==3.1.1" \
  "pyarrow==26.0.1" "adbc-driver-sqlite==1.13.0" "connectorx==0.4.6"
cd "$folder"
"$folder/venv/bin/python" - << 'PYTHON'
import sqlite3

import adbc_driver_sqlite.dbapi
import connectorx
import pandas
import polars

base = sqlite3.connect("runs.db")
base.execute("create table runs (id integer primary key, accuracy real)")
rows = [(row, None if row < 3000 else row / 10000) for row in range(4000)]
base.executemany("insert into runs values (?, ?)", rows)
base.commit()
query = "select accuracy from runs order by id"


def with_pandas():
    column = pandas.read_sql(query, base)["accuracy"]
    return f"{column.dtype}, {int(column.count())} numbers"


def with_connectorx():
    column = connectorx.read_sql("sqlite://runs.db", query, return_type="arrow")["accuracy"]
    return f"{column.type}, {len(column) - column.null_count} numbers"


def with_polars():
    return polars.read_database(query, base)["accuracy"].count()


def with_polars_told():
    column = polars.read_database(query, base, infer_schema_length=None)["accuracy"]
    return f"{column.dtype}, {column.count()} numbers"


def with_adbc():
    with adbc_driver_sqlite.dbapi.connect("runs.db") as connection, connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetch_arrow_table().num_rows


changed = False
for reader, expected in (
    (with_pandas, "float64, 1000 numbers"),
    (with_connectorx, "double, 1000 numbers"),
    (with_polars, "ComputeError"),
    (with_polars_told, "Float64, 1000 numbers"),
    (with_adbc, "OSError"),
):
    try:
        seen = str(reader())
    except Exception as error:
        seen = type(error).__name__
    print(f"{reader.__name__}: {seen}; expected {expected}")
    changed |= seen != expected
raise SystemExit(int(changed))
PYTHON
