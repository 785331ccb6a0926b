-- name: review_list
SELECT page.*, atlas_content_hash(page.uid) AS hash
FROM (
    SELECT s.uid, s.task, s.learning_key, s.tenant, s.lane, s.status, s.review_status, s.review_by, s.review_at,
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
