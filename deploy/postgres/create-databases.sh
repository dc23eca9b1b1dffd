#!/bin/sh
# Makes a role and its databases for Temporal, and one for us. PostgreSQL's image runs it once, in an
# empty cluster. The passwords are read by psql itself, so that no command line shows them.
set -e
export SECRETS_DIR="${SECRETS_DIR:-/run/secrets}"

psql -X -q -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres <<'SQL'
\set temporal_password `cat "$SECRETS_DIR/temporal_database_password"`
\set connector_password `cat "$SECRETS_DIR/email_connector_database_password"`
CREATE ROLE temporal LOGIN PASSWORD :'temporal_password';
CREATE ROLE email_connector LOGIN PASSWORD :'connector_password';
CREATE DATABASE temporal OWNER temporal;
CREATE DATABASE temporal_visibility OWNER temporal;
CREATE DATABASE email_connector OWNER email_connector;
SQL
