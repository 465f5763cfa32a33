CREATE INDEX ix_changes_observed_at ON changes (observed_at)
CREATE INDEX ix_changes_run_id ON changes (run_id)
CREATE INDEX ix_environment_history_run_id ON environment_history (run_id)
CREATE INDEX ix_environment_history_valid_to_valid_from ON environment_history (valid_to, valid_from)
CREATE INDEX ix_environments_project_id ON environments (project_id)
CREATE INDEX ix_environments_run_id ON environments (run_id)
CREATE INDEX ix_environments_source_key ON environments (source, "key")
CREATE INDEX ix_environments_tombstones ON environments (source, parent_id, deleted_at) WHERE deleted_at IS NOT NULL
CREATE INDEX ix_layer_history_run_id ON layer_history (run_id)
CREATE INDEX ix_layer_history_valid_to_valid_from ON layer_history (valid_to, valid_from)
CREATE INDEX ix_layer_parameters_run_id ON layer_parameters (run_id)
CREATE INDEX ix_layer_reservations_run_id ON layer_reservations (run_id)
CREATE INDEX ix_layers_project_id ON layers (project_id)
CREATE INDEX ix_layers_run_id ON layers (run_id)
CREATE INDEX ix_layers_source_key ON layers (source, "key")
CREATE INDEX ix_layers_tombstones ON layers (source, parent_id, deleted_at) WHERE deleted_at IS NOT NULL
CREATE INDEX ix_project_history_run_id ON project_history (run_id)
CREATE INDEX ix_project_history_valid_to_valid_from ON project_history (valid_to, valid_from)
CREATE INDEX ix_projects_run_id ON projects (run_id)
CREATE INDEX ix_projects_source_key ON projects (source, "key")
CREATE INDEX ix_projects_tombstones ON projects (source, parent_id, deleted_at) WHERE deleted_at IS NOT NULL
CREATE INDEX ix_rejects_run_id ON rejects (run_id)
CREATE INDEX ix_runs_source_started_at ON runs (source, started_at)
CREATE INDEX ix_staged_environments_run_id_row_id ON staged_environments (run_id, row_id)
CREATE INDEX ix_staged_layers_run_id_row_id ON staged_layers (run_id, row_id)
CREATE INDEX ix_staged_projects_run_id_row_id ON staged_projects (run_id, row_id)
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
)
CREATE TABLE change_fields (
	change_id INTEGER NOT NULL, 
	path TEXT NOT NULL, 
	old_value TEXT, 
	new_value TEXT, 
	CONSTRAINT pk_change_fields PRIMARY KEY (change_id, path), 
	CONSTRAINT fk_change_fields_change_id FOREIGN KEY(change_id) REFERENCES changes (change_id)
)
CREATE TABLE changes (
	change_id INTEGER NOT NULL, 
	run_id INTEGER NOT NULL, 
	source TEXT NOT NULL, 
	provider TEXT NOT NULL, 
	stream TEXT NOT NULL, 
	record_id INTEGER NOT NULL, 
	version INTEGER NOT NULL, 
	project_key TEXT, 
	"key" TEXT NOT NULL, 
	operation TEXT NOT NULL, 
	observed_at DATETIME NOT NULL, 
	provider_updated_at DATETIME, 
	actor TEXT, 
	reason TEXT, 
	CONSTRAINT pk_changes PRIMARY KEY (change_id), 
	CONSTRAINT fk_changes_run_id FOREIGN KEY(run_id) REFERENCES runs (run_id), 
	CONSTRAINT uq_changes_stream_record_id_version UNIQUE (stream, record_id, version)
)
CREATE TABLE environment_history (
	environment_id INTEGER NOT NULL, 
	source TEXT NOT NULL, 
	provider TEXT NOT NULL, 
	parent_id TEXT NOT NULL, 
	external_id TEXT NOT NULL, 
	project_id INTEGER, 
	project_key TEXT, 
	"key" TEXT NOT NULL, 
	name TEXT NOT NULL, 
	content_hash TEXT NOT NULL, 
	provider_created_at DATETIME, 
	provider_updated_at DATETIME, 
	version INTEGER NOT NULL, 
	operation TEXT NOT NULL, 
	run_id INTEGER NOT NULL, 
	valid_from DATETIME NOT NULL, 
	valid_to DATETIME NOT NULL, 
	is_deleted BOOLEAN NOT NULL, 
	color TEXT, 
	default_ttl BIGINT, 
	secure_mode BOOLEAN, 
	default_track_events BOOLEAN, 
	require_comments BOOLEAN, 
	confirm_changes BOOLEAN, 
	critical BOOLEAN, 
	tags TEXT, 
	approval_settings TEXT, 
	resource_approval_settings TEXT, 
	sdk_key_fingerprint TEXT, 
	mobile_key_fingerprint TEXT, 
	raw TEXT NOT NULL, 
	CONSTRAINT pk_environment_history PRIMARY KEY (environment_id, version), 
	CONSTRAINT ck_environment_history_valid CHECK (valid_from < valid_to), 
	CONSTRAINT fk_environment_history_environment_id FOREIGN KEY(environment_id) REFERENCES environments (environment_id), 
	CONSTRAINT fk_environment_history_run_id FOREIGN KEY(run_id) REFERENCES runs (run_id)
)
CREATE TABLE environments (
	environment_id INTEGER NOT NULL, 
	source TEXT NOT NULL, 
	provider TEXT NOT NULL, 
	parent_id TEXT NOT NULL, 
	external_id TEXT NOT NULL, 
	project_id INTEGER, 
	project_key TEXT, 
	"key" TEXT NOT NULL, 
	name TEXT NOT NULL, 
	content_hash TEXT NOT NULL, 
	provider_created_at DATETIME, 
	provider_updated_at DATETIME, 
	version INTEGER NOT NULL, 
	operation TEXT NOT NULL, 
	run_id INTEGER NOT NULL, 
	first_seen_at DATETIME NOT NULL, 
	changed_at DATETIME NOT NULL, 
	is_deleted BOOLEAN NOT NULL, 
	deleted_at DATETIME, 
	color TEXT, 
	default_ttl BIGINT, 
	secure_mode BOOLEAN, 
	default_track_events BOOLEAN, 
	require_comments BOOLEAN, 
	confirm_changes BOOLEAN, 
	critical BOOLEAN, 
	tags TEXT, 
	approval_settings TEXT, 
	resource_approval_settings TEXT, 
	sdk_key_fingerprint TEXT, 
	mobile_key_fingerprint TEXT, 
	raw TEXT NOT NULL, 
	CONSTRAINT pk_environments PRIMARY KEY (environment_id), 
	CONSTRAINT ck_environments_deleted_at CHECK (is_deleted = (deleted_at IS NOT NULL)), 
	CONSTRAINT ck_environments_version CHECK (version >= 1), 
	CONSTRAINT fk_environments_project_id FOREIGN KEY(project_id) REFERENCES projects (project_id), 
	CONSTRAINT fk_environments_run_id FOREIGN KEY(run_id) REFERENCES runs (run_id), 
	CONSTRAINT uq_environments_source_parent_id_external_id UNIQUE (source, parent_id, external_id)
)
CREATE TABLE horizons (
	source TEXT NOT NULL, 
	known_since DATETIME NOT NULL, 
	CONSTRAINT pk_horizons PRIMARY KEY (source)
)
CREATE TABLE layer_history (
	layer_id INTEGER NOT NULL, 
	source TEXT NOT NULL, 
	provider TEXT NOT NULL, 
	parent_id TEXT NOT NULL, 
	external_id TEXT NOT NULL, 
	project_id INTEGER, 
	project_key TEXT, 
	"key" TEXT NOT NULL, 
	name TEXT NOT NULL, 
	content_hash TEXT NOT NULL, 
	provider_created_at DATETIME, 
	provider_updated_at DATETIME, 
	version INTEGER NOT NULL, 
	operation TEXT NOT NULL, 
	run_id INTEGER NOT NULL, 
	valid_from DATETIME NOT NULL, 
	valid_to DATETIME NOT NULL, 
	is_deleted BOOLEAN NOT NULL, 
	description TEXT, 
	randomization_unit TEXT, 
	is_implicit BOOLEAN, 
	tags TEXT, 
	target_apps TEXT, 
	holdout_ids TEXT, 
	team TEXT, 
	team_id TEXT, 
	provider_version TEXT, 
	created_by_id TEXT, 
	created_by_name TEXT, 
	created_by_email TEXT, 
	updated_by_id TEXT, 
	updated_by_name TEXT, 
	updated_by_email TEXT, 
	raw TEXT NOT NULL, 
	CONSTRAINT pk_layer_history PRIMARY KEY (layer_id, version), 
	CONSTRAINT ck_layer_history_valid CHECK (valid_from < valid_to), 
	CONSTRAINT fk_layer_history_layer_id FOREIGN KEY(layer_id) REFERENCES layers (layer_id), 
	CONSTRAINT fk_layer_history_run_id FOREIGN KEY(run_id) REFERENCES runs (run_id)
)
CREATE TABLE layer_parameters (
	layer_parameter_id INTEGER NOT NULL, 
	layer_id INTEGER NOT NULL, 
	source TEXT NOT NULL, 
	provider TEXT NOT NULL, 
	external_id TEXT NOT NULL, 
	"key" TEXT NOT NULL, 
	name TEXT NOT NULL, 
	content_hash TEXT NOT NULL, 
	provider_created_at DATETIME, 
	provider_updated_at DATETIME, 
	version INTEGER NOT NULL, 
	operation TEXT NOT NULL, 
	run_id INTEGER NOT NULL, 
	first_seen_at DATETIME NOT NULL, 
	changed_at DATETIME NOT NULL, 
	is_deleted BOOLEAN NOT NULL, 
	deleted_at DATETIME, 
	type TEXT NOT NULL, 
	default_value TEXT, 
	position INTEGER NOT NULL, 
	raw TEXT NOT NULL, 
	CONSTRAINT pk_layer_parameters PRIMARY KEY (layer_parameter_id), 
	CONSTRAINT ck_layer_parameters_deleted_at CHECK (is_deleted = (deleted_at IS NOT NULL)), 
	CONSTRAINT fk_layer_parameters_layer_id FOREIGN KEY(layer_id) REFERENCES layers (layer_id), 
	CONSTRAINT fk_layer_parameters_run_id FOREIGN KEY(run_id) REFERENCES runs (run_id), 
	CONSTRAINT uq_layer_parameters_layer_id_external_id UNIQUE (layer_id, external_id)
)
CREATE TABLE layer_reservations (
	layer_reservation_id INTEGER NOT NULL, 
	layer_id INTEGER NOT NULL, 
	source TEXT NOT NULL, 
	provider TEXT NOT NULL, 
	external_id TEXT NOT NULL, 
	"key" TEXT NOT NULL, 
	name TEXT NOT NULL, 
	content_hash TEXT NOT NULL, 
	provider_created_at DATETIME, 
	provider_updated_at DATETIME, 
	version INTEGER NOT NULL, 
	operation TEXT NOT NULL, 
	run_id INTEGER NOT NULL, 
	first_seen_at DATETIME NOT NULL, 
	changed_at DATETIME NOT NULL, 
	is_deleted BOOLEAN NOT NULL, 
	deleted_at DATETIME, 
	environment_key TEXT NOT NULL, 
	experiment_key TEXT NOT NULL, 
	flag_key TEXT NOT NULL, 
	reservation_percent BIGINT NOT NULL, 
	raw TEXT NOT NULL, 
	CONSTRAINT pk_layer_reservations PRIMARY KEY (layer_reservation_id), 
	CONSTRAINT ck_layer_reservations_deleted_at CHECK (is_deleted = (deleted_at IS NOT NULL)), 
	CONSTRAINT fk_layer_reservations_layer_id FOREIGN KEY(layer_id) REFERENCES layers (layer_id), 
	CONSTRAINT fk_layer_reservations_run_id FOREIGN KEY(run_id) REFERENCES runs (run_id), 
	CONSTRAINT uq_layer_reservations_layer_id_external_id UNIQUE (layer_id, external_id)
)
CREATE TABLE layers (
	layer_id INTEGER NOT NULL, 
	source TEXT NOT NULL, 
	provider TEXT NOT NULL, 
	parent_id TEXT NOT NULL, 
	external_id TEXT NOT NULL, 
	project_id INTEGER, 
	project_key TEXT, 
	"key" TEXT NOT NULL, 
	name TEXT NOT NULL, 
	content_hash TEXT NOT NULL, 
	provider_created_at DATETIME, 
	provider_updated_at DATETIME, 
	version INTEGER NOT NULL, 
	operation TEXT NOT NULL, 
	run_id INTEGER NOT NULL, 
	first_seen_at DATETIME NOT NULL, 
	changed_at DATETIME NOT NULL, 
	is_deleted BOOLEAN NOT NULL, 
	deleted_at DATETIME, 
	description TEXT, 
	randomization_unit TEXT, 
	is_implicit BOOLEAN, 
	tags TEXT, 
	target_apps TEXT, 
	holdout_ids TEXT, 
	team TEXT, 
	team_id TEXT, 
	provider_version TEXT, 
	created_by_id TEXT, 
	created_by_name TEXT, 
	created_by_email TEXT, 
	updated_by_id TEXT, 
	updated_by_name TEXT, 
	updated_by_email TEXT, 
	raw TEXT NOT NULL, 
	CONSTRAINT pk_layers PRIMARY KEY (layer_id), 
	CONSTRAINT ck_layers_deleted_at CHECK (is_deleted = (deleted_at IS NOT NULL)), 
	CONSTRAINT ck_layers_version CHECK (version >= 1), 
	CONSTRAINT fk_layers_project_id FOREIGN KEY(project_id) REFERENCES projects (project_id), 
	CONSTRAINT fk_layers_run_id FOREIGN KEY(run_id) REFERENCES runs (run_id), 
	CONSTRAINT uq_layers_source_parent_id_external_id UNIQUE (source, parent_id, external_id)
)
CREATE TABLE leases (
	source TEXT NOT NULL, 
	token TEXT NOT NULL, 
	host TEXT NOT NULL, 
	pid INTEGER NOT NULL, 
	process_started TEXT NOT NULL, 
	expires_at DATETIME NOT NULL, kind TEXT DEFAULT 'sync' NOT NULL, 
	CONSTRAINT pk_leases PRIMARY KEY (source)
)
CREATE TABLE ledger (
	run_id INTEGER NOT NULL, 
	stream TEXT NOT NULL, 
	parent_id TEXT NOT NULL, 
	segment INTEGER NOT NULL, 
	parent_key TEXT NOT NULL, 
	state TEXT NOT NULL, 
	seen BLOB NOT NULL, 
	CONSTRAINT pk_ledger PRIMARY KEY (run_id, stream, parent_id, segment)
)
CREATE TABLE notices (
	kind TEXT NOT NULL, 
	source TEXT NOT NULL, 
	detail TEXT NOT NULL, 
	message TEXT NOT NULL, 
	first_seen_at DATETIME NOT NULL, 
	last_seen_at DATETIME NOT NULL, 
	notified_at DATETIME, 
	ended_at DATETIME, 
	told TEXT NOT NULL, 
	recovered TEXT NOT NULL, 
	claimed_until DATETIME, 
	CONSTRAINT pk_notices PRIMARY KEY (kind, source, detail)
)
CREATE TABLE outside_scope (
	source TEXT NOT NULL, 
	stream TEXT NOT NULL, 
	row_id INTEGER NOT NULL, 
	since_run INTEGER NOT NULL, 
	CONSTRAINT pk_outside_scope PRIMARY KEY (source, stream, row_id), 
	CONSTRAINT fk_outside_scope_since_run FOREIGN KEY(since_run) REFERENCES runs (run_id)
)
CREATE TABLE project_history (
	project_id INTEGER NOT NULL, 
	source TEXT NOT NULL, 
	provider TEXT NOT NULL, 
	parent_id TEXT NOT NULL, 
	external_id TEXT NOT NULL, 
	"key" TEXT NOT NULL, 
	name TEXT NOT NULL, 
	content_hash TEXT NOT NULL, 
	provider_created_at DATETIME, 
	provider_updated_at DATETIME, 
	version INTEGER NOT NULL, 
	operation TEXT NOT NULL, 
	run_id INTEGER NOT NULL, 
	valid_from DATETIME NOT NULL, 
	valid_to DATETIME NOT NULL, 
	is_deleted BOOLEAN NOT NULL, 
	status TEXT, 
	tags TEXT, 
	timezone TEXT, 
	primary_language TEXT, 
	owner_email TEXT, 
	customer_external_id TEXT, 
	include_in_snippet_by_default BOOLEAN, 
	default_client_side_availability TEXT, 
	default_release_pipeline_key TEXT, 
	raw TEXT NOT NULL, 
	CONSTRAINT pk_project_history PRIMARY KEY (project_id, version), 
	CONSTRAINT ck_project_history_valid CHECK (valid_from < valid_to), 
	CONSTRAINT fk_project_history_project_id FOREIGN KEY(project_id) REFERENCES projects (project_id), 
	CONSTRAINT fk_project_history_run_id FOREIGN KEY(run_id) REFERENCES runs (run_id)
)
CREATE TABLE projects (
	project_id INTEGER NOT NULL, 
	source TEXT NOT NULL, 
	provider TEXT NOT NULL, 
	parent_id TEXT NOT NULL, 
	external_id TEXT NOT NULL, 
	"key" TEXT NOT NULL, 
	name TEXT NOT NULL, 
	content_hash TEXT NOT NULL, 
	provider_created_at DATETIME, 
	provider_updated_at DATETIME, 
	version INTEGER NOT NULL, 
	operation TEXT NOT NULL, 
	run_id INTEGER NOT NULL, 
	first_seen_at DATETIME NOT NULL, 
	changed_at DATETIME NOT NULL, 
	is_deleted BOOLEAN NOT NULL, 
	deleted_at DATETIME, 
	status TEXT, 
	tags TEXT, 
	timezone TEXT, 
	primary_language TEXT, 
	owner_email TEXT, 
	customer_external_id TEXT, 
	include_in_snippet_by_default BOOLEAN, 
	default_client_side_availability TEXT, 
	default_release_pipeline_key TEXT, 
	raw TEXT NOT NULL, 
	CONSTRAINT pk_projects PRIMARY KEY (project_id), 
	CONSTRAINT ck_projects_deleted_at CHECK (is_deleted = (deleted_at IS NOT NULL)), 
	CONSTRAINT ck_projects_version CHECK (version >= 1), 
	CONSTRAINT fk_projects_run_id FOREIGN KEY(run_id) REFERENCES runs (run_id), 
	CONSTRAINT uq_projects_source_parent_id_external_id UNIQUE (source, parent_id, external_id)
)
CREATE TABLE rate_budgets (
	credential TEXT NOT NULL, 
	grants BLOB NOT NULL, 
	blocked_until DATETIME, 
	updated_at DATETIME NOT NULL, blocked_reason TEXT, rate_limits TEXT, limits_read_at DATETIME, 
	CONSTRAINT pk_rate_budgets PRIMARY KEY (credential)
)
CREATE TABLE rejects (
	reject_id INTEGER NOT NULL, 
	source TEXT NOT NULL, 
	provider TEXT NOT NULL, 
	stream TEXT NOT NULL, 
	parent_id TEXT NOT NULL, 
	item TEXT NOT NULL, 
	external_id TEXT, 
	path TEXT NOT NULL, 
	reason TEXT NOT NULL, 
	payload TEXT NOT NULL, 
	run_id INTEGER NOT NULL, 
	first_seen_at DATETIME NOT NULL, 
	last_seen_at DATETIME NOT NULL, 
	resolved_at DATETIME, 
	CONSTRAINT pk_rejects PRIMARY KEY (reject_id), 
	CONSTRAINT fk_rejects_run_id FOREIGN KEY(run_id) REFERENCES runs (run_id), 
	CONSTRAINT uq_rejects_source_stream_parent_id_item UNIQUE (source, stream, parent_id, item)
)
CREATE TABLE run_streams (
	run_id INTEGER NOT NULL, 
	stream TEXT NOT NULL, 
	parent_id TEXT NOT NULL, 
	parent_key TEXT NOT NULL, 
	status TEXT NOT NULL, 
	complete BOOLEAN NOT NULL, 
	incomplete_reason TEXT, 
	proof TEXT, 
	partitions INTEGER NOT NULL, 
	incomplete_partitions INTEGER NOT NULL, 
	expected_total BIGINT, 
	requests BIGINT NOT NULL, 
	pages BIGINT NOT NULL, 
	retries BIGINT NOT NULL, 
	waited_seconds FLOAT NOT NULL, 
	received BIGINT NOT NULL, 
	created BIGINT NOT NULL, 
	updated BIGINT NOT NULL, 
	unchanged BIGINT NOT NULL, 
	deleted BIGINT NOT NULL, 
	restored BIGINT NOT NULL, 
	rejected BIGINT NOT NULL, walks TEXT, oldest_read_at DATETIME, 
	CONSTRAINT pk_run_streams PRIMARY KEY (run_id, stream, parent_id), 
	CONSTRAINT fk_run_streams_run_id FOREIGN KEY(run_id) REFERENCES runs (run_id)
)
CREATE TABLE runs (
	run_id INTEGER NOT NULL, 
	source TEXT NOT NULL, 
	provider TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	status TEXT NOT NULL, 
	scope TEXT NOT NULL, 
	identity TEXT, 
	attempts INTEGER NOT NULL, 
	started_at DATETIME NOT NULL, 
	finished_at DATETIME, 
	observed_at DATETIME, 
	retry_at DATETIME, 
	exit_code INTEGER, 
	error TEXT, 
	notes TEXT, 
	etl_version TEXT NOT NULL, abandoned_at DATETIME, 
	CONSTRAINT pk_runs PRIMARY KEY (run_id)
)
CREATE TABLE schema_drift (
	drift_id INTEGER NOT NULL, 
	source TEXT NOT NULL, 
	provider TEXT NOT NULL, 
	stream TEXT NOT NULL, 
	path TEXT NOT NULL, 
	type TEXT NOT NULL, 
	sample_type TEXT NOT NULL, 
	first_seen_at DATETIME NOT NULL, 
	last_seen_at DATETIME NOT NULL, records BIGINT, 
	CONSTRAINT pk_schema_drift PRIMARY KEY (drift_id), 
	CONSTRAINT uq_schema_drift_source_stream_path_type UNIQUE (source, stream, path, type)
)
CREATE TABLE scopes (
	source TEXT NOT NULL, 
	stream TEXT NOT NULL, 
	scope TEXT NOT NULL, 
	key_fingerprint TEXT NOT NULL, 
	identity TEXT NOT NULL, 
	since_run INTEGER NOT NULL, 
	CONSTRAINT pk_scopes PRIMARY KEY (source, stream), 
	CONSTRAINT fk_scopes_since_run FOREIGN KEY(since_run) REFERENCES runs (run_id)
)
CREATE TABLE staged_deletions (
	run_id INTEGER NOT NULL, 
	stream TEXT NOT NULL, 
	row_id INTEGER NOT NULL, 
	reason TEXT NOT NULL, 
	CONSTRAINT pk_staged_deletions PRIMARY KEY (run_id, stream, row_id)
)
CREATE TABLE staged_environments (
	run_id INTEGER NOT NULL, 
	ordinal INTEGER NOT NULL, 
	parent_id TEXT NOT NULL, 
	external_id TEXT NOT NULL, 
	row_id INTEGER, 
	operation TEXT NOT NULL, 
	project_key TEXT, 
	"key" TEXT NOT NULL, 
	name TEXT NOT NULL, 
	content_hash TEXT NOT NULL, 
	provider_created_at DATETIME, 
	provider_updated_at DATETIME, 
	color TEXT, 
	default_ttl BIGINT, 
	secure_mode BOOLEAN, 
	default_track_events BOOLEAN, 
	require_comments BOOLEAN, 
	confirm_changes BOOLEAN, 
	critical BOOLEAN, 
	tags TEXT, 
	approval_settings TEXT, 
	resource_approval_settings TEXT, 
	sdk_key_fingerprint TEXT, 
	mobile_key_fingerprint TEXT, 
	raw TEXT NOT NULL, 
	CONSTRAINT pk_staged_environments PRIMARY KEY (run_id, ordinal)
)
CREATE TABLE staged_layer_parameters (
	run_id INTEGER NOT NULL, 
	ordinal INTEGER NOT NULL, 
	external_id TEXT NOT NULL, 
	"key" TEXT NOT NULL, 
	name TEXT NOT NULL, 
	content_hash TEXT NOT NULL, 
	type TEXT NOT NULL, 
	default_value TEXT, 
	position INTEGER NOT NULL, 
	raw TEXT NOT NULL, 
	CONSTRAINT pk_staged_layer_parameters PRIMARY KEY (run_id, ordinal, external_id)
)
CREATE TABLE staged_layer_reservations (
	run_id INTEGER NOT NULL, 
	ordinal INTEGER NOT NULL, 
	external_id TEXT NOT NULL, 
	"key" TEXT NOT NULL, 
	name TEXT NOT NULL, 
	content_hash TEXT NOT NULL, 
	environment_key TEXT NOT NULL, 
	experiment_key TEXT NOT NULL, 
	flag_key TEXT NOT NULL, 
	reservation_percent BIGINT NOT NULL, 
	raw TEXT NOT NULL, 
	CONSTRAINT pk_staged_layer_reservations PRIMARY KEY (run_id, ordinal, external_id)
)
CREATE TABLE staged_layers (
	run_id INTEGER NOT NULL, 
	ordinal INTEGER NOT NULL, 
	parent_id TEXT NOT NULL, 
	external_id TEXT NOT NULL, 
	row_id INTEGER, 
	operation TEXT NOT NULL, 
	project_key TEXT, 
	"key" TEXT NOT NULL, 
	name TEXT NOT NULL, 
	content_hash TEXT NOT NULL, 
	provider_created_at DATETIME, 
	provider_updated_at DATETIME, 
	description TEXT, 
	randomization_unit TEXT, 
	is_implicit BOOLEAN, 
	tags TEXT, 
	target_apps TEXT, 
	holdout_ids TEXT, 
	team TEXT, 
	team_id TEXT, 
	provider_version TEXT, 
	created_by_id TEXT, 
	created_by_name TEXT, 
	created_by_email TEXT, 
	updated_by_id TEXT, 
	updated_by_name TEXT, 
	updated_by_email TEXT, 
	raw TEXT NOT NULL, 
	CONSTRAINT pk_staged_layers PRIMARY KEY (run_id, ordinal)
)
CREATE TABLE staged_projects (
	run_id INTEGER NOT NULL, 
	ordinal INTEGER NOT NULL, 
	parent_id TEXT NOT NULL, 
	external_id TEXT NOT NULL, 
	row_id INTEGER, 
	operation TEXT NOT NULL, 
	"key" TEXT NOT NULL, 
	name TEXT NOT NULL, 
	content_hash TEXT NOT NULL, 
	provider_created_at DATETIME, 
	provider_updated_at DATETIME, 
	status TEXT, 
	tags TEXT, 
	timezone TEXT, 
	primary_language TEXT, 
	owner_email TEXT, 
	customer_external_id TEXT, 
	include_in_snippet_by_default BOOLEAN, 
	default_client_side_availability TEXT, 
	default_release_pipeline_key TEXT, 
	raw TEXT NOT NULL, 
	CONSTRAINT pk_staged_projects PRIMARY KEY (run_id, ordinal)
)
CREATE VIEW change_feed AS 
SELECT changes.change_id, changes.observed_at, changes.source, changes.provider, changes.stream,
       changes.project_key, changes.key, changes.operation, change_fields.path,
       change_fields.old_value, change_fields.new_value, changes.actor, changes.reason,
       changes.provider_updated_at, changes.run_id, changes.record_id, changes.version
FROM changes LEFT JOIN change_fields ON change_fields.change_id = changes.change_id
CREATE VIEW environment_versions AS SELECT environment_id, source, provider, parent_id, external_id, key, name, content_hash, provider_created_at, provider_updated_at, version, operation, run_id, is_deleted, project_id, project_key, color, default_ttl, secure_mode, default_track_events, require_comments, confirm_changes, critical, tags, approval_settings, resource_approval_settings, sdk_key_fingerprint, mobile_key_fingerprint, raw, valid_from, valid_to FROM environment_history UNION ALL SELECT environment_id, source, provider, parent_id, external_id, key, name, content_hash, provider_created_at, provider_updated_at, version, operation, run_id, is_deleted, project_id, project_key, color, default_ttl, secure_mode, default_track_events, require_comments, confirm_changes, critical, tags, approval_settings, resource_approval_settings, sdk_key_fingerprint, mobile_key_fingerprint, raw, changed_at, NULL FROM environments
CREATE VIEW environments_current AS SELECT * FROM environments WHERE NOT is_deleted
CREATE VIEW holdout_usage AS SELECT runs.source AS source, runs.source AS provider, runs.source AS project_key, runs.source AS holdout_id, runs.source AS layer_key, runs.source AS layer_name, run_streams.complete AS is_implicit, layer_reservations.reservation_percent AS layers, runs.run_id AS layer_id FROM runs, run_streams, layer_reservations WHERE 0 UNION ALL SELECT * FROM (SELECT layers.source, layers.provider, layers.project_key, CASE typeof(holdout.value) WHEN 'JSON' THEN trim(holdout.value, '"') ELSE CAST(holdout.value AS TEXT) END AS holdout_id,
       layers.key AS layer_key, layers.name AS layer_name, layers.is_implicit,
       COUNT(*) OVER (PARTITION BY layers.source, layers.project_key, CASE typeof(holdout.value) WHEN 'JSON' THEN trim(holdout.value, '"') ELSE CAST(holdout.value AS TEXT) END) AS layers,
       layers.layer_id
FROM layers_current AS layers, json_each(layers.holdout_ids) AS holdout)
CREATE VIEW implicit_layers AS SELECT runs.source AS source, runs.source AS provider, runs.source AS project_key, runs.source AS layer_key, runs.source AS layer_name, runs.source AS created_by, runs.started_at AS provider_created_at, runs.started_at AS provider_updated_at, runs.started_at AS first_seen_at, layer_reservations.reservation_percent AS parameters, runs.run_id AS layer_id FROM runs, run_streams, layer_reservations WHERE 0 UNION ALL SELECT * FROM (SELECT source, provider, project_key, key AS layer_key, name AS layer_name,
       COALESCE(created_by_email, created_by_name, created_by_id) AS created_by,
       provider_created_at, provider_updated_at, first_seen_at,
       (SELECT COUNT(*) FROM layer_parameters_current AS parts
        WHERE parts.layer_id = layers.layer_id) AS parameters, layer_id
FROM layers_current AS layers WHERE is_implicit)
CREATE VIEW key_rotations AS SELECT runs.started_at AS observed_at, runs.source AS source, runs.source AS provider, runs.source AS project_key, runs.source AS environment_key, runs.source AS kind, runs.source AS old_fingerprint, runs.source AS new_fingerprint, runs.run_id AS run_id, runs.run_id AS change_id FROM runs, run_streams, layer_reservations WHERE 0 UNION ALL SELECT * FROM (SELECT changes.observed_at, changes.source, changes.provider, changes.project_key,
       changes.key AS environment_key,
       CASE change_fields.path WHEN 'apiKey' THEN 'sdk' ELSE 'mobile' END AS kind,
       NULLIF(trim(change_fields.old_value, '"'), 'null') AS old_fingerprint,
       NULLIF(trim(change_fields.new_value, '"'), 'null') AS new_fingerprint,
       changes.run_id, changes.change_id
FROM changes JOIN change_fields ON change_fields.change_id = changes.change_id
WHERE changes.stream = 'environments' AND change_fields.path IN ('apiKey', 'mobileKey') AND CAST(change_fields.old_value AS TEXT) LIKE '"fp:%' AND CAST(change_fields.new_value AS TEXT) LIKE '"fp:%')
CREATE VIEW launchdarkly_environment AS SELECT runs.source AS id, runs.source AS key, runs.source AS name, runs.source AS project_key, runs.source AS color, layer_reservations.reservation_percent AS default_ttl, run_streams.complete AS secure_mode, run_streams.complete AS default_track_events, run_streams.complete AS require_comments, run_streams.complete AS confirm_changes, runs.source AS tags, runs.source AS approval_settings, runs.source AS links, runs.source AS title, runs.source AS api_key_fingerprint, runs.source AS mobile_key_fingerprint, runs.source AS source FROM runs, run_streams, layer_reservations WHERE 0 UNION ALL SELECT * FROM (SELECT external_id AS id, key, name, project_key, color, default_ttl, secure_mode,
       default_track_events, require_comments, confirm_changes, tags, approval_settings,
       CASE lower(json_type(raw, '$._links')) WHEN 'object' THEN json_extract(raw, '$._links') END AS links, name AS title,
       sdk_key_fingerprint AS api_key_fingerprint, mobile_key_fingerprint, source
FROM environments_current WHERE provider = 'launchdarkly')
CREATE VIEW launchdarkly_project AS SELECT runs.source AS id, runs.source AS key, runs.source AS name, run_streams.complete AS include_in_snippet_by_default, runs.source AS default_client_side_availability, runs.source AS tags, runs.source AS flag_defaults, runs.source AS links, runs.source AS title, runs.source AS source FROM runs, run_streams, layer_reservations WHERE 0 UNION ALL SELECT * FROM (SELECT external_id AS id, key, name, include_in_snippet_by_default,
       default_client_side_availability, tags, CASE lower(json_type(raw, '$.flagDefaults')) WHEN 'object' THEN json_extract(raw, '$.flagDefaults') END
         AS flag_defaults, CASE lower(json_type(raw, '$._links')) WHEN 'object' THEN json_extract(raw, '$._links') END AS links, name AS title, source
FROM projects_current WHERE provider = 'launchdarkly')
CREATE VIEW layer_capacity AS SELECT runs.source AS source, runs.source AS provider, runs.source AS project_key, runs.source AS layer_key, runs.source AS layer_name, runs.source AS randomization_unit, runs.source AS environment_key, layer_reservations.reservation_percent AS experiments, layer_reservations.reservation_percent AS used_percent, layer_reservations.reservation_percent AS free_percent, run_streams.complete AS over_booked, runs.source AS experiment_keys, runs.run_id AS layer_id FROM runs, run_streams, layer_reservations WHERE 0 UNION ALL SELECT * FROM (SELECT layers.source, layers.provider, layers.project_key, layers.key AS layer_key,
       layers.name AS layer_name, layers.randomization_unit, reservations.environment_key,
       COUNT(*) AS experiments,
       CAST(SUM(reservations.reservation_percent) AS BIGINT) AS used_percent,
       CAST(100 - SUM(reservations.reservation_percent) AS BIGINT) AS free_percent,
       SUM(reservations.reservation_percent) > 100 AS over_booked,
       (SELECT json_group_array(experiment_key) FROM (SELECT DISTINCT experiment_key FROM layer_reservations_current AS those WHERE those.layer_id = layers.layer_id AND those.environment_key = reservations.environment_key ORDER BY experiment_key) AS texts) AS experiment_keys, layers.layer_id
FROM layer_reservations_current AS reservations
JOIN layers_current AS layers ON layers.layer_id = reservations.layer_id
GROUP BY layers.layer_id, layers.source, layers.provider, layers.project_key, layers.key,
         layers.name, layers.randomization_unit, reservations.environment_key)
CREATE VIEW layer_parameter_history AS SELECT layers.layer_id, layers.source, layers.provider,
       json_extract(part.value, '$.name') AS external_id,
       json_extract(part.value, '$.name') AS key, json_extract(part.value, '$.name') AS name,
       json_extract(part.value, '$.type') AS type,
       substr(json_extract(part.value, '$.defaultValue', '$.defaultValue'), 2,
              (length(json_extract(part.value, '$.defaultValue', '$.defaultValue')) - 3) / 2)
         AS default_value,
       part.key AS position, part.value AS raw, layers.version, layers.valid_from, layers.valid_to
FROM layer_history AS layers, json_each(layers.raw, '$.parameters') AS part
WHERE layers.provider = 'statsig' AND likely(NOT layers.is_deleted)
CREATE VIEW layer_parameter_versions AS SELECT parts.layer_id, parts.source, parts.provider, parts.external_id, parts.key, parts.name, parts.type, parts.default_value, parts.position, parts.raw, layers.version, layers.changed_at AS valid_from, layers.deleted_at AS valid_to FROM layer_parameters AS parts JOIN layers ON layers.layer_id = parts.layer_id WHERE NOT parts.is_deleted UNION ALL SELECT layer_id, source, provider, external_id, key, name, type, default_value, position, raw, version, valid_from, valid_to FROM layer_parameter_history
CREATE VIEW layer_parameters_current AS SELECT * FROM layer_parameters WHERE NOT is_deleted
CREATE VIEW layer_reservation_history AS SELECT layers.layer_id, layers.source, layers.provider,
       '[' || json_quote(environment.key)
         || ', ' || json_quote(json_extract(part.value, '$.experimentKey'))
         || ', ' || json_quote(json_extract(part.value, '$.flagKey')) || ']' AS external_id,
       json_extract(part.value, '$.experimentKey') AS key,
       json_extract(part.value, '$.experimentKey') AS name,
       environment.key AS environment_key,
       json_extract(part.value, '$.experimentKey') AS experiment_key,
       json_extract(part.value, '$.flagKey') AS flag_key,
       json_extract(part.value, '$.reservationPercent') AS reservation_percent,
       part.value AS raw, layers.version, layers.valid_from, layers.valid_to
FROM layer_history AS layers, json_each(layers.raw, '$.environments') AS environment, json_each(environment.value, '$.reservations') AS part
WHERE layers.provider = 'launchdarkly' AND likely(NOT layers.is_deleted)
CREATE VIEW layer_reservation_versions AS SELECT parts.layer_id, parts.source, parts.provider, parts.external_id, parts.key, parts.name, parts.environment_key, parts.experiment_key, parts.flag_key, parts.reservation_percent, parts.raw, layers.version, layers.changed_at AS valid_from, layers.deleted_at AS valid_to FROM layer_reservations AS parts JOIN layers ON layers.layer_id = parts.layer_id WHERE NOT parts.is_deleted UNION ALL SELECT layer_id, source, provider, external_id, key, name, environment_key, experiment_key, flag_key, reservation_percent, raw, version, valid_from, valid_to FROM layer_reservation_history
CREATE VIEW layer_reservations_current AS SELECT * FROM layer_reservations WHERE NOT is_deleted
CREATE VIEW layer_versions AS SELECT layer_id, source, provider, parent_id, external_id, key, name, content_hash, provider_created_at, provider_updated_at, version, operation, run_id, is_deleted, project_id, project_key, description, randomization_unit, is_implicit, tags, target_apps, holdout_ids, team, team_id, provider_version, created_by_id, created_by_name, created_by_email, updated_by_id, updated_by_name, updated_by_email, raw, valid_from, valid_to FROM layer_history UNION ALL SELECT layer_id, source, provider, parent_id, external_id, key, name, content_hash, provider_created_at, provider_updated_at, version, operation, run_id, is_deleted, project_id, project_key, description, randomization_unit, is_implicit, tags, target_apps, holdout_ids, team, team_id, provider_version, created_by_id, created_by_name, created_by_email, updated_by_id, updated_by_name, updated_by_email, raw, changed_at, NULL FROM layers
CREATE VIEW layers_current AS SELECT * FROM layers WHERE NOT is_deleted
CREATE VIEW layers_without_experiments AS 
SELECT source, provider, project_key, key AS layer_key, name AS layer_name, randomization_unit,
       provider_created_at, first_seen_at, changed_at, layer_id
FROM layers_current AS layers
WHERE provider = 'launchdarkly' AND NOT EXISTS (
  SELECT 1 FROM layer_reservations_current AS reservations
  WHERE reservations.layer_id = layers.layer_id
)
CREATE VIEW possible_same_project AS SELECT runs.source AS label, runs.source AS provider, runs.source AS source, runs.source AS project_key, runs.source AS name, runs.source AS other_provider, runs.source AS other_source, runs.source AS other_project_key, runs.source AS other_name, runs.run_id AS project_id, runs.run_id AS other_project_id FROM runs, run_streams, layer_reservations WHERE 0 UNION ALL SELECT * FROM (WITH labels AS (
  SELECT project_id, source, provider, key, name, replace(replace(replace(replace(lower(key), ' ', ''), '-', ''), '_', ''), '.', '') AS label
  FROM projects_current
  UNION
  SELECT project_id, source, provider, key, name, replace(replace(replace(replace(lower(name), ' ', ''), '-', ''), '_', ''), '.', '') AS label
  FROM projects_current
)
SELECT MIN(one.label) AS label,
       one.provider, one.source, one.key AS project_key, one.name, other.provider AS other_provider,
       other.source AS other_source, other.key AS other_project_key, other.name AS other_name,
       one.project_id, other.project_id AS other_project_id
FROM labels AS one JOIN labels AS other
  ON other.label = one.label AND one.provider < other.provider
WHERE one.label <> ''
GROUP BY one.project_id, one.provider, one.source, one.key, one.name,
         other.project_id, other.provider, other.source, other.key, other.name)
CREATE VIEW project_inventory AS SELECT runs.source AS source, runs.source AS provider, runs.source AS project_key, runs.source AS name, runs.source AS status, layer_reservations.reservation_percent AS environments, layer_reservations.reservation_percent AS layers, runs.started_at AS provider_created_at, runs.started_at AS provider_updated_at, runs.started_at AS first_seen_at, runs.started_at AS changed_at, runs.run_id AS project_id FROM runs, run_streams, layer_reservations WHERE 0 UNION ALL SELECT * FROM (SELECT projects.source, projects.provider, projects.key AS project_key, projects.name,
       projects.status, (SELECT COUNT(*) FROM environments WHERE environments.project_id = projects.project_id AND NOT environments.is_deleted) AS environments, (SELECT COUNT(*) FROM layers WHERE layers.project_id = projects.project_id AND NOT layers.is_deleted) AS layers,
       projects.provider_created_at, projects.provider_updated_at, projects.first_seen_at,
       projects.changed_at, projects.project_id
FROM projects WHERE NOT projects.is_deleted)
CREATE VIEW project_versions AS SELECT project_id, source, provider, parent_id, external_id, key, name, content_hash, provider_created_at, provider_updated_at, version, operation, run_id, is_deleted, status, tags, timezone, primary_language, owner_email, customer_external_id, include_in_snippet_by_default, default_client_side_availability, default_release_pipeline_key, raw, valid_from, valid_to FROM project_history UNION ALL SELECT project_id, source, provider, parent_id, external_id, key, name, content_hash, provider_created_at, provider_updated_at, version, operation, run_id, is_deleted, status, tags, timezone, primary_language, owner_email, customer_external_id, include_in_snippet_by_default, default_client_side_availability, default_release_pipeline_key, raw, changed_at, NULL FROM projects
CREATE VIEW projects_current AS SELECT * FROM projects WHERE NOT is_deleted
CREATE VIEW source_freshness AS 
SELECT every.source, every.provider, every.stream,
       (SELECT run_streams.oldest_read_at
        FROM runs JOIN run_streams ON run_streams.run_id = runs.run_id
        WHERE runs.source = every.source AND runs.provider = every.provider AND runs.kind <> 'dry_run' AND runs.observed_at IS NOT NULL
          AND run_streams.stream = every.stream AND run_streams.parent_id = ''
          AND run_streams.complete AND run_streams.oldest_read_at <= strftime('%Y-%m-%d %H:%M:%f', 'now')
        ORDER BY run_streams.oldest_read_at DESC LIMIT 1) AS last_complete_at,
       (SELECT runs.observed_at
        FROM runs JOIN run_streams ON run_streams.run_id = runs.run_id
        WHERE runs.source = every.source AND runs.provider = every.provider AND runs.kind <> 'dry_run' AND runs.observed_at IS NOT NULL
          AND run_streams.stream = every.stream AND run_streams.parent_id = ''
          AND CASE WHEN runs.kind = 'backfill' AND NOT run_streams.complete THEN 1 ELSE 0 END = every.part
        ORDER BY runs.observed_at DESC LIMIT 1) AS last_merged_at,
       (SELECT runs.started_at FROM runs WHERE runs.run_id = every.last_run_id) AS last_started_at,
       every.last_run_id
FROM (
  SELECT source, provider, stream, part, MAX(run_id) AS last_run_id
  FROM (
    SELECT runs.source, runs.provider, run_streams.stream, runs.run_id, CASE WHEN runs.kind = 'backfill' AND NOT run_streams.complete THEN 1 ELSE 0 END AS part,
           MIN(CASE WHEN runs.kind = 'backfill' AND NOT run_streams.complete THEN 1 ELSE 0 END) OVER (PARTITION BY runs.source, runs.provider, run_streams.stream)
             AS only_parts
    FROM runs JOIN run_streams ON run_streams.run_id = runs.run_id AND run_streams.parent_id = ''
    WHERE runs.kind <> 'dry_run'
  ) AS every_run
  WHERE part = only_parts
  GROUP BY source, provider, stream, part
) AS every
CREATE VIEW stale_projects AS 
SELECT source, provider, project_key, name, status, unchanged_since, unchanged_days, project_id
FROM (
  SELECT source, provider, project_key, name, status, project_id, unchanged_since,
         (CAST(strftime('%s', CURRENT_TIMESTAMP) AS INTEGER) - CAST(strftime('%s', unchanged_since) AS INTEGER)) / 86400 AS unchanged_days
  FROM (
    SELECT projects.source, projects.provider, projects.key AS project_key, projects.name,
           projects.status, projects.project_id,
           MAX(CASE WHEN version > 1 THEN changed_at ELSE COALESCE(provider_updated_at, provider_created_at, first_seen_at) END, COALESCE((SELECT MAX(CASE WHEN version > 1 THEN changed_at ELSE COALESCE(provider_updated_at, provider_created_at, first_seen_at) END) FROM environments WHERE environments.project_id = projects.project_id), ''), COALESCE((SELECT MAX(CASE WHEN version > 1 THEN changed_at ELSE COALESCE(provider_updated_at, provider_created_at, first_seen_at) END) FROM layers WHERE layers.project_id = projects.project_id), '')) AS unchanged_since
    FROM projects_current AS projects
  ) AS lasts
) AS ages WHERE unchanged_days >= 90
CREATE VIEW who_changed_what AS SELECT runs.source AS actor, runs.started_at AS observed_at, runs.started_at AS provider_updated_at, runs.source AS source, runs.source AS provider, runs.source AS stream, runs.source AS project_key, runs.source AS key, runs.source AS operation, layer_reservations.reservation_percent AS fields, runs.source AS paths, runs.run_id AS run_id, runs.run_id AS change_id FROM runs, run_streams, layer_reservations WHERE 0 UNION ALL SELECT * FROM (SELECT changes.actor, changes.observed_at, changes.provider_updated_at, changes.source,
       changes.provider, changes.stream, changes.project_key, changes.key, changes.operation,
       (SELECT COUNT(*) FROM change_fields WHERE change_fields.change_id = changes.change_id) AS fields,
       COALESCE((SELECT json_group_array(path) FROM (SELECT DISTINCT path FROM change_fields WHERE change_fields.change_id = changes.change_id ORDER BY path) AS texts), '[]') AS paths,
       changes.run_id, changes.change_id
FROM changes WHERE changes.actor IS NOT NULL)
