-- name: append
SELECT atlas_append($1::uuid[], $2::integer[], $3::bigint[], $4::jsonb[], $5::integer[], $6::uuid[], $7::uuid, $8::boolean),
    atlas_reopen($1::uuid[]);

-- name: weeks
SELECT atlas_make_weeks($1::uuid[]);

-- name: commit
SELECT atlas_commit($1::uuid, $2::jsonb, $3::bigint, $4::double precision, $5::boolean, $6::jsonb[], $7::uuid),
    atlas_note_drift($1::uuid, $8::integer, $9::double precision, $10::integer);

-- name: publish
SELECT atlas_publish($1::jsonb[], NULL, $2::uuid);

-- name: background
SELECT
    (SELECT jsonb_build_object('version', p.version, 'entries', p.entries, 'created_at', p.created_at) || p.about
     FROM playbooks p WHERE p.tenant = $1 AND p.key = $2 AND p.audience = 'student'
     ORDER BY p.version DESC LIMIT 1) AS student,
    (SELECT jsonb_build_object('version', p.version, 'entries', p.entries, 'created_at', p.created_at) || p.about
     FROM playbooks p WHERE p.tenant = $1 AND p.key = $2 AND p.audience = 'teacher'
     ORDER BY p.version DESC LIMIT 1) AS teacher,
    (SELECT jsonb_agg(jsonb_build_object('lane', o.lane, 'reward', o.reward_value, 'first_try', o.first_try,
                                         'playbook_version', o.playbook_version, 'arms', o.arms, 'at', o.completed_at,
                                         'task', o.task_hash, 'policy', o.policy)
                      ORDER BY o.completed_at DESC)
     FROM (SELECT s.lane, s.reward_value, s.first_try, s.playbook_version, s.arms, s.completed_at, s.policy,
                  md5(s.task) AS task_hash
           FROM sessions s
           WHERE s.tenant = $1 AND s.key = $2 AND s.lane IS NOT NULL AND s.status IN ('succeeded', 'failed')
             AND s.completed_at IS NOT NULL AND NOT s.metadata ? 'replay_of'
           ORDER BY s.completed_at DESC LIMIT $3) AS o) AS outcomes;

-- name: playbook
SELECT jsonb_build_object('version', p.version, 'entries', p.entries, 'created_at', p.created_at) || p.about AS book
FROM playbooks p
WHERE p.tenant = $1 AND p.key = $2 AND p.audience = $3 AND ($4::integer IS NULL OR p.version = $4)
ORDER BY p.version DESC LIMIT 1;

-- name: versions
SELECT jsonb_build_object('version', p.version, 'entries', p.entries, 'created_at', p.created_at) || p.about AS book
FROM playbooks p
WHERE p.tenant = $1 AND p.key = $2 AND p.audience = $3 AND p.version > $4
ORDER BY p.version LIMIT $5;

-- name: shelf
SELECT DISTINCT ON (p.key, p.audience) p.key, p.audience,
    jsonb_build_object('version', p.version, 'entries', p.entries, 'created_at', p.created_at) || p.about AS book
FROM playbooks p WHERE p.tenant = $1 ORDER BY p.key, p.audience, p.version DESC;

-- name: ledger
SELECT s.uid, s.key AS learning_key, s.created_at, s.lane, s.policy, s.reward_value, s.first_try, s.tokens, s.cost_usd,
    s.metadata -> 'replay_of' AS replay_of,
    (SELECT atlas_restored(e.session, e.payload) FROM events e
     WHERE e.session = s.uid AND e.type = 'memory_recalled' ORDER BY e.seq DESC LIMIT 1) AS recalled,
    (SELECT e.payload FROM events e
     WHERE e.session = s.uid AND e.type = 'compared' ORDER BY e.seq DESC LIMIT 1) AS compared
FROM sessions s
WHERE s.tenant = $1 AND ($2::text IS NULL OR s.key = $2) AND s.status IN ('succeeded', 'failed')
  AND ($3::timestamptz IS NULL OR (s.created_at, s.uid) > ($3, $4::uuid))
ORDER BY s.created_at, s.uid LIMIT $5;

-- name: events
SELECT seq, at, payload FROM events WHERE session = $1 ORDER BY seq;

-- name: named
SELECT uid, status FROM sessions WHERE uid BETWEEN $1 AND $2 ORDER BY uid LIMIT 2;

-- name: ending
SELECT uid, status FROM sessions WHERE right(replace(uid::text, '-', ''), length($1)) = $1 ORDER BY uid LIMIT 2;

-- name: sessions
SELECT uid, task, key AS learning_key, status, lane, reward_value, tokens, cost_usd, created_at, review_status,
    metadata #> '{drift,drift_alert}' = 'true' AS drift
FROM sessions
WHERE ($1::text IS NULL OR status = $1)
  AND ($2::text IS NULL OR metadata ->> 'learning_key' = $2)
  AND ($3::timestamptz IS NULL OR (created_at, uid) < ($3, $4::uuid))
  AND ($6::text IS NULL OR review_status = $6)
ORDER BY created_at DESC, uid DESC LIMIT $5;

-- name: claim
UPDATE sessions SET status = 'running', completed_at = NULL, lease_owner = $2, lease_epoch = lease_epoch + 1
WHERE uid = $1 AND status = 'interrupted' RETURNING lease_epoch;

-- name: renew
SELECT atlas_renew($1::uuid, $2::text, $3::integer, make_interval(secs => $4::double precision));

-- name: release
DELETE FROM leases WHERE owner = $1;

-- name: sweep
SELECT atlas_sweep();

-- name: discovered
INSERT INTO discovery_runs (project_root, task, payload) VALUES ($1, $2, $3::jsonb);
