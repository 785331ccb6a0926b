-- name: put_run
INSERT INTO training_runs (id, method, role, status, failure, base, data_sha256, examples, checkpoint, checkpoint_sha256,
                           metrics, manifest, started_at, finished_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11::jsonb, $12::jsonb, $13, $14)
ON CONFLICT (id) DO UPDATE SET status = excluded.status, failure = excluded.failure,
    checkpoint = excluded.checkpoint, checkpoint_sha256 = excluded.checkpoint_sha256, metrics = excluded.metrics,
    manifest = excluded.manifest, data_sha256 = excluded.data_sha256, examples = excluded.examples,
    finished_at = excluded.finished_at

-- name: put_run_sessions
INSERT INTO training_run_sessions (run, session) SELECT $1, unnest($2::uuid[]) ON CONFLICT DO NOTHING

-- name: runs
SELECT manifest FROM training_runs ORDER BY started_at DESC, id DESC LIMIT $1

-- name: run_of_checkpoint
SELECT id FROM training_runs WHERE checkpoint_sha256 = $1 ORDER BY started_at DESC LIMIT 1

-- name: run_sessions
SELECT session FROM training_run_sessions WHERE run = $1 ORDER BY session

-- name: put_policy
INSERT INTO policies (id, role, state, sha256, run, policy, created_at, changed_at)
VALUES ($1, $2, $3, $4, $5, $6::jsonb, $7, $8)
ON CONFLICT (id) DO UPDATE SET state = excluded.state, policy = excluded.policy, changed_at = excluded.changed_at

-- name: policies
SELECT policy FROM policies WHERE $1::text IS NULL OR role = $1 ORDER BY created_at DESC, id DESC
