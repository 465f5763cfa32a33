-- A PostgreSQL role for dashboards: reads the tables and views of docs/schema.md, writes nothing.
--
-- Run it as the role that owns etl's tables, which must be allowed to create roles:
--     psql -v ON_ERROR_STOP=1 -d etl -f docs/reporting/readonly.sql
-- then give it a password with \password etl_reader. Where etl has a schema of its own, put its
-- name in the place of public. Run it again after an upgrade that brings new tables or views, which
-- the role cannot read before. It takes back what earlier versions of this script gave too much.

BEGIN;

-- a schema that is named as the role comes first otherwise
SET LOCAL search_path = public;

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

-- before PostgreSQL 15 everybody may create tables in public
REVOKE CREATE ON SCHEMA public FROM PUBLIC, etl_reader;
GRANT USAGE ON SCHEMA public TO etl_reader;

-- nothing by default, and nothing of this role's that is not named below
ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE SELECT ON TABLES FROM etl_reader;

DO $$
DECLARE
  one regclass;
BEGIN
  FOR one IN
    SELECT pg_class.oid FROM pg_class CROSS JOIN LATERAL aclexplode(relacl) AS acl
    WHERE relnamespace = CAST('public' AS regnamespace) AND relkind IN ('r', 'v', 'm', 'p', 'f')
      AND acl.grantee = CAST('etl_reader' AS regrole)
      AND pg_has_role(current_user, relowner, 'USAGE')
  LOOP
    EXECUTE format('REVOKE ALL ON %s FROM etl_reader', one);
  END LOOP;
END
$$;

-- what has a contract; leases, checkpoints, budgets and staging have none
GRANT SELECT ON
  -- tables
  projects, environments, layers, layer_parameters, layer_reservations,
  project_history, environment_history, layer_history,
  changes, change_fields, runs, run_streams, rejects, schema_drift,
  -- views
  projects_current, environments_current, layers_current,
  layer_parameters_current, layer_reservations_current,
  project_versions, environment_versions, layer_versions,
  layer_parameter_history, layer_parameter_versions,
  layer_reservation_history, layer_reservation_versions,
  change_feed, source_freshness, layer_capacity, project_inventory,
  stale_projects, layers_without_experiments, implicit_layers, holdout_usage,
  key_rotations, possible_same_project, who_changed_what,
  launchdarkly_project, launchdarkly_environment
TO etl_reader;

COMMIT;
