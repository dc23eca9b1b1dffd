#!/bin/sh
# Runs a program of Temporal's with the database password from a file, which it cannot read itself.
set -eu
password="$(cat "${SECRETS_DIR:-/run/secrets}/temporal_database_password")"
export POSTGRES_PWD="$password" # for the server
export SQL_PASSWORD="$password" # for the schema tool
exec "$@"
