#!/bin/sh
# Brings Temporal's two databases to the schema of this version; harmless to repeat.
set -eu

bring_up_to_date() {
  # In a new database, makes the tables that hold the version; in another one, does nothing.
  temporal-sql-tool --database "$1" setup-schema --version 0.0
  temporal-sql-tool --database "$1" update-schema --schema-name "postgresql/v12/$2"
}

bring_up_to_date "$TEMPORAL_DATABASE" temporal
bring_up_to_date "$VISIBILITY_DATABASE" visibility
