-- name: review_list
SELECT page.*, atlas_content_hash(page.uid) AS hash
FROM (
    SELECT s.uid, s.task, s.key AS learning_key, s.tenant, s.lane, s.status, s.review_status, s.review_by, s.review_at,
        s.review_notes, s.reward_value, s.metadata -> 'drift' AS drift, s.created_at
    FROM sessions s
    WHERE ($1::text[] IS NULL OR s.review_status = ANY($1))
      AND ($2::text IS NULL OR s.metadata ->> 'learning_key' = $2)
      AND ($3::timestamptz IS NULL OR (s.created_at, s.uid) < ($3, $4::uuid))
    ORDER BY s.created_at DESC, s.uid DESC LIMIT $5 OFFSET $6
) AS page
ORDER BY page.created_at DESC, page.uid DESC;

-- name: decide
SELECT hash, done FROM atlas_decide($1::uuid, $2::text, $3::text, $4::text, $5::text);

-- name: decide_as_seen
SELECT hash, done, moved FROM atlas_decide_as_seen(
    $1::uuid, $2::text, $3::text, $4::text, $5::text, $6::text, $7::timestamptz);

-- name: standing
SELECT review_status, review_at FROM sessions WHERE uid = $1;

-- name: queue
SELECT page.uid, left(page.task, 2000) AS task, page.key AS learning_key, page.tenant, page.lane, page.status, page.review_status,
    page.review_by, page.review_at, page.review_notes, page.reward_value, page.metadata -> 'drift' AS drift, page.created_at,
    left(page.final_answer, 8000) AS answer, page.accepted,
    CASE WHEN page.last_seq <= $6 THEN atlas_content_hash(page.uid) END AS hash
FROM (
    SELECT s.*, (SELECT max(e.seq) FROM events e WHERE e.session = s.uid) AS last_seq FROM sessions s
    WHERE s.review_status = $1 AND s.status <> 'running'
      AND (s.created_at, s.uid) < ($2, $3::uuid)
      AND ($4::text IS NULL OR s.key = $4)
      AND (NOT $7 OR s.metadata #> '{drift,drift_alert}' = 'true')
    ORDER BY s.created_at DESC, s.uid DESC LIMIT $5
) AS page
ORDER BY page.created_at DESC, page.uid DESC;

-- name: publish_decided
WITH published AS (SELECT atlas_publish($1::jsonb[], NULL, $2::uuid))
INSERT INTO playbook_audit (who, what, tenant, key, audience, version, entry, note)
SELECT $3, $4, $5, $6, $7, $8, $9, $10 FROM published;

-- name: playbook_trail
SELECT at, who, what, version, entry, note FROM playbook_audit
WHERE tenant = $1 AND key = $2 AND audience = $3 ORDER BY id DESC LIMIT 100;

-- name: content
SELECT atlas_content_hash($1::uuid);

-- name: trail
SELECT at, who, what, hash, note FROM audit WHERE session = $1 ORDER BY id;

-- name: numbered
SELECT uid, status FROM sessions WHERE id = $1;

-- name: doomed
SELECT s.uid FROM sessions s
WHERE ($1::timestamptz IS NULL OR s.created_at < $1) AND ($3::uuid IS NULL OR s.uid = $3)
  AND atlas_doomed(s, $1, $2::text, $3, $4::boolean)
ORDER BY s.created_at;

-- name: doomed_events
SELECT count(*) FROM events e WHERE e.session = ANY($1::uuid[]);

-- name: doomed_weeks
SELECT part FROM atlas_doomed_weeks($1::timestamptz, $2::text, $3::uuid, $4::boolean);

-- name: drop_week
SELECT sessions, events FROM atlas_drop_week($1::text, $2::text, $3::timestamptz, $4::text, $5::boolean);

-- name: forget
SELECT sessions, events FROM atlas_forget($1::uuid[], $2::text, $3::timestamptz, $4::text, $5::uuid, $6::boolean);
