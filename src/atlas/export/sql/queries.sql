-- Fragments in braces are put in place when the file is read.

-- name: chosen
SELECT s.* FROM (
    SELECT o.uid, o.id, o.created_at, o.tenant, o.key, o.task, o.review_status, o.review_notes, o.metadata,
        o.reward_stats, CASE WHEN o.status = 'running' AND NOT EXISTS (
            SELECT FROM leases l WHERE l.owner = o.lease_owner AND l.until > now())
        THEN 'interrupted' ELSE o.status END AS status
    FROM sessions o
) AS s
WHERE ($1::uuid[] IS NULL OR s.uid = ANY($1))
  AND ($2::text[] IS NULL OR s.status = ANY($2))
  AND ($3::text[] IS NULL OR s.review_status = ANY($3))
  AND ($4::text IS NULL OR s.metadata ->> 'learning_key' = $4)
  AND ($5::text IS NULL OR s.tenant = $5)
  AND ($6::double precision IS NULL
       OR (s.reward_stats IS NOT NULL AND (s.reward_stats ->> 'score')::double precision >= $6))
  AND ($7::double precision IS NULL
       OR (s.reward_stats IS NOT NULL AND (s.reward_stats ->> 'score')::double precision <= $7))
  AND ($8::timestamptz IS NULL OR s.created_at >= $8)
  AND ($9::timestamptz IS NULL OR s.created_at <= $9)

-- name: sessions
SELECT c.uid, c.created_at, c.status, c.review_status, c.review_notes, c.metadata ->> 'drift' AS drift FROM ({chosen}) AS c
WHERE $10::timestamptz IS NULL OR (c.created_at, c.uid) < ($10, $11::uuid)
ORDER BY c.created_at DESC, c.uid DESC LIMIT $12 OFFSET $13

-- name: count
SELECT count(*) FROM ({chosen}) AS c

-- name: questions
SELECT array_agg(n.uid ORDER BY n.created_at, n.uid) AS uids
FROM (SELECT c.* FROM ({chosen}) AS c ORDER BY c.created_at DESC, c.uid DESC LIMIT $10 OFFSET $11) AS n
GROUP BY n.tenant, n.key, n.task
ORDER BY min(n.created_at), min(n.id)

-- name: events
SELECT wanted.n, e.* FROM unnest($1::uuid[]) WITH ORDINALITY AS wanted(session, n), LATERAL (
    SELECT CASE WHEN $2::text[] IS NULL OR e.type = ANY($2) THEN e.payload::text
                WHEN e.type = 'model_called' THEN jsonb_build_object(
                    'completion', jsonb_build_object('message', e.payload #> '{completion,message}'))::text END AS payload,
        e.seq, e.at, e.type, e.actor, e.step, e.attempt, e.duration_s, e.payload ->> 'purpose' AS purpose,
        CASE WHEN e.type = 'model_called' THEN e.payload #>> '{completion,usage}' END AS usage
    FROM events e WHERE e.session = wanted.session ORDER BY e.seq
) AS e

-- name: payloads
SELECT e.session, e.seq, e.payload::text AS payload
FROM unnest($1::uuid[], $2::integer[]) AS wanted(session, seq)
JOIN events e ON e.session = wanted.session AND e.seq = wanted.seq

-- name: numbered
SELECT uid FROM sessions WHERE id = $1

-- name: beginning
SELECT uid FROM sessions WHERE uid BETWEEN $1 AND $2 ORDER BY uid LIMIT 2

-- name: drift
UPDATE sessions SET metadata = metadata || jsonb_build_object('drift', $2::jsonb, 'drift_alert', $2::jsonb -> 'drift_alert')
WHERE uid = $1
