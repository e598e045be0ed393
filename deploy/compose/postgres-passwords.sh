#!/bin/sh
# Runs once, after roles.sql, when the database is made. The passwords go from the environment
# through standard input: an argument would be seen by everybody on the machine.
set -eu
psql --quiet --no-psqlrc --set=ON_ERROR_STOP=1 --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" <<'SQL'
\getenv owner POSTGRES_OWNER_PASSWORD
\getenv worker POSTGRES_WORKER_PASSWORD
ALTER ROLE stoker_owner PASSWORD :'owner';
ALTER ROLE stoker_worker PASSWORD :'worker';
REVOKE CONNECT ON DATABASE :"DBNAME" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"DBNAME" TO stoker_owner, stoker_worker, stoker_reader;
SQL
