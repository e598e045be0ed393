-- Three roles for a Stoker store, each with no more rights than it needs. Once, as a superuser, in
-- the store's database, before the first `stoker db migrate`:
--
--     psql --dbname=jobs --file=roles.sql
--
-- Nobody can log in as any of them before it has a password; psql asks for one and sends only its
-- hash: \password stoker_owner
--
--   stoker_owner   changes the layout: `stoker db migrate`, at each upgrade.
--   stoker_worker  for workers, servers, keepers and programs that submit. It reads and writes jobs
--                  and changes no table.
--   stoker_reader  for reports and dashboards. It reads jobs, payloads included.
--
-- A store in another schema: replace "SCHEMA stoker" below, and add ?schema=NAME to the URLs.

CREATE ROLE stoker_owner LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE;
CREATE ROLE stoker_worker LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE;
CREATE ROLE stoker_reader LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE CONNECTION LIMIT 10;

CREATE SCHEMA stoker AUTHORIZATION stoker_owner;
GRANT USAGE ON SCHEMA stoker TO stoker_worker, stoker_reader;

-- What the owner makes from now on, at this migration and at every later one.
ALTER DEFAULT PRIVILEGES FOR ROLE stoker_owner IN SCHEMA stoker
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO stoker_worker;
ALTER DEFAULT PRIVILEGES FOR ROLE stoker_owner IN SCHEMA stoker
    GRANT USAGE ON SEQUENCES TO stoker_worker;
ALTER DEFAULT PRIVILEGES FOR ROLE stoker_owner IN SCHEMA stoker
    GRANT SELECT ON TABLES TO stoker_reader;

-- A reader who forgets a transaction keeps dead rows from being removed, and leasing gets slower.
ALTER ROLE stoker_reader SET default_transaction_read_only = on;
ALTER ROLE stoker_reader SET idle_in_transaction_session_timeout = '60s';
ALTER ROLE stoker_reader SET statement_timeout = '5min';
