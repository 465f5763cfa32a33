-- A PostgreSQL role for dashboards: reads the tables and views of docs/schema.md, writes nothing.
--
-- Run it as the role that owns etl's tables, which must be allowed to create roles:
--     psql -v ON_ERROR_STOP=1 -d etl -f docs/reporting/readonly.sql
-- then give it a password with \password etl_reader. It can be run again at any time.
-- Views that `etl db upgrade` makes anew stay readable, because of the default privileges below.

BEGIN;

DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'etl_reader') THEN
    CREATE ROLE etl_reader LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE;
  END IF;
END
$$;

-- a second lock on the same door, and no query that keeps the database from cleaning up
ALTER ROLE etl_reader SET default_transaction_read_only = on;
ALTER ROLE etl_reader SET statement_timeout = '60s';
ALTER ROLE etl_reader SET idle_in_transaction_session_timeout = '5min';
ALTER ROLE etl_reader SET timezone = 'UTC';

GRANT USAGE ON SCHEMA public TO etl_reader;

-- what has a contract; leases, checkpoints, budgets and staging have none
GRANT SELECT ON
  projects, environments, layers, layer_parameters, layer_reservations,
  project_history, environment_history, layer_history,
  changes, change_fields, runs, run_streams, rejects, schema_drift
TO etl_reader;

DO $$
DECLARE
  one text;
BEGIN
  FOR one IN SELECT viewname FROM pg_views WHERE schemaname = 'public' LOOP
    EXECUTE format('GRANT SELECT ON public.%I TO etl_reader', one);
  END LOOP;
END
$$;

ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO etl_reader;

COMMIT;
